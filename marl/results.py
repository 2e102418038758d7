"""RLlib's nested result of one iteration -> flat {tag: float} with the project's own tags."""

import math
from typing import Any

from ray.rllib.core import DEFAULT_MODULE_ID

from marl.runner import EPISODE, TIMERS

_RUNNER = {
    "episode_return_mean": "train/return_mean",
    "episode_len_mean": "train/episode_length",
    "num_episodes_lifetime": "train/episodes",
}
_LEARNER = {
    "policy_loss": "train/policy_loss",
    "value_error": "train/value_error",
    "explained_variance": "train/explained_variance",
    "entropy": "train/entropy",
    "kl": "train/kl",
    "clip_fraction": "train/clip_fraction",
    "first_ratio_error": "train/first_ratio_error",
    "prediction_error": "train/prediction_error",
    "prediction_error_no_move": "train/prediction_error_no_move",
    "prediction_error_same_rows": "train/prediction_error_same_rows",
    "prediction_error_constant_velocity": "train/prediction_error_constant_velocity",
    "gradients_default_optimizer_global_norm": "train/grad_norm",
    "default_optimizer_learning_rate": "train/learning_rate",
    "curr_entropy_coeff": "train/entropy_coeff",
}
_TIMERS = {
    "env_runner_sampling_timer": "time/sampling_s",
    "learner_update_timer": "time/learner_s",
    "synch_weights": "time/weight_sync_s",
}


def flatten(result: dict[str, Any], seconds: float) -> dict[str, float]:
    """Metrics of one iteration that took `seconds`; "env_steps" is the lifetime count. Missing and NaN are left out."""
    runner = result.get("env_runners", {})
    learner = result.get("learners", {}).get(DEFAULT_MODULE_ID, {})
    timers = result.get("timers", {})
    metrics = {
        **{tag: runner.get(name) for name, tag in _RUNNER.items()},
        **{f"train/{name}": value for name, value in runner.get(EPISODE, {}).items()},
        **{tag: learner.get(name) for name, tag in _LEARNER.items()},
        **{tag: timers.get(name) for name, tag in _TIMERS.items()},
        **{f"time/runner_{name}_s": value for name, value in runner.get(TIMERS, {}).items()},
        "time/iteration_s": seconds,
        "env_steps": runner.get("num_env_steps_sampled_lifetime"),
    }
    plain = {tag: float(value) for tag, value in metrics.items() if value is not None}
    return {tag: value for tag, value in plain.items() if not math.isnan(value)}
