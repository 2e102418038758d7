"""Our configuration as RLlib's: the one place that knows both."""

from dataclasses import asdict
from typing import Any

import torch
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

import envs
from agents import ObservationSpec, Policy, TeamNetwork
from agents.rl_module import TeamRLModule
from marl.batch import TeamBatch
from marl.config import TrainConfig
from marl.learner import TeamPPOLearner
from marl.runner import TeamVecRunner
from marl.vector import TeamGymEnv, action_space, observation_space


def team_spec(env: envs.EnvConfig) -> envs.TeamSpec:
    """The spec of an environment, from an instance that is closed again."""
    instance = envs.make_team(env)
    spec = instance.spec
    instance.close()
    return spec


def module_spec(spec: envs.TeamSpec, config: TrainConfig) -> RLModuleSpec:
    return RLModuleSpec(
        module_class=TeamRLModule,
        observation_space=observation_space(spec),
        action_space=action_space(spec),
        model_config={"spec": ObservationSpec.from_team(spec).to_json(), "network": asdict(config.network)},
    )


def ppo_config(config: TrainConfig, spec: envs.TeamSpec) -> PPOConfig:
    """RLlib's PPO with our runner, batch and learner. `num_runners` actors collect, the driver learns."""
    ppo, runners = config.ppo, config.runners
    gpu = config.device == "cuda" or (config.device == "auto" and torch.cuda.is_available())
    minibatches = ppo.epochs * -(-ppo.batch_env_steps // ppo.minibatch_env_steps)
    return (
        PPOConfig()
        .environment(
            env=TeamGymEnv,
            env_config={"env": config.env},
            observation_space=observation_space(spec),
            action_space=action_space(spec),
        )
        .framework("torch")
        .debugging(seed=config.seed, log_level="ERROR")
        .env_runners(
            env_runner_cls=TeamVecRunner,
            num_env_runners=runners.num_runners,
            num_envs_per_env_runner=runners.num_envs,
            rollout_fragment_length=config.fragment_length,
            sample_timeout_s=runners.stall_timeout_s,
        )
        .learners(
            learner_class=TeamPPOLearner,
            learner_connector=lambda _obs_space, _act_space, device=None: TeamBatch(
                gamma=ppo.gamma, lambda_=ppo.lambda_, reward_scale=ppo.reward_scale, device=device or "cpu"
            ),
            num_learners=0,
            num_gpus_per_learner=1 if gpu else 0,
            learner_config_dict={
                "clip_eps": ppo.clip_eps,
                "value_coeff": ppo.value_coeff,
                "prediction_coeff": config.prediction.coeff,
                "prediction_kinds": config.prediction.kinds,
                "minibatches": minibatches,
            },
            # RLlib's own pieces add an artificial step and standardise advantages over it; ours needs neither.
            add_default_connectors_to_learner_pipeline=False,
        )
        .training(
            lr=[[0, ppo.learning_rate], [config.env_steps, ppo.learning_rate_end]],
            entropy_coeff=[[0, ppo.entropy_coeff], [config.env_steps, ppo.entropy_coeff_end]],  # type: ignore[arg-type]
            gamma=ppo.gamma,
            lambda_=ppo.lambda_,
            train_batch_size_per_learner=config.fragment_length * runners.num_envs * max(1, runners.num_runners),
            minibatch_size=ppo.minibatch_env_steps,
            num_epochs=ppo.epochs,
            shuffle_batch_per_epoch=True,
            grad_clip=ppo.grad_clip,
            grad_clip_by="global_norm",
            use_kl_loss=False,
        )
        .rl_module(rl_module_spec=module_spec(spec, config))
        .fault_tolerance(
            restart_failed_env_runners=runners.max_restarts > 0,
            max_num_env_runner_restarts=runners.max_restarts,
            delay_between_env_runner_restarts_s=1.0,
        )
        .reporting(min_time_s_per_iteration=0, metrics_num_episodes_for_smoothing=100)
    )


def export_policy(algorithm: Algorithm, config: TrainConfig, spec: envs.TeamSpec, meta: dict[str, Any]) -> Policy:
    """The learner's present weights as a stand-alone policy."""
    assert algorithm.learner_group is not None
    weights = algorithm.learner_group.get_weights()[DEFAULT_MODULE_ID]
    network = TeamNetwork(ObservationSpec.from_team(spec), config.network)
    prefix = "network."
    network.load_state_dict({key.removeprefix(prefix): torch.as_tensor(value) for key, value in weights.items()})
    return Policy(network, meta)
