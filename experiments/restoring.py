"""What the commands about models of pictures given pictures share: their tasks, what is done to intact pictures, and
answers in parts."""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor

from experiments.progress import Steps
from generative import noise
from generative.degradations import EVALUATED, TASKS
from generative.image_to_image import ImageToImage
from generative.papers.cascade import CascadeStage
from generative.papers.palette import MASKED, Palette, degrade
from generative.papers.sr3 import reduced

Keep: TypeAlias = Callable[[slice, Callable[[], Tensor]], Tensor]
AT_ONCE: int | None = None
"""Pictures that are drawn together; as many as the network is given at once if None."""


def tasks(model: ImageToImage) -> tuple[str, ...]:
    """What a model was trained for."""
    return model.config.tasks if isinstance(model, Palette) else ("upscale",)


def task_of(name: str, model: ImageToImage, asked: str | None) -> str:
    """The task that was asked for, or the model's only one. Raises ValueError for one that it was not trained for."""
    known = tasks(model)
    if asked is None and len(known) > 1:
        raise ValueError(f"{name} knows several tasks: name one with --task: {', '.join(known)}")
    if asked is not None and asked not in known:
        raise ValueError(f"{name} was trained to {', '.join(known)}, not to {asked}")
    return asked or next(iter(known))


def check_level(model: ImageToImage, level: float) -> None:
    """Raises ValueError for a level of noise that the model was not trained for; 0 is none."""
    if isinstance(model, CascadeStage):
        model.augmentation.check_level(level)
    elif level != 0:  # NaN is not
        raise ValueError(
            f"--level is for a stage of a cascade that was trained with noise on what it is given, got {level}"
        )


def spoiled(
    model: ImageToImage, task: str, x: Tensor, seed: int, first: int = 0, how: str | None = None
) -> tuple[Tensor, Tensor | None]:
    """(what a person would see, uint8 [N, C, h, w] with 0 in holes; the holes [N, 1, H, W], or None) of intact pictures
    x [N, C, H, W], as in training or, by name, as in Palette's tables. Picture i depends on (seed, first + i) alone.
    Raises ValueError for a name that the task does not have."""
    known = EVALUATED.get(task, {}) if isinstance(model, Palette) else {}
    if how is not None and how not in known:
        raise ValueError(f"{task} has no degradation {how!r}; allowed: {', '.join(known) or 'none, leave it out'}")
    if not isinstance(model, Palette):
        return reduced(x, model.shape[1] // model.factor, model.num_levels), None
    sources = noise.per_example(noise.mix(seed, noise.EVALUATION, noise.DEGRADATION), range(first, first + len(x)))
    found = degrade(x, (task,), sources, TASKS if how is None else {task: known[how]})
    if task in MASKED:
        return torch.where(found["mask"] > 0, 0, x), found["mask"]
    return model.levels(found["image"]), None


def answers(
    model: ImageToImage,
    task: str,
    given: Tensor,
    mask: Tensor | None,
    *,
    label: Tensor,
    level: float = 0.0,
    seed: int,
    draw: dict[str, Any],
    what: str,
    keep: Keep = lambda rows, make: make(),
) -> Tensor:
    """An answer for each picture, uint8 [N, C, H, W], with progress. Number i depends on (seed, i) and its picture.

    Args: label: [N], for a class-conditional model; level: of a stage of a cascade; draw: options of `draw`; keep: is
        asked for some answers at a time, with their rows and what makes them.
    """
    block = AT_ONCE or model.chunk
    made, steps = [], draw.get("steps") or model.steps
    with Steps(what, len(given)) as progress:
        for first in range(0, len(given), block):
            rows = slice(first, first + block)
            told: dict[str, Any] = {"label": label[rows] if model.config.net.classes else None}
            if isinstance(model, Palette):
                told |= {"task": task, "mask": None if mask is None else mask[rows, 0]}
            elif isinstance(model, CascadeStage):
                told["level"] = level

            def tell(at: dict[str, Any], first: int = first, many: int = len(given[rows])) -> None:
                progress.update(first + many * (at["step"] + 1) / steps)

            how = {**draw, "callback": tell}
            make = partial(model.restore, given[rows], seed=seed, first=first, draw=how, **told)
            made.append(keep(rows, make).cpu())
            progress.update(sum(map(len, made)))
    return torch.cat(made)
