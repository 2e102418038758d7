"""The results of an invented study, for the tests of its page, figures and layouts."""

from typing import Any

import numpy as np

from experiments.presets.study import ARMS

STEPS = (0, 1000, 2000, 3000, 4000)
GAINS = dict(zip(ARMS, (0.3, 0.5, 0.8, 0.8, 1.0, 1.0), strict=True))
"""Arm -> normalised score at the end, reached in a straight line."""


def document(
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4),
    arms: tuple[str, ...] = ARMS,
    noise: float = 0.02,
    task: str = "football-3v1",
) -> dict[str, Any]:
    """Scores are 0.1 for the random policy and 1.0 for the reference."""
    rng = np.random.default_rng(0)
    cells = []
    for seed in seeds:
        for arm in arms:
            ends = 0.1 + 0.9 * GAINS[arm] * np.array(STEPS) / STEPS[-1]
            counts = (3, 3, 3, 3, 6)
            curve = [
                [step, (end + rng.normal(scale=noise, size=count)).tolist()]
                for step, end, count in zip(STEPS, ends, counts, strict=True)
            ]
            cells.append(
                {
                    "arm": arm, "seed": seed, "hidden": 64, "learning_rate": 1e-3, "parameters": 1000,
                    "env_steps": 4000, "train_s": 60.0, "starts": 1, "git_sha": "abc", "curve": curve,
                    "unseen": {"stronger": (ends[-1] / 2 + rng.normal(scale=noise, size=3)).tolist()},
                }
            )  # fmt: skip
    budget = {
        "env_steps": 4000, "seeds": list(seeds), "evaluations": 4, "interval_episodes": 3, "episodes": 6,
        "pretrain_steps": 10, "record_episodes": 5,
    }  # fmt: skip
    data = {
        "title": "football 3 against 1", "metric": "scored", "reference": 1.0, "recorders": ["builtin_ai", "scripted"],
        "random": [0.0, 0.2], "budget": budget, "cells": cells,
    }  # fmt: skip
    return {
        "format": "tandem-study-results-1", "size": "2core", "arms": list(arms), "tasks": {task: data}, "tuning": None,
        "missing": [], "stale": [],
    }  # fmt: skip
