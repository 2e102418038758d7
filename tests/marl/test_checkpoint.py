"""Checkpoints are whole or not there, whenever the process dies."""

import contextlib
import errno
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import envs
from agents import NetworkConfig, ObservationSpec, Policy, TeamNetwork, load
from marl import TrainConfig, checkpoint
from marl.training import train


class Algorithm:
    """Stands for RLlib's: writes a file where it is told to."""

    def save_to_path(self, path):
        Path(path).mkdir(parents=True)
        (Path(path) / "state").write_text("state")


@pytest.fixture
def policy(meeting):
    spec = ObservationSpec.from_team(envs.make_team(meeting()).spec)
    return Policy(TeamNetwork(spec, NetworkConfig(width=8, hidden=8)))


def progress(env_steps):
    return {"env_steps": env_steps, "iterations": env_steps // 10, "train_s": 1.5, "seed": 0}


def names(run):
    return sorted(path.name for path in (run / "checkpoints").iterdir())


def test_a_checkpoint_holds_progress_policy_and_state(policy, tmp_path):
    target = checkpoint.save(tmp_path, Algorithm(), policy, progress(640), keep=2)
    assert target == tmp_path / "checkpoints" / "000000000640" == checkpoint.newest(tmp_path)
    assert checkpoint.progress_of(target) == progress(640)
    assert (target / "rllib" / "state").read_text() == "state"
    one, two = load(tmp_path).network.state_dict(), policy.network.state_dict()
    assert all(np.array_equal(one[key], two[key]) for key in two)


def test_the_newest_are_kept(policy, tmp_path):
    for steps in (90, 1000, 200, 30_000):
        checkpoint.save(tmp_path, Algorithm(), policy, progress(steps), keep=2)
    assert names(tmp_path) == ["000000001000", "000000030000"]
    assert checkpoint.newest(tmp_path).name == "000000030000"


def test_the_same_step_is_written_once(policy, tmp_path):
    for seconds in (1.0, 2.0):
        target = checkpoint.save(tmp_path, Algorithm(), policy, progress(640) | {"train_s": seconds}, keep=2)
    assert checkpoint.progress_of(target)["train_s"] == 1.0
    assert names(tmp_path) == ["000000000640"]


def test_there_is_none_in_a_new_run(tmp_path):
    assert checkpoint.newest(tmp_path) is None
    (tmp_path / "checkpoints" / "000000000640").mkdir(parents=True)  # no progress: not finished
    assert checkpoint.newest(tmp_path) is None


def test_another_run_in_the_same_folder_is_refused(policy, meeting, tmp_path):
    checkpoint.save(tmp_path, Algorithm(), policy, progress(640), keep=2)
    with pytest.raises(ValueError, match=r"holds checkpoints of an earlier run; resume that one or give another"):
        train(TrainConfig(env=meeting()), tmp_path)


def test_a_checkpoint_that_cannot_be_written_leaves_nothing_on_the_full_disk(policy, tmp_path):
    checkpoint.save(tmp_path, Algorithm(), policy, progress(640), keep=2)

    def full(folder):
        folder.mkdir()
        (folder / "state").write_text("half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OSError, match="No space left"):
        checkpoint.write(tmp_path, 1280, full, policy, progress(1280), keep=2)
    assert names(tmp_path) == ["000000000640"]


class Killed(BaseException):
    """The process is gone."""


@pytest.mark.parametrize("module", [os, shutil, Path])
@pytest.mark.parametrize("keep", [1, 2])
def test_killed_at_any_moment_the_newest_whole_checkpoint_stays(module, keep, policy, tmp_path, monkeypatch):
    """Dies at the first, second, ... rename, removal or write, as far as there are any."""
    name = {os: "replace", shutil: "rmtree", Path: "write_text"}[module]
    original = getattr(module, name)
    for moment in range(12):
        run = tmp_path / str(moment)
        for steps in (100, 200):
            checkpoint.save(run, Algorithm(), policy, progress(steps), keep=keep)
        calls = []

        def dying(*args, moment=moment, calls=calls, **kwargs):
            calls.append(args)
            if len(calls) > moment:
                if module is shutil:
                    (Path(args[0]) / "rllib" / "state").unlink(missing_ok=True)  # in the middle of it
                raise Killed
            return original(*args, **kwargs)

        with monkeypatch.context() as patch:
            patch.setattr(module, name, dying)
            with contextlib.suppress(Killed):
                checkpoint.save(run, Algorithm(), policy, progress(300), keep=keep)
        found = checkpoint.newest(run)
        assert found.name in ("000000000200", "000000000300")
        for folder in (run / "checkpoints").glob("[0-9]*"):
            assert (folder / "rllib" / "state").is_file()
            load(folder)
        checkpoint.save(run, Algorithm(), policy, progress(400), keep=keep)  # and the next one finds nothing in its way
        assert checkpoint.newest(run).name == "000000000400"
        assert len(names(run)) <= keep + 1
        if len(calls) <= moment:
            return
    pytest.fail("save makes more calls than this test looks at")


GOOD = json.dumps(progress(1))
PROGRESS = {
    "empty": "",
    "half": "{",
    "list": "[]",
    "no field": "{}",
    "one field": json.dumps({"env_steps": 1}),
    "text": json.dumps(progress(1) | {"env_steps": "many"}),
    "number as text": json.dumps(progress(1) | {"env_steps": "12"}),
    "half a step": json.dumps(progress(1) | {"env_steps": 1.5}),
    "truth": json.dumps(progress(1) | {"iterations": True}),
    "list of steps": json.dumps(progress(1) | {"env_steps": [1]}),
    "before the start": json.dumps(progress(1) | {"train_s": -1.0}),
    "not a number": GOOD.replace("1.5", "NaN"),
    "for ever": GOOD.replace("1.5", "Infinity"),
    "beyond all": GOOD.replace('"env_steps": 1', f'"env_steps": {10**400}'),
    "deep": "[" * 100_000,
}


@pytest.mark.parametrize("content", PROGRESS.values(), ids=PROGRESS)
def test_a_progress_that_cannot_be_read_is_said_in_one_sentence(content, tmp_path):
    (tmp_path / "progress.json").write_text(content)
    with pytest.raises(ValueError, match=r"progress.json cannot be read as a checkpoint: ") as caught:
        checkpoint.progress_of(tmp_path)
    assert "\n" not in str(caught.value)


def adam(sizes=(3, 2), steps=2):
    """An optimiser of a weight [2, 3] and a bias [2] after some steps."""
    torch.manual_seed(0)
    net = torch.nn.Linear(*sizes)
    optimiser = torch.optim.Adam(net.parameters(), lr=0.1)
    for _ in range(steps):
        optimiser.zero_grad()
        net(torch.ones(4, sizes[0])).square().sum().backward()
        optimiser.step()
    return optimiser


def test_an_optimiser_comes_back_with_its_own_settings(tmp_path):
    saved, other = adam(), adam(steps=0)
    torch.save(saved.state_dict(), tmp_path / "optimiser.pt")
    other.param_groups[0]["lr"] = 0.5
    checkpoint.restore_adam(tmp_path / "optimiser.pt", other)
    ours, theirs = other.state_dict(), saved.state_dict()
    assert ours["param_groups"][0]["lr"] == 0.5
    for index in (0, 1):
        for name, value in theirs["state"][index].items():
            assert torch.equal(ours["state"][index][name], value)


def change(index, name, value):
    def change(path):
        state = adam().state_dict()
        state["state"][index][name] = value
        torch.save(state, path)

    return change


OPTIMISER = {
    "empty": lambda path: path.write_bytes(b""),
    "truncated": lambda path: (torch.save(adam().state_dict(), path), os.truncate(path, 300)),
    "something else": lambda path: torch.save([1, 2], path),
    "no state": lambda path: torch.save({"state": {}, "param_groups": adam().state_dict()["param_groups"]}, path),
    "a table of nothing": lambda path: torch.save({"state": {0: None, 1: None}}, path),
    "another network's": lambda path: torch.save(adam((5, 2)).state_dict(), path),
    "other shape": change(0, "exp_avg", torch.zeros(3, 2)),
    "no tensor": change(1, "exp_avg", 3.0),
    "not a number": change(1, "exp_avg_sq", torch.full((2,), float("nan"))),
    "negative square": change(1, "exp_avg_sq", torch.tensor([1.0, -1.0])),
    "before the first step": change(0, "step", torch.tensor(0.0)),
    "more than there is": change(0, "momentum", torch.zeros(2, 3)),
    "pipe": os.mkfifo,
    "folder": os.mkdir,
    "nothing": lambda path: None,
}


@pytest.mark.parametrize("make", OPTIMISER.values(), ids=OPTIMISER)
def test_the_state_of_an_optimiser_that_does_not_fit_is_one_sentence(make, tmp_path):
    make(tmp_path / "optimiser.pt")
    optimiser = adam()
    before = [value.clone() for value in optimiser.state_dict()["state"][0].values()]
    message = r"optimiser.pt cannot be read as the state of an optimiser: ."
    with pytest.raises(ValueError, match=message) as caught:
        checkpoint.restore_adam(tmp_path / "optimiser.pt", optimiser)
    assert "\n" not in str(caught.value)
    after = optimiser.state_dict()["state"][0].values()
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
