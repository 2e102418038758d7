"""Our configuration as RLlib's, and a policy from a learner's weights."""

from types import SimpleNamespace

import pytest
import torch

from marl import PPOSettings, PredictionSettings, RunnerSettings, TrainConfig
from marl.algorithm import export_policy, module_spec, ppo_config, team_spec


@pytest.fixture
def config(meeting):
    return TrainConfig(
        env=meeting(),
        runners=RunnerSettings(num_runners=2, num_envs=8),
        ppo=PPOSettings(batch_env_steps=100, minibatch_env_steps=32, epochs=3),
        prediction=PredictionSettings(coeff=0.2),
        env_steps=1000,
        seed=7,
    )


def test_rllib_gets_what_we_ask_for(config):
    spec = team_spec(config.env)
    rllib = ppo_config(config, spec)
    rllib.validate()
    assert rllib.get_rollout_fragment_length() == config.fragment_length == 7
    assert rllib.train_batch_size_per_learner == 7 * 8 * 2  # whole fragments, so a little more than 100
    assert (rllib.num_epochs, rllib.minibatch_size, rllib.seed) == (3, 32, 7)
    assert rllib.lr == [[0, 5e-4], [1000, 5e-5]]
    assert rllib.learner_config_dict["prediction_coeff"] == 0.2
    assert rllib.learner_config_dict["prediction_kinds"] == ("teammate", "opponent", "ball")
    assert not rllib.add_default_connectors_to_learner_pipeline
    assert rllib.env_config == {"env": config.env}


def test_an_exported_policy_has_the_learners_weights(config):
    spec = team_spec(config.env)
    module = module_spec(spec, config).build()
    weights = {key: value.numpy() for key, value in module.state_dict().items()}
    group = SimpleNamespace(get_weights=lambda: {"default_policy": weights})
    policy = export_policy(SimpleNamespace(learner_group=group), config, spec, {"env_steps": 5})
    assert policy.meta == {"env_steps": 5}
    assert policy.network.config == config.network
    for key, value in module.network.state_dict().items():
        assert torch.equal(policy.network.state_dict()[key], value)
    del weights["network.value.0.bias"]
    with pytest.raises(RuntimeError, match="Missing key"):
        export_policy(SimpleNamespace(learner_group=group), config, spec, {})
