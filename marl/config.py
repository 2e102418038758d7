"""The typed configuration of one training run. Presets are instances of `TrainConfig`; flags come from its fields."""

from dataclasses import dataclass, field
from typing import Literal, get_args

from agents import NetworkConfig
from envs import EnvConfig
from envs.lab2d.config import Lab2dConfig
from marl.checks import MOST, fraction, not_negative, positive, within
from marl.losses.prediction import RESTART

Device = Literal["auto", "cpu", "cuda"]
Algorithm = Literal["ppo", "impala"]
EntityKind = Literal["teammate", "opponent", "ball"]
OpponentKind = Literal["builtin", "frozen", "self_play"]


@dataclass(frozen=True, kw_only=True)
class LearningSettings:
    """What every algorithm has."""

    learning_rate: float = 5e-4
    """Adam's step size at the start."""
    learning_rate_end: float = 5e-5
    """Step size once `env_steps` are done; linear in between."""
    gamma: float = 0.99
    """Discount per environment step."""
    entropy_coeff: float = 0.01
    """Weight of the entropy bonus at the start, per nat."""
    entropy_coeff_end: float = 0.001
    """Weight of the entropy bonus once `env_steps` are done; linear in between."""
    value_coeff: float = 0.5
    """Weight of the critic's loss."""
    grad_clip: float = 0.5
    """Largest global norm of a gradient."""
    reward_scale: float = 1.0
    """Rewards are multiplied by this before learning (never in what is reported)."""
    advantage_std_min: float = 0.0
    """Advantages are divided by their standard deviation, or by this if it is larger. Where rewards are rare, dividing
    by nearly nothing makes a strong push of the critic's noise, and the policy drifts before it has met a reward."""

    def __post_init__(self) -> None:
        positive(self, "learning_rate", "grad_clip", "reward_scale")
        fraction(self, "gamma")
        not_negative(
            self, "learning_rate_end", "entropy_coeff", "entropy_coeff_end", "value_coeff", "advantage_std_min"
        )


@dataclass(frozen=True, kw_only=True)
class PPOSettings(LearningSettings):
    """Proximal policy optimisation, per agent."""

    lambda_: float = 0.95
    """GAE's lambda."""
    clip_eps: float = 0.2
    """Half-width of the clip of each agent's probability ratio."""
    batch_env_steps: int = 4096
    """Environment steps (of the whole team) per update."""
    minibatch_env_steps: int = 1024
    """Environment steps per gradient step."""
    epochs: int = 4
    """Passes over each batch."""

    def __post_init__(self) -> None:
        super().__post_init__()
        positive(self, "clip_eps", "batch_env_steps", "minibatch_env_steps", "epochs")
        fraction(self, "lambda_")
        if self.minibatch_env_steps > self.batch_env_steps:
            raise ValueError(
                f"minibatch_env_steps must be at most batch_env_steps ({self.batch_env_steps}), "
                f"got {self.minibatch_env_steps}"
            )


@dataclass(frozen=True, kw_only=True)
class ImpalaSettings(LearningSettings):
    """IMPALA: runners collect while the learner learns, and V-trace corrects for the policy having moved on.

    It takes one gradient step per batch where PPO takes many, so its steps are larger; nothing but the entropy bonus
    keeps the policy from collapsing in between.
    """

    learning_rate: float = 1e-3
    """Adam's step size at the start."""
    learning_rate_end: float = 1e-4
    """Step size once `env_steps` are done; linear in between."""
    entropy_coeff: float = 0.02
    """Weight of the entropy bonus at the start, per nat."""
    grad_clip: float = 1.0
    """Largest global norm of a gradient."""
    lambda_: float = 1.0
    """V-trace's lambda: scales the trace coefficients c."""
    rho_clip: float = 1.0
    """Upper bound of the importance weights in the temporal differences (rho-bar)."""
    c_clip: float = 1.0
    """Upper bound of the importance weights in the traces (c-bar); at most rho_clip."""
    standardise_advantages: bool = True
    """Divide advantages by their standard deviation in the batch; the paper does not. Without it the weight of the
    entropy bonus depends on the size of the rewards."""
    batch_env_steps: int = 1024
    """Environment steps (of the whole team) per update, which is one gradient step. Runners deliver num_envs x
    fragment_env_steps at once, and a batch is whole deliveries."""
    fragment_env_steps: int = 32
    """Steps that each environment contributes to what a runner delivers at once."""
    result_timeout_s: float = 300.0
    """A run whose learner delivers no result for this long fails with the reason. It includes the start of the runners,
    must be more than a batch takes, and means nothing without runners of their own (num_runners = 0)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        positive(self, "rho_clip", "c_clip", "batch_env_steps", "fragment_env_steps", "result_timeout_s")
        fraction(self, "lambda_")
        if self.c_clip > self.rho_clip:  # V-trace's fixed point is that of a policy between the two only then
            raise ValueError(f"c_clip must be at most rho_clip ({self.rho_clip}), got {self.c_clip}")


@dataclass(frozen=True, kw_only=True)
class PredictionSettings:
    """The predictive objective as an auxiliary loss (what is predicted is a part of the network's settings)."""

    coeff: float = 0.0
    """Weight of the loss; at 0 the predictor still learns, and is reported, but shapes nothing."""
    kinds: tuple[EntityKind, ...] = get_args(EntityKind)
    """Kinds of entities whose motion counts."""
    restart: float = RESTART
    """An entity that moves by more than this, in units of `step_scale`, in one step was put there by the referee: an
    episode is cut there, as that is no motion. 0 cuts nowhere."""

    def __post_init__(self) -> None:
        not_negative(self, "coeff", "restart")
        allowed = get_args(EntityKind)
        if not self.kinds or len(set(self.kinds)) < len(self.kinds) or not set(self.kinds) <= set(allowed):
            raise ValueError(f"kinds must be some of {', '.join(allowed)}, each once; got {self.kinds}")


@dataclass(frozen=True, kw_only=True)
class OpponentSettings:
    """Who plays the right team. All but "builtin" need `env.opponents` above 0."""

    kind: OpponentKind = "builtin"
    """"builtin" (the engine's AI), "frozen" (a trained policy as it is), "self_play" (a pool of past selves)."""
    policy: str | None = None
    """frozen: run, checkpoint or policy folder of the opponent; self_play: the pool's first member (None: the untrained
    policy)."""
    snapshot_env_steps: int = 200_000
    """self_play: environment steps after which the present policy joins the pool."""
    pool_size: int = 20
    """self_play: members at most; the weakest of the oldest half leaves."""
    latest_share: float = 0.5
    """self_play: share of episodes against the newest member; in the rest the pool is drawn by priority."""
    priority: float = 1.0
    """self_play: a member is drawn with weight (1 - win rate against it) ** priority."""

    def __post_init__(self) -> None:
        if self.kind not in get_args(OpponentKind):
            raise ValueError(
                f"opponent kind {self.kind!r} does not exist; allowed: {', '.join(get_args(OpponentKind))}"
            )
        if (self.kind == "frozen") != (self.policy is not None) and self.kind != "self_play":
            need = "needs an" if self.kind == "frozen" else "takes no"
            raise ValueError(f"opponent kind {self.kind!r} {need} opponent policy, got {self.policy!r}")
        positive(self, "snapshot_env_steps", "pool_size")
        fraction(self, "latest_share")
        not_negative(self, "priority")


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
        positive(self, "num_envs", "stall_timeout_s")
        not_negative(self, "num_runners", "max_restarts")


@dataclass(frozen=True, kw_only=True)
class EvalSettings:
    """Evaluation on held-out seeds, which training never uses."""

    episodes: int = 20
    """Episodes of the evaluation at the end."""
    interval_s: float = 60.0
    """Seconds of training between evaluations; 0 leaves the choice to `interval_env_steps`."""
    interval_env_steps: int = 0
    """Environment steps between evaluations, for curves that are compared; 0 leaves the choice to `interval_s`."""
    interval_episodes: int = 4
    """Episodes of each evaluation on the way."""
    seed: int = 0
    """Which set of held-out episodes."""
    deterministic: bool = False
    """Play the most likely action instead of a sample."""
    num_envs: int = 20
    """Episodes played side by side."""

    def __post_init__(self) -> None:
        positive(self, "episodes", "interval_episodes", "num_envs")
        not_negative(self, "interval_s", "interval_env_steps", "seed")
        for name, most in (("episodes", "episodes"), ("interval_episodes", "episodes"), ("num_envs", "num_envs")):
            within(name, getattr(self, name), 1, MOST[most])


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """One run: an environment, a network, an algorithm and a budget."""

    env: EnvConfig = field(default_factory=lambda: Lab2dConfig(level="commons_harvest"))
    """The environment and its options."""
    network: NetworkConfig = field(default_factory=NetworkConfig)
    """The arm and its sizes."""
    algorithm: Algorithm = "ppo"
    """"ppo" (collect, then learn) or "impala" (at the same time)."""
    ppo: PPOSettings = field(default_factory=PPOSettings)
    """Settings of algorithm "ppo"."""
    impala: ImpalaSettings = field(default_factory=ImpalaSettings)
    """Settings of algorithm "impala"."""
    prediction: PredictionSettings = field(default_factory=PredictionSettings)
    """The predictive auxiliary loss."""
    opponent: OpponentSettings = field(default_factory=OpponentSettings)
    """Who plays the other team."""
    pretrained: str | None = None
    """Run, checkpoint or policy folder whose encoder, exchange and predictor this run starts from."""
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
        positive(self, "env_steps", "checkpoint_interval_s", "keep_checkpoints")
        if self.time_s is not None:
            positive(self, "time_s")
        not_negative(self, "seed")
        if self.seed >= 2**32:
            raise ValueError(f"seed must be below 2^32, got {self.seed}")
        if self.device not in get_args(Device):
            raise ValueError(f"device {self.device!r} does not exist; allowed: {', '.join(get_args(Device))}")
        if self.algorithm not in get_args(Algorithm):
            raise ValueError(f"algorithm {self.algorithm!r} does not exist; allowed: {', '.join(get_args(Algorithm))}")
        total_envs = self.runners.num_envs * max(1, self.runners.num_runners)
        if self.algorithm == "ppo" and total_envs > self.ppo.batch_env_steps:
            raise ValueError(
                f"batch_env_steps must be at least num_envs x num_runners = {total_envs}, "
                f"got {self.ppo.batch_env_steps}"
            )
        opponents = getattr(self.env, "opponents", 0)
        if (self.opponent.kind == "builtin") != (opponents == 0):
            raise ValueError(
                f"opponent kind {self.opponent.kind!r} does not fit env.opponents {opponents}; "
                "the engine's AI plays with 0 opponents, everybody else with at least 1"
            )

    @property
    def learning(self) -> LearningSettings:
        """The settings of the chosen algorithm."""
        return self.ppo if self.algorithm == "ppo" else self.impala

    @property
    def fragment_length(self) -> int:
        """Steps that each environment contributes to what is collected at once."""
        if self.algorithm == "impala":
            return self.impala.fragment_env_steps
        return -(-self.ppo.batch_env_steps // (self.runners.num_envs * max(1, self.runners.num_runners)))
