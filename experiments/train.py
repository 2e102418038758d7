"""`tandem train`: a preset, or a run that goes on, from flags to a finished run folder."""

import json
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from agents import Policy
from experiments import flags, presets, runs
from experiments.evaluate import evaluate_with_progress, interval
from experiments.flags import say
from experiments.progress import Steps
from experiments.video import picture
from marl import TrainConfig
from marl.evaluation import summarise, write_jsonl

if TYPE_CHECKING:
    from experiments.tracking import Tracker

EXAMPLE = "tandem train lab2d-harvest-acam --env-steps 500000 --ppo.learning-rate 3e-4 --seed 1"
USAGE = "tandem train PRESET [--field value ...] | tandem train --resume RUN [--env-steps N]"


class RunFailed(RuntimeError):
    """A run ended by an error after its folder was made; the message says how to go on."""


@dataclass(frozen=True, kw_only=True)
class TrainCommand:
    """Flags of `tandem train`."""

    config: Annotated[TrainConfig, tyro.conf.arg(name="")]
    runs_dir: Path = Path("runs")
    """Where run folders go."""
    dry_run: bool = False
    """Print the resolved configuration and stop."""
    clip_steps: int = 200
    """Steps in each clip; 0 makes no clip."""


def train_command(args: list[str]) -> int:
    """Trains a preset, or goes on with a run."""
    if {"-h", "--help"} & set(args) and args[0].startswith("-"):
        say(f"usage: {USAGE}\n\nExample: {EXAMPLE}\n\n`tandem train PRESET --help` lists the fields.")
        say("Presets: " + ", ".join(presets.all_presets()))
        return 0
    preset, run, command = parse_train(args)
    if command.dry_run:
        say(json.dumps({"preset": preset, "config": runs.config_to_json(command.config)}, indent=2))
        return 0
    train_run(preset, command.config, command.runs_dir, clip_steps=command.clip_steps, resume=run, args=args)
    return 0


def parse_train(args: list[str]) -> tuple[str, Path | None, TrainCommand]:
    """(preset, run to go on with, flags) of a training command. Raises ValueError for whatever does not fit."""
    name, rest = flags.split_name(args)
    resume, rest = flags.take(rest, "--resume")
    if (name is None) == (resume is None):
        got = "no preset was named" if name is None else f"give a preset or --resume RUN, not both (got {name!r})"
        raise flags.FlagError(f"{got}; usage: {USAGE} (`tandem presets` lists the presets)")
    run = Path(resume) if resume is not None else None
    preset, stored = runs.read(run) if run is not None else (str(name), presets.get(str(name)).make())
    command = flags.parse(
        TrainCommand,
        rest,
        prog=f"tandem train {name or f'--resume {resume}'}",
        example=EXAMPLE,
        default=TrainCommand(config=stored),
        about=f"Trains {preset}; the defaults are {'those of the run' if run else 'the preset'}.",
    )
    if command.clip_steps < 0:
        raise ValueError(f"--clip-steps must not be negative, got {command.clip_steps}")
    if run is not None:
        _check_resumable(run, stored, command.config)
    return preset, run, command


def _check_resumable(run: Path, stored: TrainConfig, asked: TrainConfig) -> None:
    """A run goes on with its own environment, network and seed; budget and pace may change."""
    for name in ("env", "network", "seed"):
        before, after = getattr(stored, name), getattr(asked, name)
        if before != after:
            raise ValueError(f"{name} of {run} cannot change when it goes on; it is {before}, asked was {after}")


def train_run(
    preset: str,
    config: TrainConfig,
    runs_dir: Path,
    *,
    clip_steps: int = 200,
    resume: Path | None = None,
    args: list[str] | None = None,
) -> Path:
    """Trains, evaluates and pictures one run; returns its folder.

    Raises: ValueError or EngineMissing before anything is written; RunFailed for an error on the way.
    """
    from marl import checkpoint  # imports RLlib, as the next line does
    from marl.algorithm import team_spec

    team_spec(config.env)  # a missing engine or an impossible environment, before there is a folder
    done = None
    source = checkpoint.newest(resume) if resume else None
    if resume and source:
        checkpoint.check(source)
        steps = checkpoint.progress_of(source)["env_steps"]
        if steps >= config.env_steps and (resume / "evaluation.jsonl").exists():
            raise ValueError(
                f"{resume} has done {steps:,} of its {config.env_steps:,} steps; give a larger --env-steps"
            )
    if resume is None:
        run = runs.create(runs_dir, preset, config, ["tandem", "train", *(args or [preset])])
        say(f"run folder: {run}")
    else:
        run = resume
        done = checkpoint.progress_of(source)["env_steps"] if source else 0
        runs.rewrite_config(run, config)
        say(f"going on with {run} from {f'{done:,} environment steps' if done else 'the beginning'}")
    say(f"watch it: tensorboard --logdir {run.parent.parent}")
    with _explained(run):
        _train_and_look(preset, config, run, clip_steps, done)
    return run


@contextmanager
def _explained(run: Path) -> Iterator[None]:
    """An error keeps its traceback, and whatever ends a run says how to go on."""
    again = f"tandem train --resume {run}"
    try:
        yield
    except KeyboardInterrupt:
        say(f"stopped; go on with: {again}")
        raise
    except Exception as error:
        raise RunFailed(
            f"{traceback.format_exc()}\nthe run ended with {type(error).__name__}; once mended, go on with: {again}"
        ) from None


def _train_and_look(preset: str, config: TrainConfig, run: Path, clip_steps: int, resume_step: int | None) -> None:
    from experiments.tracking import Tracker  # imports TensorBoard

    metric = presets.get(preset).metric
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
            steps.update(done, f"{done:,} steps, {shown}{metrics['time/env_steps_per_s']:.0f} steps/s")

        def look(done: int, policy: Policy) -> None:
            picture(tracker, policy, config, done, clip_steps)

        return train(config, run, report=report, look=look, resume=resume)


def _finish(policy: Policy, config: TrainConfig, run: Path, tracker: "Tracker", metric: str, clip_steps: int) -> None:
    """The evaluation at the end, every episode of it kept in evaluation.jsonl, and the last pictures."""
    done, settings = int(policy.meta["env_steps"]), config.evaluation
    episodes = evaluate_with_progress(
        "evaluating", policy, config.env, episodes=settings.episodes, deterministic=settings.deterministic
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
