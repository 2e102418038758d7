"""The configuration answers wrong values in one sentence, and needs no engine for it."""

import sys

import pytest

from envs.football import LEVELS, FootballConfig
from envs.football.levels import LEVEL_TABLE
from envs.team import EngineMissing


def test_there_are_the_promised_levels():
    assert len(LEVELS) == len(set(LEVELS)) == 11 + 7 + 2 + 5
    assert {"academy_corner", "team_corner", "1_vs_1_easy", "5_vs_5", "11_vs_11_kaggle"} <= set(LEVELS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"level": "academy_3_vs_2"}, "level of football 'academy_3_vs_2' does not exist; allowed: academy_empty_goal"),
        ({"view": "rgb"}, "view of football 'rgb' does not exist; allowed: features, entities, smm"),
        ({"rewards": "goals"}, "rewards of football 'goals' does not exist; allowed: scoring, scoring,checkpoints"),
        ({"players": 5}, "players of academy_3_vs_1_with_keeper 5 does not fit; allowed: 1 to 4"),
        ({"players": 0}, "players of academy_3_vs_1_with_keeper 0 does not fit; allowed: 1 to 4"),
        ({"players": 2.0}, "players of academy_3_vs_1_with_keeper 2.0 does not fit; allowed: 1 to 4"),
        ({"opponents": 3}, "opponents of academy_3_vs_1_with_keeper 3 does not fit; allowed: 0 to 2"),
        ({"level": "team_empty_goal_close", "opponents": 1}, "opponents of team_empty_goal_close 1 .*; allowed: 0$"),
        ({"stack": 0}, "stack of football 0 does not fit; allowed: 1 to 16"),
        ({"reset_pool": -1}, "reset_pool of football -1 does not fit; allowed: 0 to 1024"),
        ({"opponent_difficulty": 1.5}, "opponent_difficulty of football 1.5 does not fit; allowed: None or 0 to 1"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(options, message):
    with pytest.raises(ValueError, match=message):
        FootballConfig(**({"level": "academy_3_vs_1_with_keeper"} | options))


def test_players_default_to_everyone_who_can_be_controlled():
    assert [FootballConfig(level=level).players for level in LEVELS] == [LEVEL_TABLE[level].left for level in LEVELS]


def test_checkpoints_is_short_for_both_rewards():
    assert FootballConfig(level="5_vs_5", rewards="checkpoints").rewards == "scoring,checkpoints"


def test_without_the_engine_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "gfootball_engine", None)  # makes its import fail
    for module in ("adapter", "engine", "match", "pool"):
        monkeypatch.delitem(sys.modules, f"envs.football.{module}", raising=False)
    with pytest.raises(EngineMissing, match=r"`make engine`.*tandem-lab\[football\]"):
        FootballConfig(level="5_vs_5").build()
