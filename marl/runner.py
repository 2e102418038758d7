"""TeamVecRunner: collects rollouts of E team environments with one forward pass per vector step.

It stands in for RLlib's SingleAgentEnvRunner (same constructor, state, metrics and weight synchronisation, so that
Algorithm, LearnerGroup and Tune drive it unchanged) but keeps [T, E, A, ...] arrays instead of running connector
pipelines over dictionaries, which take most of the stock runner's time on a fast environment.
"""

import time
import traceback
import uuid
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.utils.metrics import SAMPLE_TIMER, WEIGHTS_SEQ_NO

import envs
from agents.policy import gumbel
from marl.losses.ppo import log_prob
from marl.opponents import Lineup, Seats, outcome
from marl.rollout import Rollout
from marl.seeds import train_seed
from marl.vector import TeamVecEnv

EPISODE = "episode"
TIMERS = "runner_timers"
OPPONENTS = "opponents"
"""Opponent -> how many episodes ended in "wins", "draws" and "losses"; and "uninformed", see `Seats.informed`."""


class RunnerError(RuntimeError):
    """An error inside a runner; the message is the runner's own traceback."""


class RunnerFailure:
    """An error on its way from a runner to the driver, as a value.

    RLlib drops errors of remote runners (or ends the actor and restarts it for ever) when restarts are on, and restarts
    must be on to survive an engine that aborts. So the error is returned where a result is expected, and raises in the
    driver as soon as the result is unpacked.
    """

    def __init__(self, text: str) -> None:
        self.text = text

    def __getitem__(self, index: int) -> Any:
        raise RunnerError(self.text)


class TeamVecRunner(SingleAgentEnvRunner):
    """E environments per actor; `config.env_config["env"]` is an `envs.EnvConfig`, and where its right team is not the
    engine's, `config.env_config["opponents"]` the `Lineup` to begin with."""

    env: TeamVecEnv
    _seats: Seats | None = None
    """The right team, where the engine does not play it."""

    def __init__(self, *, config: Any, **kwargs: Any) -> None:
        # Ray pickles an actor's constructor error with all that refers to it; a plain message always gets through.
        try:
            super().__init__(config=config, **kwargs)
        except Exception as error:
            raise RunnerError(f"a runner could not start: {traceback.format_exc()}") from error
        if self.worker_index:
            torch.set_num_threads(1)  # one core per actor: the actors are the parallelism
        self._lineups: list[Lineup] = []
        self._started = False

    def make_env(self) -> None:
        if self.env is not None:
            self.env.close()
        settings: envs.EnvConfig = self.config.env_config["env"]
        self.env = TeamVecEnv(lambda: envs.make_team(settings), self.config.num_envs_per_env_runner or 1)
        self.num_envs = self.env.num_envs
        self._pooled = getattr(settings, "reset_pool", 0) > 0
        if self.env.opponent_spec is not None and self._seats is None:
            lineup = self.config.env_config.get(OPPONENTS)
            if lineup is None:
                raise ValueError(
                    f"nobody plays the right team of {self.env.spec.env}: env_config[{OPPONENTS!r}] must be a Lineup"
                )
            self._seats = Seats(self.env.opponent_spec, self.num_envs, lineup)
        self._started = False

    def meet(self, lineup: Lineup) -> None:
        """The opponents of the episodes that begin from the next `sample` on, where errors reach the driver."""
        if self.env is not None:
            self._lineups.append(lineup)

    def _start(self) -> None:
        """First reset of every environment. Seeds depend on the steps done, so that a resumed or restarted runner
        does not play its first episodes again."""
        self._seed_key = (self.config.seed or 0, self.worker_index or 0, self.num_env_steps_sampled_lifetime)
        self._rng = np.random.default_rng(self._seed_key)
        self._counts = np.zeros(self.num_envs, np.int64)
        self._ids = [uuid.uuid4().hex for _ in range(self.num_envs)]
        self._lengths = np.zeros(self.num_envs, np.int64)
        self._returns = np.zeros((self.num_envs, self.env.spec.num_agents), np.float64)
        if self._seats is not None:
            self._seats.start(np.random.default_rng((*self._seed_key, 1)))
        self._obs = self.env.spec.empty(self.num_envs)
        for index in range(self.num_envs):
            self._reset(index, {key: value[index] for key, value in self._obs.items()})
        # Environments of equal length would all end at once, and whole updates would see only beginnings or only ends:
        # each environment's first episode is cut at another time. The cut is a truncation, so nothing is biased.
        share = np.arange(1, self.num_envs + 1) / self.num_envs
        self._cuts = np.ceil(share * self.env.spec.max_steps).astype(np.int64)
        self._cuts[-1] = np.iinfo(np.int64).max
        self._started = True

    def _reset(self, index: int, out: envs.Obs) -> None:
        # An environment with a pool of start states uses it in resets without a seed, in a sequence of its own that
        # the seed of its first reset decides.
        own = self._pooled and self._counts[index] > 0
        seed = None if own else train_seed(*self._seed_key, index, int(self._counts[index]))
        self.env.envs[index].reset(seed, out=out)
        self._counts[index] += 1
        self._lengths[index], self._returns[index] = 0, 0.0

    def sample(
        self,
        *,
        num_timesteps: int | None = None,
        num_episodes: int | None = None,
        explore: bool | None = None,
        random_actions: bool = False,
        force_reset: bool = False,
    ) -> list[SingleAgentEpisode]:
        """Steps every environment equally often and returns the chunks of episodes that this covers.

        `num_timesteps` counts environment steps over all environments (default: the configured fragment).
        """
        if num_episodes is not None:
            raise ValueError("TeamVecRunner samples steps, not episodes; marl.evaluate plays whole episodes")
        steps = self.config.get_rollout_fragment_length(self.worker_index)
        if num_timesteps is not None:
            steps = -(-num_timesteps // self.num_envs)
        explore = self.config.explore if explore is None else explore
        self.metrics.log_value(WEIGHTS_SEQ_NO, self._weights_seq_no, window=1)
        if self._seats is not None:
            self._meet()
        if force_reset or not self._started:
            self._start()
        with self.metrics.log_time(SAMPLE_TIMER):
            choose = self._random_actions if random_actions else self._act if explore else self._act_greedily
            rollout, finished = self._rollout(steps, choose)
            episodes = rollout.episodes(self._ids, self._chunk_starts)
        self._increase_sampled_metrics(steps * self.num_envs, finished)
        self.num_env_steps_sampled_lifetime += steps * self.num_envs
        return episodes

    def _meet(self) -> None:
        assert self._seats is not None
        while self._lineups:
            self._seats.meet(self._lineups.pop(0))
        if not self._seats.informed:
            self.metrics.log_value((OPPONENTS, "uninformed"), 1, reduce="sum")

    def _rollout(self, steps: int, choose: Callable[[Rollout, int], None]) -> tuple[Rollout, int]:
        rollout = Rollout.empty(self.env.spec, steps, self.num_envs)
        for key, value in self._obs.items():
            rollout.obs[key][0] = value
        self._chunk_starts = self._lengths.copy()
        acting, finished = 0.0, 0
        began = time.perf_counter()
        for t in range(steps):
            before = time.perf_counter()
            choose(rollout, t)
            theirs = None if self._seats is None else self._seats.act(self.env.envs)
            acting += time.perf_counter() - before
            finished += self._step_all(rollout, t, theirs)
        self._obs = {key: value[-1].copy() for key, value in rollout.obs.items()}
        self.metrics.log_value((TIMERS, "act"), acting, window=1)
        self.metrics.log_value((TIMERS, "env"), time.perf_counter() - began - acting, window=1)
        return rollout, finished

    def _step_all(self, rollout: Rollout, t: int, theirs: np.ndarray | None) -> int:
        """Steps every environment with the actions of row t, and [E, O] of the right teams if the engine does not play
        them. Returns how many episodes ended."""
        ends = []
        rewards, slots = rollout.rewards[t], rollout.slots(t + 1)
        for index, (env, actions, out) in enumerate(zip(self.env.envs, rollout.actions[t], slots, strict=True)):
            right = () if theirs is None else (theirs[index],)
            _, rewards[index], terminated, truncated, info = env.step(actions, out, *right)
            if terminated or truncated:
                ends.append((index, terminated, info))
        self._lengths += 1
        self._returns += rewards
        for index, terminated, info in ends:
            self._log_episode(index, info)
            self._end(rollout, t, index, terminated)
        if (self._lengths >= self._cuts).any():
            for index in np.flatnonzero(self._lengths >= self._cuts):
                self._end(rollout, t, int(index), False)
        return len(ends)

    def _end(self, rollout: Rollout, t: int, index: int, terminated: bool) -> None:
        """Closes the episode of one environment (whatever did not terminate was truncated) and begins the next."""
        rollout.end(t, index, terminated, not terminated)
        self._cuts[index] = np.iinfo(np.int64).max
        if self._seats is not None:
            self._seats.change(index)
        self._reset(index, rollout.slot(t + 1, index))

    def _log_episode(self, index: int, info: dict[str, Any]) -> None:
        self._log_episode_metrics(int(self._lengths[index]), float(self._returns[index].mean()), 0.0)
        # As RLlib's own windows: the driver merges those of all runners.
        window = max(1, (self.config.metrics_num_episodes_for_smoothing or 1) // (self.config.num_env_runners or 1))
        for name, value in info.get(EPISODE, {}).items():
            self.metrics.log_value((EPISODE, name), value, window=window)
        if self._seats is not None and (result := outcome(info)):
            self.metrics.log_value((OPPONENTS, self._seats.playing[index], result), 1, reduce="sum")

    def _act(self, rollout: Rollout, t: int) -> None:
        logits = self._logits(rollout, t)
        noise = torch.from_numpy(gumbel(self._rng.random(logits.shape, dtype=np.float32))).to(logits.device)
        actions = (logits + noise).argmax(-1)
        rollout.actions[t] = actions.cpu().numpy()
        rollout.logp[t] = log_prob(logits, actions).cpu().numpy()

    def _act_greedily(self, rollout: Rollout, t: int) -> None:
        rollout.actions[t] = self._logits(rollout, t).argmax(-1).cpu().numpy()

    def _random_actions(self, rollout: Rollout, t: int) -> None:
        spec = self.env.spec
        rollout.actions[t] = self._rng.integers(spec.num_actions, size=rollout.actions[t].shape)
        rollout.logp[t] = -np.log(spec.num_actions)

    @torch.inference_mode()
    def _logits(self, rollout: Rollout, t: int) -> torch.Tensor:
        """[E, A, N]"""
        batch = {key: torch.from_numpy(value[t]).to(self._device) for key, value in rollout.obs.items()}
        return self.module.network.logits(batch)  # type: ignore[union-attr]

    def get_metrics(self) -> Any:
        return self.metrics.reduce()

    def assert_healthy(self) -> None:
        assert self.env is not None
        assert self.module is not None

    def stop(self) -> None:
        if self.env is not None:
            self.env.close()

    def apply(self, func: Callable, *args: Any, **kwargs: Any) -> Any:
        """RLlib calls everything on remote runners through this; its own version exits the process on any error."""
        try:
            return func(self, *args, **kwargs)
        except Exception:
            return RunnerFailure(traceback.format_exc())
