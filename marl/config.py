"""The typed configuration of one training run. Presets are instances of `TrainConfig`; flags come from its fields."""

from dataclasses import dataclass, field
from typing import Literal, get_args

from agents import NetworkConfig
from envs import EnvConfig
from envs.lab2d.config import Lab2dConfig

Device = Literal["auto", "cpu", "cuda"]


def _positive(owner: object, *names: str) -> None:
    for name in names:
        if not 0 < getattr(owner, name) < float("inf"):  # NaN fails too
            raise ValueError(f"{name} must be positive and finite, got {getattr(owner, name)}")


def _not_negative(owner: object, *names: str) -> None:
    for name in names:
        if not 0 <= getattr(owner, name) < float("inf"):
            raise ValueError(f"{name} must be finite and not negative, got {getattr(owner, name)}")


def _fraction(owner: object, *names: str) -> None:
    for name in names:
        if not 0 <= getattr(owner, name) <= 1:
            raise ValueError(f"{name} must be between 0 and 1, got {getattr(owner, name)}")


@dataclass(frozen=True, kw_only=True)
class PPOSettings:
    """Proximal policy optimisation, per agent."""

    learning_rate: float = 5e-4
    """Adam's step size at the start."""
    learning_rate_end: float = 5e-5
    """Step size once `env_steps` are done; linear in between."""
    gamma: float = 0.99
    """Discount per environment step."""
    lambda_: float = 0.95
    """GAE's lambda."""
    clip_eps: float = 0.2
    """Half-width of the clip of each agent's probability ratio."""
    entropy_coeff: float = 0.01
    """Weight of the entropy bonus at the start, per nat."""
    entropy_coeff_end: float = 0.001
    """Weight of the entropy bonus once `env_steps` are done; linear in between."""
    value_coeff: float = 0.5
    """Weight of the critic's loss."""
    prediction_coeff: float = 0.0
    """Weight of the predictive auxiliary loss; at 0 the predictor still learns, and is reported, but shapes nothing."""
    batch_env_steps: int = 4096
    """Environment steps (of the whole team) per update."""
    minibatch_env_steps: int = 1024
    """Environment steps per gradient step."""
    epochs: int = 4
    """Passes over each batch."""
    grad_clip: float = 0.5
    """Largest global norm of a gradient."""
    reward_scale: float = 1.0
    """Rewards are multiplied by this before learning (never in what is reported)."""

    def __post_init__(self) -> None:
        _positive(self, "learning_rate", "clip_eps", "batch_env_steps", "minibatch_env_steps", "epochs", "grad_clip")
        _positive(self, "reward_scale")
        _fraction(self, "gamma", "lambda_")
        _not_negative(
            self, "learning_rate_end", "entropy_coeff", "entropy_coeff_end", "value_coeff", "prediction_coeff"
        )
        if self.minibatch_env_steps > self.batch_env_steps:
            raise ValueError(
                f"minibatch_env_steps must be at most batch_env_steps ({self.batch_env_steps}), "
                f"got {self.minibatch_env_steps}"
            )


@dataclass(frozen=True, kw_only=True)
class RunnerSettings:
    """Who collects the data."""

    num_runners: int = 2
    """Ray actors that collect data; 0 collects in the driver."""
    num_envs: int = 32
    """Environments stepped together in each runner."""
    max_restarts: int = 5
    """How often a runner whose process died (an engine abort, a lost node) is started again. An error in Python code
    always ends the run with its traceback."""
    stall_timeout_s: float = 600.0
    """A run that collects nothing for this long fails with that reason."""

    def __post_init__(self) -> None:
        _positive(self, "num_envs", "stall_timeout_s")
        _not_negative(self, "num_runners", "max_restarts")


@dataclass(frozen=True, kw_only=True)
class EvalSettings:
    """Evaluation on held-out seeds, which training never uses."""

    episodes: int = 20
    """Episodes of the evaluation at the end."""
    interval_s: float = 60.0
    """Seconds of training between evaluations; 0 evaluates only at the end."""
    interval_episodes: int = 4
    """Episodes of each evaluation on the way."""
    deterministic: bool = False
    """Play the most likely action instead of a sample."""
    num_envs: int = 20
    """Episodes played side by side."""

    def __post_init__(self) -> None:
        _positive(self, "episodes", "interval_episodes", "num_envs")
        _not_negative(self, "interval_s")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """One run: an environment, a network, an algorithm and a budget."""

    env: EnvConfig = field(default_factory=lambda: Lab2dConfig(level="commons_harvest"))
    """The environment and its options."""
    network: NetworkConfig = field(default_factory=NetworkConfig)
    """The arm and its sizes."""
    ppo: PPOSettings = field(default_factory=PPOSettings)
    """The algorithm."""
    runners: RunnerSettings = field(default_factory=RunnerSettings)
    """Data collection."""
    evaluation: EvalSettings = field(default_factory=EvalSettings)
    """Evaluation."""
    env_steps: int = 1_000_000
    """Budget in environment steps (of the whole team); schedules end here."""
    time_s: float | None = None
    """Stop after so many seconds of training even if env_steps are not done; schedules then stop short of their end."""
    seed: int = 0
    """Seed of weights, environments, actions and minibatches."""
    device: Device = "auto"
    """Where the learner runs; "auto" takes a GPU if Ray has one."""
    checkpoint_interval_s: float = 60.0
    """Seconds between checkpoints; a killed run loses at most the work since the last one."""
    keep_checkpoints: int = 2
    """Newest checkpoints that are kept."""

    def __post_init__(self) -> None:
        _positive(self, "env_steps", "checkpoint_interval_s", "keep_checkpoints")
        if self.time_s is not None:
            _positive(self, "time_s")
        _not_negative(self, "seed")
        if self.seed >= 2**32:
            raise ValueError(f"seed must be below 2^32, got {self.seed}")
        if self.device not in get_args(Device):
            raise ValueError(f"device {self.device!r} does not exist; allowed: {', '.join(get_args(Device))}")
        if self.runners.num_envs * max(1, self.runners.num_runners) > self.ppo.batch_env_steps:
            raise ValueError(
                f"batch_env_steps must be at least num_envs x num_runners = "
                f"{self.runners.num_envs * max(1, self.runners.num_runners)}, got {self.ppo.batch_env_steps}"
            )

    @property
    def fragment_length(self) -> int:
        """Steps that each environment contributes to a batch."""
        return -(-self.ppo.batch_env_steps // (self.runners.num_envs * max(1, self.runners.num_runners)))
