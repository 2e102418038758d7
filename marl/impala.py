"""IMPALA as an RLlib Algorithm: runners collect while the learner learns. Source: Espeholt et al. 2018 (1802.01561).

RLlib has an IMPALA of its own. This one keeps its Algorithm, runner group, learner group, metrics and checkpoints but
not its training step, whose driver asks for results in a busy loop (which starves runners on a small machine), whose
results may come without a learner's, and which waits for ever for runners that deliver nothing.

Every runner has two requests, so it goes on collecting during an update; a request carries the newest weights of its
time. So the policy that acts lags the learner by a few updates, for which V-trace corrects.
"""

import time
from collections import deque
from typing import Any, NamedTuple

import ray
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core import COMPONENT_LEARNER, COMPONENT_RL_MODULE
from ray.rllib.env.env_runner_group import EnvRunnerGroup
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.utils.metrics import (
    ENV_RUNNER_RESULTS,
    LEARNER_RESULTS,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    WEIGHTS_SEQ_NO,
)

POLICY_LAG = "policy_lag"
SAMPLE = "sample"
IN_FLIGHT = 2
"""Requests per runner: one that it works on, one that waits."""
WAIT_S = 0.05
"""Longest time between looks at what has arrived; Ray sleeps in between."""
RESTORE_INTERVAL_S = 5.0
"""Least time between attempts to reach lost runners, each of which takes up to a second."""
STOP_S = 5.0
"""Runners that have not closed their environments after so long are ended."""


class StalledError(RuntimeError):
    """Nothing was collected, or nothing learnt, for too long."""


class Delivery(NamedTuple):
    """What one call of `sample` returned."""

    episodes: list[SingleAgentEpisode]
    weights_seq_no: int
    """Updates that the weights had seen with which it was collected."""
    env_steps: int


def stop_runners(group: EnvRunnerGroup, timeout_s: float = STOP_S) -> None:
    """Closes the remote runners' environments and ends their processes; RLlib's own stop waits for a stuck runner for
    ever."""
    if group.num_remote_env_runners():
        group.foreach_env_runner(
            lambda runner: runner.stop(), local_env_runner=False, healthy_only=False, timeout_seconds=timeout_s
        )
        group.reset([])


def _sample(runner: Any, state: Any = None) -> tuple[list[SingleAgentEpisode], Any, int]:
    """Runs where the runner is: new weights, a fragment, its metrics."""
    runner.set_state(state)
    return runner.sample(), runner.get_metrics(), state[WEIGHTS_SEQ_NO]


class TeamIMPALAConfig(PPOConfig):
    """PPO's settings are all that is needed (schedules, entropy bonus), and:"""

    result_timeout_s: float
    """Seconds without a batch for the learner after which training fails."""

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class or TeamIMPALA)
        self.result_timeout_s = 300.0
        self.num_epochs, self.minibatch_size, self.shuffle_batch_per_epoch = 1, None, False  # one step on all of it
        self.max_requests_in_flight_per_env_runner = IN_FLIGHT
        self._dont_auto_sync_env_runner_states = True  # requests bring the state; a broadcast would wait behind them

    def validate_train_batch_size_vs_rollout_fragment_length(self) -> None:
        """PPO's batch is one synchronous round of sampling; here it is whatever arrived first."""


class TeamIMPALA(Algorithm):
    """One `train()` is one update of the learner."""

    config: TeamIMPALAConfig  # type: ignore[assignment]

    @classmethod
    def get_default_config(cls) -> TeamIMPALAConfig:
        return TeamIMPALAConfig()

    def setup(self, config: Any) -> None:
        super().setup(config)
        self._arrived: deque[Delivery] = deque()
        self._last_error = ""
        self._last_restore = time.monotonic()

    def training_step(self) -> None:
        """Waits for a batch and learns from it. Raises: StalledError; RunnerError with a runner's traceback."""
        assert self.learner_group is not None
        state = self._runner_state()
        deliveries = self._gather(state)
        steps = sum(delivery.env_steps for delivery in deliveries)
        lag = sum((state[WEIGHTS_SEQ_NO] - d.weights_seq_no) * d.env_steps for d in deliveries) / steps
        self.metrics.log_value((ENV_RUNNER_RESULTS, POLICY_LAG), lag, window=1)
        results = self.learner_group.update(
            episodes=[episode for delivery in deliveries for episode in delivery.episodes],
            timesteps={NUM_ENV_STEPS_SAMPLED_LIFETIME: self._env_steps()},
        )
        self.metrics.aggregate(results, key=LEARNER_RESULTS)

    def _env_steps(self) -> int:
        return int(self.metrics.peek((ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME), default=0))

    def _runner_state(self) -> dict[str, Any]:
        """The learner's weights, their number, and the steps done (a runner's first seeds depend on them)."""
        assert self.learner_group is not None
        state = self.learner_group.get_state(
            components=f"{COMPONENT_LEARNER}/{COMPONENT_RL_MODULE}", inference_only=True
        )[COMPONENT_LEARNER]
        kept = {key: state[key] for key in (COMPONENT_RL_MODULE, WEIGHTS_SEQ_NO)}
        return kept | {NUM_ENV_STEPS_SAMPLED_LIFETIME: self._env_steps()}

    def _gather(self, state: dict[str, Any]) -> list[Delivery]:
        """Whole deliveries, oldest first, until they make a batch. Meanwhile every runner is kept busy."""
        assert self.env_runner_group is not None
        local = self.env_runner_group.num_remote_env_runners() == 0
        sent = None if local else ray.put(state)
        began, before = time.monotonic(), self._env_steps()
        batch: list[Delivery] = []
        while sum(delivery.env_steps for delivery in batch) < self.config.train_batch_size_per_learner:
            if self._arrived:
                batch.append(self._arrived.popleft())
            elif local:
                self._receive(_sample(self.env_runner_group.local_env_runner, state))
            else:
                self._fetch(sent)
                if not self._arrived and time.monotonic() - began > self.config.result_timeout_s:
                    raise StalledError(self._what_was_seen(self._env_steps() - before))
        return batch

    def _fetch(self, state: Any) -> None:
        """Asks runners that have too little to do, and takes what has arrived."""
        group = self.env_runner_group
        assert group is not None
        self.restore_env_runners(group)
        while group.foreach_env_runner_async(_sample, tag=SAMPLE, kwargs={"state": state}):
            pass  # one request for each runner at a time, until all have IN_FLIGHT
        # The group's own method of this name hides errors.
        for answer in group._worker_manager.fetch_ready_async_reqs(tags=SAMPLE, timeout_seconds=WAIT_S):
            if answer.ok:
                self._receive(answer.get())
            else:
                self._last_error = str(answer.get())
                if not self.config.restart_failed_env_runners:
                    raise answer.get()

    def _receive(self, answer: Any) -> None:
        episodes, metrics, weights_seq_no = answer  # a RunnerFailure raises here
        self.metrics.aggregate([metrics], key=ENV_RUNNER_RESULTS)
        self._arrived.append(Delivery(episodes, weights_seq_no, sum(len(episode) for episode in episodes)))

    def _what_was_seen(self, env_steps: int) -> str:
        group = self.env_runner_group
        assert group is not None
        return (
            f"the learner delivered no result for {self.config.result_timeout_s:g} s: it needs "
            f"{self.config.train_batch_size_per_learner} environment steps, {env_steps} arrived; "
            f"{group.num_healthy_remote_env_runners()} of {group.num_remote_env_runners()} runners are alive"
            + (f"; the last error was: {self._last_error}" if self._last_error else "")
            + " (impala.result_timeout_s; what stuck runners do is in the Ray worker logs)"
        )

    def restore_env_runners(self, env_runner_group: EnvRunnerGroup) -> list[int]:
        """As RLlib's, but not at every look: it waits for lost runners, while others have something to deliver."""
        if time.monotonic() - self._last_restore < RESTORE_INTERVAL_S:
            return []
        restored = super().restore_env_runners(env_runner_group)
        self._last_restore = time.monotonic()
        return restored

    def cleanup(self) -> None:
        if self.env_runner_group is not None:
            stop_runners(self.env_runner_group)
        super().cleanup()
