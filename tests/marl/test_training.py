"""The training loop: what a checkpoint brings back, and what ends a run."""

import copy
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from ray.rllib.core import DEFAULT_MODULE_ID

import envs
import marl
from marl import checkpoint, curve
from marl.evaluation import evaluate
from marl.training import StalledError, Training, train

pytestmark = [pytest.mark.engine("lab2d"), pytest.mark.ray]


def small(**changes) -> marl.TrainConfig:
    config = marl.TrainConfig(
        env=envs.config("lab2d/commons_harvest", players=2, steps=20),
        network=replace(marl.TrainConfig().network, width=16, hidden=16),
        ppo=marl.PPOSettings(batch_env_steps=64, minibatch_env_steps=32, epochs=2, entropy_coeff=0.02),
        runners=marl.RunnerSettings(num_runners=0, num_envs=2),
        evaluation=marl.EvalSettings(episodes=2, interval_s=0),
        env_steps=640,
    )
    return replace(config, **changes)


def optimisers(training: Training) -> dict[str, dict]:
    learner = training.algorithm.learner_group._learner
    named = learner.get_optimizers_for_module(DEFAULT_MODULE_ID)
    return {name: copy.deepcopy(optimiser.state_dict()) for name, optimiser in named}


def test_a_checkpoint_brings_back_weights_optimiser_schedules_and_counters(ray_session, tmp_path: Path) -> None:
    first = Training(small(), tmp_path)
    for _ in range(3):
        metrics = first.step()
    saved = first.save()
    weights, states = copy.deepcopy(first.policy().network.state_dict()), optimisers(first)
    following = first.step()
    first.stop()

    second = Training(small(), tmp_path)
    second.restore(checkpoint.newest(tmp_path))
    assert saved == checkpoint.newest(tmp_path)
    assert second.progress["env_steps"] == 192
    assert second.progress["iterations"] == 3
    for key, value in second.policy().network.state_dict().items():
        assert torch.equal(value, weights[key]), key
    restored = optimisers(second)
    assert len(restored) == len(states) == 2
    for name, state in states.items():
        for index, slot in state["state"].items():
            for key, value in slot.items():
                assert torch.equal(torch.as_tensor(value), torch.as_tensor(restored[name]["state"][index][key])), key
    again = second.step()
    second.stop()
    # Schedules are functions of the lifetime steps: they go on where they were, and do not start again.
    for tag in ("train/learning_rate", "train/entropy_coeff"):
        assert again[tag] == pytest.approx(following[tag])
        assert again[tag] < metrics[tag]
    assert second.progress["env_steps"] == 256


def test_a_resumed_run_does_not_play_its_first_episodes_again(ray_session, tmp_path: Path) -> None:
    first = Training(small(), tmp_path)
    first.step()
    keys = {tuple(first.algorithm.env_runner._seed_key)}
    first.save()
    first.stop()
    second = Training(small(), tmp_path)
    second.restore(checkpoint.newest(tmp_path))
    second.step()
    keys.add(tuple(second.algorithm.env_runner._seed_key))
    second.stop()
    assert len(keys) == 2


def test_the_same_seed_trains_the_same_weights(ray_session, tmp_path: Path) -> None:
    config = small(env_steps=128)
    a = train(config, tmp_path / "a").network.state_dict()
    b = train(config, tmp_path / "b").network.state_dict()
    c = train(replace(config, seed=1), tmp_path / "c").network.state_dict()
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert not all(torch.equal(a[key], c[key]) for key in a)


def test_old_checkpoints_go_and_a_half_written_one_is_not_seen(ray_session, tmp_path: Path) -> None:
    train(small(env_steps=320, checkpoint_interval_s=1e-9, keep_checkpoints=2), tmp_path)
    names = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert names == ["000000000256", "000000000320"]
    (tmp_path / "checkpoints" / ".writing").mkdir()
    (tmp_path / "checkpoints" / "000000000999").mkdir()  # no progress.json: killed while it was being removed
    assert checkpoint.newest(tmp_path).name == "000000000320"


def test_a_run_that_collects_nothing_fails_with_the_reason(ray_session, tmp_path: Path, monkeypatch) -> None:
    training = Training(small(runners=marl.RunnerSettings(num_runners=0, num_envs=2, stall_timeout_s=0.01)), tmp_path)
    training.step()
    done = training.progress["env_steps"]
    monkeypatch.setattr(training.algorithm, "train", lambda: {"env_runners": {"num_env_steps_sampled_lifetime": done}})
    time.sleep(0.05)
    with pytest.raises(StalledError, match="no environment step was collected for"):
        training.step()
    monkeypatch.undo()
    training.stop()


def test_a_lost_runner_is_replaced_and_training_goes_on(ray_session, tmp_path: Path) -> None:
    config = small(
        runners=marl.RunnerSettings(num_runners=2, num_envs=1, max_restarts=2, stall_timeout_s=60), env_steps=10**6
    )
    training = Training(config, tmp_path)
    training.step()
    group = training.algorithm.env_runner_group
    pids = group.foreach_env_runner(lambda runner: os.getpid(), local_env_runner=False)
    assert len(set(pids)) == 2
    os.kill(pids[0], signal.SIGKILL)
    before, deadline = training.progress["env_steps"], time.monotonic() + 120
    while time.monotonic() < deadline:
        training.step()
        alive = group.foreach_env_runner(lambda runner: os.getpid(), local_env_runner=False)
        if len(set(alive)) == 2 and pids[0] not in alive:
            break
    else:
        raise AssertionError("the runner did not come back")
    assert training.progress["env_steps"] > before
    training.stop()


def test_metrics_are_finite_numbers(ray_session, tmp_path: Path) -> None:
    seen: list[dict[str, float]] = []
    train(small(env_steps=128), tmp_path, report=lambda steps, metrics: seen.append(metrics))
    assert len(seen) == 2
    assert all(np.isfinite(value) for metrics in seen for value in metrics.values())
    assert all(abs(metrics["train/first_ratio_error"]) <= 1e-6 for metrics in seen)


def test_evaluations_come_at_fixed_environment_steps_and_only_once(ray_session, tmp_path: Path) -> None:
    settings = marl.EvalSettings(episodes=2, interval_env_steps=128, interval_episodes=3)
    config = small(evaluation=settings, env_steps=384, checkpoint_interval_s=1e-9)
    train(replace(config, env_steps=192), tmp_path)
    curve.append(tmp_path, 256, evaluate("random", config.env, episodes=3))  # of a run killed before its checkpoint
    train(config, tmp_path, resume=True)
    evaluations = curve.read(tmp_path)
    assert [line["step"] for line in evaluations] == [0, 128, 256]  # the last one is the evaluation at the end
    assert all(len(values) == 3 for line in evaluations for values in line["episodes"].values())


def test_a_run_starts_from_pre_trained_weights_in_learner_and_runners(ray_session, tmp_path: Path) -> None:
    config = small(runners=marl.RunnerSettings(num_runners=1, num_envs=2))
    source = Training(replace(config, seed=5, runners=small().runners), tmp_path / "source")
    source.step()
    source.save()
    weights = source.policy().network.state_dict()
    source.stop()
    config = replace(config, pretrained=str(tmp_path / "source"))
    training = Training(config, tmp_path / "run")
    loaded = training.start_from_pretrained()
    ours = training.policy().network.state_dict()
    heads = ("policy.", "value.")
    assert {key for key in ours if not torch.equal(ours[key], weights[key])} == {
        key for key in ours if key.startswith(heads) and weights[key].any()
    }
    assert set(loaded.left_out) == {"policy", "value"}
    metrics = training.step()
    training.stop()
    assert abs(metrics["train/first_ratio_error"]) <= 1e-6  # the runner acted with the learner's weights


def test_a_network_that_does_not_fit_is_refused(ray_session, tmp_path: Path) -> None:
    wide = small(network=replace(small().network, width=32))
    source = Training(wide, tmp_path / "source")
    source.step()
    source.save()
    source.stop()
    with pytest.raises(ValueError, match=r"network.width is 32 there, needed is 16"):
        train(small(pretrained=str(tmp_path / "source")), tmp_path / "run")


def test_an_evaluation_that_was_interrupted_is_made_up_for(ray_session, tmp_path: Path, monkeypatch) -> None:
    settings = marl.EvalSettings(episodes=2, interval_env_steps=128, interval_episodes=2)
    config, whole = small(evaluation=settings, env_steps=384), Training.evaluate

    def interrupted(self: Training, episodes: int) -> dict[str, float]:
        if self.progress["env_steps"] == 256:
            raise KeyboardInterrupt
        return whole(self, episodes)

    monkeypatch.setattr(Training, "evaluate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path)
    monkeypatch.undo()
    assert [line["step"] for line in curve.read(tmp_path)] == [0, 128]
    train(config, tmp_path, resume=True)
    assert [line["step"] for line in curve.read(tmp_path)] == [0, 128, 256]
