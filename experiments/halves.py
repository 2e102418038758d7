"""The two halves of the project as the `tandem` command sees them.

What the command asks of a half is one protocol, and each half answers it in a module of its own, imported when needed:
experiments/train_marl.py and experiments/train_generative.py. So a diffusion run needs no RLlib, and a team no set of
pictures.
"""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

MARL, GENERATIVE = "marl", "generative"


class Half(Protocol):
    """One half. Configurations are its own `TrainConfig`s."""

    NAME: str
    """MARL or GENERATIVE: the package that its configurations come from."""
    FIXED: tuple[str, ...]
    """Fields of a configuration that stay as they are when a run goes on ("a.b" for one of an inner part)."""
    STEPS: str
    """What a step is called, such as "environment steps"."""
    TrainFlags: type[Any]
    """Flags of `tandem train`: config, runs_dir, dry_run, and its own, which become the options of `train`."""

    def to_json(self, config: Any) -> dict[str, Any]:
        """The resolved configuration as plain data."""
        ...

    def from_json(self, data: dict[str, Any]) -> Any:
        """The inverse. Raises ValueError naming what does not exist or fit."""
        ...

    def check_flags(self, flags: Any) -> None:
        """Raises ValueError for flags of `tandem train` that do not fit, beyond what their types say."""
        ...

    def located(self, config: Any) -> Any:
        """The configuration with its paths made absolute: workers and later commands run in other folders."""
        ...

    def prepare(self, config: Any, *, resume: bool, options: dict[str, Any]) -> None:
        """What a run needs before it starts. Raises ValueError, or an error that names what to install."""
        ...

    def hold(self, run: Path) -> AbstractContextManager[None]:
        """Keeps other trainings out of a run folder meanwhile. Raises ValueError where one is at work in it."""
        ...

    def position(self, config: Any, run: Path) -> int | None:
        """Steps done at the newest checkpoint; None without one. Raises ValueError for a damaged one."""
        ...

    def finished(self, config: Any, run: Path, position: int) -> str:
        """Why nothing is left to do, the evaluation at the end included, in a sentence; empty if something is."""
        ...

    def train(self, config: Any, run: Path, *, metric: str, resume_step: int | None, options: dict[str, Any]) -> None:
        """Trains into the run folder, evaluates, and says what came out; options: its own flags of `tandem train`."""
        ...

    def speaks_for_itself(self, error: Exception) -> bool:
        """Whether the message of an error is all that a person needs, so that no traceback is shown."""
        ...

    def start_ray(self, cpus: int) -> None:
        """Joins the cluster at hand or starts a private one."""
        ...

    def bundles(self, config: Any, *, gpu: bool) -> list[dict[str, float]]:
        """Ray resources of one trial of a sweep, process by process, on a cluster with or without GPUs. Raises
        ValueError for what a trial cannot do."""
        ...

    def trial_options(self) -> dict[str, Any]:
        """Options of `train` inside a trial of a sweep."""
        ...

    def outcome(self, run: Path, metric: str) -> dict[str, float]:
        """A finished run's {"mean", "low", "high"} of a number of its evaluation."""
        ...


def named(name: str) -> Half:
    """The half of that name. Raises ValueError."""
    if name == MARL:
        from experiments import train_marl

        return train_marl
    if name == GENERATIVE:
        from experiments import train_generative

        return train_generative
    raise ValueError(f"half {name!r} does not exist; allowed: {MARL}, {GENERATIVE}")


def of(config: Any) -> Half:
    """The half that a configuration belongs to."""
    return named(name_of(config))


def name_of(config: Any) -> str:
    """The name of that half, without importing it: the package of the configuration's class."""
    return type(config).__module__.partition(".")[0]


def record_of(run: str | Path) -> AbstractContextManager[dict[str, Any]]:
    """What the config.json of a run says. Raises ValueError in one sentence for a damaged one, or for whatever goes
    wrong inside."""
    from agents.reading import json_of  # of the other half, which a generative run needs for nothing else

    return json_of(Path(run) / "config.json", "the configuration of a run")


def name_at(path: str | Path) -> str:
    """Which half a run folder, checkpoint or model folder is of; MARL, whose verbs came first, for anything else."""
    if "://" in str(path):
        return GENERATIVE  # only its runs live under URLs
    try:
        with record_of(path) as record:
            return record.get("half", MARL)
    except ValueError:
        patterns = ("model.json", "*/model.json", "checkpoints/*/model.json")
        return GENERATIVE if any(any(Path(path).glob(pattern)) for pattern in patterns) else MARL
