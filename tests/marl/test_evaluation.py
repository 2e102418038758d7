"""Held-out episodes: the same however they are played, replayable by hand, with intervals that are SciPy's."""

import json
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
import torch

import envs
from agents import NetworkConfig, ObservationSpec, Policy, TeamNetwork
from agents.policy import gumbel
from marl import evaluation, players
from marl.evaluation import Episode, Job, confidence_interval, evaluate, play, play_jobs, summarise, write_jsonl
from marl.seeds import eval_seed
from tests.marl.duel import DuelConfig

HARVEST = envs.config("lab2d/commons_harvest", players=2, steps=12)


def policy_for(env):
    team = envs.make_team(env)
    spec = ObservationSpec.from_team(team.spec)
    team.close()
    torch.manual_seed(0)
    network = TeamNetwork(spec, NetworkConfig(width=16, hidden=24))
    torch.nn.init.normal_(network.policy[-1].weight)
    return Policy(network)


@pytest.mark.parametrize("deterministic", [True, False])
@pytest.mark.parametrize("who", ["policy", "random"])
def test_episodes_do_not_depend_on_how_many_are_played_side_by_side(who, deterministic, meeting):
    env = meeting(side=2, absent=0.3)
    policy = policy_for(env) if who == "policy" else "random"
    options = {"episodes": 13, "seed": 4, "deterministic": deterministic}
    one, three, many = (evaluate(policy, env, num_envs=n, **options) for n in (1, 3, 20))
    assert one == three == many
    assert [episode.number for episode in one] == list(range(13))
    assert len({episode.length for episode in one}) > 1


@pytest.mark.engine("lab2d")
def test_processes_share_the_episodes_and_change_nothing(tmp_path):
    folder = policy_for(HARVEST).save(tmp_path)
    seen = []
    shared = evaluate(folder, HARVEST, episodes=9, workers=2, progress=lambda done, total: seen.append((done, total)))
    assert shared == evaluate(folder, HARVEST, episodes=9, num_envs=4)
    assert shared == evaluate(policy_for(HARVEST), HARVEST, episodes=9, workers=2)
    assert seen[-1] == (9, 9)


def test_an_episode_can_be_replayed_by_hand(meeting):
    env = meeting(side=3)
    policy = policy_for(env)
    for number, episode in enumerate(evaluate(policy, env, episodes=5, seed=2, deterministic=True)):
        team = envs.make_team(env)
        obs, total, length, over = team.reset(eval_seed(2, number)), 0.0, 0, False
        while not over:
            obs, rewards, terminated, truncated, info = team.step(policy.act(obs))
            total, length, over = total + rewards.mean(), length + 1, terminated or truncated
        assert episode.seed == eval_seed(2, number)
        assert (episode.length, episode.metrics) == (length, info["episode"])
        assert episode.return_mean == pytest.approx(total, abs=1e-6)


def test_sampled_episodes_can_be_replayed_by_hand(meeting):
    """The generator of episode number n is (seed of n, 2), and of its opponent (seed of n, 3)."""
    env = DuelConfig(opponents=2)
    policy, rival = policy_for(env), policy_for(DuelConfig(steps=13))
    torch.nn.init.normal_(rival.network.policy[-1].weight)
    for number, episode in enumerate(evaluate(policy, env, opponent=rival, episodes=4, seed=2)):
        team, seed = env.build(), eval_seed(2, number)
        rngs = [np.random.default_rng((seed, side)) for side in (2, 3)]
        obs, over, info = team.reset(seed), False, {}
        while not over:
            actions = []
            for who, seen, rng in zip((policy, rival), (obs, team.observe_opponents()), rngs, strict=True):
                logits = who.output({key: value[None] for key, value in seen.items()}).logits[0].numpy()
                actions.append((logits + gumbel(rng.random(logits.shape, dtype=np.float32))).argmax(-1))
            obs, _, _, over, info = team.step(*actions)
        assert episode.metrics == info["episode"]


def test_random_play_is_what_it_always_was(meeting):
    """Numbers of an earlier version, so that old results stay comparable."""
    returns = [0.333333, 1.166667, 0.0, 0.166667, -0.333333, -0.666667]
    played = evaluate("random", meeting(side=2, absent=0.3), episodes=6, seed=3)
    assert [episode.length for episode in played] == [9, 6, 9, 9, 9, 9]
    assert [episode.return_mean for episode in played] == pytest.approx(returns, abs=1e-6)


def test_without_an_opponent_the_engine_plays_the_other_side_whoever_it_was_in_training():
    trained_against_somebody, plain = DuelConfig(opponents=2), DuelConfig()
    policy = policy_for(plain)
    against_engine = evaluate(policy, trained_against_somebody, episodes=5)
    assert against_engine == evaluate(policy, plain, episodes=5)
    assert against_engine == evaluate(policy, plain, opponent="builtin_ai", episodes=5)
    assert against_engine != evaluate(policy, plain, opponent="idle", episodes=5)
    assert evaluate(policy, plain, opponent="idle", episodes=5) == evaluate(
        policy, trained_against_somebody, opponent="idle", episodes=5
    )


@pytest.mark.parametrize("opponent", ["random", "policy"])
def test_games_against_an_opponent_do_not_depend_on_how_many_are_played_side_by_side(opponent):
    env = DuelConfig()
    rival = policy_for(env) if opponent == "policy" else opponent
    one, many = (evaluate("random", env, opponent=rival, episodes=9, num_envs=n) for n in (1, 4))
    assert one == many


def test_an_opponent_that_does_not_fit_is_named():
    rival = players.PolicyPlayer(policy_for(DuelConfig(players=3)), name="runs/rival")
    with pytest.raises(ValueError, match=r"^opponent runs/rival: the policy does not fit .*num_agents is 2"):
        evaluate("random", DuelConfig(), opponent=rival, episodes=1)


def test_one_team_alone_has_no_opponent():
    with pytest.raises(ValueError, match=r"^commons_harvest has one team and no other side"):
        evaluate("random", HARVEST, opponent="random", episodes=1)


def test_a_policy_plays_as_it_was_trained_to_be_judged_if_asked(meeting):
    env = meeting(side=9, steps=40)
    policy = policy_for(env)
    policy.meta["deterministic"] = True
    assert evaluate(policy, env, episodes=3, deterministic=None) == evaluate(
        policy, env, episodes=3, deterministic=True
    )
    policy.meta["deterministic"] = False
    assert evaluate(policy, env, episodes=3, deterministic=None) == evaluate(policy, env, episodes=3)


def test_jobs_come_back_in_order_with_one_count_of_progress():
    seen, env = [], DuelConfig()
    jobs = [Job(player="random", env=env, numbers=numbers) for numbers in (range(3), [7, 2])]
    first, second = play_jobs(jobs, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(done, 5) for done in range(1, 6)]
    assert [episode.number for episode in first + second] == [0, 1, 2, 2, 7]
    assert first == evaluate("random", env, episodes=3)


@pytest.mark.engine("football")
def test_the_left_team_sees_the_same_whoever_plays_the_right_one():
    """So a policy trained against somebody can be judged against the engine's AI."""
    specs, seen = [], []
    for opponents in (0, 4):
        team = envs.make_team("football/5_vs_5", opponents=opponents)
        specs.append(ObservationSpec.from_team(team.spec))
        obs = team.reset(5)
        seen.append({key: value.copy() for key, value in obs.items()})
        team.close()
    assert specs[0] == specs[1]
    for key in seen[0]:
        np.testing.assert_array_equal(seen[0][key], seen[1][key])


def test_another_seed_plays_other_episodes(meeting):
    env = meeting()
    one, other = (evaluate("random", env, episodes=8, seed=seed) for seed in (0, 1))
    assert not {e.seed for e in one} & {e.seed for e in other}
    assert [e.return_mean for e in one] != [e.return_mean for e in other]


def test_samples_and_likeliest_actions_differ(meeting):
    env = meeting(side=9, steps=40)
    policy = policy_for(env)
    sampled, greedy = (evaluate(policy, env, episodes=6, deterministic=d) for d in (False, True))
    assert [e.return_mean for e in sampled] != [e.return_mean for e in greedy]


def test_a_policy_for_another_environment_is_refused_and_nothing_stays_open(meeting, monkeypatch):
    made, closed, make_team = [], [], envs.make_team

    def spy(env):
        team = make_team(env)
        made.append(team)
        monkeypatch.setattr(team, "close", lambda: closed.append(team))
        return team

    policy = policy_for(meeting(side=4))
    monkeypatch.setattr(envs, "make_team", spy)
    with pytest.raises(
        ValueError,
        match=r"^the policy does not fit fake/meet: shape of 'view' is \(3, 23\), the network was built for \(3, 19\)$",
    ):
        list(play(policy, meeting(side=5), [0, 1]))
    assert len(made) == 2
    assert closed == made


@pytest.mark.parametrize("options", [{"episodes": 0}, {"episodes": 3, "num_envs": 0}, {"episodes": 3, "workers": 0}])
def test_evaluating_nothing_is_refused(options, meeting):
    with pytest.raises(ValueError, match=r"must be at least 1, got 0$"):
        evaluate("random", meeting(), **options)


@pytest.mark.parametrize("name", ["episodes", "num_envs", "workers"])
def test_more_than_fits_in_memory_is_refused(name, meeting):
    with pytest.raises(ValueError, match=rf"^{name} must be at most [0-9,]+, got 1,0+"):
        evaluate("random", meeting(), **{"episodes": 3, name: 10**30})


def test_a_long_evaluation_reports_often():
    (job,) = [Job(player="random", env=DuelConfig(), numbers=range(3, 10_000))]
    shares = [share.numbers for _, share in evaluation._shares([job], 2)]
    assert max(map(len, shares)) <= 104
    assert sorted(number for numbers in shares for number in numbers) == list(job.numbers)
    assert [len(share.numbers) for _, share in evaluation._shares([replace(job, numbers=range(20))], 2)] == [3] * 4 + [
        2
    ] * 4


@pytest.mark.parametrize(("hits", "count"), [(0, 1), (1, 1), (0, 20), (20, 20), (7, 20), (95, 100), (50, 1000)])
def test_a_share_has_wilsons_interval(hits, count):
    low, high = confidence_interval(np.repeat([1.0, 0.0], [hits, count - hits]))
    expected = scipy.stats.binomtest(hits, count).proportion_ci(0.95, method="wilson")
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-6)


@pytest.mark.parametrize("count", [2, 5, 20, 400])
def test_a_mean_has_students_interval(count):
    values = np.random.default_rng(count).normal(3, 2, count)
    expected = scipy.stats.t.interval(0.95, count - 1, values.mean(), scipy.stats.sem(values))
    assert confidence_interval(values) == pytest.approx(expected, abs=1e-9)


def test_the_interval_covers_the_mean_of_19_in_20_samples():
    rng = np.random.default_rng(0)
    inside = [low <= 1 <= high for low, high in (confidence_interval(rng.normal(1, 3, 10)) for _ in range(2000))]
    assert 0.935 < np.mean(inside) < 0.965


def test_one_value_or_equal_values_have_an_interval_of_no_width():
    assert confidence_interval(np.array([2.5])) == (2.5, 2.5)
    assert confidence_interval(np.full(4, 2.5)) == (2.5, 2.5)


def episodes(returns):
    return [
        Episode(number=i, seed=100 + i, length=10 + i, return_mean=r, metrics={"met": float(r > 1)})
        for i, r in enumerate(returns)
    ]


def test_a_summary_has_each_number_with_its_interval():
    summary = summarise(episodes([0.5, 1.5, 2.5]))
    assert set(summary) == {"return_mean", "episode_length", "met"}
    assert summary["return_mean"]["mean"] == 1.5
    assert summary["episode_length"]["mean"] == 11
    assert (summary["met"]["low"], summary["met"]["high"]) == confidence_interval(np.array([0.0, 1.0, 1.0]))


def test_episodes_are_written_one_per_line(tmp_path):
    write_jsonl(tmp_path / "evaluation.jsonl", episodes([0.5, 1.5]))
    lines = [json.loads(line) for line in (tmp_path / "evaluation.jsonl").read_text().splitlines()]
    assert lines == [
        {"number": 0, "seed": 100, "return_mean": 0.5, "episode_length": 10.0, "met": 0.0},
        {"number": 1, "seed": 101, "return_mean": 1.5, "episode_length": 11.0, "met": 1.0},
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["evaluation.jsonl"]
