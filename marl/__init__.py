"""Training and evaluation of teams on Ray.

    policy = marl.train(marl.TrainConfig(env=envs.config("lab2d/commons_harvest", players=4)), "runs/mine")

Importing this package imports neither Ray nor a game engine.
"""

from typing import TYPE_CHECKING

from marl.config import (
    EvalSettings,
    ImpalaSettings,
    OpponentSettings,
    PPOSettings,
    PredictionSettings,
    RunnerSettings,
    TrainConfig,
)

if TYPE_CHECKING:
    from marl.evaluation import evaluate
    from marl.training import train

__all__ = [
    "EvalSettings", "ImpalaSettings", "OpponentSettings", "PPOSettings", "PredictionSettings", "RunnerSettings",
    "TrainConfig", "evaluate", "train",
]  # fmt: skip


def __getattr__(name: str):
    # RLlib takes seconds to import, and configurations, `--help` and evaluation do not need it.
    if name == "train":
        from marl.training import train

        return train
    if name == "evaluate":
        from marl.evaluation import evaluate

        return evaluate
    raise AttributeError(f"module 'marl' has no attribute {name!r}")
