"""The right team's seats: batched opponents are those that play one at a time."""

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from marl import opponents
from marl.opponents import Lineup, Seats, outcome
from tests.marl.two_sides import Duel, always, network, spec_of

E = 7
SPEC = spec_of(2, 2, 5)


def seats(chances, networks, *, num_envs=E, seed=0):
    made = Seats(SPEC, num_envs, Lineup(chances=chances, networks=networks))
    made.start(np.random.default_rng(seed))
    return made


def duels(count=E):
    envs = [Duel(2, 2, 50) for _ in range(count)]
    for index, env in enumerate(envs):
        env.reset(index)
    return envs


def test_opponents_together_act_as_each_alone(monkeypatch):
    monkeypatch.setattr(opponents, "gumbel", np.zeros_like)  # the likeliest action, to compare with
    nets = {name: network(seed) for seed, name in enumerate("abc")}
    made, envs = seats(dict.fromkeys(nets, 1 / 3), nets), duels()
    seen = set()
    for t in range(12):
        actions = made.act(envs)
        assert (actions.shape, actions.dtype) == ((E, 2), np.int64)
        for index, env in enumerate(envs):
            batch = {key: torch.from_numpy(value[None].copy()) for key, value in env.right.items()}
            with torch.no_grad():
                logits = nets[made.playing[index]].logits(batch)[0]
            assert np.array_equal(actions[index], logits.argmax(-1))
            seen |= set(logits.argmax(-1).tolist())
            env.step(np.zeros(2, np.int64), None, actions[index])
        made.change(t % E)
    assert len(seen) > 1
    assert len(set(made.playing)) > 1


def test_actions_are_samples_of_the_policy():
    net = network(3, scale=0.7)
    made, envs = seats({"a": 1.0}, {"a": net}, num_envs=1), duels(1)
    expected, counts = np.zeros(3), np.zeros(3)
    for _ in range(3000):
        actions = made.act(envs)[0]
        batch = {key: torch.from_numpy(value[None].copy()) for key, value in envs[0].right.items()}
        with torch.no_grad():
            expected += net.logits(batch)[0].softmax(-1).sum(0).numpy()
        counts += np.bincount(actions, minlength=3)
    assert expected.std() > 100
    assert chisquare(counts, expected * counts.sum() / expected.sum()).pvalue > 1e-3


def test_opponents_are_drawn_by_their_chances():
    chances = {"a": 0.5, "b": 0.2, "c": 0.3, "d": 0.0}
    made = seats(chances, dict.fromkeys(chances, network()), num_envs=1)
    drawn = dict.fromkeys(chances, 0)
    for _ in range(4000):
        made.change(0)
        drawn[made.playing[0]] += 1
    assert drawn.pop("d") == 0
    assert chisquare(list(drawn.values()), [2000, 800, 1200]).pvalue > 1e-3


def test_the_same_generator_gives_the_same_games():
    nets = {name: network(seed) for seed, name in enumerate("ab")}
    runs = []
    for seed in (4, 4, 5):
        made, envs = seats({"a": 0.5, "b": 0.5}, nets, seed=seed), duels()
        runs.append(np.concatenate([made.act(envs) for _ in range(9)]))
    assert np.array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])


def test_who_left_plays_to_the_end_of_the_episode():
    made, envs = seats({"a": 1.0}, {"a": always(1)}), duels()
    made.meet(Lineup(chances={"b": 1.0}, networks={"b": always(2)}))
    assert (made.act(envs) == 1).all()
    made.change(3)
    assert made.act(envs)[:, 0].tolist() == [1, 1, 1, 2, 1, 1, 1]
    made.meet(Lineup(chances={"b": 1.0}, networks={}))
    for index in range(E):
        made.change(index)
    assert (made.act(envs) == 2).all()


def test_a_network_that_is_missing_leaves_the_others():
    made = seats({"a": 1.0}, {"a": network()})
    assert not made.informed
    made.meet(Lineup(chances={"b": 1.0}, networks={}))
    made.change(0)
    assert (set(made.playing), made.informed) == ({"a"}, False)  # the old line-up stays
    made.meet(Lineup(chances={"a": 0.0, "b": 1.0}, networks={}))
    made.change(0)
    assert (set(made.playing), made.informed) == ({"a"}, False)
    made.meet(Lineup(chances={"a": 0.0, "b": 1.0}, networks={"b": network(1)}))
    made.change(0)
    assert (made.playing[0], made.informed) == ("b", True)


@pytest.mark.parametrize(("goals", "word"), [(2.0, "wins"), (-1.0, "losses"), (0.0, "draws")])
def test_the_result_is_the_left_teams(goals, word):
    assert outcome({"episode": {"goal_difference": goals}}) == word
    assert outcome({"episode": {"team_return": goals}}) is None
    assert outcome({}) is None
