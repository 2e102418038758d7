"""`tandem pretrain`, on a recording of football that is made here."""

import errno
import json
import os
import shutil

import pytest

import agents
import envs
from experiments import pretrain as command
from experiments import report_runs, runs
from marl.config import TrainConfig
from marl.files import alone
from marl.pretrain_errors import ErrorRow
from marl.recording import record

PRESET = "tiny-football-empty-goal"
QUICK = ("--steps", 20, "--batch", 16, "--holdout", 0.5, "--eval-interval-steps", 10, "--report-interval-steps", 5,
         "--network.hidden", 16, "--network.width", 8, "--network.horizon", 2, "--device", "cpu")  # fmt: skip


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recordings") / "empty_goal"
    record(["random"], envs.config("football/team_empty_goal_close"), folder, episodes=4, episodes_per_part=2)
    return folder


@pytest.fixture(scope="module")
def finished(recording, tmp_path_factory):
    """A finished run, and what the command printed."""
    from experiments import cli

    folder = tmp_path_factory.mktemp("runs")
    args = ["pretrain", PRESET, "--data", str(recording), *map(str, QUICK), "--runs-dir", str(folder)]
    assert cli.run(args) == 0
    (run,) = (folder / f"{PRESET}-pretrain").iterdir()
    return run


@pytest.mark.engine("football")
def test_a_run_folder_is_like_any_other(finished, recording):
    record_ = json.loads((finished / "config.json").read_text())
    assert (record_["kind"], record_["preset"], record_["seed"]) == ("pretrain", f"{PRESET}-pretrain", 0)
    assert record_["config"]["data"] == str(recording)
    assert {"git_sha", "versions", "command"} <= record_.keys()
    assert list((finished / "checkpoints").iterdir()) == [finished / "checkpoints" / "000000000020"]
    assert list(finished.glob("events.out.tfevents.*"))
    (picture,) = (finished / "media").glob("prediction-*.png")
    assert picture.stat().st_size > 1000
    lines = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [5, 10, 15, 20, 20]
    assert "eval/prediction_error/ball_constant_velocity" in lines[1]
    assert "eval/huber_share/ball_2" in lines[-1]


@pytest.mark.engine("football")
def test_the_table_is_kept_with_and_without_restarts(finished):
    for name in (command.ERRORS, command.WITH_RESTARTS):
        rows = json.loads((finished / name).read_text())
        assert {row["kind"] for row in rows} <= {"teammate", "opponent", "ball"}
        assert {row["horizon"] for row in rows} == {1, 2}
        assert all(row["episodes"] == 2 for row in rows)


@pytest.mark.engine("football")
def test_it_is_a_policy_for_the_environment_of_the_preset(finished):
    policy = agents.load(finished)
    assert policy.meta["pretrained"]
    assert envs.from_json(policy.meta["env"]).level == "team_empty_goal_close"
    assert policy.network.config.horizon == 2


@pytest.mark.engine("football")
def test_a_report_can_read_it(finished):
    run = report_runs.read(finished)
    assert "train/loss" in run.curves


@pytest.mark.engine("football")
def test_it_goes_on_with_more_steps(finished, tandem, tmp_path):
    run = tmp_path / "runs" / "again" / "run"
    shutil.copytree(finished, run)
    status, out, _ = tandem("pretrain", "--resume", run, "--steps", 30)
    assert status == 0
    assert "from 20 steps" in out
    assert command.read(run)[1].steps == 30
    assert agents.load(run).meta["pretrain_steps"] == 30


@pytest.mark.engine("football")
def test_what_it_is_cannot_change_when_it_goes_on(finished, tandem):
    status, _, err = tandem("pretrain", "--resume", finished, "--network.hidden", 32)
    assert status == 2
    assert "network.hidden of" in err
    assert "cannot change when it goes on" in err


@pytest.mark.engine("football")
def test_training_refuses_to_go_on_with_it(finished, tandem):
    before = (finished / "config.json").read_bytes()
    status, _, err = tandem("train", "--resume", finished)
    assert status == 2
    assert "it is of `tandem pretrain`, not of `tandem train`" in err
    assert (finished / "config.json").read_bytes() == before


@pytest.mark.engine("football")
def test_a_damaged_recording_is_one_sentence_and_no_run(recording, tandem, tmp_path):
    shutil.copytree(recording, tmp_path / "data")
    os.truncate(tmp_path / "data" / "part-00001.parquet", 500)
    status, _, err = tandem("pretrain", PRESET, "--data", tmp_path / "data", "--runs-dir", tmp_path / "runs")
    assert status == 2
    assert "part-00001.parquet is truncated" in err
    assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.engine("football")
@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (("--env.view", "entities"), "does not fit football/team_empty_goal_close: view is 'features'"),
        (
            ("--env.level", "academy_empty_goal"),
            "is a recording of football/team_empty_goal_close, not of football/academy_empty_goal",
        ),
    ],
)
def test_a_recording_of_another_level_or_view_is_refused(recording, tandem, tmp_path, flags, sentence):
    status, _, err = tandem("pretrain", PRESET, "--data", recording, *flags, "--runs-dir", tmp_path / "runs")
    assert status == 2
    assert sentence in err
    assert not (tmp_path / "runs").exists()


def test_wrong_flags_are_one_sentence(tandem, tmp_path):
    for args, sentence in (
        ((), "no preset was named"),
        ((PRESET, "--resume", "x"), "give a preset or --resume RUN, not both"),
        (("no-such-preset", "--data", "x"), "preset 'no-such-preset' does not exist"),
        (("vdm-digits", "--data", "x"), "is of the generative half"),
        ((PRESET,), "--data is missing"),
        ((PRESET, "--data", tmp_path, "--steps", "0"), "steps must be positive"),
        ((PRESET, "--data", tmp_path), "is not a recording: it has no manifest.json"),
        (("--resume", tmp_path), "is not a run folder"),
    ):
        status, _, err = tandem("pretrain", *args)
        assert status == 2, args
        assert sentence in err
        assert len(err.strip().splitlines()) == 1


def test_a_training_is_no_pretraining(tandem, tmp_path):
    run = runs.create(tmp_path, "football-3v1-acam", TrainConfig(), ["tandem"])
    status, _, err = tandem("pretrain", "--resume", run)
    assert status == 2
    assert "it is of another kind of run" in err


def test_dry_run_prints_the_configuration(tandem, tmp_path):
    status, out, _ = tandem("pretrain", "football-3v1-acam", "--data", tmp_path, "--dry-run", "--network.horizon", 3)
    data = json.loads(out)
    assert status == 0
    assert (data["kind"], data["config"]["network"]["horizon"]) == ("pretrain", 3)
    assert data["config"]["env"]["level"] == "team_3_vs_1_with_keeper"


def test_help_has_an_example(tandem):
    status, out, _ = tandem("pretrain", "--help")
    assert status == 0
    assert "tandem pretrain football-3v1-acam --data" in out


def row(**changes):
    values = {
        "kind": "ball", "horizon": 1, "measure": "distance", "unit": "m", "model": 0.1, "no_move": 0.4,
        "constant_velocity": 0.2, "difference": (-0.12, -0.08), "share": 0.5, "share_interval": (0.4, 0.6),
        "episodes": 9,
    }  # fmt: skip
    return ErrorRow(**{**values, **changes})


def test_the_printed_table(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    worse = {"difference": (0.01, 0.03), "share": 1.1, "share_interval": (1.05, 1.2)}
    undecided = {"difference": (-0.1, 0.03), "share": 0.9, "share_interval": (0.8, 1.2)}
    command.print_errors([row(), row(horizon=2, **worse), row(horizon=3, **undecided)], "held-out errors")
    out = capsys.readouterr().out
    assert "held-out errors: distance in m, 9 episodes" in out
    assert "0.50 [0.40, 0.60]" in out
    lines = [line for line in out.splitlines() if "ball" in line]
    assert [("better" in a, "worse" in a, "undecided" in a) for a in lines] == [
        (True, False, False), (False, True, False), (False, False, True),
    ]  # fmt: skip


@pytest.mark.engine("football")
def test_what_cannot_go_on_leaves_the_configuration_as_it_was(finished, tandem, tmp_path):
    other = tmp_path / "other"
    record(["idle"], envs.config("football/team_empty_goal_close"), other, episodes=4, episodes_per_part=2)
    before = (finished / "config.json").read_bytes()
    for flags, sentence in (
        (("--data", other), "was made with another recording than"),
        (("--steps", 2), "20 steps are done already; give --steps of at least that, got 2"),
    ):
        status, _, err = tandem("pretrain", "--resume", finished, *flags)
        assert status == 2
        assert sentence in err
        assert (finished / "config.json").read_bytes() == before


@pytest.mark.engine("football")
def test_data_without_a_held_out_episode_makes_no_run_folder(recording, tandem, tmp_path):
    args = ("--data", recording, "--holdout", 0.01, "--runs-dir", tmp_path / "runs")
    status, _, err = tandem("pretrain", PRESET, *args)
    assert status == 2
    assert "has no held-out moment" in err
    assert not (tmp_path / "runs").exists()


@pytest.mark.engine("football")
def test_a_run_is_gone_on_with_once_at_a_time(finished, tandem):
    before = (finished / "config.json").read_bytes()
    with alone(finished):
        status, _, err = tandem("pretrain", "--resume", finished, "--steps", 30)
    assert (status, err) == (
        2,
        f"tandem: another process is at work in {finished}; wait for it, or give another folder\n",
    )
    assert (finished / "config.json").read_bytes() == before


@pytest.mark.engine("football")
def test_a_full_disk_is_one_sentence(finished, tandem, tmp_path, monkeypatch):
    from experiments.tracking import Tracker

    def full(self, step, metrics):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    run = tmp_path / "run"
    shutil.copytree(finished, run)
    monkeypatch.setattr(Tracker, "scalars", full)
    status, _, err = tandem("pretrain", "--resume", run, "--steps", 30)
    again = f"go on from the last checkpoint with: tandem pretrain --resume {run}"
    assert (status, err) == (1, f"tandem: cannot write to {run}: No space left on device; {again}\n")
    assert agents.load(run).meta["pretrain_steps"] == 20
