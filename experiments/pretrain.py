"""`tandem pretrain`: the network of a preset learns from a recording how everybody moves, before it plays."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

import agents
import envs
from agents import Policy
from agents.reading import check_types
from experiments import files, flags, halves, presets, runs
from experiments.flags import say
from experiments.progress import Steps
from experiments.train import RunFailed
from marl import TrainConfig, checkpoint
from marl.files import alone
from marl.pretrain import NotFinite, Pretraining, held_out_errors, held_out_sample, pretrain
from marl.pretrain_config import PretrainConfig
from marl.pretrain_errors import ErrorRow

if TYPE_CHECKING:
    from experiments.tracking import Tracker

EXAMPLE = "tandem pretrain football-3v1-acam --data recordings/3v1 --steps 5000"
USAGE = "tandem pretrain PRESET --data DIR [--field value ...] | tandem pretrain --resume RUN [--steps N]"
FIXED = ("env", "network", "kinds", "batch", "holdout", "restart", "seed")
"""What stays as it is when a run goes on."""
ERRORS = "errors.json"
WITH_RESTARTS = "errors_with_restarts.json"


@dataclass(frozen=True, kw_only=True)
class PretrainCommand:
    """Flags of `tandem pretrain`."""

    config: Annotated[PretrainConfig, tyro.conf.arg(name="")]
    runs_dir: Path = Path("runs")
    """Where run folders go."""
    dry_run: bool = False
    """Print the resolved configuration and stop."""


def pretrain_command(args: list[str]) -> int:
    """Learns from a recording how everybody moves, in the network of a preset."""
    if {"-h", "--help"} & set(args) and args[0].startswith("-"):
        say(f"usage: {USAGE}\n\nExample: {EXAMPLE}\n\n`tandem pretrain PRESET --help` lists the fields.")
        return 0
    preset, run, command = parse_pretrain(args)
    if command.dry_run:
        say(json.dumps(runs.describe(named(preset), command.config), indent=2))
        return 0
    pretrain_run(preset, command.config, command.runs_dir, resume=run, args=args)
    return 0


def parse_pretrain(args: list[str]) -> tuple[str, Path | None, PretrainCommand]:
    """(preset, run to go on with, flags) of a pre-training's command. Raises ValueError for whatever does not fit."""
    name, run, rest = flags.name_or_resume(args, "preset", f"{USAGE} (`tandem presets` lists the presets)")
    preset, stored = read(run) if run is not None else (str(name), defaults(str(name)))
    command = flags.parse(
        PretrainCommand,
        rest,
        prog=f"tandem pretrain {name or f'--resume {run}'}",
        example=EXAMPLE,
        default=PretrainCommand(config=stored),
        about=f"{pretrain_command.__doc__} The defaults are those of {run or f'preset {name}'}.",
    )
    if not command.config.data:
        raise flags.FlagError(f"--data is missing: the folder of a recording (`tandem record`); usage: {USAGE}")
    config = replace(command.config, data=str(Path(command.config.data).absolute()))  # to go on from another folder
    if run is not None:
        runs.check_fixed(run, FIXED, stored, config)
    return preset, run, replace(command, config=config)


def named(preset: str) -> str:
    """What the runs of a preset's pre-training are called."""
    return f"{preset}-pretrain"


def defaults(preset: str) -> PretrainConfig:
    """The pre-training of a preset: its environment, its network, its kinds of entities. Raises ValueError."""
    config = presets.get(preset).make()
    if not isinstance(config, TrainConfig):
        raise ValueError(f"preset {preset!r} is of the generative half; pre-training is for teams (`tandem presets`)")
    kinds, restart = config.prediction.kinds, config.prediction.restart
    return PretrainConfig(env=config.env, network=config.network, kinds=kinds, restart=restart, seed=config.seed)


def read(run: Path) -> tuple[str, PretrainConfig]:
    """(preset, configuration) of a pre-training's run folder. Raises ValueError if it is none."""
    if not (run / "config.json").is_file():
        raise ValueError(f"{run} is not a run folder: it has no config.json (runs are at runs/PRESET/TIME-SEED)")
    with halves.record_of(run) as record:
        if record.get("kind") != PretrainConfig.KIND:
            raise ValueError("it is of another kind of run; go on with it by `tandem train --resume`")
        data = record["config"]
        rest = {key: value for key, value in data.items() if key not in ("env", "network", "kinds")}
        env, network = envs.from_json(data["env"]), agents.NetworkConfig(**data["network"])
        config = PretrainConfig(env=env, network=network, kinds=tuple(data["kinds"]), **rest)
        check_types(config)
        return record["preset"].removesuffix("-pretrain"), config


def pretrain_run(
    preset: str,
    config: PretrainConfig,
    runs_dir: Path,
    *,
    resume: Path | None = None,
    args: list[str] | None = None,
) -> Path:
    """Pre-trains into a new run folder, or on in `resume`, measures held-out errors, and returns the folder.

    Raises: ValueError before anything is written; RunFailed for an error on the way.
    """
    if resume is None:
        _check(config, None)  # before a folder is made
        run = runs.create(runs_dir, named(preset), config, ["tandem", "pretrain", *(args or [preset])])
        say(f"run folder: {run}")
    else:
        run = resume
    with alone(run):
        done = _go_on(run, config) if resume is not None else None
        say(f"watch it: tensorboard --logdir {run.parent.parent}")
        try:
            _train_and_measure(config, run, done)
        except KeyboardInterrupt:
            say(f"stopped; go on with: tandem pretrain --resume {run}")
            raise
        except (NotFinite, ValueError, OSError) as error:
            full = isinstance(error, OSError) and error.strerror  # a disk, perhaps
            why = f"cannot write to {run}: {full}" if full else error
            raise RunFailed(f"{why}; go on from the last checkpoint with: tandem pretrain --resume {run}") from None
    say(f"train from it: tandem train {preset} --pretrained {run}")
    return run


def _go_on(run: Path, config: PretrainConfig) -> int:
    """Notes what changes in a run that goes on. Returns the steps that are done. Raises ValueError as `_check`."""
    source = checkpoint.newest(run)
    done = _check(config, source)  # before the configuration is rewritten
    runs.rewrite_config(run, config)
    say(f"going on with {run} from {f'{done:,} steps' if source else 'the beginning'}")
    return done


def _check(config: PretrainConfig, source: Path | None) -> int:
    """Steps that are done. Raises ValueError for data, a device or a checkpoint that it could not go on with."""
    done = checkpoint.progress_of(source)["iterations"] if source else 0
    if config.steps < done:
        raise ValueError(f"{done:,} steps are done already; give --steps of at least that, got {config.steps:,}")
    pretraining = Pretraining(config, Path())
    if source is not None:
        pretraining.restore(source)
    return done


def _train_and_measure(config: PretrainConfig, run: Path, resume_step: int | None) -> None:
    from experiments.tracking import Tracker  # imports TensorBoard

    tracker = Tracker(run, resume_step)
    try:
        with Steps("pre-training", config.steps) as steps:

            def report(done: int, metrics: dict[str, float]) -> None:
                tracker.scalars(done, metrics)
                steps.update(done, f"loss {metrics['train/loss']:.4f}, {metrics['time/rows_per_s']:,.0f} moments/s")

            policy = pretrain(config, run, report=report, resume=True)
        _measure(config, policy, run, tracker)
    finally:
        tracker.close()


def _measure(config: PretrainConfig, policy: Policy, run: Path, tracker: "Tracker") -> None:
    """Errors on all held-out episodes: table, JSON, and a picture of some moments."""
    from experiments.prediction_picture import draw

    found = held_out_errors(config, policy)
    write_errors(run / ERRORS, found)
    print_errors(found, f"held-out errors, {config.steps:,} steps")
    if config.restart:
        everything = held_out_errors(config, policy, restart=0.0)
        write_errors(run / WITH_RESTARTS, everything)
        say(f"without the moves across a restart (the referee's); with them: {run / WITH_RESTARTS}")
    tags = {f"eval/{row.measure}_share/{row.kind}_{row.horizon}": row.share for row in found}
    tracker.scalars(config.steps, tags)
    tracker.hparams(config.steps, runs.config_to_json(config), tags)
    if config.network.prediction != "cells":
        path = tracker.image("prediction", config.steps, draw(policy.network, held_out_sample(config, policy.spec)))
        say(f"guesses beside the truth: {path}")


def write_errors(path: Path, rows: list[ErrorRow]) -> None:
    """The table as JSON, for other tools."""
    files.write_text(path, json.dumps([row.to_json() for row in rows], indent=2))


def print_errors(rows: list[ErrorRow], title: str) -> None:
    """A table per measure: one row per kind and horizon; the last columns compare with constant velocity."""
    for measure in dict.fromkeys(row.measure for row in rows):
        mine = [row for row in rows if row.measure == measure]
        name = f"{measure} in {mine[0].unit}" if mine[0].unit else measure
        about = f"{mine[0].episodes} episodes; CV: constant velocity"
        table = Table(title=f"{title}: {name}, {about}", box=SIMPLE_HEAD)
        for column in ("", "steps", "model", "no move", "CV", "model / CV [95%]", ""):
            table.add_column(column, justify="right" if column else "left", no_wrap=True)
        for row in mine:
            numbers = (f"{value:.4f}" for value in (row.model, row.no_move, row.constant_velocity))
            verdict = "better" if row.better else "worse" if row.difference[0] > 0 else "undecided"
            share = "{:.2f} \\[{:.2f}, {:.2f}]".format(row.share, *row.share_interval)
            table.add_row(row.kind, str(row.horizon), *numbers, share, verdict)
        Console().print(table)
