"""The RLModule says what the network says, in RLlib's layout."""

from dataclasses import asdict

import gymnasium as gym
import pytest
import torch
from ray.rllib.core.columns import Columns
from torch.distributions import Categorical

from agents import NetworkConfig, ObservationSpec
from agents.rl_module import TOKENS, VALUES, TeamRLModule

CONFIG = NetworkConfig(width=16, hidden=24, arm="acam")


@pytest.fixture
def module(team_spec):
    torch.manual_seed(0)
    module = TeamRLModule(
        observation_space=gym.spaces.Dict(dict(team_spec.spaces)),
        action_space=gym.spaces.MultiDiscrete([team_spec.num_actions] * team_spec.num_agents),
        model_config={"spec": ObservationSpec.from_team(team_spec).to_json(), "network": asdict(CONFIG)},
    )
    torch.nn.init.normal_(module.network.policy[-1].weight)
    return module


def test_it_forwards_the_network(module, team_spec, observe):
    batch = {Columns.OBS: observe(team_spec, 6, absent=0.3)}
    expected = module.network(batch[Columns.OBS])
    for forward in (module.forward_train, module.forward_inference, module.forward_exploration):
        out = forward(batch)
        torch.testing.assert_close(out[Columns.ACTION_DIST_INPUTS].view(6, 3, 5), expected.logits)
        torch.testing.assert_close(out[VALUES], expected.values)
        torch.testing.assert_close(out[TOKENS], expected.tokens)
    torch.testing.assert_close(module.compute_values(batch), expected.values)


def test_rllibs_own_distribution_reads_its_logits_per_agent(module, team_spec, observe):
    out = module.forward_inference({Columns.OBS: observe(team_spec, 6)})
    logits = out[Columns.ACTION_DIST_INPUTS]
    dist = module.action_dist_cls.from_logits(logits)
    actions = torch.randint(5, (6, 3), generator=torch.Generator().manual_seed(1))
    each = Categorical(logits=logits.view(6, 3, 5))
    torch.testing.assert_close(dist.logp(actions), each.log_prob(actions).sum(-1))
