"""A chain of students, each of which takes half the steps of the one before. Salimans & Ho 2022, Algorithm 2.

    RUN/chain.json                 what the chain is made of and how far it is; written whole after each stage
    RUN/teacher/                   the model that it starts from, frozen: model.json, model.safetensors
    RUN/stages/000128/checkpoints  the training of the student with 128 steps (generative/checkpoint.py)

A stage is an ordinary training run whose pictures, noise and order depend on (seed, step) alone, so the random
generators' state is the step in its progress.json. A chain that was killed goes on inside the stage where it stopped
and ends with the same weights, to the bit on a CPU. A model that predicts eps is first converted to v.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from generative import config as configs
from generative import loading, noise
from generative.chain_manifest import (
    CONVERT,
    FORMAT,
    MANIFEST,
    STAGES,
    TEACHER,
    check_files,
    digest,
    read_manifest,
    write_whole,
)
from generative.checkpoint import Store
from generative.config import Device, OptimSettings, TrainConfig, WatchSettings, not_negative, positive
from generative.model import PictureModel
from generative.papers.progressive_distillation import NOISE, DiffusionConfig, stages
from generative.train import Look, Note, Report, train

FILES = ("model.json", "model.safetensors")
TRAINING, CONVERSION, STUDENT = 3, 4, 5
"""Forward passes for one picture of an optimiser step, a gradient being two: of training, of a conversion (its teacher
answers once), of a student (twice)."""
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
    updates: int | None = None
    """Optimiser steps of each student; if omitted, so many that the chain costs what its teacher's training did."""
    last_updates: int | None = None
    """Optimiser steps of the students with two steps and one, which have most to learn; twice `updates` if omitted."""
    convert_updates: int | None = None
    """Optimiser steps that turn a model of another prediction or schedule into one that can be distilled; a quarter of
    what the chain may cost if omitted."""
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
        positive(self, "workers")
        given = (name for name in ("updates", "last_updates", "convert_updates") if getattr(self, name) is not None)
        positive(self, *given)
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
    if teacher.taught_steps not in (0, config.from_steps):
        raise ValueError(
            f"the teacher takes {teacher.taught_steps} steps; --from-steps must be that, got {config.from_steps}"
        )
    model, before = teacher.config, run / TEACHER
    convert, each, last = updates_of(config, teacher)
    if convert:
        kept = isinstance(model, DiffusionConfig) and model.prediction != "eps"
        model = DiffusionConfig(net=replace(model.net, dropout=0.0), prediction=model.prediction if kept else "v")
        # Its weights answer another question at first, so the first steps are small.
        slowly = replace(config, optim=replace(config.optim, warmup_steps=config.optim.warmup_steps or convert // 10))
        found.append(_stage(slowly, run, CONVERT, base, model, before, first, convert))
    weighting = "truncated_snr" if model.weighting == "snr" else model.weighting  # SNR weighs nothing in pure noise
    for steps in stages(config.from_steps, config.to):
        net = replace(model.net, dropout=0.0)
        model = replace(model, num_steps=steps, net=net, weighting=weighting)
        before, first = (found[-1].folder, first + found[-1].config.steps) if found else (before, 0)
        updates = last if steps <= 2 else each
        found.append(_stage(config, run, f"{steps:06d}", base, model, before, first, updates))
    return found


def updates_of(config: ChainConfig, teacher: PictureModel) -> tuple[int, int, int]:
    """Optimiser steps of the conversion (0 where none is needed), of a student, and of those with two steps and one."""
    trained = configs.from_json(teacher.meta["config"]).optim.batch * teacher.meta["step"]
    left = trained * (STUDENT if teacher.taught_steps else TRAINING) / config.optim.batch
    convert = 0 if can_be_distilled(teacher) else config.convert_updates or max(1, int(left / 4 / CONVERSION))
    left = left - CONVERSION * convert
    students = stages(config.from_steps, config.to)
    few = sum(steps <= 2 for steps in students)
    if config.last_updates is not None:
        left, few = left - STUDENT * few * config.last_updates, -few
    each = config.updates or max(1, int(left / STUDENT / max(1, len(students) + few)))
    return convert, each, config.last_updates or 2 * each


def _stage(
    config: ChainConfig, run: Path, name: str, base: TrainConfig, model: DiffusionConfig, teacher: Path, first: int,
    updates: int,
) -> Stage:  # fmt: skip
    # Ray's stream begins anew after a fault: a chain that was killed would end elsewhere.
    data = replace(base.data, loader="map", path=config.data_path or base.data.path)
    same_noise = config.seed if config.watch.seed is None else config.watch.seed  # in the grids of all stages
    train_config = TrainConfig(
        model=model,
        data=data,
        optim=config.optim,
        watch=replace(config.watch, seed=same_noise),
        steps=updates,
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
        _check_new(config, run)  # before anything is written
    with Store(run).locked():
        teacher = _begin(config, run, resume)
        chain = plan(config, run, teacher)
        for stage in chain[len(read_manifest(run)["stages"]) :]:
            if note:
                note(f"stage {stage.name}: {stage.config.steps:,} optimiser steps")
            last: dict[str, float] = {}
            train(
                stage.config, stage.folder, report=_shifted(report, stage, last),
                look=_shifted(look or _unseen, stage, None),
                note=note, resume=True,
            )  # fmt: skip
            _finish(run, stage, last)
        return loading.load(chain[-1].folder)


def _unseen(step: int, view: Any) -> None:
    """Stands for whoever looks: without anybody, a stage's error on test pictures would not be measured."""


def _shifted(call: Any, stage: Stage, last: dict[str, float] | None) -> Any:
    """`call` with the chain's steps; keeps the newest value of each metric in `last`."""

    def shifted(step: int, what: Any) -> None:
        if last is not None:
            last.update(what)
            what = {**what, "chain/sampler_steps": float(stage.steps)}
        if call:
            call(stage.first + step, what)

    return shifted


def check(config: ChainConfig, run: Path) -> PictureModel:
    """The frozen teacher of the chain in `run`. Raises ValueError unless its manifest, files and `config` agree."""
    manifest = read_manifest(run)
    if manifest["config"] != json.loads(json.dumps(fixed(config))):
        raise ValueError(f"{run} holds a chain with another configuration; go on with that one")
    if manifest["teacher"]["from"] != config.teacher:
        was = manifest["teacher"]["from"]
        raise ValueError(f"{run} holds a chain that starts from {was!r}, asked was {config.teacher!r}")
    check_files(run, manifest)
    teacher = loading.load(run / TEACHER)
    expected = [
        (stage.name, stage.steps, stage.config.steps, stage.config.seed) for stage in plan(config, run, teacher)
    ]
    done = [(row["stage"], row["steps"], row["updates"], row["seed"]) for row in manifest["stages"]]
    if done != expected[: len(done)]:
        raise ValueError(
            f"{run / MANIFEST} names stages that are not this chain's: {', '.join(row[0] for row in done)}"
        )
    return teacher


def _begin(config: ChainConfig, run: Path, resume: bool) -> PictureModel:
    """The frozen teacher of a new chain or of the one that is there."""
    path = run / MANIFEST
    if path.exists():
        if not resume:
            raise ValueError(f"{run} holds a chain already; resume it or give another folder")
        return check(config, run)
    (run / TEACHER).mkdir(parents=True, exist_ok=True)
    about, weights = loading.files(config.teacher)
    for name, data in zip(FILES, (about, weights), strict=True):
        write_whole(run / TEACHER / name, data)
    manifest = {
        "format": FORMAT,
        "config": fixed(config),
        "teacher": {"from": config.teacher, "sha256": digest(about, weights)},
        "stages": [],
    }
    write_whole(path, json.dumps(manifest, indent=2).encode())
    return loading.load(run / TEACHER)


def first_teacher(config: ChainConfig) -> PictureModel:
    """The model that a new chain starts from. Raises ValueError where there is none, or one that has nothing to say."""
    if not config.teacher:
        raise ValueError("a chain needs a teacher: the run or folder of a trained model")
    teacher = loading.load(config.teacher)
    if teacher.meta["step"] < 1 or not all(bool(value.isfinite().all()) for value in teacher.state_dict().values()):
        raise ValueError(f"the teacher {config.teacher} was not trained, or its weights are no finite numbers")
    return teacher


def _check_new(config: ChainConfig, run: Path) -> None:
    """Raises ValueError for a teacher that cannot be distilled, and for a folder that holds something else."""
    plan(config, run, first_teacher(config))
    if any((run / name).exists() for name in (STAGES, "checkpoints")):
        raise ValueError(f"{run} holds a training without {MANIFEST}: it is no chain that could go on")


def can_be_distilled(teacher: PictureModel) -> bool:
    """Whether a model's answers mean something at every level from noise on: predictions of eps do not where hardly any
    signal is left, and a schedule must reach that far."""
    config = teacher.config
    return isinstance(config, DiffusionConfig) and config.prediction != "eps" and config.schedule.log_snr_min <= NOISE


def fixed(config: ChainConfig) -> dict[str, Any]:
    """What decides a chain's weights, and stays as it is when the chain goes on."""
    free = ("teacher", "watch", "data_path", "workers", "threads", "device", "max_restarts", "checkpoint_interval_s",
            "report_interval_s")  # fmt: skip
    return {name: value for name, value in asdict(config).items() if name not in free}


def _finish(run: Path, stage: Stage, metrics: dict[str, float]) -> None:
    """Notes a finished stage in the manifest."""
    manifest = read_manifest(run)
    store = Store(stage.folder / "checkpoints")
    if (newest := store.newest()) != stage.config.steps:
        raise ValueError(
            f"{stage.folder} holds a checkpoint of step {newest}, beyond its last step {stage.config.steps}"
        )
    progress = json.loads(store.read(stage.config.steps, "progress.json"))
    rows = manifest["stages"]
    rows.append(
        {
            "stage": stage.name,
            "steps": stage.steps,
            "updates": stage.config.steps,
            "seed": stage.config.seed,
            "teacher_sha256": rows[-1]["sha256"] if rows else manifest["teacher"]["sha256"],
            "sha256": digest(*loading.files(stage.folder)),
            "train_s": float(progress["train_s"]),
            "loss": float(metrics["eval/loss"]),
        }
    )
    write_whole(run / MANIFEST, json.dumps(manifest, indent=2).encode())


def position(chain: list[Stage], run: Path) -> int:
    """Optimiser steps that are done, over all stages."""
    done = 0
    for stage in chain:
        if (step := Store(stage.folder / "checkpoints").newest()) is None:
            break
        done = stage.first + step
    return done
