"""The typed configuration of one pre-training; flags come from its fields."""

from dataclasses import dataclass, field
from typing import ClassVar, get_args

from agents import NetworkConfig
from envs import EnvConfig
from marl.checks import fraction, not_negative, positive
from marl.config import Device, EntityKind, PredictionSettings
from marl.losses.prediction import RESTART


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """One pre-training: a recording, a network and a budget."""

    KIND: ClassVar[str] = "pretrain"
    """What a run folder's config.json says that it holds."""

    data: str = ""
    """Folder of the recording (`tandem record`)."""
    env: EnvConfig | None = None
    """The environment that the network is for; None takes the recording's, and then needs no engine."""
    network: NetworkConfig = field(default_factory=NetworkConfig)
    """The arm, its sizes, and what is predicted how far ahead: all of it as the training to come will have it."""
    kinds: tuple[EntityKind, ...] = get_args(EntityKind)
    """Kinds of entities whose motion counts."""
    steps: int = 5000
    """Updates."""
    batch: int = 256
    """Moments (of the whole team) per update."""
    learning_rate: float = 1e-3
    """Adam's step size at its highest; it rises linearly during `warmup_steps` and falls along a cosine to 0."""
    warmup_steps: int = 100
    """Updates before the step size is at its highest."""
    grad_clip: float = 1.0
    """Largest global norm of a gradient."""
    holdout: float = 0.1
    """Share of the episodes that is only tested on; evenly spread, the same whatever the seed."""
    restart: float = RESTART
    """An entity that moves by more than this, in units of `step_scale`, in one step was put there by the referee: an
    episode is cut there, as that is no motion. 0 cuts nowhere."""
    memory_mb: float = 1024.0
    """Megabytes of rows held at once; a larger recording is shuffled in windows of this size."""
    eval_interval_steps: int = 500
    """Updates between tests on held-out moments."""
    eval_rows: int = 8192
    """Held-out moments at most of each test on the way (the one at the end takes all)."""
    report_interval_steps: int = 50
    """Updates between reports, which are means over them."""
    checkpoint_interval_s: float = 60.0
    """Seconds between checkpoints; a killed run loses at most the work since the last one."""
    keep_checkpoints: int = 2
    """Newest checkpoints that are kept."""
    seed: int = 0
    """Seed of the weights and of the order of the data."""
    device: Device = "auto"
    """"auto" takes a GPU if there is one."""

    def __post_init__(self) -> None:
        positive(
            self, "steps", "batch", "learning_rate", "grad_clip", "memory_mb", "eval_interval_steps", "eval_rows",
            "report_interval_steps", "checkpoint_interval_s", "keep_checkpoints",
        )  # fmt: skip
        not_negative(self, "warmup_steps", "restart", "seed")
        fraction(self, "holdout")
        if not 0 < self.holdout < 1:
            raise ValueError(f"holdout must be above 0 and below 1, got {self.holdout}")
        if self.seed >= 2**32:
            raise ValueError(f"seed must be below 2^32, got {self.seed}")
        if self.device not in get_args(Device):
            raise ValueError(f"device {self.device!r} does not exist; allowed: {', '.join(get_args(Device))}")
        PredictionSettings(kinds=self.kinds)  # the same rule, the same sentence
