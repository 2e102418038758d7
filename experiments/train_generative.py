"""What `tandem train` does for the generative half (the protocol of experiments/halves.py)."""

import json
import os
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import torch
import tyro

import generative
from experiments import files, halves, runs
from experiments.data import load_set
from experiments.evaluate import interval
from experiments.flags import check_writable, say
from experiments.progress import Steps
from generative import config as configs
from generative import models
from generative.checkpoint import Store
from generative.config import TrainConfig
from generative.image_to_image import ImageToImage
from generative.model import PictureModel
from generative.papers.cascade import CascadeStage
from generative.papers.progressive_distillation import Diffusion, check_teacher
from generative.papers.vdm import VDMConfig
from generative.train import NotFinite, open_store, pick_device

if TYPE_CHECKING:
    from experiments.tracking import Tracker
    from generative.watch import View

NAME: str = halves.GENERATIVE
FIXED: tuple[str, ...] = (
    "model", "seed", "storage", "teacher", "optim.batch", "data.name", "data.size", "data.channels", "data.downscale",
    "data.reduced", "data.holdout", "data.flip", "data.rotate",
)  # fmt: skip
"""Where the data lie (data.path) may change: a folder moves."""
MOVED = ("storage", "teacher")
"""Of these, what a person may move by hand: paths, which config.json alone says."""
STEPS: str = "steps"
OUTCOME = "evaluation.json"
"""Name of the file with the evaluation at the end of a run."""


@dataclass(frozen=True, kw_only=True)
class TrainCommand:
    """Flags of `tandem train`."""

    config: Annotated[TrainConfig, tyro.conf.arg(name="")]
    runs_dir: Path = Path("runs")
    """Where run folders go."""
    dry_run: bool = False
    """Print the resolved configuration and stop."""
    plain: bool = False
    """Train in this process, without Ray."""


TrainFlags: type[Any] = TrainCommand
to_json, from_json = configs.to_json, configs.from_json


def check_flags(flags: TrainCommand) -> None:
    if flags.plain and flags.config.workers != 1:
        raise ValueError(f"--plain trains in one process; --workers must be 1 then, got {flags.config.workers}")


def located(config: TrainConfig) -> TrainConfig:
    path, storage, teacher = (_absolute(place) for place in (config.data.path, config.storage, config.teacher))
    return replace(config, data=replace(config.data, path=path), storage=storage, teacher=teacher)


def _absolute(place: str | None) -> str | None:
    return place if place is None or "://" in place else str(Path(place).expanduser().absolute())


def prepare(config: TrainConfig, *, resume: bool, options: dict[str, Any]) -> None:
    if config.storage:
        open_store(config, None, resume)
    if options.get("plain"):
        pick_device(config.device)
    images, test = load_set(config.data, "train"), load_set(config.data, "test")
    for known in (images, test):
        if not len(known):
            raise ValueError(f"{known.name} has no picture for {known.split}; change --data.holdout")
    net = config.model.net
    widest = net.channels * max(getattr(net, "multipliers", (1,)))
    if net.blocks > 1000 or max(widest, getattr(net, "out_channels", None) or 0) > 2**16:
        raise ValueError("model.net takes at most 1,000 blocks and 65,536 channels at any level")
    if options.get("plain") and config.data.loader != "map":
        raise ValueError("--data.loader ray needs Ray: leave --plain out, or use the loader map")
    classes = config.model.net.classes
    if classes and classes != len(images.classes):
        have = f"has {len(images.classes)} classes" if images.classes else "is unlabelled"
        raise ValueError(f"model.net.classes is {classes}, but {images.name} {have}")
    with torch.device("meta"):  # impossible sizes of a network, without its memory
        model = models.make(config.model, images.shape, images.num_levels)
    if options.get("plain") and pick_device(config.device) == "cpu":
        _check_memory(sum(parameter.numel() for parameter in model.parameters()))
    if config.teacher is not None and isinstance(model, Diffusion):
        check_teacher(model, generative.load(config.teacher))
    if config.storage and (store := Store(config.storage)).is_local:
        check_writable(Path(store.root) / "checkpoint")


def _check_memory(numbers: int) -> None:
    """Raises ValueError for a network that cannot be trained here: weights, their average, gradients and AdamW's two
    moments are five float32 for each of its numbers."""
    needed, has = 20 * numbers / 2**30, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    if needed > has:
        raise ValueError(
            f"the network has {numbers:,} numbers: to train them takes {needed:,.1f} GiB of memory at least, "
            f"this machine has {has:,.1f}"
        )


def hold(run: Path) -> AbstractContextManager[None]:
    return Store(run).locked()  # whoever trains holds the checkpoints too, perhaps a process of Ray Train


def position(config: TrainConfig, run: Path) -> int | None:
    store = _store(config, run)
    step = store.newest()
    if step is None and store.is_local and store.steps():  # there, nothing is half written under a checkpoint's name
        raise ValueError(f"no checkpoint in {store.root} is whole; move them away to start from the beginning")
    if step is not None:
        if newer := [known for known in store.steps() if known > step]:
            say(f"the checkpoint of step {newer[-1]:,} in {store.root} is not whole: that of step {step:,} is taken")
        for name in ("progress.json", "model.safetensors", "train.safetensors"):
            store.read(step, name)
        trained = from_json(json.loads(store.read(step, "model.json"))["config"])
        runs.check_fixed(run, tuple(name for name in FIXED if name not in MOVED), trained, config)
    return step


def _store(config: TrainConfig, run: Path) -> Store:
    return Store(config.storage or run / "checkpoints")


def finished(config: TrainConfig, run: Path, position: int) -> str:
    progress = json.loads(_store(config, run).read(position, "progress.json"))
    if not (run / OUTCOME).exists():
        return ""
    if position >= config.steps:
        return f"{run} has done {position:,} of its {config.steps:,} steps; give a larger --steps"
    if config.time_s is not None and progress["train_s"] >= config.time_s:
        return f"{run} has trained for {progress['train_s']:.0f} of its {config.time_s:.0f} s; give a larger --time-s"
    return ""


def speaks_for_itself(error: Exception) -> bool:
    # WorkerError and LostWorkers carry what happened in a worker; ray_train is imported only where Ray trains.
    return isinstance(error, (ValueError, NotFinite, OSError)) or type(error).__name__ in ("WorkerError", "LostWorkers")


def train(config: TrainConfig, run: Path, *, metric: str, resume_step: int | None, options: dict[str, Any]) -> None:
    from experiments.tracking import Tracker  # imports TensorBoard

    tracker = Tracker(run, resume_step)
    try:
        model, measured = _train(config, run, tracker, resume_step is not None, options.get("plain", False))
        _finish(model, measured, config, run, tracker, metric)
    finally:
        tracker.close()


def _train(
    config: TrainConfig, run: Path, tracker: "Tracker", resume: bool, plain: bool
) -> tuple[PictureModel, dict[str, float]]:
    """The trained model, and the numbers of its last evaluation."""
    from experiments import pictures

    if plain:
        from generative.train import train
    else:
        from generative.ray_train import train

        say("starting Ray's workers, 5 to 60 seconds")
    measured: dict[str, float] = {}
    shown, unit = ("bpd", "bits/dimension") if isinstance(config.model, VDMConfig) else ("loss", "weighted error")
    with Steps("training", config.steps) as steps:

        def report(done: int, metrics: dict[str, float]) -> None:
            (run / OUTCOME).unlink(missing_ok=True)  # of an earlier stretch: from now on it is out of date
            tracker.scalars(done, metrics)
            measured.update({tag: value for tag, value in metrics.items() if tag.startswith("eval/")})
            if f"train/{shown}" in metrics:
                share = done / config.steps
                if config.time_s is not None:
                    share = max(share, metrics["time/train_s"] / config.time_s)
                speed = f"{metrics['time/images_per_s']:.0f} images/s"
                steps.update(share * config.steps, f"{done:,} steps, {metrics[f'train/{shown}']:.3f} {unit}, {speed}")

        def look(done: int, view: "View") -> None:
            pictures.draw(tracker, done, view)

        model = train(config, run, report=report, look=look, note=say, resume=resume)
    return model, measured


def _finish(
    model: PictureModel, measured: dict[str, float], config: TrainConfig, run: Path, tracker: "Tracker", metric: str
) -> None:
    """What came out: evaluation.json, the HPARAMS page, and a few lines for the person."""
    done = int(model.meta["step"]) if model.meta else config.steps
    files.write_text(run / OUTCOME, json.dumps({"step": done, **measured}, indent=2))
    tracker.hparams(done, runs.config_to_json(config), measured)
    say(f"{metric}: {interval(outcome(run, metric))} on test pictures, after {done:,} steps")
    say(f"measure: tandem eval {run}{_task(model)}\n{_use(model, run)}")
    say(f"go on:   tandem train --resume {run} --steps {2 * config.steps}")


def _use(model: PictureModel, run: Path) -> str:
    """Lines with the commands that show what a model does."""
    if not isinstance(model, ImageToImage):
        return f"samples: tandem sample {run} -n 64 -o grid.png"
    mask = " --mask M.png" if getattr(model.config, "tasks", ())[:1] == ("inpaint",) else ""
    label = " --label CLASS" if model.config.net.classes else ""
    restore = f"restore: tandem restore {run} IN.png{_task(model)}{mask}{label} -o OUT.png"
    if not isinstance(model, CascadeStage):
        return restore
    height, width = (side // model.factor for side in model.shape[1:])
    before = f"BASE: a run that draws pictures of {width} x {height}, or several, the smallest first"
    return f"{restore}\ncascade: tandem sample BASE {run} -n 64 -o grid.png ({before})"


def _task(model: PictureModel) -> str:
    """The flag that a model of several tasks needs."""
    tasks = getattr(model.config, "tasks", ())
    return f" --task {tasks[0]}" if len(tasks) > 1 else ""


def start_ray(cpus: int) -> None:
    from generative.ray_train import start_ray

    start_ray(cpus)


def bundles(config: TrainConfig, *, gpu: bool) -> list[dict[str, float]]:
    if config.workers != 1:
        raise ValueError(f"a sweep trains each seed in one process; --workers must be 1, got {config.workers}")
    wants_gpu = config.device == "cuda" or (config.device == "auto" and gpu)
    return [{"CPU": float(config.threads or 1)} | ({"GPU": 1.0} if wants_gpu else {})]


def trial_options() -> dict[str, Any]:
    return {"plain": True}


def outcome(run: Path, metric: str) -> dict[str, float]:
    measured = json.loads((run / OUTCOME).read_text())
    mean, se = measured[f"eval/{metric}"], measured.get(f"eval/{metric}_se", float("nan"))
    return {"mean": mean, "low": mean - 1.96 * se, "high": mean + 1.96 * se}
