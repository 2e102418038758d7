"""The table of levels is what the engine says, and the team_ levels leave the keepers to it."""

import numpy as np
import pytest

from envs.football import LEVELS, FootballConfig
from envs.football.levels import LEVEL_TABLE

pytestmark = pytest.mark.engine("football")


@pytest.mark.parametrize("level", LEVELS)
def test_the_table_says_what_the_engine_says(level):
    from envs.football.engine import level_of

    assert level_of(level) == LEVEL_TABLE[level]


def test_in_a_team_level_the_attackers_are_controlled_all_the_time():
    env = FootballConfig(level="team_3_vs_1_with_keeper").build()
    rng = np.random.default_rng(0)
    obs = env.reset(0)
    for _ in range(150):
        np.testing.assert_array_equal(obs["who"], [1, 2, 3])
        obs, _, terminated, truncated, _ = env.step(rng.integers(19, size=3))
        if terminated or truncated:
            obs = env.reset()
    env.close()


@pytest.mark.parametrize("name", ["3_vs_1_with_keeper", "corner"])
def test_a_team_level_is_set_up_like_its_academy_level(name):
    starts = []
    for level in (f"academy_{name}", f"team_{name}"):
        env = FootballConfig(level=level).build()
        starts.append(env.reset(3)["positions"])
        env.close()
    np.testing.assert_array_equal(*starts)


def test_the_opponents_difficulty_can_be_set():
    env = FootballConfig(level="5_vs_5", opponent_difficulty=0.75).build()
    env.reset(0)
    assert env.match.engine.config.right_team_difficulty == 0.75
    env.close()
