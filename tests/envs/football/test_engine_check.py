"""The installed engine plays the games of the stock build, to the bit.

The hashes were made with gfootball 2.10.2 built without our compiler flags:
    python -m envs.football.engine_check --steps 300 > tests/golden/football_hashes.json
"""

import json
from pathlib import Path

import pytest

from envs.football import LEVELS
from envs.football.levels import LEVEL_TABLE

pytestmark = pytest.mark.engine("football")
GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "football_hashes.json").read_text())


def test_every_level_has_a_hash_of_its_own():
    assert set(GOLDEN["hashes"]) == set(LEVELS)
    assert len(set(GOLDEN["hashes"].values())) == len(LEVELS)


@pytest.mark.parametrize("level", ["academy_3_vs_1_with_keeper", "team_corner", "5_vs_5", "11_vs_11_hard_stochastic"])
def test_the_games_are_those_of_the_stock_build(level):
    from envs.football.engine_check import trajectory_hash

    steps, seed = GOLDEN["steps"], GOLDEN["seed"]
    assert trajectory_hash(level, LEVEL_TABLE[level].left, steps, seed) == GOLDEN["hashes"][level]


def test_another_seed_gives_another_hash():
    from envs.football.engine_check import trajectory_hash

    one, other = (trajectory_hash("academy_empty_goal_close", 1, 20, seed) for seed in (0, 1))
    assert one == trajectory_hash("academy_empty_goal_close", 1, 20, 0) != other
