"""One picture of `tandem restore`: read, given to the models one after the other, and its row of the contact sheet."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from experiments import contact_sheet, picture_files, restoring
from experiments.flags import say
from experiments.progress import Steps
from experiments.restore_flags import RestoreCommand
from generative import noise
from generative.degradations import grey
from generative.image_to_image import ImageToImage
from generative.papers.cascade import CascadeStage
from generative.papers.palette import SIDES, Palette, Side, extended
from generative.resize import resize_levels
from generative.schedules import Schedule
from generative.tiling import corners

MOST_PIXELS = 2**25
"""Of what is made in one call, over all samples of a picture."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A command line that was found to fit its model."""

    command: RestoreCommand
    models: tuple[ImageToImage, ...]
    """The one that restores, and those that enlarge what it made."""
    task: str
    label: Tensor | None
    schedule: Schedule | None

    @property
    def model(self) -> ImageToImage:
        return self.models[0]

    def steps(self, model: ImageToImage) -> int:
        return self.command.steps or model.steps


@dataclass(frozen=True, kw_only=True)
class Question:
    """A picture as the model is given it."""

    path: Path
    number: int
    """Of its noise."""
    given: Tensor
    """[C, h, w]"""
    asked: dict[str, Any]
    """What is asked of the model beside it."""
    rounds: list[Side | None]
    """Where it is continued, one time after the other; once [None] in tasks where it is not."""
    original: Tensor | None


def question(wanted: Wanted, path: Path, number: int) -> Question:
    """Reads a picture and what belongs to it. Raises ValueError for what is no picture, or does not fit."""
    command, model = wanted.command, wanted.model
    picture = picture_files.read(path, model, MOST_PIXELS // command.n)
    if command.spoil:
        picture = _whole_blocks(path, picture, model.factor)
    original = picture if command.spoil else None
    if command.reference is not None:
        original = picture_files.read(picture_files.beside(command.reference, path), model, MOST_PIXELS)
    given, asked = _given(wanted, path, picture, number)
    rounds: list[Side | None] = [None]
    if wanted.task == "uncrop" and not command.spoil:
        rounds = [*(SIDES if command.side == "all" else (command.side,))] * command.times
    one = Question(path=path, number=number, given=given, asked=asked, rounds=rounds, original=original)
    size = _sizes(wanted, one)[-1]
    if original is not None and tuple(original.shape[-2:]) != size:
        has, needs = (f"{width} x {height}" for height, width in (original.shape[-2:], size))
        raise ValueError(f"{path}: the reference is {has}, the answer {needs}: they must agree")
    return one


def answers(wanted: Wanted, one: Question) -> list[np.ndarray]:
    """What the models make of it, uint8 [H, W, C] each, with progress. Raises ValueError for more than fits memory."""
    command, model = wanted.command, wanted.model
    sizes = _sizes(wanted, one)
    counts = [_tiles(wanted, one.path, made, size) for made, size in zip(wanted.models, sizes, strict=True)]
    steps = [*[wanted.steps(model)] * len(one.rounds), *map(wanted.steps, wanted.models[1:])]
    k, time = one.given.expand(command.n, *one.given.shape), 0
    with Steps(one.path.name, sum(steps)) as progress:

        def drawn(model: ImageToImage, tiles: int, **asked: Any) -> Tensor:
            """The next of the models' calls."""
            draw = {
                "steps": command.steps,
                "sampler": command.sampler,
                "schedule": wanted.schedule,
                "overlap": command.overlap,
                "chunk": min(model.chunk, command.n * tiles),
                "callback": lambda step: progress.update(sum(steps[:time]) + step["step"] + 1),
            }
            label = wanted.label if model.config.net.classes else None
            return model.restore(
                k, seed=noise.mix(command.seed, time, one.number), label=label, draw=draw, **asked
            ).cpu()

        for side in one.rounds:
            asked = one.asked
            if side is not None:
                k, hole = extended(k, side, _half(model, side))
                asked = {"task": wanted.task, "mask": hole}
            k, time = drawn(model, counts[0], **asked), time + 1
        levels = command.then_levels or (0.0,) * len(command.then)
        for further, tiles, level in zip(wanted.models[1:], counts[1:], levels, strict=True):
            noisy = {"level": level} if isinstance(further, CascadeStage) else {}
            k, time = drawn(further, tiles, **noisy), time + 1
    return [picture_files.to_bytes(made, model) for made in k]


def row(wanted: Wanted, one: Question, made: list[np.ndarray]) -> contact_sheet.Row:
    """Of the contact sheet: what a person gave, as the model was told it, and what was made of it."""
    model, shown = wanted.model, one.given
    if one.rounds[0] is not None:
        hole = torch.zeros(1, 1, *shown.shape[1:], dtype=torch.bool)
        for side in filter(None, one.rounds):  # the whole frame, grey where nothing is known
            shown, _ = extended(shown[None], side, _half(model, side))
            known, new = extended(hole, side, _half(model, side))
            shown, hole = shown[0], known | new
        shown = torch.where(hole[0], 128, shown)
    elif "mask" in one.asked:
        shown = torch.where(one.asked["mask"], 128, shown)
    elif wanted.task == "colorize":
        shown = torch.from_numpy(grey(shown.numpy()))
    return contact_sheet.Row(
        name=one.path.name,
        given=picture_files.to_rgb(shown, model),
        made=[np.broadcast_to(pixels, (*pixels.shape[:2], 3)) for pixels in made],
        original=None if one.original is None else picture_files.to_rgb(one.original, model),
    )


def _tiles(wanted: Wanted, path: Path, model: ImageToImage, size: tuple[int, int]) -> int:
    """How many tiles a picture of (height, width) is drawn in; said where it is more than one."""
    side = model.shape[1], model.shape[2]
    tiles = len(corners((max(size[0], side[0]), max(size[1], side[1])), side, wanted.command.overlap))
    if tiles > 1:
        say(f"{path}: {size[1]} x {size[0]}, in {tiles} tiles of {model.shape[2]} x {model.shape[1]} at each step")
    return tiles


def _half(model: ImageToImage, side: Side) -> int:
    """How much one round of uncropping adds."""
    return model.shape[2 if side in ("left", "right") else 1] // 2


def _sizes(wanted: Wanted, one: Question) -> list[tuple[int, int]]:
    """Height and width of what each model makes. Raises ValueError for more pixels than are made at once."""
    model, (height, width) = wanted.model, one.given.shape[-2:]
    height += sum(_half(model, side) for side in one.rounds if side in ("top", "bottom"))
    width += sum(_half(model, side) for side in one.rounds if side in ("left", "right"))
    sizes = []
    for model in wanted.models:
        height, width = height * model.factor, width * model.factor
        sizes.append((height, width))
    tile = wanted.models[-1].shape
    if wanted.command.n * max(height, tile[1]) * max(width, tile[2]) > MOST_PIXELS:
        many = f"{wanted.command.n} x {width} x {height}"
        raise ValueError(f"{one.path}: {many} are more than {MOST_PIXELS:,} pixels at once")
    return sizes


def _whole_blocks(path: Path, picture: Tensor, factor: int) -> Tensor:
    """An intact picture [C, H, W] without the rows and columns that a model which enlarges it could not give back."""
    height, width = picture.shape[-2:]
    if min(height, width) < factor:
        raise ValueError(f"{path}: {width} x {height} is too small to be reduced {factor} times")
    high, wide = height // factor * factor, width // factor * factor
    if (high, wide) != (height, width):
        say(f"{path}: cut to {wide} x {high}, a multiple of {factor}")
    return picture[:, :high, :wide]


def _given(wanted: Wanted, path: Path, picture: Tensor, number: int) -> tuple[Tensor, dict[str, Any]]:
    """What the model is given [C, h, w], and what is asked of it."""
    command, model = wanted.command, wanted.model
    if not isinstance(model, Palette):
        if command.spoil:
            low = picture.shape[-2] // model.factor, picture.shape[-1] // model.factor
            picture = resize_levels(picture[None], low, model.num_levels)[0]
        return picture, ({"level": command.level} if isinstance(model, CascadeStage) else {})
    asked: dict[str, Any] = {"task": wanted.task}
    if command.spoil:
        given, hole = restoring.spoiled(model, wanted.task, picture[None], command.seed, number)
        return given[0], asked if hole is None else {**asked, "mask": hole[0, 0] > 0}
    if wanted.task == "inpaint":
        assert command.mask is not None
        asked["mask"] = picture_files.read_mask(picture_files.beside(command.mask, path), MOST_PIXELS)
    return picture, asked
