"""The loop of train.py in the workers of Ray Train: gloo between CPUs, NCCL between GPUs.

Ray starts the workers, joins them to one process group, and starts the group again when one is lost; each worker then
goes on from the newest checkpoint. What the first worker reports reaches the driver through a `Board`, an actor, so
that curves and pictures are written where the run folder is.
"""

import logging
import os
import threading
import time
import traceback
from collections import deque
from collections.abc import Generator
from pathlib import Path
from typing import Any

import ray
import ray.data
import ray.train
import torch
from ray.train.torch import TorchConfig, TorchTrainer, get_device
from torch import Tensor

from generative import data, loading
from generative import train as loop
from generative.batches import Batches, Pictures, prepared
from generative.checkpoint import Store
from generative.config import TrainConfig
from generative.model import PictureModel
from generative.team import Team
from generative.train import Look, Note, NotFinite, Report

POLL_S = 0.25


class WorkerError(RuntimeError):
    """An error in a worker that starting again would not mend; the message has its traceback."""


class LostWorkers(RuntimeError):
    """Workers were lost more often than `max_restarts` allows."""


class _Board:
    """Where workers leave what the driver should know, and learn whether to stop."""

    def __init__(self) -> None:
        self.events: list[tuple[str, tuple[Any, ...]]] = []
        self.stopping = False
        self.failed = False

    def put(self, kind: str, *content: Any) -> None:
        self.failed = self.failed or kind == "error"
        self.events.append((kind, content))

    def take(self) -> list[tuple[str, tuple[Any, ...]]]:
        events, self.events = self.events, []
        return events

    def ask_to_stop(self) -> None:
        self.stopping = True

    def should_stop(self) -> bool:
        return self.stopping

    def has_failed(self) -> bool:
        return self.failed


def train(
    config: TrainConfig,
    run: str | Path | None = None,
    *,
    report: Report | None = None,
    look: Look | None = None,
    note: Note | None = None,
    resume: bool = False,
) -> PictureModel:
    """`generative.train.train` with `config.workers` workers on Ray.

    Joins the cluster of the surrounding job (RAY_ADDRESS), or starts a private instance on this machine. On a cluster
    the run folder, or `config.storage`, must be a place that all nodes share.

    Raises: as train.train; WorkerError; LostWorkers.
    """
    store = loop.open_store(config, run, resume)
    if config.device == "cuda" and not os.environ.get("RAY_ADDRESS"):
        loop.pick_device("cuda")
    check_workers(config.workers)
    start_ray(config.workers + 1)
    board: Any = ray.remote(num_cpus=0)(_Board).remote()
    trainer = _trainer(config, store, board)
    calls = {"report": report, "look": look, "note": note}
    try:
        with store.locked(), loop.interrupts() as asked:
            outcome = _Fit(trainer)
            error = _follow(outcome, board, asked, calls)
    finally:
        ray.kill(board)  # workers that are still there end with it
    if error is not None:
        raise error
    if outcome.error is not None:
        where = "no checkpoint was written" if (step := store.newest()) is None else f"step {step} is saved"
        raise LostWorkers(f"workers were lost more than {config.max_restarts} times ({where}): {outcome.error}")
    if asked.is_set():
        raise KeyboardInterrupt
    return loading.load(store.root if store.is_local else store.fs.unstrip_protocol(store.root))


def check_workers(workers: int) -> None:
    """Raises ValueError for more workers than this machine should be asked to hold, where Ray runs on it alone."""
    cores = os.cpu_count() or 1
    if workers > 4 * cores and not os.environ.get("RAY_ADDRESS") and not ray.is_initialized():
        raise ValueError(
            f"{workers} workers are too many for this machine's {cores} cores (at most {4 * cores}); "
            "`tandem submit` sends a run to a cluster"
        )


def start_ray(num_cpus: int) -> None:
    """Joins the cluster of RAY_ADDRESS, or starts a private instance with at least so many CPUs to give."""
    if ray.is_initialized():
        return
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if os.environ.get("RAY_ADDRESS"):
        ray.init(address=os.environ["RAY_ADDRESS"], **options)
        return
    for attempt in (1, 2):  # on a loaded machine the first start can time out
        try:
            cpus = max(os.cpu_count() or 1, num_cpus)
            ray.init(address="local", num_cpus=cpus, include_dashboard=False, **options)
            return
        except Exception:
            ray.shutdown()
            if attempt == 2:
                raise


class _Fit:
    """trainer.fit() in a thread of its own, so that the driver can follow the board."""

    def __init__(self, trainer: TorchTrainer) -> None:
        self.error: Exception | None = None
        self.thread = threading.Thread(target=self._run, args=(trainer,), daemon=True)
        self.thread.start()

    def _run(self, trainer: TorchTrainer) -> None:
        try:
            trainer.fit()
        except Exception as error:
            self.error = error


def _trainer(config: TrainConfig, store: Store, board: Any) -> TorchTrainer:
    wants_gpu = config.device == "cuda" or (config.device == "auto" and ray.cluster_resources().get("GPU", 0) > 0)
    root = store.root if store.is_local else store.fs.unstrip_protocol(store.root)
    own = Path(store.root).parent / "ray" if store.is_local else Path("/tmp/tandem-ray-train")
    return TorchTrainer(
        _worker,
        train_loop_config={"config": config, "root": root, "board": board},
        scaling_config=ray.train.ScalingConfig(num_workers=config.workers, use_gpu=wants_gpu),
        datasets={"train": decoded(config)} if config.data.loader == "ray" else None,
        # Decisions are broadcast on the CPU, gradients on the GPU.
        torch_config=TorchConfig(backend="cpu:gloo,cuda:nccl" if wants_gpu else "gloo"),
        run_config=ray.train.RunConfig(
            name="train",
            storage_path=str(own.absolute()),
            failure_config=ray.train.FailureConfig(max_failures=config.max_restarts),
        ),
    )


def _follow(outcome: _Fit, board: Any, asked: threading.Event, calls: dict[str, Any]) -> Exception | None:
    """Passes on what comes until the workers have ended. Returns the error that they told of, if any."""
    error, told = None, False
    while True:
        running = outcome.thread.is_alive()
        for kind, content in ray.get(board.take.remote()):
            if kind == "error":
                error = error or content[0]
            elif calls.get(kind):
                calls[kind](*content)
        if not running:
            return error
        if asked.is_set() and not told:
            ray.get(board.ask_to_stop.remote())
            told = True
        outcome.thread.join(POLL_S)


def _worker(settings: dict[str, Any]) -> None:
    """One worker's run of the loop."""
    config, board = settings["config"], settings["board"]
    if ray.get(board.has_failed.remote()):
        return  # Ray has started the group again after an error that would only come again
    context = ray.train.get_context()
    rank, world = context.get_world_rank(), context.get_world_size()
    device = str(get_device())
    if device == "cpu":
        torch.set_num_threads(config.threads or max(1, (os.cpu_count() or 1) // context.get_local_world_size()))

    def teller(kind: str) -> Any:
        return lambda *content: board.put.remote(kind, *content)

    calls = {kind: teller(kind) for kind in ("report", "look", "note")} if rank == 0 else {}
    try:
        team = Team(rank=rank, world=world, device=device)
        source = Stream if config.data.loader == "ray" else Batches
        stop = _Asked(board) if rank == 0 else _never
        loop.fit(config, Store(settings["root"]), team, source=source, stop=stop, resume=True, **calls)
        ray.get(board.put.remote("done"))  # after all that was put before: this worker's process may end at once
    except Exception as error:
        # A lost peer shows as a RuntimeError of the process group. That is Ray's to mend; anything else is not.
        if (world > 1 and type(error) is RuntimeError) or isinstance(error, torch.distributed.DistError):
            raise
        told = error if isinstance(error, (ValueError, NotFinite, OSError)) else WorkerError(traceback.format_exc())
        ray.get(board.put.remote("error", told))
        if world > 1 and not isinstance(error, NotFinite):
            raise  # the others wait for this worker: end them too (all of them see a loss that is not finite)


def decoded(config: TrainConfig) -> ray.data.Dataset:
    """The training pictures as a Ray dataset (x, label, id), in a new random order each time it is read.

    Numbers are shuffled, not pictures: tasks all over the cluster then read and decode the pictures of their numbers.
    """
    settings = config.data

    def read(numbers: Any) -> Any:
        batch = data.load(settings, "train").batch(numbers["id"])
        return {"id": numbers["id"], **{name: value.numpy() for name, value in batch.items()}}

    size = len(data.load(settings, "train"))
    return ray.data.range(size).random_shuffle().map_batches(read, batch_size=min(256, config.optim.batch))


class Stream:
    """One worker's batches out of `decoded`: what batches.Batches is for sets that are read by index.

    A run that goes on after a fault begins a new epoch: it does not repeat the order of an undisturbed one.
    """

    def __init__(self, images: Pictures, config: TrainConfig, rows: slice) -> None:
        self.images, self.config, self.rows = images, config, rows
        self.seen: deque[tuple[int, Tensor]] = deque(maxlen=1000)
        self.feed = self._endless()

    def at(self, step: int) -> dict[str, Tensor]:
        """The next batch, on the CPU."""
        batch = next(self.feed)
        self.seen.append((step, batch.pop("id")))
        return prepared(batch, self.config, step, self.rows)

    def keys(self, step: int) -> list[str]:
        """The names of the pictures in the batch of one of the last steps."""
        return self.images.keys(dict(self.seen)[step])

    def close(self) -> None:
        self.feed.close()

    def _endless(self) -> Generator[dict[str, Tensor], None, None]:
        share, shard = self.rows.stop - self.rows.start, ray.train.get_dataset_shard("train")
        assert shard is not None  # the trainer was given it
        while True:
            empty = True
            for batch in shard.iter_torch_batches(batch_size=share, drop_last=True, device="cpu"):
                empty = False
                yield batch
            if empty:
                raise ValueError(f"{len(self.images)} pictures are too few for {share} per worker and step")


class _Asked:
    """Whether the driver wants the run to stop, asked at most four times a second."""

    def __init__(self, board: Any) -> None:
        self.board, self.last, self.answer = board, 0.0, False

    def __call__(self) -> bool:
        if not self.answer and time.monotonic() - self.last >= POLL_S:
            self.answer, self.last = bool(ray.get(self.board.should_stop.remote())), time.monotonic()
        return self.answer


def _never() -> bool:
    return False
