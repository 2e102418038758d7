"""Pictures of a cascade, stage by stage, each stage's kept without loss, so that whatever stops it nothing is lost.

FOLDER/KEY/about.json            which models, levels and steps led to these pictures
FOLDER/KEY/000000000016.npz      pictures number 16 and on, uint8 [n, C, H, W]; float32 of a base that stops early

A stage's key is a hash of all that decides its pictures, those of the stages before included. So what is there is never
made again: a sweep over levels draws one set of base pictures, and more pictures add to the whole files that there are.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from experiments import files, sweep_schedule
from experiments.flags import say
from experiments.kept import kept
from experiments.progress import Steps
from experiments.restoring import check_level
from generative import noise
from generative.image_to_image import ImageToImage
from generative.model import PictureModel
from generative.papers.cascade import (
    CascadeStage,
    check_fits,
    check_truncated,
    continued,
    other_reductions,
    steps_to,
    stop_of,
    unfinished,
)
from generative.samplers import Callback
from generative.schedules import ScheduleConfig, make

BLOCK: int | None = None
"""Pictures in a file; as many as the network is given at once if None."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """How one stage is sampled."""

    steps: int
    sampler: str
    level: float = 0.0
    """s of the noise on what it enlarges."""
    truncated: bool = False
    """The base stops at that noise and hands over what it has (Sec 3.2); else its picture is noised again (Sec 3.3).
    Of the stage after the base alone."""
    schedule: ScheduleConfig | None = None
    """Where the steps lie; as the model has it if None."""


def check(models: Sequence[PictureModel], levels: Sequence[float] = (), truncated: bool = False) -> None:
    """Raises ValueError for models that are no cascade, and levels, or a truncated base, that the stages after the
    first were not trained for."""
    for before, stage in pairwise(models):
        check_fits(before, stage)
    if truncated:
        check_truncated(models[1])
    for stage, level in zip(models[1:], levels, strict=False):
        assert isinstance(stage, ImageToImage)
        check_level(stage, level)


def tell_reductions(runs: Sequence[str], models: Sequence[PictureModel]) -> None:
    """A line for each stage that was trained on pictures which look another way than what the one before draws."""
    for run, (before, stage) in zip(runs, pairwise(models), strict=False):
        if how := other_reductions(before, stage):
            say(f"{run} draws pictures as they look {how}: train both with the same (--data.reduced)")


def planned(
    models: Sequence[PictureModel], levels: Sequence[float], *, steps: int | None, stage_steps: Sequence[int],
    sampler: str | None, truncated: bool, schedules: Sequence[str],
) -> list[Stage]:  # fmt: skip
    """How each model is sampled, as a person said it.

    Args: levels: of the stages after the first; steps: of all, as configured if None; stage_steps: of each, in their
    place; sampler: each model's own if None; schedules: of each stage after the first, a file of `tandem sweep
    schedule` or "own".
    Raises: ValueError for another number of steps or schedules, or what is no schedule.
    """
    if len(stage_steps) not in (0, len(models)):
        raise ValueError(f"--stage-steps needs a number for each of the {len(models)} stages, got {len(stage_steps)}")
    if len(schedules) not in (0, len(models) - 1):
        wanted = f"a file, or own, for each stage after the first, {len(models) - 1}"
        raise ValueError(f"--schedules needs {wanted}, got {len(schedules)}")
    counts = stage_steps or [steps or model.steps for model in models]
    found = [None if name == "own" else sweep_schedule.read(Path(name)) for name in schedules or ["own"] * len(levels)]
    return [
        Stage(
            steps=counts[i], sampler=sampler or model.sampler, level=(0.0, *levels)[i],
            truncated=truncated and i == 1, schedule=(None, *found)[i],
        )
        for i, model in enumerate(models)
    ]  # fmt: skip


def draw(
    models: Sequence[PictureModel],
    stages: Sequence[Stage],
    n: int,
    folder: Path,
    *,
    seed: int = 0,
    label: int | None = None,
) -> list[Tensor]:
    """What each stage made, uint8 [n, C, H, W] (float32 of a base that stopped early). Picture i depends on the models,
    the stages, the seed and i alone.

    Args: label: class of all pictures; each class in turn if None. Raises: ValueError for stages that do not fit, or
    files that are damaged.
    """
    if any(stage.truncated for stage in (*stages[:1], *stages[2:])):
        raise ValueError("only the stage after the base takes what the base left unfinished")
    early = any(stage.truncated for stage in stages)
    check(models, [stage.level for stage in stages[1:]], early)
    drawn: list[Tensor] = []
    key, end = "", None
    if early:
        assert isinstance(models[1], CascadeStage)
        end = stop_of(models[0], models[1], stages[1].level)
    for number, (model, stage) in enumerate(zip(models, stages, strict=True)):
        about = {"before": key, "model": model.fingerprint(), **asdict(stage), "seed": seed, "label": label}
        about |= {"ends_at": end} if number == 0 else {}
        key = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]
        place = folder / key
        place.mkdir(parents=True, exist_ok=True)
        files.write_text(place / "about.json", json.dumps({"stage": number, **about}, indent=2))
        side = "x".join(map(str, model.shape[1:]))
        what = f"stage {number + 1}, {side}" + (f", level {stage.level:g}" if isinstance(model, CascadeStage) else "")
        settings: dict[str, Any] = {"seed": noise.mix(seed, number)}
        if end is not None and number < 2:
            settings |= {"end": end, "base": models[0]}
        block = BLOCK or model.chunk
        with Steps(what, n) as progress:
            blocks, steps = [], stage.steps if end is None or number else steps_to(end, stage.steps)
            for first in range(0, n, block):
                many = min(block, n - first)

                def tell(at: dict[str, Any], first: int = first, many: int = many, steps: int = steps) -> None:
                    progress.update(first + many * (at["step"] + 1) / steps)

                given = drawn[-1][first : first + many] if drawn else None
                label_of = labels_of(model, first, many, label)
                make = partial(
                    _made, model, stage, many, given, **settings, first=first, label=label_of, callback=tell
                )  # fmt: skip
                kind = np.float32 if given is None and end is not None else np.uint8
                blocks.append(kept(place / f"{first:012d}.npz", (many, *model.shape), make, kind))
                progress.update(first + many)
        drawn.append(torch.cat(blocks))
    return drawn


def labels_of(model: PictureModel, first: int, n: int, label: int | None) -> Tensor | None:
    """Classes of pictures first to first + n - 1; None of a model without."""
    if not (classes := model.config.net.classes):
        return None
    return torch.arange(first, first + n) % classes if label is None else torch.full((n,), label)


def _made(
    model: PictureModel, stage: Stage, n: int, given: Tensor | None, *, seed: int, first: int, label: Tensor | None,
    end: float | None = None, base: PictureModel | None = None, callback: Callback,
) -> Tensor:  # fmt: skip
    """Pictures of a stage. given: what the one before made, of which it is the first if None; end, base: where the base
    stops, of a base or the stage after it; callback: of the sampler."""
    how: dict[str, Any] = {"steps": stage.steps, "sampler": stage.sampler, "callback": callback}
    which: dict[str, Any] = {"seed": seed, "first": first}
    if given is None:
        if end is not None:
            return unfinished(model, n, end, label=label, **how, **which)
        return model.sample(n, label=label, schedule=model.sampling_schedule, **how, **which)
    assert isinstance(model, ImageToImage)
    how["schedule"] = None if stage.schedule is None else make(stage.schedule)
    if end is not None and base is not None and isinstance(model, CascadeStage):
        return model.draw(continued(base, model, given, end, label), **how, **which)
    asked: dict[str, Any] = {"level": stage.level} if isinstance(model, CascadeStage) else {}
    return model.restore(given, label=label, draw=how, **which, **asked)
