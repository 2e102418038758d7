"""Values that do not fit, each answered in one sentence."""

import math

import pytest

from marl import (
    EvalSettings,
    ImpalaSettings,
    OpponentSettings,
    PPOSettings,
    PredictionSettings,
    RunnerSettings,
    TrainConfig,
)


def test_the_defaults_fit():
    config = TrainConfig()
    envs = config.runners.num_envs * config.runners.num_runners
    assert config.fragment_length * envs >= config.ppo.batch_env_steps > (config.fragment_length - 1) * envs


@pytest.mark.parametrize(
    ("num_runners", "num_envs", "batch", "length"),
    [(0, 4, 64, 16), (1, 4, 64, 16), (2, 4, 64, 8), (3, 4, 64, 6), (2, 32, 64, 1)],
)
def test_each_environment_contributes_its_share(num_runners, num_envs, batch, length):
    config = TrainConfig(
        runners=RunnerSettings(num_runners=num_runners, num_envs=num_envs),
        ppo=PPOSettings(batch_env_steps=batch, minibatch_env_steps=16),
    )
    assert config.fragment_length == length


WRONG = [
    (PPOSettings, {"learning_rate": 0.0}, "learning_rate must be positive and finite, got 0.0"),
    (PPOSettings, {"learning_rate": math.nan}, "learning_rate must be positive and finite, got nan"),
    (PPOSettings, {"learning_rate_end": -1.0}, "learning_rate_end must be finite and not negative, got -1.0"),
    (PPOSettings, {"gamma": 1.1}, "gamma must be between 0 and 1, got 1.1"),
    (PPOSettings, {"lambda_": -0.1}, "lambda_ must be between 0 and 1, got -0.1"),
    (PPOSettings, {"clip_eps": 0}, "clip_eps must be positive and finite, got 0"),
    (PPOSettings, {"entropy_coeff": -1e-3}, "entropy_coeff must be finite and not negative, got -0.001"),
    (PredictionSettings, {"coeff": math.nan}, "coeff must be finite and not negative, got nan"),
    (
        PredictionSettings,
        {"kinds": ("dog",)},
        "kinds must be some of teammate, opponent, ball, each once; got ('dog',)",
    ),
    (PredictionSettings, {"kinds": ()}, "kinds must be some of teammate, opponent, ball, each once; got ()"),
    (ImpalaSettings, {"rho_clip": 0}, "rho_clip must be positive and finite, got 0"),
    (ImpalaSettings, {"c_clip": 2.0}, "c_clip must be at most rho_clip (1.0), got 2.0"),
    (ImpalaSettings, {"gamma": 2.0}, "gamma must be between 0 and 1, got 2.0"),
    (OpponentSettings, {"kind": "ghost"}, "opponent kind 'ghost' does not exist; allowed: builtin, frozen, self_play"),
    (OpponentSettings, {"kind": "frozen"}, "opponent kind 'frozen' needs an opponent policy, got None"),
    (OpponentSettings, {"policy": "runs/a"}, "opponent kind 'builtin' takes no opponent policy, got 'runs/a'"),
    (OpponentSettings, {"latest_share": 1.5}, "latest_share must be between 0 and 1, got 1.5"),
    (TrainConfig, {"algorithm": "dqn"}, "algorithm 'dqn' does not exist; allowed: ppo, impala"),
    (
        TrainConfig,
        {"opponent": OpponentSettings(kind="self_play")},
        "opponent kind 'self_play' does not fit env.opponents 0; "
        "the engine's AI plays with 0 opponents, everybody else with at least 1",
    ),
    (PPOSettings, {"advantage_std_min": -1.0}, "advantage_std_min must be finite and not negative, got -1.0"),
    (PPOSettings, {"epochs": 0}, "epochs must be positive and finite, got 0"),
    (PPOSettings, {"reward_scale": 0.0}, "reward_scale must be positive and finite, got 0.0"),
    (
        PPOSettings,
        {"batch_env_steps": 10, "minibatch_env_steps": 11},
        "minibatch_env_steps must be at most batch_env_steps (10), got 11",
    ),
    (RunnerSettings, {"num_envs": 0}, "num_envs must be positive and finite, got 0"),
    (RunnerSettings, {"num_runners": -1}, "num_runners must be finite and not negative, got -1"),
    (RunnerSettings, {"max_restarts": -1}, "max_restarts must be finite and not negative, got -1"),
    (RunnerSettings, {"stall_timeout_s": 0}, "stall_timeout_s must be positive and finite, got 0"),
    (EvalSettings, {"episodes": 0}, "episodes must be positive and finite, got 0"),
    (EvalSettings, {"num_envs": 0}, "num_envs must be positive and finite, got 0"),
    (EvalSettings, {"episodes": 10**9}, "episodes must be at most 100,000, got 1,000,000,000"),
    (EvalSettings, {"interval_episodes": 10**9}, "interval_episodes must be at most 100,000, got 1,000,000,000"),
    (EvalSettings, {"interval_s": -1.0}, "interval_s must be finite and not negative, got -1.0"),
    (TrainConfig, {"env_steps": 0}, "env_steps must be positive and finite, got 0"),
    (TrainConfig, {"time_s": 0.0}, "time_s must be positive and finite, got 0.0"),
    (TrainConfig, {"seed": -1}, "seed must be finite and not negative, got -1"),
    (TrainConfig, {"device": "tpu"}, "device 'tpu' does not exist; allowed: auto, cpu, cuda"),
    (TrainConfig, {"keep_checkpoints": 0}, "keep_checkpoints must be positive and finite, got 0"),
    (
        TrainConfig,
        {"runners": RunnerSettings(num_runners=4, num_envs=2000)},
        "batch_env_steps must be at least num_envs x num_runners = 8000, got 4096",
    ),
]


@pytest.mark.parametrize(("kind", "options", "message"), WRONG, ids=[str(row[1]) for row in WRONG])
def test_a_value_that_does_not_fit_is_named_with_what_is_allowed(kind, options, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the whole message is compared)
        kind(**options)
    assert str(caught.value) == message
