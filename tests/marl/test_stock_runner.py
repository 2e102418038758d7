"""Our runner beside RLlib's stock runner on the same network, environment and seeds: the same experience."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from ray.rllib.core.columns import Columns
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner

import envs
import marl
from agents.rl_module import TeamRLModule
from marl.algorithm import ppo_config, team_spec
from marl.losses.ppo import log_prob
from marl.rollout import AGENT_REWARDS
from marl.runner import TeamVecRunner
from marl.seeds import train_seed

pytestmark = pytest.mark.engine("lab2d")

STEPS, LIMIT = 50, 30  # one episode ends inside the sample


@pytest.fixture(scope="module")
def runners() -> tuple[TeamVecRunner, SingleAgentEnvRunner]:
    """One environment each, and the same weights."""
    config = marl.TrainConfig(
        env=envs.config("lab2d/commons_harvest", players=3, steps=LIMIT),
        network=replace(marl.TrainConfig().network, width=16, hidden=16),
        runners=marl.RunnerSettings(num_runners=0, num_envs=1),
    )
    settings = ppo_config(config, team_spec(config.env))
    ours = TeamVecRunner(config=settings, worker_index=0)
    stock = SingleAgentEnvRunner(config=settings.copy(copy_frozen=False), worker_index=0)
    torch.manual_seed(1)
    for parameter in ours.module.network.policy.parameters():
        torch.nn.init.normal_(parameter, std=0.5)  # decided enough for greedy actions to differ from step to step
    stock.module.load_state_dict(ours.module.state_dict())
    return ours, stock


def columns(episodes: list) -> dict[str, np.ndarray]:
    """What both kinds of episodes hold, end to end, in order of time."""
    keys = episodes[0].get_observations(0).keys()
    return {
        **{f"obs/{key}": np.concatenate([e.get_observations()[key] for e in episodes]) for key in keys},
        "actions": np.concatenate([e.get_actions() for e in episodes]),
        "rewards": np.concatenate([e.get_rewards() for e in episodes]),
    }


def test_greedy_play_is_the_same_stream_of_observations_actions_rewards_and_ends(runners) -> None:
    ours, stock = runners
    stock._seed = train_seed(0, 0, 0, 0, 0)  # the seed that our runner gives its first episode
    mine = ours.sample(num_timesteps=LIMIT, explore=False)
    theirs = stock.sample(num_timesteps=LIMIT, explore=False)
    theirs = [e for e in theirs if len(e)]
    assert [len(e) for e in mine] == [len(e) for e in theirs] == [LIMIT]
    ends = [[(e.is_terminated, e.is_truncated) for e in episodes] for episodes in (mine, theirs)]
    assert ends[0] == ends[1] == [(False, True)]  # a time limit is a truncation for both
    left, right = columns(mine), columns(theirs)
    assert left.keys() == right.keys()
    for key in left:
        np.testing.assert_array_equal(left[key], right[key], err_msg=key)
    assert len(np.unique(left["actions"])) > 1
    assert len(mine[0].get_observations()["mask"]) == LIMIT + 1  # with the final observation


def test_the_stock_runners_joint_log_probability_is_the_sum_of_ours(runners) -> None:
    _, stock = runners
    episode = next(e for e in stock.sample(num_timesteps=20, explore=True) if len(e))
    inputs = torch.as_tensor(np.array(episode.get_extra_model_outputs(Columns.ACTION_DIST_INPUTS)))
    actions = torch.as_tensor(np.array(episode.get_actions()))
    each = log_prob(inputs.view(*actions.shape, -1), actions)
    joint = np.array(episode.get_extra_model_outputs(Columns.ACTION_LOGP))
    np.testing.assert_allclose(each.sum(-1).numpy(), joint, rtol=1e-5, atol=1e-5)


def test_rewards_of_the_team_are_the_mean_of_its_agents(runners) -> None:
    ours, _ = runners
    for episode in ours.sample(num_timesteps=STEPS, explore=True):
        each = episode.get_extra_model_outputs(AGENT_REWARDS)
        np.testing.assert_allclose(episode.get_rewards(), np.asarray(each).mean(-1), rtol=1e-6)


def test_both_runners_take_the_same_module(runners) -> None:
    ours, stock = runners
    assert isinstance(ours.module, TeamRLModule)
    assert isinstance(stock.module, TeamRLModule)
    for a, b in zip(ours.module.parameters(), stock.module.parameters(), strict=True):
        assert torch.equal(a, b)
