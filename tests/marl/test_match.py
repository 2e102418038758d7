"""Matches: sides swapped on every seed, fair to a player against itself, and the same however they are played."""

import json

import numpy as np
import pytest

import envs
from envs.football.levels import LEVEL_TABLE
from marl.episodes import confidence_interval
from marl.evaluation import arrange, as_player, evaluate
from marl.match import SWAPPABLE, Game, MatchResult, match, round_robin, write_games
from tests.marl.duel import DuelConfig

DUEL = DuelConfig(steps=30)


class Pusher:
    """Pushes with a given chance, else stays."""

    needs_builtin_ai = False

    def __init__(self, chance, name="pusher"):
        self.chance, self.name = chance, name

    def fit(self, spec):
        self.agents = spec.num_agents

    def act(self, obs, rngs):
        return np.stack([(rng.random(self.agents) < self.chance).astype(int) for rng in rngs])


def result(*goals):
    """A match with these (goals_left, goals_right), in pairs."""
    games = tuple(
        Game(pair=i // 2, seed=i // 2, left="ab"[i % 2], right="ba"[i % 2], goals_left=one, goals_right=other, length=9)
        for i, (one, other) in enumerate(goals)
    )
    return MatchResult(first="a", second="b", games=games)


@pytest.mark.parametrize("wind", [0.0, 0.2])
def test_a_player_against_itself_is_even_in_every_pair_even_where_a_side_is_better(wind):
    played = match(Pusher(0.5), Pusher(0.5), DuelConfig(steps=30, wind=wind), pairs=20)
    assert np.abs(played.goals).sum() > 0
    assert not played.goals.mean(1).any()
    assert (played.scores == 0.5).all()
    summary = played.summary()
    assert (summary["goal_difference"]["low"], summary["goal_difference"]["high"]) == (0, 0)
    assert summary["win"] == summary["loss"]


def test_the_wind_is_reported_as_the_advantage_of_a_side():
    calm, windy = (
        match(Pusher(0.5), Pusher(0.45), DuelConfig(steps=30, wind=w), pairs=60).summary()["left_side_advantage"]
        for w in (0.0, 0.2)
    )
    assert calm["low"] < 0 < calm["high"]
    assert windy["low"] > 2


def test_the_same_two_the_other_way_round_play_the_same_games():
    one, other = Pusher(0.7, "one"), Pusher(0.3, "other")
    there, back = match(one, other, DUEL, pairs=9), match(other, one, DUEL, pairs=9)
    assert set(there.games) == set(back.games)
    np.testing.assert_array_equal(there.goals.mean(1), -back.goals.mean(1))
    assert there.summary()["win"] == back.summary()["loss"]


def test_the_better_player_wins():
    summary = match(Pusher(0.6), Pusher(0.4), DUEL, pairs=60).summary()
    assert summary["goal_difference"]["low"] > 0
    assert summary["win"]["low"] > summary["loss"]["high"]
    assert sum(summary[name]["mean"] for name in ("win", "draw", "loss")) == pytest.approx(1)


def test_games_are_those_of_evaluations_with_either_side():
    played = match("random", Pusher(0.9), DUEL, pairs=5, seed=3)
    straight = evaluate("random", DUEL, opponent=Pusher(0.9), episodes=5, seed=3)
    swapped = evaluate(Pusher(0.9), DUEL, opponent="random", episodes=5, seed=3)
    assert [game.left for game in played.games] == ["random", "pusher"] * 5
    assert [game.seed for game in played.games[::2]] == [game.seed for game in played.games[1::2]]
    for games, episodes in ((played.games[::2], straight), (played.games[1::2], swapped)):
        assert [game.goals_left for game in games] == [episode.metrics["goals_for"] for episode in episodes]
        assert [game.goals_right for game in games] == [episode.metrics["goals_against"] for episode in episodes]


def test_a_match_is_the_same_however_many_are_played_side_by_side():
    one, many = (match("random", Pusher(0.7), DUEL, pairs=7, num_envs=n) for n in (1, 20))
    assert one == many


def test_a_match_is_the_same_in_processes():
    assert match("random", "idle", DUEL, pairs=3, workers=2) == match("random", "idle", DUEL, pairs=3)


def test_the_engines_ai_is_the_engine_on_the_right_and_an_action_on_the_left():
    env, ai, idle = envs.config("football/5_vs_5", reset_pool=4), as_player("builtin_ai"), as_player("idle")
    assert arrange(env, idle, ai) == arrange(env, idle, None) == envs.config("football/5_vs_5")
    assert arrange(env, ai, idle) == envs.config("football/5_vs_5", opponents=4, builtin_ai=True)
    assert arrange(env, ai, ai) == envs.config("football/5_vs_5", builtin_ai=True)
    assert arrange(envs.config("football/team_3_vs_1_with_keeper"), idle, idle).opponents == 1


@pytest.mark.engine("football")
def test_the_engines_ai_plays_on_either_side():
    straight, swapped = match("idle", "builtin_ai", envs.config("football/1_vs_1_easy"), pairs=1, seed=1).games
    assert (straight.right, swapped.left, straight.seed) == ("builtin_ai", "builtin_ai", swapped.seed)
    assert (straight.length, swapped.length) == (501, 501)


def test_numbers_of_a_match_by_hand():
    played = result((1, 0), (2, 0), (0, 0), (0, 3), (1, 1), (2, 2))
    assert played.goals.tolist() == [[1, -2], [0, 3], [0, 0]]
    assert played.scores.tolist() == [0.5, 0.75, 0.5]
    summary = played.summary()
    assert [summary[name]["mean"] for name in ("win", "draw", "loss")] == pytest.approx([2 / 6, 3 / 6, 1 / 6])
    pair_means = np.array([-0.5, 1.5, 0.0])
    numbers = summary["goal_difference"]
    assert numbers["mean"] == pytest.approx(1 / 3)
    assert (numbers["low"], numbers["high"]) == pytest.approx(confidence_interval(pair_means))
    assert summary["left_side_advantage"]["mean"] == pytest.approx((1 + 2 - 3) / 6)


def test_a_round_robin_plays_each_two_once_on_the_same_seeds():
    entrants = {name: Pusher(chance, name) for name, chance in (("a", 0.2), ("b", 0.5), ("c", 0.8))}
    seen = []
    results = round_robin(entrants, DUEL, pairs=3, progress=lambda done, total: seen.append((done, total)))
    assert [(r.first, r.second) for r in results] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert seen[-1] == (18, 18)
    assert len({game.seed for r in results for game in r.games}) == 3
    assert results[1].games == match(entrants["a"], entrants["c"], DUEL, pairs=3).games


def test_every_game_is_written_as_a_line(tmp_path):
    path = tmp_path / "games.jsonl"
    write_games(path, [result((1, 0), (2, 0)), result((0, 0), (0, 3))])
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(rows) == 4
    assert rows[1] == {
        "pair": 0, "seed": 0, "left": "b", "right": "a", "goals_left": 2, "goals_right": 0, "length": 9
    }  # fmt: skip
    assert [p.name for p in tmp_path.iterdir()] == ["games.jsonl"]


def test_no_pairs_are_refused():
    with pytest.raises(ValueError, match=r"^pairs must be at least 1, got 0$"):
        match("random", "idle", DUEL, pairs=0)


@pytest.mark.parametrize("level", ["academy_3_vs_1_with_keeper", "team_corner", "academy_single_goal_versus_lazy"])
def test_levels_whose_sides_differ_are_refused_with_those_that_do_not(level):
    with pytest.raises(ValueError, match=rf"^the sides of {level} cannot be swapped.*: 1_vs_1_easy, 5_vs_5, 11_vs_11_"):
        match("random", "idle", envs.config(f"football/{level}"), pairs=1)


def test_a_game_without_another_side_is_refused():
    with pytest.raises(ValueError, match=r"^commons_harvest has one team and no other side"):
        match("random", "idle", envs.config("lab2d/commons_harvest"), pairs=1)


@pytest.mark.engine("football")
@pytest.mark.parametrize("level", LEVEL_TABLE)
def test_in_swappable_levels_and_no_others_both_teams_stand_alike(level):
    """Away from the centre circle, where the side that kicks off stands nearer, the line-ups are equal."""
    from envs.football.engine import EpisodeSeed, scenario

    config = scenario(level, 1, 0, EpisodeSeed(0, False, False))

    def places(team):
        return [(p.role, p.lazy, round(p.position[0], 3)) for p in team if p.position[0] < -0.06]

    alike = places(config.left_team) == places(config.right_team) and len(config.left_team) == len(config.right_team)
    assert alike == (level in SWAPPABLE)
