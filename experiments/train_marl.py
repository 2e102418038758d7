"""What `tandem train` does for the MARL half (the protocol of experiments/halves.py)."""

from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

import agents
import envs
from agents import ObservationSpec, Policy, TeamNetwork
from agents.reading import check_types
from experiments import halves, runs
from experiments.evaluate_marl import evaluate_with_progress, interval
from experiments.flags import say
from experiments.progress import Steps
from experiments.video import picture
from marl import (
    EvalSettings,
    ImpalaSettings,
    OpponentSettings,
    PPOSettings,
    PredictionSettings,
    RunnerSettings,
    TrainConfig,
)
from marl.evaluation import read_jsonl, summarise, write_jsonl
from marl.files import alone
from marl.pretrained import Loaded, describe, load_pretrained

if TYPE_CHECKING:
    from experiments.tracking import Tracker

NAME: str = halves.MARL
FIXED: tuple[str, ...] = ("env", "network", "algorithm", "opponent", "pretrained", "seed")
STEPS: str = "environment steps"
CLIP_STEPS = 200
_PARTS = {
    "network": agents.NetworkConfig,
    "ppo": PPOSettings,
    "impala": ImpalaSettings,
    "prediction": PredictionSettings,
    "opponent": OpponentSettings,
    "runners": RunnerSettings,
    "evaluation": EvalSettings,
}


@dataclass(frozen=True, kw_only=True)
class TrainCommand:
    """Flags of `tandem train`."""

    config: Annotated[TrainConfig, tyro.conf.arg(name="")]
    runs_dir: Path = Path("runs")
    """Where run folders go."""
    dry_run: bool = False
    """Print the resolved configuration and stop."""
    clip_steps: int = CLIP_STEPS
    """Steps in each clip; 0 makes no clip."""


TrainFlags: type[Any] = TrainCommand


def to_json(config: TrainConfig) -> dict[str, Any]:
    return {**asdict(config), "env": envs.to_json(config.env)}


def from_json(data: dict[str, Any]) -> TrainConfig:
    try:
        parts = {name: cls(**_tuples(data[name])) for name, cls in _PARTS.items()}
        rest = {key: value for key, value in data.items() if key not in _PARTS and key != "env"}
        config = TrainConfig(env=envs.from_json(data["env"]), **parts, **rest)
    except KeyError as error:
        raise ValueError(f"{error} is missing") from None
    except (TypeError, AttributeError) as error:
        raise ValueError(f"a field does not exist or fit: {error}") from None
    check_types(config)
    return config


def _tuples(fields: dict[str, Any]) -> dict[str, Any]:
    """JSON's lists as the tuples that they were."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()}


def check_flags(flags: TrainCommand) -> None:
    if flags.clip_steps < 0:
        raise ValueError(f"--clip-steps must not be negative, got {flags.clip_steps}")


def located(config: TrainConfig) -> TrainConfig:
    opponent = replace(config.opponent, policy=_absolute(config.opponent.policy))
    return replace(config, pretrained=_absolute(config.pretrained), opponent=opponent)


def _absolute(path: str | None) -> str | None:
    return None if path is None else str(Path(path).absolute())


def prepare(config: TrainConfig, *, resume: bool, options: dict[str, Any]) -> None:
    from marl.algorithm import team_spec  # imports RLlib
    from marl.selfplay import OpponentManager

    spec = team_spec(config.env)  # a missing engine or an impossible environment
    OpponentManager(config, Path(), spec)  # an opponent that is not there or does not fit
    if config.pretrained is not None and not resume:
        load_pretrained(TeamNetwork(ObservationSpec.from_team(spec), config.network), config.pretrained)


def hold(run: Path) -> AbstractContextManager[None]:
    return alone(run)


def position(config: TrainConfig, run: Path) -> int | None:
    from marl import checkpoint  # imports RLlib
    from marl.algorithm import team_spec
    from marl.selfplay import OpponentManager

    source = checkpoint.newest(run)
    if source is None:
        return None
    checkpoint.check(source)
    if config.opponent.kind == "self_play":
        OpponentManager(config, run, team_spec(config.env)).restore()  # a pool that is damaged or does not fit
    return checkpoint.progress_of(source)["env_steps"]


def finished(config: TrainConfig, run: Path, position: int) -> str:
    if position < config.env_steps or not (run / "evaluation.jsonl").exists():
        return ""
    return f"{run} has done {position:,} of its {config.env_steps:,} steps; give a larger --env-steps"


def speaks_for_itself(error: Exception) -> bool:
    from marl.impala import StalledError  # imports RLlib

    return isinstance(error, StalledError)


def train(config: TrainConfig, run: Path, *, metric: str, resume_step: int | None, options: dict[str, Any]) -> None:
    from experiments.tracking import Tracker  # imports TensorBoard

    clip_steps = options.get("clip_steps", CLIP_STEPS)
    tracker = Tracker(run, resume_step)
    try:
        policy = _train(config, run, tracker, metric, clip_steps, resume_step is not None)
        _finish(policy, config, run, tracker, metric, clip_steps)
    finally:
        tracker.close()


def _train(config: TrainConfig, run: Path, tracker: "Tracker", metric: str, clip_steps: int, resume: bool) -> Policy:
    from marl.training import train

    with Steps("training", config.env_steps) as steps:

        def report(done: int, metrics: dict[str, float]) -> None:
            tracker.scalars(done, metrics)
            name = metric if f"train/{metric}" in metrics else "return_mean"
            value = metrics.get(f"train/{name}")
            shown = "" if value is None else f"{name} {value:.2f}, "
            speed = metrics.get("time/env_steps_per_s", 0.0)  # none in the evaluation before the first step
            steps.update(done, f"{done:,} steps, {shown}{speed:.0f} steps/s")

        def look(done: int, policy: Policy) -> None:
            picture(tracker, policy, config, done, clip_steps)

        def started(loaded: Loaded) -> None:
            for line in describe(loaded):
                say(line)

        return train(config, run, report=report, look=look, started=started, resume=resume)


def _finish(policy: Policy, config: TrainConfig, run: Path, tracker: "Tracker", metric: str, clip_steps: int) -> None:
    """The evaluation at the end, every episode of it kept in evaluation.jsonl, and the last pictures."""
    done, settings = int(policy.meta["env_steps"]), config.evaluation
    episodes = evaluate_with_progress(
        "evaluating",
        policy,
        config.env,
        episodes=settings.episodes,
        seed=settings.seed,
        deterministic=settings.deterministic,
    )
    write_jsonl(run / "evaluation.jsonl", episodes)
    summary = summarise(episodes)
    ends = {f"eval/{name}_{end}": numbers[end] for name, numbers in summary.items() for end in ("low", "high")}
    means = {f"eval/{name}": numbers["mean"] for name, numbers in summary.items()}
    tracker.scalars(done, means | ends)
    tracker.hparams(done, runs.config_to_json(config), means)
    picture(tracker, policy, config, done, clip_steps)
    say(f"{metric}: {interval(summary[metric])} in {len(episodes)} held-out episodes, after {done:,} environment steps")
    say(f"again:   tandem eval {run}\na clip:  tandem video {run}")
    say(f"go on:   tandem train --resume {run} --env-steps {2 * config.env_steps}")


def start_ray(cpus: int) -> None:
    from marl.training import start_ray

    start_ray(cpus)


def bundles(config: TrainConfig, *, gpu: bool) -> list[dict[str, float]]:
    return [{"CPU": 1.0}] * (1 + config.runners.num_runners)  # the learner, and each runner


def trial_options() -> dict[str, Any]:
    return {}


def outcome(run: Path, metric: str) -> dict[str, float]:
    return summarise(read_jsonl(run / "evaluation.jsonl"))[metric]
