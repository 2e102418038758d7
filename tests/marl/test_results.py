"""RLlib's nested results as flat tags."""

import math

import torch
from ray.rllib.utils.metrics.metrics_logger import MetricsLogger

from marl.results import flatten


def test_numbers_get_the_projects_tags():
    result = {
        "env_runners": {
            "episode_return_mean": 1.5,
            "num_env_steps_sampled_lifetime": 4096,
            "episode": {"met": 0.25},
            "runner_timers": {"env": 0.5},
            "something_else": 3,
        },
        "learners": {"default_policy": {"entropy": 1.0, "update_s": 2.0, "curr_entropy_coeff": 0.01}},
    }
    assert flatten(result, 5.0) == {
        "train/return_mean": 1.5,
        "train/met": 0.25,
        "train/entropy": 1.0,
        "train/entropy_coeff": 0.01,
        "time/runner_env_s": 0.5,
        "time/iteration_s": 5.0,
        "time/learner_s": 2.0,
        "time/sampling_s": 3.0,
        "env_steps": 4096.0,
    }


def test_every_statistic_of_the_predictor_is_passed_through():
    learner = {
        "prediction_error": 0.5,
        "prediction_error/ball_no_move": 1.5,
        "prediction_nats/ball": math.nan,
        "other": 2,
    }
    got = flatten({"learners": {"default_policy": learner}}, 5.0)
    assert {tag: value for tag, value in got.items() if tag.startswith("train/")} == {
        "train/prediction_error": 0.5,
        "train/prediction_error/ball_no_move": 1.5,
    }


def test_rllibs_logger_keeps_the_names_of_the_statistics():
    logger = MetricsLogger(root=True)
    for value in (1.0, 2.0):
        logger.log_dict({"prediction_error/ball": torch.tensor(value)}, key="default_policy", window=2)
    got = flatten({"learners": logger.reduce()}, 5.0)
    assert got["train/prediction_error/ball"] == 1.5


def test_what_is_missing_or_nan_is_left_out():
    result = {"env_runners": {"episode_return_mean": math.nan}}
    assert flatten(result, 5.0) == {"time/iteration_s": 5.0, "time/sampling_s": 5.0}
    assert flatten({}, 1.0) == {"time/iteration_s": 1.0, "time/sampling_s": 1.0}
