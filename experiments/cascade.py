"""Pictures of a cascade, stage by stage, each stage's kept without loss, so that whatever stops it nothing is lost.

FOLDER/KEY/about.json            which models, levels and steps led to these pictures
FOLDER/KEY/000000000064.npz      pictures number 64 and on, uint8 levels [n, C, H, W]

A stage's key is a hash of all that decides its pictures, those of the stages before included. So what is there is never
made again: a sweep over levels draws one set of base pictures, and more pictures add to those there are.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from agents.reading import reading
from experiments import files
from experiments.progress import Steps
from experiments.restoring import check_level
from generative import noise
from generative.image_to_image import ImageToImage
from generative.model import PictureModel
from generative.papers.cascade import CascadeStage, check_fits, check_truncated, truncated

BLOCK = 64
"""Pictures in a file."""


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


def planned(
    models: Sequence[PictureModel], levels: Sequence[float], *, steps: Sequence[int], sampler: str | None,
    truncated: bool,
) -> list[Stage]:  # fmt: skip
    """How each model is sampled, as a person said it: steps of none (as configured), of all, or of each; sampler: each
    model's own if None. Raises ValueError for other numbers of steps."""
    if len(steps) not in (0, 1, len(models)):
        raise ValueError(f"--steps needs one number, or one for each of the {len(models)} stages, got {len(steps)}")
    counts = tuple(steps) * (len(models) // len(steps)) if steps else [model.steps for model in models]
    return [
        Stage(steps=count, sampler=sampler or model.sampler, level=level, truncated=truncated and number == 1)
        for number, (model, count, level) in enumerate(zip(models, counts, (0.0, *levels), strict=True))
    ]


def draw(
    models: Sequence[PictureModel],
    stages: Sequence[Stage],
    n: int,
    folder: Path,
    *,
    seed: int = 0,
    label: int | None = None,
) -> list[Tensor]:
    """What each stage made, uint8 [n, C, H, W]. Picture i depends on the models, the stages, the seed and i alone.

    Args: label: class of all pictures; each class in turn if None. Raises: ValueError for stages that do not fit, or
    files that are damaged.
    """
    if any(stage.truncated for stage in (*stages[:1], *stages[2:])):
        raise ValueError("only the stage after the base takes what the base left unfinished")
    check(models, [stage.level for stage in stages[1:]], any(stage.truncated for stage in stages))
    drawn: list[Tensor] = []
    key = ""
    for number, (model, stage) in enumerate(zip(models, stages, strict=True)):
        about = {"before": key, "model": model.fingerprint(), **asdict(stage), "seed": seed, "label": label}
        key = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]
        place = folder / key
        place.mkdir(parents=True, exist_ok=True)
        files.write_text(place / "about.json", json.dumps({"stage": number, **about}, indent=2))
        side = "x".join(map(str, model.shape[1:]))
        what = f"stage {number + 1}, {side}" + (f", level {stage.level:g}" if isinstance(model, CascadeStage) else "")
        with Steps(what, n) as progress:
            blocks = []
            for first in range(0, n, BLOCK):
                given = drawn[-1][first : first + BLOCK] if drawn else None
                before = (models[0], stages[0]) if stage.truncated else None
                options = {"number": number, "label": label, "given": given, "before": before}
                blocks.append(_block(place, model, stage, first, min(BLOCK, n - first), seed, **options))
                progress.update(first + len(blocks[-1]))
        drawn.append(torch.cat(blocks))
    return drawn


def labels_of(model: PictureModel, first: int, n: int, label: int | None) -> Tensor | None:
    """Classes of pictures first to first + n - 1; None of a model without."""
    if not (classes := model.config.net.classes):
        return None
    return torch.arange(first, first + n) % classes if label is None else torch.full((n,), label)


def _block(
    place: Path, model: PictureModel, stage: Stage, first: int, n: int, seed: int, *, number: int, label: int | None,
    given: Tensor | None, before: tuple[PictureModel, Stage] | None,
) -> Tensor:  # fmt: skip
    """Pictures `first` to first + n - 1 of a stage: from their file, or drawn and kept. before: the base, of a stage
    that has it stop early."""
    path = place / f"{first:012d}.npz"
    if path.exists():
        with reading(path, "pictures of a stage (remove it to have them drawn anew)"):
            with np.load(path, allow_pickle=False) as file:
                found = file["pictures"]
            if found.dtype != np.uint8 or found.shape[1:] != tuple(model.shape):
                raise ValueError(f"it holds other pictures than {tuple(model.shape)}")
        if len(found) >= n:
            return torch.from_numpy(found[:n])
    options: dict[str, Any] = {"steps": stage.steps, "sampler": stage.sampler}
    classes, mixed = labels_of(model, first, n, label), noise.mix(seed, number)
    if before is not None:
        base, how = before
        asked = {"steps": how.steps, "sampler": how.sampler, "seed": noise.mix(seed, 0), "first": first}
        cond = truncated(base, model, n, stage.level, label=labels_of(base, first, n, label), **asked)  # pyright: ignore
        made = model.draw(cond, seed=mixed, first=first, **options)  # pyright: ignore
    elif given is None:
        options["schedule"] = model.sampling_schedule
        made = model.sample(n, seed=mixed, first=first, label=classes, **options)
    else:
        asked = {"level": stage.level} if isinstance(model, CascadeStage) else {}
        made = model.restore(given, seed=mixed, first=first, label=classes, draw=options, **asked)  # pyright: ignore
    made = made.cpu()
    with files.whole(path) as temporary:
        np.savez_compressed(temporary, pictures=made.numpy())
    return made
