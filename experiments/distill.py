"""`tandem distill`: a chain of students of a trained diffusion model, each with half the steps of the one before."""

import inspect
import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

import generative
from experiments import flags, halves, pictures, runs, train_generative
from experiments.flags import say
from experiments.presets.few_steps import CHAINS
from experiments.progress import Steps
from experiments.train import explained
from generative import chain, chain_manifest, chain_plan
from generative import config as configs
from generative.chain import ChainConfig, Stage
from generative.checkpoint import Store

if TYPE_CHECKING:
    from experiments.tracking import Tracker
    from generative.model import PictureModel

EXAMPLE = "tandem distill runs/pd-mnist/20260101-120000-0 --from-steps 256 --to 1"
USAGE = "tandem distill RUN [--to N] [--from-steps N] [--field value ...] | tandem distill --resume CHAIN"


@dataclass(frozen=True, kw_only=True)
class DistillCommand:
    """Flags of `tandem distill`."""

    config: Annotated[ChainConfig, tyro.conf.arg(name="")]
    runs_dir: Path = Path("runs")
    """Where run folders go."""
    dry_run: bool = False
    """Print the stages and the resolved configuration, and stop."""
    plain: bool = False
    """Train in this process, without Ray."""


def distill_command(args: list[str]) -> int:
    """Distils a trained diffusion model into students of ever fewer sampling steps.

    Any model that draws pictures from noise can be the start (VDM, pd-*, the base of a cascade); one that predicts eps,
    or whose schedule does not reach noise, is converted first. Models of pictures given pictures (SR3, Palette, later
    stages of a cascade) cannot. With several machines, all must see --runs-dir.
    """
    if {"-h", "--help"} & set(args) and args[0].startswith("-"):
        about = inspect.cleandoc(distill_command.__doc__ or "")
        say(f"usage: {USAGE}\n\n{about}\n\nExample: {EXAMPLE}\n\n`tandem distill RUN --help` lists the fields.")
        return 0
    run, command = parse_distill(args)
    if command.dry_run:
        for stage in (stages := _plan(command.config, run)):
            say(f"stage {stage.name}: {stage.config.steps:,} optimiser steps, from {stage.first:,}")
        _say_cost(command.config, stages, run)
        say(json.dumps(runs.describe(named(command.config), command.config), indent=2))
        return 0
    distill_run(command.config, command.runs_dir, resume=run, args=args, plain=command.plain)
    return 0


def parse_distill(args: list[str]) -> tuple[Path | None, DistillCommand]:
    """(chain to go on with, flags). Raises ValueError for whatever does not fit."""
    name, run, rest = flags.name_or_resume(args, "run", USAGE)
    stored = read(run) if run is not None else defaults(str(name))
    command = flags.parse(
        DistillCommand,
        rest,
        prog=f"tandem distill {name or f'--resume {run}'}",
        example=EXAMPLE,
        default=DistillCommand(config=stored),
        about=distill_command.__doc__ or "",
    )
    if command.plain and command.config.workers != 1:
        raise ValueError(f"--plain trains in one process; --workers must be 1 then, got {command.config.workers}")
    if run is not None:
        runs.check_fixed(run, ("teacher", *chain.fixed(stored)), stored, command.config)
    if run is None:
        _plan(command.config, None)
    return run, command


def defaults(teacher: str) -> ChainConfig:
    """The chain of a teacher: as its preset has it, or batches as in training, steps a third as large. In float32:
    a teacher's rounding to bfloat16 would be noise in what its student learns. Raises ValueError."""
    model = generative.load(teacher)
    trained = configs.from_json(model.meta["config"])
    plain, own = ChainConfig(), CHAINS.get(_preset(teacher), {})
    same = {name: getattr(trained.optim, name) for name in ("micro_batches", "channels_last")}
    same["batch"] = own.get("batch", trained.optim.batch)
    rate = own.get("learning_rate", trained.optim.learning_rate / 3)
    optim = replace(plain.optim, learning_rate=rate, **same)
    start = model.taught_steps or own.get("from_steps", plain.from_steps)
    end = start // (start & -start)  # the least that halving can lead to
    place = teacher if "://" in teacher else str(Path(teacher).expanduser().absolute())
    watch = replace(trained.watch, interval_s=0.0, final_images=trained.watch.images)
    plain = replace(plain, from_steps=start, to=end, updates=own.get("updates"))
    return replace(plain, teacher=place, optim=optim, watch=watch)


def read(run: Path) -> ChainConfig:
    """The configuration of a chain's run folder. Raises ValueError if it is none."""
    if not (run / "config.json").is_file():
        raise ValueError(f"{run} is not a run folder: it has no config.json (runs are at runs/PRESET/TIME-SEED)")
    with halves.record_of(run) as record:
        if record.get("kind") != ChainConfig.KIND:
            raise ValueError(f"it is of `tandem {record.get('kind', 'train')}`, not of `tandem distill`")
        return configs.read(ChainConfig, record["config"])


def named(config: ChainConfig) -> str:
    """What the runs of a teacher's chains are called: after the teacher's preset."""
    preset = _preset(config.teacher)
    return f"{preset}-distill" if preset else "distill"


def _preset(teacher: str) -> str:
    """The preset that a teacher's run folder names, if it is one."""
    try:
        preset = json.loads((Path(teacher) / "config.json").read_text())["preset"]
        return preset if re.fullmatch(r"[\w+-]{1,64}", preset) else ""
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return ""


def _plan(config: ChainConfig, run: Path | None) -> list[Stage]:
    return chain.plan(config, run or Path("."), _teacher(config, run))


def _teacher(config: ChainConfig, run: Path | None) -> "PictureModel":
    """What a chain starts from: its frozen copy where it has begun."""
    if run is not None and (run / chain_manifest.MANIFEST).is_file():
        return generative.load(run / chain_manifest.TEACHER)
    return chain.first_teacher(config)


def _say_cost(config: ChainConfig, stages: list[Stage], run: Path | None) -> None:
    share = chain_plan.share_of(config, stages, _teacher(config, run))
    say(f"the chain costs {share:.2f} of what training the teacher did, in forward passes of the network")


def _prepare(config: ChainConfig, run: Path | None, plain: bool) -> None:
    """Raises ValueError for what a chain cannot be made or gone on with, before anything is written."""
    first = _plan(config, run)[0].config
    begun = run is not None and (run / chain_manifest.MANIFEST).exists()
    if run is not None and begun:
        with Store(run).locked():
            chain.check(config, run)
    elif run is not None:
        chain.check_new(config, run)
    teacher = first.teacher if begun else config.teacher
    train_generative.prepare(replace(first, teacher=teacher), resume=begun, options={"plain": plain})


def distill_run(
    config: ChainConfig, runs_dir: Path, *, resume: Path | None = None, args: list[str] | None = None, plain: bool
) -> Path:
    """Distils into a new run folder, or on in `resume`, and returns the folder.

    Raises: ValueError before anything is written; experiments.train.RunFailed for an error on the way.
    """
    from experiments.tracking import Tracker  # imports TensorBoard

    _prepare(config, resume, plain)
    if resume is None:
        run = runs.create(runs_dir, named(config), config, ["tandem", "distill", *(args or [config.teacher])])
        say(f"run folder: {run}")
    else:
        run = resume
        runs.rewrite_config(run, config)
    stages = _plan(config, run)
    done = chain.position(stages, run)
    if (run / chain_manifest.MANIFEST).exists() and len(chain_manifest.read_manifest(run)["stages"]) == len(stages):
        say(f"all {len(stages)} stages of {run} are done: nothing is left to do")
        return run
    if resume is not None:
        say(f"going on with {run} from {f'{done:,} optimiser steps' if done else 'the beginning'}")
    _say_cost(config, stages, run)
    say(f"watch it: tensorboard --logdir {run.parent.parent}")
    with explained(halves.named(halves.GENERATIVE), f"tandem distill --resume {run}"):
        tracker = Tracker(run, done if resume is not None else None)
        try:
            _distill(config, run, stages, tracker, plain)
        finally:
            tracker.close()
    say(f"score it: tandem eval {run} --samples 1000\nsamples:  tandem sample {run} -n 64 -o grid.png")
    return run


def _distill(config: ChainConfig, run: Path, stages: list[Stage], tracker: "Tracker", plain: bool) -> None:
    if plain:
        from generative.train import train
    else:
        from generative.ray_train import train

        say("starting Ray's workers, 5 to 60 seconds for each stage")
    by_first = {stage.first + stage.config.steps: stage for stage in stages}
    with Steps("distilling", stages[-1].first + stages[-1].config.steps) as steps:

        def report(done: int, metrics: dict[str, float]) -> None:
            tracker.scalars(done, metrics)
            if "train/loss" in metrics:
                now = f"{metrics['chain/sampler_steps']:.0f} steps" if metrics["chain/sampler_steps"] else "converting"
                steps.update(done, f"{now}, error {metrics['train/loss']:.5f}")

        def look(done: int, view: Any) -> None:
            pictures.draw(tracker, done, view)
            if (stage := by_first.get(done)) and stage.steps:
                picture = pictures.grid(view.samples, view.num_levels)
                path = tracker.image(f"samples_in_{stage.steps}_steps", done, picture)
                say(f"{stage.steps} step{'s' * (stage.steps > 1)}: {path}")

        chain.distill(config, run, train=train, report=report, look=look, note=say, resume=True)
    rows = chain_manifest.read_manifest(run)["stages"]
    for row in rows:
        say(f"stage {row['stage']}: error on test pictures {row['loss']:.5f}, {row['train_s']:.0f} s")
    tracker.hparams(stages[-1].first + stages[-1].config.steps, configs.to_json(config), {
        f"stages/error_{row['stage']}": row["loss"] for row in rows
    })  # fmt: skip
