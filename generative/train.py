"""The training loop, in plain torch: read a batch, update, report, save, look.

`train` runs it in this process; ray_train.py runs `fit` in each worker of a Ray cluster. Which pictures and noise a
step sees depends on (seed, step) alone, and what dropout drops on the split of the batch besides. So a run that goes on
from a checkpoint ends where an undisturbed run ends, and any number of workers sees the same batches.
"""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from generative import data, watch
from generative.batches import Batches
from generative.checkpoint import Store
from generative.config import TrainConfig
from generative.model import PictureModel
from generative.team import Meter, Team
from generative.training import Training
from generative.watch import View

Report = Callable[[int, dict[str, float]], None]
"""Called with the optimiser steps done and {tag: value}."""
Look = Callable[[int, View], None]
"""Called with the optimiser steps done and what there is to see."""
Note = Callable[[str], None]
"""Called with a sentence for the person who watches."""


class NotFinite(RuntimeError):
    """The loss or its gradient is NaN or infinite; the message names the step and the pictures."""


class Clock:
    """When to report, save, look and stop; only the first process's clock counts."""

    def __init__(self, config: TrainConfig, step: int) -> None:
        """step: optimiser steps done."""
        self.config, self.reported = config, step
        self.last: dict[str, float] = dict.fromkeys(["report", "save", "look"], time.monotonic())

    def decide(self, training: Training, asked_to_stop: bool) -> list[bool]:
        """[report, save, look, stop]."""
        config, every = self.config, self.config.checkpoint_interval_steps
        stop = self.is_over(training) or asked_to_stop
        save = training.step % every == 0 if every else self.since("save") >= config.checkpoint_interval_s
        look = config.watch.interval_s > 0 and self.since("look") >= config.watch.interval_s and not stop
        report = self.since("report") >= config.report_interval_s
        return [report or save or look or stop, save or stop, look, stop]

    def is_over(self, training: Training) -> bool:
        """Whether the budget of steps or of time is used up."""
        over_time = self.config.time_s is not None and training.train_s >= self.config.time_s
        return training.step >= self.config.steps or over_time

    def since(self, name: str) -> float:
        return time.monotonic() - self.last[name]

    def steps_since_report(self, step: int) -> int:
        return step - self.reported

    def did(self, name: str, step: int) -> None:
        self.last[name] = time.monotonic()
        if name == "report":
            self.reported = step


def train(
    config: TrainConfig,
    run: str | Path | None = None,
    *,
    report: Report | None = None,
    look: Look | None = None,
    note: Note | None = None,
    resume: bool = False,
) -> PictureModel:
    """Trains a model in this process and returns it, with its averaged weights.

    Args:
        run: folder for checkpoints, made if missing; runs/python/TIME-SEED if omitted.
        report: receives metrics as they come; look: what there is to see, on the way and at the end; note: remarks.
        resume: go on from the newest checkpoint, if there is one.
    Raises: ValueError for a configuration or data that do not fit, or a folder with another run's checkpoints;
        NotFinite; KeyboardInterrupt after Ctrl-C or SIGTERM, with a checkpoint of that moment. The last checkpoint
        stays in every case.
    """
    if config.workers != 1:
        raise ValueError(f"the plain loop trains with one worker, got {config.workers}; ray_train.train takes several")
    if config.data.loader != "map":
        raise ValueError("data.loader ray needs Ray: train with ray_train.train, or use the loader map")
    store = open_store(config, run, resume)
    device = pick_device(config.device)
    if device == "cpu" and config.threads:
        torch.set_num_threads(config.threads)
    with store.locked(), interrupts() as asked:
        training = fit(
            config, store, Team(device=device), report=report, look=look, note=note, stop=asked.is_set, resume=resume
        )
    if asked.is_set():
        raise KeyboardInterrupt
    training.average.meta = training.about()
    return training.average


@contextmanager
def interrupts() -> Iterator[threading.Event]:
    """An event that Ctrl-C or SIGTERM sets, so that an update is never cut in the middle; a second one interrupts.

    Only the main thread may take signals; elsewhere the event is never set.
    """
    asked = threading.Event()

    def handle(signum: int, frame: Any) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)  # None: a handler that was not set from Python


def open_store(config: TrainConfig, run: str | Path | None, resume: bool) -> Store:
    """Where a run's checkpoints go. Raises ValueError if another run's are there."""
    run = Path(run or Path("runs") / "python" / f"{time.strftime('%Y%m%d-%H%M%S')}-{config.seed}")
    store = Store(config.storage or run / "checkpoints")
    if not resume and store.newest() is not None:
        raise ValueError(f"{store.root} holds checkpoints of an earlier run; resume that one or give another folder")
    return store


def pick_device(asked: str) -> str:
    """ "auto" as cuda or cpu. Raises ValueError for cuda where there is none."""
    if asked == "cuda" and not torch.cuda.is_available():
        raise ValueError("device cuda was asked for, but torch sees no GPU; allowed here: auto, cpu")
    return "cuda" if asked != "cpu" and torch.cuda.is_available() else "cpu"


def fit(
    config: TrainConfig,
    store: Store,
    team: Team,
    *,
    source: Callable[..., Any] = Batches,
    report: Report | None = None,
    look: Look | None = None,
    note: Note | None = None,
    stop: Callable[[], bool] = lambda: False,
    resume: bool = False,
) -> Training:
    """The loop, in one process of the team. `report`, `look`, `note` and `stop` are the first process's; `source` makes
    its batches, as the class Batches does."""
    images = data.load(config.data, "train")
    if images.skipped and note:
        named = ", ".join(images.skipped[:5]) + (", ..." if len(images.skipped) > 5 else "")
        note(f"{len(images.skipped)} pictures could not be read and were left out: {named}")
    training = Training(config, images.shape, images.num_levels, images.classes, team.device)
    if resume and (newest := store.newest()) is not None:
        training.restore(store, newest)
    share = config.optim.batch // team.world
    batches = source(images, config, slice(team.rank * share, (team.rank + 1) * share))
    try:
        _loop(config, store, team, training, batches, report, look, stop)
    finally:
        batches.close()
    if team.rank == 0 and look and not stop():
        _look(config, training, config.watch.final_images, report, look)
    return training


def _loop(
    config: TrainConfig,
    store: Store,
    team: Team,
    training: Training,
    batches: Any,
    report: Report | None,
    look: Look | None,
    stop: Callable[[], bool],
) -> None:
    module, meter, clock = team.wrap(training.model), Meter(team), Clock(config, training.step)
    mark = time.monotonic()
    done = clock.is_over(training)
    while not done:
        batch = batches.at(training.step)
        terms = training.update(module, batch, batches.rows.start)
        meter.add(training.step - 1, terms)
        training.train_s += time.monotonic() - mark
        reporting, saving, looking, done = team.agree(clock.decide(training, stop()))
        if reporting:
            metrics, bad = meter.read()
            if bad >= 0:
                raise NotFinite(_complaint(bad, batches, store))
            if team.rank == 0 and report:
                report(training.step, _tags(metrics, training, clock))
            clock.did("report", training.step)
        if saving:
            # The update that ruins the weights shows in the next loss only: a ruined state must not replace a good one.
            unsound = torch.tensor(float(not training.is_sound(batch, batches.rows.start)), device=team.device)
            if team.sum(unsound) > 0:
                raise NotFinite(_complaint(training.step - 1, batches, store))
            if team.rank == 0:
                store.save(training.step, training.files(), config.keep_checkpoints)
            clock.did("save", training.step)
        if looking:
            if team.rank == 0 and look:
                _look(config, training, config.watch.images, report, look)
            clock.did("look", training.step)
            clock.did("report", training.step)
        mark = time.monotonic()


def _tags(metrics: dict[str, float], training: Training, clock: Clock) -> dict[str, float]:
    rates = {f"train/learning_rate_{group['name']}": group["lr"] for group in training.optimizer.param_groups}
    images, seconds = training.config.optim.batch * clock.steps_since_report(training.step), clock.since("report")
    times = {"time/images_per_s": images / max(seconds, 1e-9), "time/train_s": training.train_s}
    return {f"train/{name}": value for name, value in metrics.items()} | rates | times


def _look(config: TrainConfig, training: Training, count: int | None, report: Report | None, look: Look) -> None:
    images = data.load(config.data, "test")
    seed = config.seed if config.watch.seed is None else config.watch.seed
    with torch.compiler.set_stance("force_eager"):  # a compiled network would be compiled anew for each batch size
        metrics, view = watch.look(training.average, images, config.watch, seed=seed, count=count)
    if report:
        report(training.step, metrics)
    look(training.step, view)


def _complaint(step: int, batches: Any, store: Store) -> str:
    keys = batches.keys(step)
    named = ", ".join(keys[:8]) + (f" and {len(keys) - 8} more" if len(keys) > 8 else "")
    newest = store.newest()
    kept = "no checkpoint was written yet" if newest is None else f"the checkpoint of step {newest} is kept"
    return f"the loss or its gradient is not finite at step {step}; its batch: {named}; {kept}"
