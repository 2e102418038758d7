"""Whole runs on the real engine and real Ray actors: tags, resume after SIGKILL, a bug in a runner, a job."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import agents
import envs
from experiments import cli, presets, runs
from experiments.train import RunFailed, train_run
from marl import checkpoint
from marl.files import alone

pytestmark = [pytest.mark.engine, pytest.mark.ray, pytest.mark.slow]

PROMISED = {
    "train": "return_mean episode_length entropy clip_fraction kl value_error explained_variance first_ratio_error "
    "prediction_nats prediction_nats_no_move prediction_nats_constant_velocity prediction_accuracy "
    "prediction_accuracy/teammate prediction_accuracy/teammate_no_move grad_norm learning_rate "
    "per_capita_return equality sustainability peace",
    "eval": "return_mean return_mean_low return_mean_high per_capita_return equality sustainability peace",
    "time": "env_steps_per_s sampling_s learner_s iteration_s",
}


def tiny(name: str, **changes):
    config = presets.get(f"tiny-{name}").make()
    return replace(config, **changes)


def test_tensorboard_holds_every_promised_tag(ray_session, tmp_path) -> None:
    config = tiny("lab2d-harvest-acam", runners=replace(tiny("lab2d-harvest-acam").runners, num_runners=1))
    run = train_run("tiny-lab2d-harvest-acam", config, tmp_path, clip_steps=5)
    reader = EventAccumulator(str(run), size_guidance={"scalars": 0})
    reader.Reload()
    tags = set(reader.Tags()["scalars"])
    assert {f"{room}/{name}" for room, names in PROMISED.items() for name in names.split()} <= tags
    assert set(reader.Tags()["images"]) == {
        "media/clip",
        "media/attention",
        "media/attention_pitch",
        "media/attention_phases",
    }
    assert all(abs(event.value) <= 1e-6 for event in reader.Scalars("train/first_ratio_error"))
    steps = [event.step for event in reader.Scalars("train/entropy")]
    assert steps == sorted(set(steps))
    episodes = (run / "evaluation.jsonl").read_text().splitlines()
    assert len(episodes) == config.evaluation.episodes


def test_football_reports_its_goal_rate(ray_session, tmp_path) -> None:
    config = tiny("football-empty-goal")
    config = replace(config, ppo=replace(config.ppo, batch_env_steps=512), env_steps=512)
    run = train_run("tiny-football-empty-goal", config, tmp_path, clip_steps=3)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert 0 <= lines[0]["train/scored"] <= 1
    assert 0 <= lines[-1]["eval/scored"] <= 1
    policy = agents.load(run)
    observations, _ = envs.make(config.env).reset(seed=1)
    assert set(policy.act(observations)) == {"player_0"}


def command(*args: str) -> list[str]:
    return [sys.executable, "-m", "experiments.cli", *args]


def wait_for(what, seconds: float = 300.0):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := what():
            return found
        time.sleep(0.2)
    raise AssertionError(f"nothing after {seconds} s")


def test_a_killed_run_goes_on_from_its_last_checkpoint(tmp_path) -> None:
    flags = [
        "--env-steps",
        "100000",
        "--checkpoint-interval-s",
        "0.5",
        "--clip-steps",
        "0",
        "--runs-dir",
        str(tmp_path),
    ]
    victim = subprocess.Popen(
        command("train", "tiny-lab2d-harvest-acam", *flags), start_new_session=True, stdout=subprocess.DEVNULL
    )
    try:
        run = wait_for(lambda: next(tmp_path.glob("tiny-lab2d-harvest-acam/*/checkpoints/0*"), None)).parents[1]
        wait_for(lambda: len(list((run / "checkpoints").glob("0*"))) >= 2)
    finally:
        os.killpg(victim.pid, signal.SIGKILL)
        victim.wait()
    saved = checkpoint.newest(run)
    assert saved is not None
    before = checkpoint.progress_of(saved)
    weights = agents.load(saved).network.state_dict()
    assert any(value.abs().sum() > 0 for value in weights.values())
    again = subprocess.run(
        command("train", "--resume", str(run), "--env-steps", str(before["env_steps"] + 128), "--clip-steps", "0"),
        capture_output=True, text=True, timeout=170, check=False,
    )  # fmt: skip
    assert again.returncode == 0, again.stderr
    assert f"going on with {run} from {before['env_steps']:,} environment steps" in again.stdout
    last = checkpoint.newest(run)
    assert last is not None
    after = checkpoint.progress_of(last)
    assert after["env_steps"] == before["env_steps"] + 128
    assert after["iterations"] == before["iterations"] + 2
    assert after["train_s"] > before["train_s"]
    steps = [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert steps == sorted(steps)
    assert runs.read(run)[1].env_steps == before["env_steps"] + 128


BROKEN_ENVIRONMENT = """
import envs
make = envs.make_team

class Broken:
    def __init__(self, env):
        self.env, self.spec, self.steps = env, env.spec, 0
    def reset(self, seed=None, out=None):
        return self.env.reset(seed, out)
    def step(self, actions, out=None):
        self.steps += 1
        if self.steps == 3:
            raise ZeroDivisionError("a bug in the environment")
        return self.env.step(actions, out)
    def close(self):
        self.env.close()

envs.make_team = lambda *args, **kwargs: Broken(make(*args, **kwargs))
"""


@pytest.mark.parametrize("num_runners", [0, 2])
def test_a_bug_in_a_runner_ends_the_run_with_its_traceback(num_runners, tmp_path) -> None:
    # sitecustomize is imported by every Python process with this path, so by Ray's workers too.
    (tmp_path / "sitecustomize.py").write_text(BROKEN_ENVIRONMENT)
    flags = [
        "--runners.num-runners",
        str(num_runners),
        "--runners.max-restarts",
        "3",
        "--runs-dir",
        str(tmp_path / "r"),
    ]
    done = subprocess.run(
        command("train", "tiny-lab2d-harvest-acam", *flags),
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{Path(__file__).parents[2]}"},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    assert "ZeroDivisionError: a bug in the environment" in done.stderr
    assert "go on with: tandem train --resume" in done.stderr


def test_an_error_after_the_start_names_the_run(ray_session, tmp_path, monkeypatch) -> None:
    import marl.training

    def broken(*args, **kwargs):
        raise ValueError("something is wrong inside")

    monkeypatch.setattr(marl.training, "train", broken)
    with pytest.raises(RunFailed, match=r"(?s)Traceback.*something is wrong inside.*tandem train --resume"):
        train_run("tiny-lab2d-harvest-acam", tiny("lab2d-harvest-acam"), tmp_path)


def test_a_job_on_a_cluster_trains_and_leaves_its_run_here(ray_head, tmp_path) -> None:
    flags = ["--runs-dir", str(tmp_path), "--clip-steps", "0", "--runners.num-runners", "1"]
    sent = subprocess.run(
        command("submit", "train", "tiny-lab2d-harvest-acam", *flags),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert sent.returncode == 0, sent.stderr
    job = sent.stdout.split()[1]
    followed = subprocess.run(
        command("logs", job, "--follow"), capture_output=True, text=True, timeout=200, check=False
    )
    assert followed.returncode == 0, followed.stdout + followed.stderr
    assert f"job {job}: SUCCEEDED" in followed.stdout
    assert "held-out episodes" in followed.stdout
    run = next(tmp_path.glob("tiny-lab2d-harvest-acam/*"))
    assert agents.load(run).spec.num_agents == 4
    listed = subprocess.run(command("jobs"), capture_output=True, text=True, timeout=60, check=False)
    assert "SUCCEEDED" in listed.stdout


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_run_saves_what_it_has(how, tmp_path) -> None:
    flags = ["--env-steps", "1000000", "--checkpoint-interval-s", "9999", "--runs-dir", str(tmp_path)]
    with subprocess.Popen(
        command("train", "tiny-lab2d-harvest-acam", *flags), stdout=subprocess.PIPE, text=True
    ) as run:
        try:
            lines = wait_for(lambda: next(tmp_path.glob("*/*/metrics.jsonl"), None))
            wait_for(lambda: len(lines.read_text().splitlines()) >= 2)
            run.send_signal(how)
            out, _ = run.communicate(timeout=60)
        finally:
            run.kill()
    assert run.returncode == 130
    assert "stopped; go on with: tandem train --resume" in out
    saved = checkpoint.newest(lines.parent)
    assert saved is not None
    last = json.loads(lines.read_text().splitlines()[-1])
    assert checkpoint.progress_of(saved)["env_steps"] >= last["step"]


def test_a_run_is_gone_on_with_once_at_a_time(tmp_path, capsys) -> None:
    run = runs.create(tmp_path, "tiny-lab2d-harvest-acam", tiny("lab2d-harvest-acam"), [])
    before = (run / "config.json").read_bytes()
    with alone(run):
        status = cli.run(["train", "--resume", str(run), "--env-steps", "999999"])
    said = f"tandem: another process is at work in {run}; wait for it, or give another folder\n"
    assert (status, capsys.readouterr().err) == (2, said)
    assert (run / "config.json").read_bytes() == before
