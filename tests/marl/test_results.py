"""RLlib's nested results as flat tags."""

import math

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


def test_what_is_missing_or_nan_is_left_out():
    result = {"env_runners": {"episode_return_mean": math.nan}}
    assert flatten(result, 5.0) == {"time/iteration_s": 5.0, "time/sampling_s": 5.0}
    assert flatten({}, 1.0) == {"time/iteration_s": 1.0, "time/sampling_s": 1.0}
