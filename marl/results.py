"""RLlib's nested result of one iteration -> flat {tag: float} with the project's own tags."""

import math
from typing import Any

from ray.rllib.core import DEFAULT_MODULE_ID

from marl.runner import EPISODE, TIMERS

_RUNNER = {
    "episode_return_mean": "train/return_mean",
    "episode_len_mean": "train/episode_length",
    "num_episodes_lifetime": "train/episodes",
    "policy_lag": "train/policy_lag",
}
_LEARNER = {
    "policy_loss": "train/policy_loss",
    "value_error": "train/value_error",
    "explained_variance": "train/explained_variance",
    "entropy": "train/entropy",
    "kl": "train/kl",
    "rho": "train/rho",
    "clip_fraction": "train/clip_fraction",
    "first_ratio_error": "train/first_ratio_error",
    "gradients_main_global_norm": "train/grad_norm",
    "main_learning_rate": "train/learning_rate",
    "curr_entropy_coeff": "train/entropy_coeff",
}


def flatten(result: dict[str, Any], seconds: float) -> dict[str, float]:
    """Metrics of one iteration that took `seconds`; "env_steps" is the lifetime count. Missing and NaN are left out."""
    runner = result.get("env_runners", {})
    learner = result.get("learners", {}).get(DEFAULT_MODULE_ID, {})
    metrics = {
        **{tag: runner.get(name) for name, tag in _RUNNER.items()},
        **{f"train/{name}": value for name, value in runner.get(EPISODE, {}).items()},
        **{tag: learner.get(name) for name, tag in _LEARNER.items()},
        **{f"train/{name}": value for name, value in learner.items() if name.startswith("prediction_")},
        **{f"time/runner_{name}_s": value for name, value in runner.get(TIMERS, {}).items()},
        "time/iteration_s": seconds,
        "time/learner_s": learner.get("update_s"),
        # RLlib's own timers are moving averages; what is not learning is collecting and sending weights.
        "time/sampling_s": seconds - float(learner.get("update_s", 0.0)),
        "env_steps": runner.get("num_env_steps_sampled_lifetime"),
    }
    plain = {tag: float(value) for tag, value in metrics.items() if value is not None}
    return {tag: value for tag, value in plain.items() if not math.isnan(value)}
