"""Sizes of `tandem study agent-centric`: which tasks and seeds, and what each cell of the grid may spend.

A cell is one arm on one task with one seed. Within a task every arm has the same budget, the same evaluations, the same
number of parameters (experiments/study_plan.py adjusts `hidden`) and the same search for a learning rate.
"""

from dataclasses import dataclass, field, replace

from envs import EnvConfig

ARMS = ("independent", "meanpool", "acam", "acam+aux", "acam+pretrain", "acam+aux+pretrain")
"""In the order of tables and figures; names of the presets' arms, with "+pretrain" for a start from pre-training."""
LEARNING_RATE_FACTORS = (0.3, 1.0, 3.0)
"""What the search tries for every arm, times the preset's learning rate."""
TUNING_SEEDS = (1000, 1001, 1002)
"""The seeds of the search; no study uses them. Its evaluations are on held-out episodes of their own, of the same
seeds. One seed is not enough: it chose rates that hurt two arms of six on commons_harvest."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What each cell of one task gets."""

    env_steps: int
    """Environment steps of training, the same for every arm."""
    seeds: tuple[int, ...]
    evaluations: int = 10
    """Points of the learning curve after the first, equally spaced in environment steps; the last is the final
    evaluation."""
    interval_episodes: int = 10
    """Held-out episodes of each evaluation on the way."""
    episodes: int = 100
    """Held-out episodes of the final evaluation, of each unseen opponent, and of the random policy."""
    num_runners: int = 2
    """Processes that collect data for a cell, beside its learner; 0 does both in one process, on one CPU."""
    num_envs: int | None = None
    """Environments of each of them; None keeps the preset's."""
    record_episodes: int = 200
    """Episodes that a pre-training learns from; a recording of its own for every seed."""
    pretrain_steps: int = 10_000
    """Gradient steps of a pre-training."""
    tune_env_steps: int = 0
    """Environment steps of each run of the search; 0 takes a quarter of `env_steps`."""
    num_tuning_seeds: int = 3
    """How many of TUNING_SEEDS the search runs each arm and rate with; the mean over them decides."""
    tiny: bool = False
    """Shrinks batches and episodes to the preset's tiny twin."""

    def __post_init__(self) -> None:
        if not self.seeds or min(self.seeds) < 0 or len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds must be different numbers of 0 or more, got {self.seeds}")
        if taken := sorted(set(TUNING_SEEDS) & set(self.seeds)):
            raise ValueError(f"seed {taken[0]} is the search's own; give others, got {self.seeds}")
        if not 1 <= self.num_tuning_seeds <= len(TUNING_SEEDS):
            raise ValueError(f"num_tuning_seeds must be 1 to {len(TUNING_SEEDS)}, got {self.num_tuning_seeds}")

    @property
    def interval_env_steps(self) -> int:
        return max(1, self.env_steps // self.evaluations)

    @property
    def tuning_env_steps(self) -> int:
        return self.tune_env_steps or self.env_steps // 4

    @property
    def tuning_seeds(self) -> tuple[int, ...]:
        return TUNING_SEEDS[: self.num_tuning_seeds]


@dataclass(frozen=True, kw_only=True)
class Task:
    """One task of the study: a task of the presets, and how its scores are read."""

    title: str
    reference: float
    """Score that counts as 1 where tasks are put together; the random policy's counts as 0. Fixed beforehand."""
    recorders: tuple[str, ...]
    """Who plays the recordings of pre-training, in turns."""
    settings: str = "before the study, with `acam`"
    """How the preset's settings were found, for the page."""
    note: str = ""
    """What else the page says of how it was run."""
    unseen_env: dict[str, dict[str, float]] = field(default_factory=dict)
    """Opponents that training never met, as options of the environment: name -> option -> value."""
    unseen_note: str = ""
    """How these differ from the level's own opponent, for the page."""
    unseen_task: str | None = None
    """Task whose cells' final policies are the opponents that training never met, those of the same seed. (What learns
    by self-play is always evaluated against the built-in AI, which it never met.)"""
    evaluated_unseen: bool = False
    """Every evaluation is against an opponent that training never met."""

    def unseen(self, env: EnvConfig) -> dict[str, EnvConfig]:
        """Name -> environment with an opponent that training never met."""
        return {name: replace(env, **options) for name, options in self.unseen_env.items()}


_LAB2D, _FOOTBALL = ("scripted", "random"), ("builtin_ai", "scripted")
# The academy levels' right team plays at 0.6.
_STRONGER = {"built-in AI at full strength": {"opponent_difficulty": 1.0}}
_SAME = "the same AI as the level's own opponent, made stronger: difficulty 1.0 against the level's 0.6"
_POOLS = (
    "Every arm and every seed trains against a pool of its own past selves, so no two runs meet the same opponents. "
    "All evaluations, those of the learning curve too, are against the built-in AI, which training never met."
)
_TRIES = "before the study in four tries, three with `acam` and one with `acam+aux`"
TASKS: dict[str, Task] = {
    "lab2d-harvest": Task(title="commons_harvest, 4 players", reference=150.0, recorders=_LAB2D),
    "lab2d-cleanup": Task(title="clean_up, 4 players", reference=100.0, recorders=_LAB2D),
    "football-3v1": Task(
        title="football 3 against 1",
        reference=1.0,
        recorders=_FOOTBALL,
        settings=_TRIES,
        unseen_env=_STRONGER,
        unseen_note=_SAME,
    ),
    "football-pass-and-shoot": Task(
        title="football pass and shoot",
        reference=1.0,
        recorders=_FOOTBALL,
        settings=f"{_TRIES}, on football-3v1 (a search with one seed and 102,400 steps was thrown away before the "
        "study: its 18 runs ended between 0 and 0.07, too little to choose by)",
        unseen_env=_STRONGER,
        unseen_note=_SAME,
    ),
    "football-5v5": Task(
        title="football 5 against 5, built-in AI",
        reference=1.0,
        recorders=_FOOTBALL,
        unseen_task="football-5v5-selfplay",
    ),
    "football-5v5-selfplay": Task(
        title="football 5 against 5, self-play",
        reference=1.0,
        recorders=_FOOTBALL,
        note=_POOLS,
        evaluated_unseen=True,
    ),
}
"""Task of experiments/presets/teams.py -> how the study reads it."""

_TEN, _FIVE, _THREE = tuple(range(10)), tuple(range(5)), tuple(range(3))
_LONG = Budget(env_steps=2_000_000, seeds=_TEN, evaluations=20)
_LONG_FOOTBALL = replace(_LONG, interval_episodes=50)
_LONG_MATCH = Budget(env_steps=20_000_000, seeds=_FIVE, evaluations=20, num_runners=6)
_TWO_CORES = Budget(env_steps=204_800, seeds=_FIVE, num_runners=0, pretrain_steps=2_000)
SIZES: dict[str, dict[str, Budget]] = {
    "full": {
        "lab2d-harvest": _LONG,
        "lab2d-cleanup": replace(_LONG, env_steps=5_000_000),
        "football-3v1": replace(_LONG_FOOTBALL, env_steps=5_000_000),
        "football-pass-and-shoot": _LONG_FOOTBALL,
        "football-5v5": _LONG_MATCH,
        "football-5v5-selfplay": _LONG_MATCH,
    },
    "2core": {
        "lab2d-harvest": replace(_TWO_CORES, num_envs=32, interval_episodes=4, episodes=20, record_episodes=32),
        "football-pass-and-shoot": replace(
            _TWO_CORES,
            env_steps=409_600,
            seeds=_THREE,
            num_envs=16,
            interval_episodes=20,
            record_episodes=300,
            tune_env_steps=204_800,
            num_tuning_seeds=2,
        ),
    },
    "tiny": {
        "lab2d-harvest": Budget(
            env_steps=192,
            seeds=(0, 1),
            evaluations=3,
            interval_episodes=2,
            episodes=3,
            num_runners=0,
            record_episodes=12,
            pretrain_steps=4,
            tune_env_steps=64,
            num_tuning_seeds=1,
            tiny=True,
        ),
    },
}
"""Size -> task -> budget: "full" is for a cluster, "2core" is what two cores give in a few hours, "tiny" takes a
minute or two and shows nothing but that everything runs."""


def check_names(what: str, given: tuple[str, ...], allowed: tuple[str, ...]) -> None:
    """Raises ValueError for a name that does not exist, or one given twice."""
    for name in given:
        if name not in allowed:
            raise ValueError(f"{what} {name!r} does not exist in this study; allowed: {', '.join(allowed)}")
    if len(set(given)) < len(given):
        raise ValueError(f"{what}s must differ, got {', '.join(given)}")
