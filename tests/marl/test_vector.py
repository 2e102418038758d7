"""Environments side by side, and one as a plain gymnasium environment."""

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import envs
from marl.vector import TeamGymEnv, TeamVecEnv
from tests.marl.two_sides import DuelConfig


@pytest.mark.filterwarnings("ignore::UserWarning")  # advice about the ranges of spaces
def test_the_plain_environment_passes_gymnasiums_check(meeting):
    check_env(TeamGymEnv({"env": meeting()}), skip_close_check=True)


def test_the_plain_environment_is_the_team_with_the_mean_reward(meeting):
    plain, team = TeamGymEnv({"env": meeting(side=3)}), envs.make_team(meeting(side=3))
    obs, expected = plain.reset(seed=4)[0], team.reset(4)
    assert np.array_equal(plain.render(), team.draw())
    rng, over = np.random.default_rng(0), False
    while not over:
        assert plain.observation_space.contains(obs)
        assert all(np.array_equal(obs[key], expected[key]) for key in expected)
        actions = rng.integers(5, size=3)
        obs, reward, *ends, _ = plain.step(actions)
        expected, rewards, terminated, truncated, _ = team.step(actions)
        assert reward == pytest.approx(rewards.mean())
        assert ends == [terminated, truncated]
        over = terminated or truncated
    plain.close()


def test_a_vector_owns_its_environments(meeting):
    vector = TeamVecEnv(lambda: envs.make_team(meeting()), 3)
    assert vector.num_envs == len({id(env) for env in vector.envs}) == 3
    assert vector.unwrapped is vector
    assert vector.single_observation_space["view"].shape == vector.spec.spaces["view"].shape
    assert vector.single_action_space.nvec.tolist() == [5, 5, 5]
    for env in vector.envs:
        env.reset(0)
    vector.close()
    with pytest.raises(RuntimeError):
        vector.envs[2].step(np.zeros(3, int))


def test_a_vector_knows_the_right_teams_spec_where_it_is_played(meeting):
    assert TeamVecEnv(lambda: envs.make_team(meeting()), 1).opponent_spec is None
    duel = TeamVecEnv(DuelConfig(players=2, opponents=3).build, 2)
    assert duel.opponent_spec is not None
    assert (duel.spec.num_agents, duel.opponent_spec.num_agents) == (2, 3)
