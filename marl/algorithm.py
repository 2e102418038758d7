"""Our configuration as RLlib's: the one place that knows both."""

from dataclasses import asdict
from typing import Any

import torch
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core import COMPONENT_RL_MODULE, DEFAULT_MODULE_ID
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

import envs
from agents import ObservationSpec, Policy, TeamNetwork
from agents.rl_module import TeamRLModule
from marl.batch import TeamBatch
from marl.config import LearningSettings, TrainConfig
from marl.impala import TeamIMPALA, TeamIMPALAConfig, stop_runners
from marl.impala_learner import TeamIMPALALearner, VTraceBatch
from marl.learner import TeamPPOLearner
from marl.losses.prediction import kinds_that_count
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


def algorithm_config(config: TrainConfig, spec: envs.TeamSpec) -> PPOConfig:
    """The RLlib configuration of `config.algorithm`. Raises ValueError if no entity is of a kind to be predicted."""
    kinds_that_count(spec.entity_kinds, config.prediction.kinds)
    return ppo_config(config, spec) if config.algorithm == "ppo" else impala_config(config, spec)


def ppo_config(config: TrainConfig, spec: envs.TeamSpec) -> PPOConfig:
    """RLlib's PPO with our runner, batch and learner. `num_runners` actors collect, the driver learns."""
    ppo, runners = config.ppo, config.runners
    minibatches = ppo.epochs * -(-ppo.batch_env_steps // ppo.minibatch_env_steps)
    return (
        _common(PPOConfig(), config, spec, ppo)
        .learners(
            learner_class=TeamPPOLearner,
            learner_connector=lambda _obs_space, _act_space, device=None: TeamBatch(
                gamma=ppo.gamma,
                lambda_=ppo.lambda_,
                reward_scale=ppo.reward_scale,
                device=device or "cpu",
                advantage_std_min=ppo.advantage_std_min,
                restart=config.prediction.restart,
            ),
            learner_config_dict=_loss_settings(config, ppo) | {"clip_eps": ppo.clip_eps, "minibatches": minibatches},
        )
        .training(
            lambda_=ppo.lambda_,
            train_batch_size_per_learner=config.fragment_length * runners.num_envs * max(1, runners.num_runners),
            minibatch_size=ppo.minibatch_env_steps,
            num_epochs=ppo.epochs,
            shuffle_batch_per_epoch=True,
        )
    )


def impala_config(config: TrainConfig, spec: envs.TeamSpec) -> TeamIMPALAConfig:
    """IMPALA with our runner, batch and learner. `num_runners` actors collect while the driver learns; with none the
    driver does both in turn, on-policy."""
    impala = config.impala
    settings = TeamIMPALAConfig()
    settings.result_timeout_s = impala.result_timeout_s
    _common(settings, config, spec, impala)
    settings.learners(
        learner_class=TeamIMPALALearner,
        learner_connector=lambda _obs_space, _act_space, device=None: VTraceBatch(
            gamma=impala.gamma,
            lambda_=impala.lambda_,
            rho_clip=impala.rho_clip,
            c_clip=impala.c_clip,
            standardise_advantages=impala.standardise_advantages,
            advantage_std_min=impala.advantage_std_min,
            restart=config.prediction.restart,
            reward_scale=impala.reward_scale,
            device=device or "cpu",
        ),
        learner_config_dict=_loss_settings(config, impala) | {"rho_clip": impala.rho_clip, "minibatches": 1},
    )
    settings.training(lambda_=impala.lambda_, train_batch_size_per_learner=impala.batch_env_steps)
    # Nothing may wait for a runner that is stuck: neither for its constructor nor for an answer.
    settings.env_runners(validate_env_runners_after_construction=False, merge_env_runner_states=False)
    settings.fault_tolerance(env_runner_health_probe_timeout_s=1.0, env_runner_restore_timeout_s=30.0)
    return settings


def _loss_settings(config: TrainConfig, learning: LearningSettings) -> dict[str, Any]:
    """What the loss of every algorithm takes."""
    return {
        "value_coeff": learning.value_coeff,
        "prediction_coeff": config.prediction.coeff,
        "prediction_kinds": config.prediction.kinds,
    }


def _common(base: PPOConfig, config: TrainConfig, spec: envs.TeamSpec, learning: LearningSettings) -> PPOConfig:
    """What all algorithms have: environment, network, runners, schedules, faults."""
    runners = config.runners
    gpu = config.device == "cuda" or (config.device == "auto" and torch.cuda.is_available())
    return (
        base.environment(
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
            num_learners=0,
            num_gpus_per_learner=1 if gpu else 0,
            # RLlib's own pieces add an artificial step and standardise advantages over it; ours needs neither.
            add_default_connectors_to_learner_pipeline=False,
        )
        .training(
            lr=[[0, learning.learning_rate], [config.env_steps, learning.learning_rate_end]],
            entropy_coeff=[[0, learning.entropy_coeff], [config.env_steps, learning.entropy_coeff_end]],  # type: ignore[arg-type]
            gamma=learning.gamma,
            grad_clip=learning.grad_clip,
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


def stop(algorithm: Algorithm) -> None:
    """Ends an algorithm and its runners, also runners that are stuck."""
    if algorithm.env_runner_group is not None:
        stop_runners(algorithm.env_runner_group)
    algorithm.stop()


def export_policy(algorithm: Algorithm, config: TrainConfig, spec: envs.TeamSpec, meta: dict[str, Any]) -> Policy:
    """The learner's present weights as a stand-alone policy."""
    assert algorithm.learner_group is not None
    weights = algorithm.learner_group.get_weights()[DEFAULT_MODULE_ID]
    network = TeamNetwork(ObservationSpec.from_team(spec), config.network)
    prefix = "network."
    network.load_state_dict({key.removeprefix(prefix): torch.as_tensor(value) for key, value in weights.items()})
    return Policy(network, meta)


def import_weights(algorithm: Algorithm, network: TeamNetwork) -> None:
    """The inverse of `export_policy`: the learner and every runner go on with the weights of `network`."""
    assert algorithm.learner_group is not None
    assert algorithm.env_runner_group is not None
    weights = {f"network.{key}": value.detach().cpu().numpy() for key, value in network.state_dict().items()}
    algorithm.learner_group.set_weights({DEFAULT_MODULE_ID: weights})
    if isinstance(algorithm, TeamIMPALA):
        return  # every request brings the learner's weights
    state = {COMPONENT_RL_MODULE: {DEFAULT_MODULE_ID: weights}}

    def take(runner: Any) -> None:
        runner.set_state(state)

    # Not RLlib's sync_weights: before the first update it takes the runners' weights for just as new, and sends none.
    algorithm.env_runner_group.foreach_env_runner(take)
