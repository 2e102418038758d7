"""A chain of students, each of which takes half the steps of the one before. Salimans & Ho 2022, Algorithm 2.

    RUN/chain.json                    what the chain is made of and how far it is; written whole after each stage
    RUN/teacher/                      the model that it starts from, frozen: model.json, model.safetensors
    RUN/stages/000128/teacher.sha256  who the student with 128 steps learns from
    RUN/stages/000128/checkpoints     its training (generative/checkpoint.py)

A stage is an ordinary training run whose pictures, noise and order depend on (seed, step) alone, so the random
generators' state is the step in its progress.json. A chain that was killed goes on inside the stage where it stopped
and ends with the same weights, to the bit on a CPU. A model that predicts eps is first converted to v.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from generative import config as configs
from generative import loading
from generative.chain_manifest import FORMAT, MANIFEST, STAGES, TEACHER, check_files, read_manifest, write_whole
from generative.chain_plan import ChainConfig, Stage, can_be_distilled, fixed, plan
from generative.checkpoint import Store
from generative.model import PictureModel
from generative.train import Look, Note, Report, train

__all__ = [
    "ChainConfig", "Stage", "can_be_distilled", "check", "check_new", "distill", "first_teacher", "fixed", "plan",
    "position",
]  # fmt: skip

TAUGHT_BY = "teacher.sha256"
FILES = ("model.json", "model.safetensors")
Train = Callable[..., PictureModel]
"""`generative.train.train`, or `generative.ray_train.train`."""


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
        check_new(config, run)  # before anything is written
    with Store(run).locked():
        teacher = _begin(config, run, resume)
        chain = plan(config, run, teacher)
        for stage in chain[len(read_manifest(run)["stages"]) :]:
            if note:
                note(f"stage {stage.name}: {stage.config.steps:,} optimiser steps")
            _tie(run, stage)
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
    try:
        begun = configs.read(ChainConfig, manifest["config"])  # fields that are new since then have their defaults
    except ValueError as error:
        raise ValueError(f"{run / MANIFEST} cannot be read as a chain: {error}") from None
    if fixed(begun) != fixed(config):
        raise ValueError(f"{run} holds a chain with another configuration; go on with that one")
    if manifest["teacher"]["from"] != config.teacher:
        was = manifest["teacher"]["from"]
        raise ValueError(f"{run} holds a chain that starts from {was!r}, asked was {config.teacher!r}")
    check_files(run, manifest)
    teacher = loading.load(run / TEACHER)
    stages = plan(config, run, teacher)
    expected = [(stage.name, stage.steps, stage.config.steps, stage.config.seed) for stage in stages]
    done = [(row["stage"], row["steps"], row["updates"], row["seed"]) for row in manifest["stages"]]
    if done != expected[: len(done)]:
        raise ValueError(
            f"{run / MANIFEST} names stages that are not this chain's: {', '.join(row[0] for row in done)}"
        )
    for stage in stages[len(done) : len(done) + 1]:
        _begun(run, manifest, stage)
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
        "teacher": {"from": config.teacher, "sha256": loading.digest(about, weights)},
        "stages": [],
    }
    write_whole(path, json.dumps(manifest, indent=2).encode())
    return loading.load(run / TEACHER)


def first_teacher(config: ChainConfig) -> PictureModel:
    """The model that a new chain starts from. Raises ValueError where there is none, or one that has nothing to say."""
    if not config.teacher:
        raise ValueError("a chain needs a teacher: the run or folder of a trained model")
    teacher = loading.load(config.teacher)
    if teacher.meta["step"] < 1:
        raise ValueError(f"the teacher {config.teacher} was not trained")
    return teacher


def check_new(config: ChainConfig, run: Path) -> None:
    """Raises ValueError for a teacher that cannot be distilled, and for a folder that holds something else."""
    plan(config, run, first_teacher(config))
    if any((run / name).exists() for name in (STAGES, "checkpoints")):
        raise ValueError(f"{run} holds a training without {MANIFEST}: it is no chain that could go on")
    for name, data in zip(FILES, loading.files(config.teacher), strict=True):
        place = run / TEACHER / name  # there, and the same, if a chain was killed in its first moment
        if place.exists() and (not place.is_file() or place.read_bytes() != data):
            raise ValueError(f"{place} is there, and of another model than {config.teacher}: give another folder")


def _tie(run: Path, stage: Stage) -> None:
    """Notes in the folder of a stage that has not begun who its student learns from. Raises ValueError as _begun."""
    manifest = read_manifest(run)
    if not _begun(run, manifest, stage):
        stage.folder.mkdir(parents=True, exist_ok=True)
        write_whole(stage.folder / TAUGHT_BY, _last_hash(manifest).encode())


def _last_hash(manifest: dict[str, Any]) -> str:
    """Of the model that the next student learns from."""
    return (manifest["stages"] or [manifest["teacher"]])[-1]["sha256"]


def _begun(run: Path, manifest: dict[str, Any], stage: Stage) -> bool:
    """Whether the next stage's folder holds a checkpoint. Raises ValueError for one of another training than its."""
    store = Store(stage.folder / "checkpoints")
    if store.newest() is None:
        return False
    has, needed = loading.load(stage.folder / "checkpoints").meta["config"], configs.to_json(stage.config)
    has, needed = (configs.from_json(json.loads(json.dumps(one))) for one in (has, needed))  # with today's defaults
    has = replace(has, data=replace(has.data, path=needed.data.path))  # they may lie elsewhere now
    names = "model", "data", "optim", "steps", "seed"
    if odd := [name for name in names if getattr(has, name) != getattr(needed, name)]:
        raise ValueError(f"{stage.folder} holds a training that is not this chain's: its {odd[0]} is another")
    place = stage.folder / TAUGHT_BY  # chains that an older version began do not have it
    if place.exists() and (not place.is_file() or place.read_bytes() != _last_hash(manifest).encode()):
        raise ValueError(f"{place} is not the hash of this stage's teacher in {run / MANIFEST}: it is another chain's")
    return True


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
            "optim": asdict(stage.config.optim),
            "generator": {"seed": stage.config.seed, "step": stage.config.steps},
            "teacher_sha256": _last_hash(manifest),
            "sha256": loading.digest(*loading.files(stage.folder)),
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
