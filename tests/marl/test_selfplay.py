"""The driver's side of opponents: what runners are sent, when the pool grows, and what a resumed run finds."""

import math
import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import agents
from agents import Policy
from marl import ImpalaSettings, OpponentSettings, RunnerSettings
from marl.algorithm import team_spec
from marl.opponents import Lineup
from marl.pool import START_RATING, Pool, Results, chances
from marl.selfplay import OpponentManager
from tests.marl.two_sides import DuelConfig, policy, saved, train_config

FIRST = f"{0:012d}"


class Algorithm:
    """Stands for RLlib's: keeps what its one runner is sent."""

    def __init__(self) -> None:
        self.lineups: list[Lineup] = []
        self.env_runner_group = self

    def foreach_env_runner(self, func, *, timeout_seconds):
        assert timeout_seconds == 0.0  # None would wait for a runner that is in the middle of a sample
        func(SimpleNamespace(meet=self.lineups.append))


def manager_of(run: Path, **changes) -> OpponentManager:
    config = train_config(**changes)
    return OpponentManager(config, run, team_spec(config.env))


def told(uninformed: float = math.nan, **games) -> dict:
    """RLlib's result of an iteration; games: m0=(wins, draws, losses) against the member of env step 0."""
    rows = {f"{int(name[1:]):012d}": dict(zip(Results._fields, result, strict=True)) for name, result in games.items()}
    return {"env_runners": {"opponents": {"uninformed": uninformed, **rows}}}


def same(one: Policy, other: Policy) -> bool:
    a, b = one.network.state_dict(), other.network.state_dict()
    return all(torch.equal(a[key], b[key]) for key in a)


def never() -> Policy:
    raise AssertionError("no snapshot is due")


def test_the_engines_own_team_needs_nothing(tmp_path):
    manager = manager_of(tmp_path, env=DuelConfig(opponents=0), opponent=OpponentSettings())
    algorithm = SimpleNamespace(env_config={})
    assert manager.seat(algorithm) is algorithm
    manager.restore()
    manager.start(algorithm)
    assert manager.after_iteration(algorithm, {}, 500, never) == {}
    manager.save()
    assert algorithm.env_config == {}
    assert not any(tmp_path.iterdir())


def test_a_new_run_begins_with_the_untrained_policy(tmp_path):
    before = torch.random.get_rng_state()
    manager, algorithm = manager_of(tmp_path), Algorithm()
    assert torch.equal(torch.random.get_rng_state(), before)
    seats = manager.seat(SimpleNamespace(env_config={})).env_config["opponents"]
    assert dict(seats.chances) == {FIRST: 1.0}
    manager.start(algorithm)
    manager.start(algorithm)
    assert len(algorithm.lineups) == 1
    assert dict(algorithm.lineups[0].chances) == {FIRST: 1.0}
    assert list(algorithm.lineups[0].networks) == [FIRST]
    first = agents.load(tmp_path / "pool" / FIRST)
    assert first.meta["env_steps"] == 0
    assert same(first, Policy(seats.networks[FIRST]))
    assert same(first, manager_of(tmp_path / "again")._first)
    assert not same(first, manager_of(tmp_path / "other", seed=1)._first)


def test_a_new_run_does_not_take_over_what_a_run_before_it_left(tmp_path):
    old = Pool(tmp_path / "pool")
    for steps in (0, 100):
        old.add(policy(1), steps, size=3)
    manager_of(tmp_path).start(Algorithm())
    assert [member.env_steps for member in Pool.load(tmp_path / "pool").members] == [0]
    assert not (tmp_path / "pool" / f"{100:012d}").exists()


def test_the_first_member_can_be_given(tmp_path):
    opponent = OpponentSettings(kind="self_play", policy=saved(tmp_path / "given", 7))
    manager_of(tmp_path, opponent=opponent).start(Algorithm())
    assert same(agents.load(tmp_path / "pool" / FIRST), policy(7))


def test_the_present_policy_joins_when_it_is_time(tmp_path):
    manager, algorithm = manager_of(tmp_path), Algorithm()  # every 100 steps, 3 at most
    manager.start(algorithm)
    assert manager.after_iteration(algorithm, told(), 96, never)["train/pool_size"] == 1
    assert len(algorithm.lineups) == 1
    metrics = manager.after_iteration(algorithm, told(), 160, lambda: policy(160))
    assert metrics["train/pool_size"] == 2
    assert list(algorithm.lineups[1].chances) == [FIRST, f"{160:012d}"]
    assert list(algorithm.lineups[1].networks) == [f"{160:012d}"]  # runners have the other
    manager.after_iteration(algorithm, told(), 192, never)
    manager.after_iteration(algorithm, told(), 500, lambda: policy(500))
    metrics = manager.after_iteration(algorithm, told(), 600, lambda: policy(600))
    assert metrics["train/pool_size"] == 3
    assert [member.env_steps for member in Pool.load(tmp_path / "pool").members] == [160, 500, 600]
    assert same(agents.load(tmp_path / "pool" / f"{500:012d}"), policy(500))


def test_games_change_ratings_and_chances(tmp_path):
    manager, algorithm = manager_of(tmp_path), Algorithm()
    manager.start(algorithm)
    manager.after_iteration(algorithm, told(), 100, lambda: policy(1))
    metrics = manager.after_iteration(
        algorithm, told(m0=(3, 0, 0), m100=(0.0, math.nan, 1.0), m50=(9, 9, 9)), 120, never
    )
    reference = Pool(None)
    for steps in (0, 100):
        reference.add(policy(0), steps, size=3)
    reference.record({FIRST: Results(wins=3), f"{100:012d}": Results(losses=1)})
    assert manager.pool.members == reference.members
    assert metrics["train/opponent_elo"] == reference.rating != START_RATING
    rates = [member.win_rate for member in reference.members]
    assert metrics["train/opponent_win_rate"] == pytest.approx(sum(rates) / 2)
    assert metrics["train/opponent_win_rate_newest"] == rates[1] == 0.25
    lineup = algorithm.lineups[-1]
    assert dict(lineup.chances) == chances(reference.members, latest_share=0.5, priority=1.0)
    assert lineup.networks == {}
    sent = len(algorithm.lineups)
    manager.after_iteration(algorithm, {}, 130, never)  # an iteration without any result
    assert len(algorithm.lineups) == sent


def test_a_runner_that_was_restarted_is_sent_the_pool(tmp_path):
    manager, algorithm = manager_of(tmp_path), Algorithm()
    manager.start(algorithm)
    manager.after_iteration(algorithm, told(), 100, lambda: policy(1))
    manager.after_iteration(algorithm, told(uninformed=2.0), 120, never)
    assert list(algorithm.lineups[-1].networks) == [FIRST, f"{100:012d}"]


def test_a_resumed_run_reads_its_pool_back(tmp_path):
    first = manager_of(tmp_path)
    first.start(Algorithm())
    first.after_iteration(Algorithm(), told(), 100, lambda: policy(100))
    first.after_iteration(Algorithm(), told(m0=(3, 1, 0)), 120, never)
    first.save()
    second, algorithm = manager_of(tmp_path), Algorithm()
    second.restore()
    second.start(algorithm)
    assert second.pool.members == first.pool.members
    assert second.pool.rating == first.pool.rating
    assert list(algorithm.lineups[0].networks) == [FIRST, f"{100:012d}"]
    second.after_iteration(algorithm, told(), 64, never)  # the checkpoint was older than the newest member
    second.after_iteration(algorithm, told(), 200, lambda: policy(200))
    assert [member.env_steps for member in second.pool.members] == [0, 100, 200]


def test_a_resumed_run_whose_pool_does_not_fit(tmp_path):
    manager = manager_of(tmp_path)
    with pytest.raises(ValueError, match=r"the pool .*pool has no member"):
        manager.restore()
    Pool(tmp_path / "pool").add(policy(0, players=3), 0, size=1)
    with pytest.raises(
        ValueError, match=rf"member {FIRST} of the pool .* cannot play the right team of fake/duel: "
    ) as e:
        manager.restore()
    assert "\n" not in str(e.value)


def test_a_frozen_opponent_is_no_part_of_the_run(tmp_path):
    opponent = OpponentSettings(kind="frozen", policy=saved(tmp_path / "given", 7, players=1))
    manager = manager_of(tmp_path / "run", env=DuelConfig(opponents=1), opponent=opponent)
    algorithm = Algorithm()
    manager.start(algorithm)
    metrics = manager.after_iteration(algorithm, told(m0=(0, 0, 1)), 500, never)
    assert (metrics["train/pool_size"], metrics["train/opponent_win_rate"]) == (1, 0.25)
    assert same(Policy(algorithm.lineups[0].networks[FIRST]), policy(7, players=1))
    manager.save()
    manager.restore()
    assert not (tmp_path / "run").exists()


def test_who_cannot_play_is_said_before_training(tmp_path):
    frozen = OpponentSettings(kind="frozen", policy=saved(tmp_path / "three", players=3))
    with pytest.raises(ValueError, match=r"the policy in .*three cannot play the right team of .*: num_agents is 2"):
        manager_of(tmp_path, opponent=frozen)
    first = OpponentSettings(kind="self_play", policy=saved(tmp_path / "five", others=5))
    with pytest.raises(ValueError, match=r"the policy in .*five cannot play the right team of fake/duel: entity_kinds"):
        manager_of(tmp_path, opponent=first)
    with pytest.raises(ValueError, match=r"nowhere does not exist"):
        manager_of(tmp_path, opponent=OpponentSettings(kind="frozen", policy="nowhere"))
    with pytest.raises(ValueError, match=r"self-play needs two teams alike, but on the right side of .* num_agents"):
        manager_of(tmp_path, env=DuelConfig(players=3, opponents=2))


@pytest.mark.ray
@pytest.mark.parametrize(
    ("algorithm", "num_runners"), [("ppo", 0), ("impala", 0), pytest.param("ppo", 1, marks=pytest.mark.slow)]
)
def test_training_against_the_pool(algorithm, num_runners, ray_session, tmp_path):
    from marl.training import Training

    runners = RunnerSettings(num_runners=num_runners, num_envs=4, max_restarts=2)
    impala = ImpalaSettings(batch_env_steps=64, fragment_env_steps=16)
    config = train_config(algorithm=algorithm, impala=impala, runners=runners)
    training = Training(config, tmp_path)
    try:
        for _ in range(4):
            metrics = training.step()
        pool = Pool.load(tmp_path / "pool")
        assert [member.env_steps for member in pool.members] == [0, 128, 256]
        assert metrics["train/pool_size"] == 3
        games = sum(member.wins + member.draws + member.losses for member in training.opponents.pool.members)
        assert games == metrics["train/episodes"] > 30
        training.save()
        assert Pool.load(tmp_path / "pool").members == training.opponents.pool.members
        if num_runners:
            _kill_and_go_on(training)
    finally:
        training.stop()


def _kill_and_go_on(training) -> None:
    group, manager = training.algorithm.env_runner_group, training.opponents
    (pid,) = group.foreach_env_runner(lambda runner: os.getpid(), local_env_runner=False)
    os.kill(pid, signal.SIGKILL)
    before, deadline = training.progress["env_steps"], time.monotonic() + 120
    while training.progress["env_steps"] < before + 128:
        assert time.monotonic() < deadline
        training.step()

    def known(runner) -> set[str]:
        return set(runner._seats._names)

    training.step()
    (names,) = group.foreach_env_runner(known, local_env_runner=False)
    assert len(names & {member.id for member in manager.pool.members}) >= 2  # more than the line-up of its start
