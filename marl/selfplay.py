"""The driver's side of opponents: who may play, what became of the games, and when the present policy joins the pool.

Runners get a line-up (chances, and networks they lack) and count wins, draws and losses per opponent among their
metrics, so nothing ever waits for a runner: it works the same whether the learner waits for them or not. A runner that
was restarted plays on against the line-up of its start, says so, and is sent the present one.
"""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

import agents
import envs
from agents import ObservationSpec, Policy, TeamNetwork
from marl.config import TrainConfig
from marl.opponents import Lineup
from marl.pool import Pool, Results, chances


def opponent_spec(env: envs.EnvConfig) -> envs.TeamSpec:
    """The right team's spec, from an instance that is closed again. Raises ValueError where the engine plays it."""
    instance = envs.make_team(env)
    spec = getattr(instance, "opponent_spec", None)
    name = instance.spec.env
    instance.close()
    if spec is None:
        raise ValueError(f"nobody but the engine can play the right team of {name} here; set env.opponents above 0")
    return spec


def _check_fit(policy: Policy, spec: ObservationSpec, what: str) -> None:
    differences = policy.spec.differences(spec)
    if differences:
        raise ValueError(f"{what} cannot play the right team of {spec.env}: {differences[0]}")


class OpponentManager:
    """Opponents of one run. With kind "builtin" every method does nothing."""

    def __init__(self, config: TrainConfig, run: Path, spec: envs.TeamSpec) -> None:
        """Raises ValueError in one sentence where the opponent cannot be read or does not fit."""
        self.config, self.settings = config, config.opponent
        self.pool: Pool | None = None
        self._started = False
        if self.settings.kind == "builtin":
            return
        self._spec = ObservationSpec.from_team(opponent_spec(config.env))
        own = ObservationSpec.from_team(spec)
        if self.settings.kind == "self_play" and (differences := own.differences(self._spec)):
            raise ValueError(
                f"self-play needs two teams alike, but on the right side of {spec.env} {differences[0]}; "
                "set env.opponents equal to env.players"
            )
        path = self.settings.policy
        self._first = self._untrained(own) if path is None else agents.load(path)
        _check_fit(self._first, self._spec, f"the policy in {path}")
        frozen = self.settings.kind == "frozen"
        self.pool = Pool(None if frozen else run / "pool")
        if frozen:
            self.pool.add(self._first, 0, size=1)

    def _untrained(self, spec: ObservationSpec) -> Policy:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.seed)
            network = TeamNetwork(spec, self.config.network)
        return Policy(network, {"env": envs.to_json(self.config.env), "env_steps": 0, "deterministic": False})

    def seat(self, algorithm_config: Any) -> Any:
        """RLlib's configuration with the line-up that every runner, also a restarted one, begins with."""
        if self.pool is not None:
            first = f"{0:012d}"
            algorithm_config.env_config["opponents"] = Lineup(
                chances={first: 1.0}, networks={first: self._first.network}
            )
        return algorithm_config

    def restore(self) -> None:
        """Reads a resumed run's pool back. Raises ValueError in one sentence where it is damaged or does not fit."""
        if self.settings.kind != "self_play" or self.pool is None or self.pool.folder is None:
            return
        self.pool = Pool.load(self.pool.folder)
        for name, policy in self.pool.policies.items():
            _check_fit(policy, self._spec, f"member {name} of the pool {self.pool.folder}")

    def start(self, algorithm: Any) -> None:
        """Sends every runner the pool; comes before every iteration, and acts before the first. A new run's pool begins
        with its first member."""
        if self.pool is None or self._started:
            return
        if not self.pool.members:
            self.pool.add(self._first, 0, size=self.settings.pool_size)
        self._send(algorithm, self.pool.policies)
        self._started = True

    def after_iteration(
        self, algorithm: Any, result: Mapping[str, Any], env_steps: int, policy: Callable[[], Policy]
    ) -> dict[str, float]:
        """Takes note of the games in RLlib's `result` of an iteration; the present policy joins if it is time to.

        Returns: own win rate over the pool, own rating and the size of the pool, as {"train/name": value}.
        """
        if self.pool is None:
            return {}
        told = result.get("env_runners", {}).get("opponents", {})
        changed = self.pool.record({name: _results(told[name]) for name in self.pool.policies if name in told})
        news: Mapping[str, Policy] = {}
        if self.settings.kind == "self_play":
            interval = self.settings.snapshot_env_steps
            if env_steps // interval > self.pool.members[-1].env_steps // interval:
                member = self.pool.add(policy(), env_steps, size=self.settings.pool_size)
                news = {member.id: self.pool.policies[member.id]}
        if _count(told.get("uninformed")):
            news = self.pool.policies
        if changed or news:
            self._send(algorithm, news)
        rates = [member.win_rate for member in self.pool.members]
        return {
            "train/opponent_win_rate": sum(rates) / len(rates),
            "train/opponent_win_rate_newest": rates[-1],
            "train/opponent_elo": self.pool.rating,
            "train/pool_size": float(len(rates)),
        }

    def save(self) -> None:
        """Writes ratings and results; goes with every checkpoint."""
        if self.pool is not None and self.pool.members:
            self.pool.save()

    def _send(self, algorithm: Any, policies: Mapping[str, Policy]) -> None:
        assert self.pool is not None
        lineup = Lineup(
            chances=chances(
                self.pool.members, latest_share=self.settings.latest_share, priority=self.settings.priority
            ),
            networks={name: policy.network for name, policy in policies.items()},
        )
        # 0: nobody waits for a runner that is busy; what is sent arrives before the next call does.
        algorithm.env_runner_group.foreach_env_runner(lambda runner: runner.meet(lineup), timeout_seconds=0.0)


def _count(value: Any) -> int:
    """A sum among RLlib's metrics, where nothing is None or NaN."""
    return 0 if value is None or math.isnan(value) else int(value)


def _results(told: Mapping[str, Any]) -> Results:
    return Results(*(_count(told.get(name)) for name in Results._fields))
