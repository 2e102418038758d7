"""`tandem train`: a preset, or a run that goes on, from flags to a finished run folder. The same for both halves."""

import json
import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

from experiments import flags, halves, presets, runs
from experiments.flags import say

EXAMPLE = "tandem train {} --env-steps 500000 --ppo.learning-rate 3e-4 --seed 1"
PICTURES_EXAMPLE = "tandem train {} --steps 2000 --optim.learning-rate 1e-3 --seed 1"
USAGE = "tandem train PRESET [--field value ...] | tandem train --resume RUN [--env-steps N | --steps N]"


class RunFailed(RuntimeError):
    """A run ended by an error after its folder was made; the message says how to go on."""


def train_command(args: list[str]) -> int:
    """Trains a preset, or goes on with a run."""
    if {"-h", "--help"} & set(args) and args[0].startswith("-"):
        say(f"usage: {USAGE}\n\nExample: {EXAMPLE.format('lab2d-harvest-acam')}")
        say(f"Example: {PICTURES_EXAMPLE.format('vdm-digits')}\n")
        say("`tandem train PRESET --help` lists the fields.\nPresets: " + ", ".join(presets.all_presets()))
        return 0
    preset, run, command = parse_train(args)
    if command.dry_run:
        say(json.dumps(runs.describe(preset, command.config), indent=2))
        return 0
    own = {f.name for f in fields(command)} - {"config", "runs_dir", "dry_run"}
    options = {name: getattr(command, name) for name in own}
    train_run(preset, command.config, command.runs_dir, resume=run, args=args, **options)
    return 0


def parse_train(args: list[str]) -> tuple[str, Path | None, Any]:
    """(preset, run to go on with, flags) of a training command. Raises ValueError for whatever does not fit."""
    name, run, rest = flags.name_or_resume(args, "preset", f"{USAGE} (`tandem presets` lists the presets)")
    preset, stored = runs.read(run) if run is not None else (str(name), presets.get(str(name)).make())
    half = halves.of(stored)
    command = flags.parse(
        half.TrainFlags,
        rest,
        prog=f"tandem train {name or f'--resume {run}'}",
        example=(EXAMPLE if half.NAME == halves.MARL else PICTURES_EXAMPLE).format(preset),
        default=half.TrainFlags(config=stored),
        about=f"Trains {preset}; the defaults are {'those of the run' if run else 'the preset'}.",
    )
    half.check_flags(command)
    if run is not None:
        runs.check_fixed(run, half.FIXED, stored, half.located(command.config))
    return preset, run, command


def train_run(
    preset: str,
    config: Any,
    runs_dir: Path,
    *,
    resume: Path | None = None,
    args: list[str] | None = None,
    **options: Any,
) -> Path:
    """Trains into a new run folder, or on in `resume`, evaluates at the end, and returns the folder.

    Args: options: the half's own (clip_steps of MARL, plain of the generative half).
    Raises: ValueError, or an error that says what to install, before anything is written; RunFailed for an error on
    the way.
    """
    half = halves.of(config)
    config = half.located(config)
    half.prepare(config, resume=resume is not None, options=options)
    if resume is None:
        run = runs.create(runs_dir, preset, config, ["tandem", "train", *(args or [preset])])
        say(f"run folder: {run}")
    else:
        run = resume
    with half.hold(run):
        done = _go_on(half, config, run) if resume is not None else None
        say(f"watch it: tensorboard --logdir {run.parent.parent}")
        with explained(half, f"tandem train --resume {run}"):
            half.train(config, run, metric=presets.get(preset).metric, resume_step=done, options=options)
    return run


def _go_on(half: halves.Half, config: Any, run: Path) -> int:
    """Notes what changes in a run that goes on. Returns the steps that are done. Raises ValueError if all are."""
    done = half.position(config, run)
    if done is not None and (reason := half.finished(config, run, done)):
        raise ValueError(reason)
    runs.rewrite_config(run, config)
    say(f"going on with {run} from {f'{done:,} {half.STEPS}' if done else 'the beginning'}")
    return done or 0


@contextmanager
def explained(half: halves.Half, again: str) -> Iterator[None]:
    """An error that is not its own explanation keeps its traceback, and whatever ends a run says how to go on: `again`
    is the command."""
    try:
        yield
    except KeyboardInterrupt:
        say(f"stopped; go on with: {again}")
        raise
    except Exception as error:
        if os.environ.get("TANDEM_DEBUG"):
            traceback.print_exc()
        if half.speaks_for_itself(error):
            raise RunFailed(f"{error}; go on from the last checkpoint with: {again}") from None
        raise RunFailed(
            f"{traceback.format_exc()}\nthe run ended with {type(error).__name__}; once mended, go on with: {again}"
        ) from None
