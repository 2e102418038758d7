"""A chain of students, each of which takes half the steps of the one before. Salimans & Ho 2022, Algorithm 2.

    RUN/chain.json                 what the chain is made of and how far it is; written whole after each stage
    RUN/teacher/                   the model that it starts from, frozen: model.json, model.safetensors
    RUN/stages/000128/checkpoints  the training of the student with 128 steps (generative/checkpoint.py)

A stage is an ordinary training run whose pictures, noise and order depend on (seed, step) alone, so the random
generators' state is the step in its progress.json. A chain that was killed goes on inside the stage where it stopped
and ends with the same weights, to the bit on a CPU. A model that predicts eps is first converted to v.
"""

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from generative import config as configs
from generative import loading, noise
from generative.checkpoint import Store
from generative.config import Device, OptimSettings, TrainConfig, WatchSettings, not_negative, positive
from generative.model import PictureModel
from generative.papers.progressive_distillation import Diffusion, DiffusionConfig, stages
from generative.train import Look, Note, Report, train

FORMAT = "tandem-chain-1"
MANIFEST, TEACHER, STAGES, CONVERT = "chain.json", "teacher", "stages", "convert"
FILES = ("model.json", "model.safetensors")
Train = Callable[..., PictureModel]
"""`generative.train.train`, or `generative.ray_train.train`."""


@dataclass(frozen=True, kw_only=True)
class ChainConfig:
    """A chain of students."""

    KIND: ClassVar[str] = "distill"
    """What a run folder's config.json says that it holds."""

    teacher: str = ""
    """Run, checkpoint or folder of the model that the chain starts from."""
    from_steps: int = 256
    """Steps of that model's sampler, which the first student halves."""
    to: int = 1
    """Steps of the last student."""
    updates: int = 1000
    """Optimiser steps of each student."""
    last_updates: int = 2000
    """Optimiser steps of the students with two steps and one, which have the most to learn."""
    convert_updates: int = 4000
    """Optimiser steps that turn a model of another prediction or schedule into one that can be distilled."""
    optim: OptimSettings = field(
        default_factory=lambda: OptimSettings(
            batch=64, learning_rate=2e-4, decay="linear", warmup_steps=0, beta2=0.999, weight_decay=0.0, ema=0.0,
            ema_warmup=False,
        )
    )  # fmt: skip
    """Of each student. The paper has no moving average and a step size that falls to zero."""
    watch: WatchSettings = field(default_factory=lambda: WatchSettings(interval_s=0, images=256, final_images=256))
    data_path: str | None = None
    """Where the pictures lie now, for sets that are placed by hand; as in the teacher's training if omitted."""
    workers: int = 1
    """Processes of data-parallel training."""
    threads: int | None = None
    """Threads per worker on a CPU."""
    device: Device = "auto"
    max_restarts: int = 3
    """How often lost workers are replaced."""
    checkpoint_interval_s: float = 60.0
    """Seconds of training between checkpoints."""
    report_interval_s: float = 2.0
    """Seconds between points of the curves."""
    seed: int = 0

    def __post_init__(self) -> None:
        stages(self.from_steps, self.to)
        positive(self, "updates", "last_updates", "convert_updates", "workers")
        not_negative(self, "seed")
        if self.seed >= 2**32:
            raise ValueError(f"seed must be below 2^32, got {self.seed}")


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One student's training."""

    name: str
    """Its steps with leading zeros, or "convert"."""
    folder: Path
    config: TrainConfig
    first: int
    """Optimiser steps of the stages before it."""

    @property
    def steps(self) -> int:
        """Steps of the student's sampler; 0 of a conversion."""
        return self.config.model.num_steps


def plan(config: ChainConfig, run: Path, teacher: PictureModel) -> list[Stage]:
    """The stages of a chain. Raises ValueError for a teacher that none of them could learn from."""
    base, found, first = configs.from_json(teacher.meta["config"]), [], 0
    if getattr(teacher.config, "num_steps", 0) not in (0, config.from_steps):
        raise ValueError(
            f"the teacher takes {teacher.config.num_steps} steps; --from-steps must be that, got {config.from_steps}"
        )
    model, before = teacher.config, run / TEACHER
    if not isinstance(model, DiffusionConfig) or model.prediction == "eps":
        model = DiffusionConfig(net=model.net)
        found.append(_stage(config, run, CONVERT, base, model, before, first))
    for steps in stages(config.from_steps, config.to):
        model = replace(model, num_steps=steps, net=replace(model.net, dropout=0.0))
        before, first = (found[-1].folder, first + found[-1].config.steps) if found else (before, 0)
        found.append(_stage(config, run, f"{steps:06d}", base, model, before, first))
    return found


def _stage(
    config: ChainConfig, run: Path, name: str, base: TrainConfig, model: DiffusionConfig, teacher: Path, first: int
) -> Stage:
    updates = config.last_updates if 1 <= model.num_steps <= 2 else config.updates
    data = base.data if config.data_path is None else replace(base.data, path=config.data_path)
    train_config = TrainConfig(
        model=model,
        data=data,
        optim=config.optim,
        watch=config.watch,
        steps=updates if model.num_steps else config.convert_updates,
        workers=config.workers,
        threads=config.threads,
        device=config.device,
        max_restarts=config.max_restarts,
        checkpoint_interval_s=config.checkpoint_interval_s,
        report_interval_s=config.report_interval_s,
        seed=noise.mix(config.seed, model.num_steps) % 2**32,
        teacher=str(teacher.absolute()),
    )
    return Stage(name=name, folder=run / STAGES / name, config=train_config, first=first)


def distill(
    config: ChainConfig,
    run: str | Path,
    *,
    train: Train = train,
    report: Report | None = None,
    look: Look | None = None,
    note: Note | None = None,
    resume: bool = False,
) -> PictureModel:
    """Trains what is left of a chain, stage by stage, and returns the last student.

    Args: run: the chain's folder, made if missing; report, look: as of `train`, with the chain's optimiser steps;
    resume: go on with the chain in `run`, if there is one.
    Raises: ValueError for a teacher that does not fit, a folder with another chain, or one whose files are not what its
    manifest says; what `train` raises. All that was done stays in every case.
    """
    run = Path(run)
    if not (run / MANIFEST).exists():
        plan(config, run, _teacher(config))  # before anything is written
    with Store(run).locked():
        teacher = _begin(config, run, resume)
        chain = plan(config, run, teacher)
        for stage in chain:
            if _is_done(run, stage):
                continue
            if note:
                note(f"stage {stage.name}: {stage.config.steps:,} optimiser steps")
            last: dict[str, float] = {}
            train(
                stage.config, stage.folder, report=_shifted(report, stage, last), look=_shifted(look, stage, None),
                note=note, resume=True,
            )  # fmt: skip
            _finish(run, stage, last)
        return loading.load(chain[-1].folder)


def _shifted(call: Any, stage: Stage, last: dict[str, float] | None) -> Any:
    """`call` with the chain's steps; keeps the newest value of each metric in `last`."""

    def shifted(step: int, what: Any) -> None:
        if last is not None:
            last.update(what)
            what = {**what, "chain/sampler_steps": float(stage.steps)}
        if call:
            call(stage.first + step, what)

    return shifted


def _begin(config: ChainConfig, run: Path, resume: bool) -> PictureModel:
    """The frozen teacher of a new chain or of the one that is there, checked against the manifest."""
    path = run / MANIFEST
    if path.exists():
        if not resume:
            raise ValueError(f"{run} holds a chain already; resume it or give another folder")
        manifest = read_manifest(run)
        if manifest["config"] != json.loads(json.dumps(fixed(config))):
            raise ValueError(f"{run} holds a chain with another configuration; go on with that one")
        check_files(run, manifest)
        return loading.load(run / TEACHER)
    (run / TEACHER).mkdir(parents=True, exist_ok=True)
    about, weights = loading.files(config.teacher)
    for name, data in zip(FILES, (about, weights), strict=True):
        _write(run / TEACHER / name, data)
    manifest = {
        "format": FORMAT,
        "config": fixed(config),
        "teacher": {"from": config.teacher, "sha256": hashlib.sha256(weights).hexdigest()},
        "stages": [],
    }
    _write(path, json.dumps(manifest, indent=2).encode())
    return loading.load(run / TEACHER)


def _teacher(config: ChainConfig) -> PictureModel:
    if not config.teacher:
        raise ValueError("a chain needs a teacher: the run or folder of a trained model")
    return loading.load(config.teacher)


def fixed(config: ChainConfig) -> dict[str, Any]:
    """What decides a chain's weights, and stays as it is when the chain goes on."""
    free = ("teacher", "watch", "data_path", "workers", "threads", "device", "max_restarts", "checkpoint_interval_s",
            "report_interval_s")  # fmt: skip
    return {name: value for name, value in asdict(config).items() if name not in free}


def read_manifest(run: Path) -> dict[str, Any]:
    """chain.json. Raises ValueError in one sentence if it is missing or damaged."""
    path = run / MANIFEST
    try:
        manifest = json.loads(path.read_bytes())
        rows = [manifest["teacher"], *manifest["stages"]]
        good = manifest["format"] == FORMAT and all(isinstance(row["sha256"], str) for row in rows)
        good = good and all(isinstance(row["stage"], str) and len(row["stage"]) <= 12 for row in rows[1:])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} cannot be read as a chain: {getattr(error, 'strerror', None) or error!r}") from None
    if not good:
        raise ValueError(f"{path} cannot be read as a chain of format {FORMAT}")
    return manifest


def check_files(run: Path, manifest: dict[str, Any]) -> None:
    """Raises ValueError unless the teacher and every finished student are what the manifest says."""
    places = [(run / TEACHER, manifest["teacher"]["sha256"])]
    places += [(run / STAGES / row["stage"], row["sha256"]) for row in manifest["stages"]]
    for place, expected in places:
        _, weights = loading.files(place)
        if hashlib.sha256(weights).hexdigest() != expected:
            raise ValueError(f"the weights in {place} are not those that {run / MANIFEST} names")


def _is_done(run: Path, stage: Stage) -> bool:
    return any(row["stage"] == stage.name for row in read_manifest(run)["stages"])


def _finish(run: Path, stage: Stage, metrics: dict[str, float]) -> None:
    """Notes a finished stage in the manifest."""
    manifest = read_manifest(run)
    _, weights = loading.files(stage.folder)
    manifest["stages"].append(
        {
            "stage": stage.name,
            "steps": stage.steps,
            "updates": stage.config.steps,
            "seed": stage.config.seed,
            "sha256": hashlib.sha256(weights).hexdigest(),
            "train_s": metrics.get("time/train_s"),
            "loss": metrics.get("eval/loss"),
        }
    )
    _write(run / MANIFEST, json.dumps(manifest, indent=2).encode())


def position(chain: list[Stage], run: Path) -> int:
    """Optimiser steps that are done, over all stages."""
    done = 0
    for stage in chain:
        if (step := Store(stage.folder / "checkpoints").newest()) is None:
            break
        done = stage.first + step
    return done


def student(run: str | Path, steps: int) -> PictureModel:
    """The finished student with so many steps. Raises ValueError if the chain has none."""
    manifest = read_manifest(Path(run))
    known = [row["steps"] for row in manifest["stages"]]
    if steps not in known:
        raise ValueError(f"{run} has no finished student with {steps} steps; it has {', '.join(map(str, known))}")
    model = loading.load(Path(run) / STAGES / f"{steps:06d}")
    assert isinstance(model, Diffusion)
    return model


def _write(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
