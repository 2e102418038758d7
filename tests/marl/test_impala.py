"""IMPALA's driver: what makes a batch, what ends a run, and the whole of it on Ray."""

import os
import signal
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from ray.rllib.utils.actor_manager import RemoteCallResults, ResultOrError
from ray.rllib.utils.metrics import ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME, WEIGHTS_SEQ_NO
from ray.rllib.utils.metrics.metrics_logger import MetricsLogger

from envs.fakes import MeetEnv, meet
from marl import ImpalaSettings, RunnerSettings, TrainConfig, checkpoint
from marl import impala as module
from marl.algorithm import algorithm_config, impala_config, team_spec
from marl.impala import IN_FLIGHT, POLICY_LAG, StalledError, TeamIMPALA
from marl.runner import RunnerError, RunnerFailure
from marl.training import Training


def metrics_of(env_steps: int) -> Any:
    logger = MetricsLogger()
    logger.log_value(NUM_ENV_STEPS_SAMPLED_LIFETIME, env_steps, reduce="lifetime_sum", with_throughput=True)
    return logger.reduce()


class Group:
    """Runners that answer what a test gives them, where RLlib's group has actors."""

    def __init__(self, *answers: list[Any], runners: int = 2, healthy: int = 2) -> None:
        self.answers = list(answers)
        self.runners, self.healthy = runners, healthy
        self.in_flight, self.sent = [0] * runners, []
        self._worker_manager = self

    def num_remote_env_runners(self) -> int:
        return self.runners

    def num_healthy_remote_env_runners(self) -> int:
        return self.healthy

    def foreach_env_runner_async(self, func: Any, *, tag: str, kwargs: dict[str, Any]) -> int:
        free = [index for index, count in enumerate(self.in_flight) if count < IN_FLIGHT]
        for index in free:
            self.in_flight[index] += 1
        self.sent += [kwargs["state"]] * len(free)
        return len(free)

    def fetch_ready_async_reqs(self, *, tags: str, timeout_seconds: float) -> RemoteCallResults:
        results = RemoteCallResults()
        for answer in self.answers.pop(0) if self.answers else []:
            self.in_flight[0] -= 1
            error = isinstance(answer, Exception)
            results.add_result(1, ResultOrError(error=answer) if error else ResultOrError(result=answer), tags)
        return results


def delivered(steps: int, weights_seq_no: int = 0) -> tuple[list[Any], Any, int]:
    return [range(steps // 2), range(steps - steps // 2)], metrics_of(steps), weights_seq_no


@pytest.fixture
def driver(monkeypatch):
    """driver(group, **config): TeamIMPALA without actors, learner or Ray."""

    def driver(group: Group, *, batch: int = 100, timeout: float = 60.0, restart: bool = True) -> TeamIMPALA:
        algorithm = TeamIMPALA.__new__(TeamIMPALA)
        algorithm.env_runner_group = group
        algorithm.config = SimpleNamespace(
            train_batch_size_per_learner=batch, result_timeout_s=timeout, restart_failed_env_runners=restart
        )
        algorithm.metrics = MetricsLogger(root=True)
        algorithm._arrived, algorithm._last_error = module.deque(), ""
        algorithm._last_restore = time.monotonic() + 1e6
        return algorithm

    monkeypatch.setattr(module.ray, "put", lambda state: state)
    return driver


def test_a_batch_is_whole_deliveries_oldest_first_and_the_rest_waits(driver):
    group = Group([], [delivered(60, 3)], [delivered(30, 4), delivered(40, 5), delivered(50, 6)])
    algorithm = driver(group)
    first = algorithm._gather({WEIGHTS_SEQ_NO: 7})
    assert [(d.env_steps, d.weights_seq_no) for d in first] == [(60, 3), (30, 4), (40, 5)]
    assert [sum(len(e) for e in d.episodes) for d in first] == [60, 30, 40]
    group.answers = [[delivered(60, 7)]]
    second = algorithm._gather({WEIGHTS_SEQ_NO: 8})
    assert [(d.env_steps, d.weights_seq_no) for d in second] == [(50, 6), (60, 7)]
    assert algorithm._env_steps() == 240  # every step that arrived, once


def test_runners_always_have_two_requests_and_get_the_newest_weights(driver):
    group = Group([delivered(60)], [delivered(60)])
    algorithm = driver(group)
    algorithm._gather({WEIGHTS_SEQ_NO: 1})
    assert group.sent == [{WEIGHTS_SEQ_NO: 1}] * 5  # two each, and one for the first delivery
    group.answers = [[], [delivered(100)]]
    algorithm._gather({WEIGHTS_SEQ_NO: 2})
    assert group.sent[5:] == [{WEIGHTS_SEQ_NO: 2}]
    assert group.in_flight == [1, 2]


def test_a_waiting_batch_is_taken_without_a_look_at_the_runners(driver):
    group = Group([delivered(100), delivered(100)])
    algorithm = driver(group)
    algorithm._gather({WEIGHTS_SEQ_NO: 0})
    group.fetch_ready_async_reqs = None
    assert [d.env_steps for d in algorithm._gather({WEIGHTS_SEQ_NO: 1})] == [100]


def test_an_error_in_a_runner_ends_the_run_with_its_traceback(driver):
    algorithm = driver(Group([delivered(60)], [RunnerFailure("the engine divided by nothing")]))
    with pytest.raises(RunnerError, match="the engine divided by nothing"):
        algorithm._gather({WEIGHTS_SEQ_NO: 0})


def test_a_lost_runner_ends_the_run_only_where_none_is_started_again(driver):
    answers = [OSError("actor died")], [delivered(100)]
    assert driver(Group(*answers))._gather({WEIGHTS_SEQ_NO: 0})[0].env_steps == 100
    with pytest.raises(OSError, match="actor died"):
        driver(Group(*answers), restart=False)._gather({WEIGHTS_SEQ_NO: 0})


def test_no_result_in_time_ends_the_run_with_what_was_seen(driver):
    algorithm = driver(Group([delivered(60)], [OSError("actor died")], healthy=1), timeout=0.05)
    with pytest.raises(
        StalledError,
        match=r"no result for 0.05 s: it needs 100 environment steps, 60 arrived; 1 of 2 runners are alive; "
        r"the last error was: actor died \(impala.result_timeout_s",
    ):
        algorithm._gather({WEIGHTS_SEQ_NO: 0})


def test_slow_steps_are_no_stall_as_long_as_batches_come(driver):
    """The time counts from the last result, not from the start of the run."""
    group = Group()
    algorithm = driver(group, timeout=0.2)
    began, steps = time.monotonic(), []
    for _ in range(4):
        time.sleep(0.1)
        group.answers = [[delivered(100)]]
        steps += [batch.env_steps for batch in algorithm._gather({WEIGHTS_SEQ_NO: 0})]
    assert steps == [100] * 4
    assert time.monotonic() - began > 0.2  # longer in all than a result may take


def test_lost_runners_are_looked_for_now_and_then_only(driver, monkeypatch):
    tried = []
    monkeypatch.setattr(module.Algorithm, "restore_env_runners", lambda self, group: tried.append(1) or [1])
    algorithm = driver(Group())
    algorithm._last_restore = time.monotonic()
    assert algorithm.restore_env_runners(None) == []
    algorithm._last_restore -= module.RESTORE_INTERVAL_S
    assert algorithm.restore_env_runners(None) == [1]
    assert algorithm.restore_env_runners(None) == []
    assert len(tried) == 1


def test_the_policy_lag_is_the_mean_over_the_batchs_steps(driver, monkeypatch):
    algorithm = driver(Group([delivered(75, 3), delivered(25, 6)]))
    updates = []
    algorithm.learner_group = SimpleNamespace(
        update=lambda **kwargs: updates.append(kwargs) or [MetricsLogger().reduce()]
    )
    monkeypatch.setattr(TeamIMPALA, "_runner_state", lambda self: {WEIGHTS_SEQ_NO: 7})
    algorithm.training_step()
    assert algorithm.metrics.peek((ENV_RUNNER_RESULTS, POLICY_LAG)) == pytest.approx(0.75 * 4 + 0.25 * 1)
    assert sum(len(e) for e in updates[0]["episodes"]) == 100
    assert updates[0]["timesteps"] == {NUM_ENV_STEPS_SAMPLED_LIFETIME: 100}


# On Ray.


@dataclass(frozen=True, kw_only=True)
class Meeting:
    """The meeting game as a configuration that a runner's process can read."""

    hangs_after: float = float("inf")
    """Steps after which an environment in a runner's process hangs."""

    def build(self) -> MeetEnv:
        env = meet(3, side=3, steps=12)
        if self.hangs_after < float("inf"):
            step, done = env.step, [0]

            def hang(*args: Any) -> Any:
                done[0] += 1
                if done[0] > self.hangs_after:
                    time.sleep(3600)
                return step(*args)

            env.step = hang
        return env


@pytest.fixture
def by_value(ray_session):
    """Runners' processes cannot import a test; its classes travel with the configuration."""
    ray_session.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield
    ray_session.cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


def small(*, runners: int, env: Any = None, **settings: Any) -> TrainConfig:
    config = TrainConfig(
        env=env or Meeting(),
        algorithm="impala",
        runners=RunnerSettings(num_runners=runners, num_envs=4),
        impala=ImpalaSettings(**({"batch_env_steps": 64, "fragment_env_steps": 8, "learning_rate": 1e-3} | settings)),
        env_steps=100_000,
    )
    return replace(config, network=replace(config.network, width=16, hidden=24))


def test_rllib_gets_what_we_ask_for():
    config = small(runners=2, lambda_=0.9, grad_clip=3.0)
    rllib = impala_config(config, team_spec(config.env))
    rllib.validate()
    assert rllib.algo_class is TeamIMPALA
    assert rllib.get_rollout_fragment_length() == 8
    assert rllib.train_batch_size_per_learner == 64
    assert rllib.lr == [[0, 1e-3], [100_000, 1e-4]]
    assert (rllib.lambda_, rllib.grad_clip, rllib.result_timeout_s) == (0.9, 3.0, 300.0)
    assert rllib.max_requests_in_flight_per_env_runner == IN_FLIGHT
    assert type(algorithm_config(config, team_spec(config.env))) is type(rllib)
    assert algorithm_config(replace(config, algorithm="ppo"), team_spec(config.env)).algo_class is not TeamIMPALA


@pytest.mark.ray
@pytest.mark.parametrize("runners", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_it_trains_saves_and_goes_on(by_value, tmp_path: Path, runners):
    first = Training(small(runners=runners), tmp_path)
    start = first.policy().network.state_dict()
    results = [first.step() for _ in range(6)]
    done = first.progress["env_steps"]
    first.save()
    weights = first.policy().network.state_dict()
    first.stop()
    assert any(not torch.equal(weights[key], start[key]) for key in weights)
    assert 6 * 64 <= done <= 6 * 64 + (IN_FLIGHT + 1) * 32
    assert all(0 < metrics["train/entropy"] <= 1.61 for metrics in results)
    assert abs(results[0]["train/kl"]) < 1e-6  # the first data come from the first weights
    if not runners:  # nothing is collected during an update: always on-policy
        assert all(abs(metrics["train/kl"]) < 1e-6 for metrics in results)

    second = Training(small(runners=runners), tmp_path)
    second.restore(checkpoint.newest(tmp_path))
    assert all(torch.equal(value, weights[key]) for key, value in second.policy().network.state_dict().items())
    again = second.step()
    assert second.progress["env_steps"] > done
    assert abs(again["train/kl"]) < 1e-6  # the runners have the restored weights, not those of a new network
    assert again["train/learning_rate"] < results[-1]["train/learning_rate"]
    second.stop()


@pytest.mark.ray
def test_a_runner_that_hangs_ends_the_run_in_time(by_value, tmp_path: Path):
    """It delivers twice, then an environment never returns: neither the wait nor the end of the run hangs."""
    config = small(runners=1, env=Meeting(hangs_after=20), result_timeout_s=60)
    training = Training(config, tmp_path)
    training.step()
    training.algorithm.config = training.algorithm.config.copy(copy_frozen=False)  # the start of the runner is over
    training.algorithm.config.result_timeout_s = 1.0
    began = time.monotonic()
    with pytest.raises(StalledError, match="0 arrived; 1 of 1 runners are alive"):
        training.step()
    training.stop()
    assert time.monotonic() - began < 30


@pytest.mark.ray
@pytest.mark.slow
def test_a_lost_runner_is_replaced_while_the_learner_waits_for_it(by_value, tmp_path: Path):
    training = Training(small(runners=1), tmp_path)
    training.step()
    group = training.algorithm.env_runner_group
    (pid,) = group.foreach_env_runner(lambda runner: os.getpid(), local_env_runner=False)
    os.kill(pid, signal.SIGKILL)
    before = training.progress["env_steps"]
    for _ in range(4):  # more than what had arrived and was under way
        metrics = training.step()
    assert training.progress["env_steps"] >= before + 64
    (other,) = group.foreach_env_runner(lambda runner: os.getpid(), local_env_runner=False)
    assert other != pid
    assert abs(metrics["train/policy_lag"]) <= IN_FLIGHT + 1  # it collects with the weights of now
    training.stop()
