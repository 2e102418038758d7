"""TeamParallelEnv: PettingZoo's own tests, and what they do not ask."""

import gymnasium as gym
import numpy as np
import pytest
from pettingzoo.test import parallel_api_test, parallel_seed_test

from envs.fakes import FakeTeamEnv, make_spec, meet
from envs.lab2d import LEVELS, Lab2dConfig
from envs.parallel import TeamParallelEnv

FLOATS = gym.spaces.Box(-np.inf, np.inf, (3, 7), np.float32)
MATCH = make_spec(FLOATS, others=("opponent",) * 3 + ("ball",), opponents=3)
FAKES = {"meet": lambda: meet(players=4, absent=0.4), "match": lambda: FakeTeamEnv(MATCH, absent=0.2, ends=0.05)}


def _passes(make):
    parallel_api_test(make(), num_cycles=60)
    parallel_seed_test(make)
    env = make()
    observations, _ = env.reset(0)
    for _ in range(60):
        assert set(observations) == set(env.possible_agents)
        assert all(env.observation_space(agent).contains(seen) for agent, seen in observations.items())
        if not env.agents:
            break
        observations, *_ = env.step({agent: env.action_space(agent).sample() for agent in env.agents})
    assert env.render().dtype == np.uint8
    env.close()
    env.close()


@pytest.mark.parametrize("make", FAKES.values(), ids=FAKES)
def test_fakes_pass(make):
    _passes(lambda: TeamParallelEnv(make()))


@pytest.mark.engine("lab2d")
@pytest.mark.parametrize("view", ["layer", "rgb"])
@pytest.mark.parametrize("level", LEVELS)
def test_lab2d_passes(level, view):
    config = Lab2dConfig(level=level, view=view, steps=40, sprite_size=4)
    _passes(lambda: TeamParallelEnv(config.build()))


def test_agents_get_their_slice_and_the_common_arrays():
    team, parallel = meet(), TeamParallelEnv(meet())
    obs, (seen, _) = team.reset(3), parallel.reset(3)
    for step in range(5):
        for i in range(3):
            mine = seen[f"player_{i}"]
            assert np.array_equal(mine["view"], obs["view"][i])
            assert mine["mask"] == obs["mask"][i]
            assert mine["who"] == obs["who"][i]
            assert np.array_equal(mine["positions"], obs["positions"])
        actions = np.array([step % 5, 1, 2])
        obs, rewards, *_ = team.step(actions)
        seen, paid, *_ = parallel.step({f"player_{i}": int(a) for i, a in enumerate(actions)})
        assert list(paid.values()) == rewards.tolist()


def test_agents_share_no_memory():
    seen, _ = TeamParallelEnv(meet()).reset(0)
    seen["player_0"]["positions"][...] = 9
    assert not (seen["player_1"]["positions"] == 9).any()


def test_opponents_get_minus_the_reward_of_the_team():
    env = TeamParallelEnv(FakeTeamEnv(MATCH))
    env.reset(0)
    assert env.agents == [f"{side}_{i}" for side in ("player", "opponent") for i in range(3)]
    actions = dict.fromkeys(env.agents, 1) | {"player_0": 0}
    _, rewards, *_ = env.step(actions)
    assert rewards["player_0"] == 1
    assert [rewards[f"opponent_{i}"] for i in range(3)] == pytest.approx([-1 / 3] * 3)


def test_the_end_reaches_everybody_with_the_numbers():
    env = TeamParallelEnv(meet(steps=2))
    env.reset(1)
    stay = dict.fromkeys(env.agents, 0)
    *_, infos = env.step(stay)
    assert not any(infos.values())
    *_, terminations, truncations, infos = env.step(stay)
    assert not any(terminations.values())
    assert all(truncations.values())
    assert set(infos["player_2"]["episode"]) == {"per_capita_return", "met"}
    assert env.agents == []
    with pytest.raises(RuntimeError, match="reset"):
        env.step(stay)


def test_bad_agents_actions_and_render_modes_are_named():
    env = TeamParallelEnv(meet())
    env.reset(0)
    with pytest.raises(ValueError, match=r"at odds: player_2, player_9"):
        env.step({"player_0": 0, "player_1": 0, "player_9": 0})
    with pytest.raises(ValueError, match="action 7 of agent 1"):
        env.step({"player_0": 0, "player_1": 7, "player_2": 0})
    with pytest.raises(ValueError, match="render_mode 'human' does not exist; allowed: None, 'rgb_array'"):
        TeamParallelEnv(meet(), render_mode="human")
    assert TeamParallelEnv(meet(), render_mode=None).render() is None
