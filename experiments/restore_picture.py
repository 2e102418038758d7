"""One picture of `tandem restore`: read, given to the models one after the other, and its row of the contact sheet."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from experiments import contact_sheet, picture_files, restore_folder, restoring
from experiments.flags import say
from experiments.progress import Steps
from experiments.restore_flags import RestoreCommand
from generative import noise
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


def restored(wanted: Wanted, path: Path, number: int) -> restore_folder.Answer:
    """A row of the contact sheet, and the answers uint8 [H, W, C], of a picture; number: of its noise."""
    command, model = wanted.command, wanted.model
    most = MOST_PIXELS // command.n
    picture = picture_files.read(path, model, most)
    if command.spoil:
        picture = _whole_blocks(path, picture, model.factor)
    original = picture if command.spoil else None
    if command.reference is not None:
        original = picture_files.read(picture_files.beside(command.reference, path), model, MOST_PIXELS)
    given, asked = _given(wanted, path, picture, number)
    rounds: list[Side | None] = [None]
    if wanted.task == "uncrop" and not command.spoil:
        rounds = [*(SIDES if command.side == "all" else (command.side,))] * command.times
    sizes = [_size(model, given, rounds)]
    for further in wanted.models[1:]:
        sizes.append((sizes[-1][0] * further.factor, sizes[-1][1] * further.factor))
    height, width = sizes[-1]
    tile = wanted.models[-1].shape
    if max(height, tile[1]) * max(width, tile[2]) > most:
        raise ValueError(f"{path}: {command.n} x {width} x {height} are more than {MOST_PIXELS:,} pixels at once")
    tiles = [_tiles(wanted, path, one, size) for one, size in zip(wanted.models, sizes, strict=True)]
    steps = wanted.steps(model)
    total, shown = steps * len(rounds) + sum(map(wanted.steps, wanted.models[1:])), None
    with Steps(path.name, total) as progress:

        def drawn(one: ImageToImage, k: Tensor, before: int, number: int, **asked: Any) -> Tensor:
            draw = {
                "steps": command.steps,
                "sampler": command.sampler,
                "schedule": wanted.schedule,
                "overlap": command.overlap,
                "chunk": min(one.chunk, command.n * tiles[wanted.models.index(one)]),
                "callback": lambda step: progress.update(before + step["step"] + 1),
            }
            label = wanted.label if one.config.net.classes else None
            return one.restore(k, seed=number, label=label, draw=draw, **asked).cpu()

        k = given.expand(command.n, *given.shape)
        for time, side in enumerate(rounds):
            if side is not None:
                k, hole = extended(k, side, _half(model, side))
                asked = {"task": wanted.task, "mask": hole}
            shown = k if shown is None else shown
            k = drawn(model, k, time * steps, noise.mix(command.seed, time, number), **asked)
        before = steps * len(rounds)
        levels = command.then_levels or (0.0,) * len(command.then)
        for time, (further, level) in enumerate(zip(wanted.models[1:], levels, strict=True), len(rounds)):
            noisy = {"level": level} if isinstance(further, CascadeStage) else {}
            k = drawn(further, k, before, noise.mix(command.seed, time, number), **noisy)
            before += wanted.steps(further)
    assert shown is not None
    if "mask" in asked and (command.spoil or command.mask is not None):
        shown = torch.where(asked["mask"], 128 if command.spoil else 255, shown)
    row = contact_sheet.Row(
        name=path.name,
        given=picture_files.to_rgb(shown[0], model),
        made=[picture_files.to_rgb(one, model) for one in k],
        original=None if original is None else picture_files.to_rgb(original, model),
    )
    return row, [picture_files.to_bytes(one, model) for one in k]


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


def _size(model: ImageToImage, given: Tensor, rounds: list[Side | None]) -> tuple[int, int]:
    """Height and width of what is made in the end."""
    height, width = given.shape[-2] * model.factor, given.shape[-1] * model.factor
    height += sum(_half(model, side) for side in rounds if side in ("top", "bottom"))
    width += sum(_half(model, side) for side in rounds if side in ("left", "right"))
    return height, width


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
