"""`tandem restore`: pictures made anew by a model that learnt it: enlarged, coloured, filled, continued, cleaned."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import tyro
from torch import Tensor

import generative
from experiments import contact_sheet, flags, picture_files, restore_folder, restoring, sweep_schedule
from experiments.flags import say
from experiments.progress import Steps
from experiments.sample import labels
from experiments.train import RunFailed
from generative import noise, schedules
from generative.config import Device
from generative.image_to_image import ImageToImage
from generative.papers.cascade import CascadeStage
from generative.papers.palette import SIDES, Palette, Side, extended
from generative.resize import resize_levels
from generative.samplers import SAMPLERS
from generative.schedules import Schedule
from generative.tiling import corners
from generative.train import pick_device

EXAMPLE = "tandem restore runs/palette-inpaint64/20260101-120000-0 IN.png --mask M.png -o OUT.png -n 4"
MOST_PIXELS = 2**25
"""Of what is made in one call, over all samples of a picture."""


@dataclass(frozen=True, kw_only=True)
class RestoreCommand:
    """Flags of `tandem restore`. Pictures may have any size: larger ones than the model was trained on are worked on in
    overlapping tiles that are blended at every step, smaller ones are continued at their edges and cut again."""

    run: tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="RUN")]]
    """A run folder or URL of SR3, Palette or a stage of a cascade, a checkpoint, or a folder with a model."""
    source: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="IN")]]
    """A picture, or a folder of pictures."""
    then: tuple[str, ...] = ()
    """upscale: runs that enlarge further what RUN made, one after the other."""
    task: Literal["colorize", "inpaint", "uncrop", "jpeg", "upscale"] | None = None
    """What to do; the model's own task if it has one."""
    mask: Path | None = None
    """inpaint: a picture of IN's size, white where IN is to be made anew; of a folder, a folder with the same names, or
    one mask for all."""
    side: Literal["left", "right", "top", "bottom", "all"] = "right"
    """uncrop: where to continue the picture, by half of the model's side; all does one side after the other."""
    times: int = 1
    """uncrop: how often, one after the other: a panorama."""
    spoil: bool = False
    """IN is intact: spoil it first as in training (upscale: reduce it), and show it as the original."""
    reference: Path | None = None
    """The original of IN (of a folder, a folder with the same names), for the contact sheet."""
    n: Annotated[int, tyro.conf.arg(aliases=["-n"])] = 1
    """Answers for each picture."""
    level: float = 0.0
    """A stage of a cascade: s of the noise that is added to IN before it is enlarged."""
    label: str | None = None
    """Class of the pictures, by name or number, for a class-conditional model."""
    steps: int | None = None
    """Denoising steps of each; as configured if omitted."""
    sampler: str | None = None
    """ancestral, ddim, heun or dpm++; ancestral if omitted."""
    schedule: Path | None = None
    """A file of `tandem sweep schedule`: where the steps lie."""
    overlap: float = 0.5
    """Of neighbouring tiles, as a share of their side, up to 0.9; 0.25 is faster."""
    seed: int = 0
    """Answer j of a picture depends on the seed, j and, in a folder, the picture's name alone."""
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """A .png, or for a folder a folder; restored.png or restored if omitted. With -n 4: OUT-1.png to OUT-4.png. Beside
    it a contact sheet: OUT-sheet.png."""
    device: Device = "auto"
    """Where to run."""


def restore_command(args: list[str]) -> int:
    """Makes pictures anew with a model of pictures given pictures: SR3, Palette, or a stage of a cascade."""
    command = flags.parse(
        RestoreCommand, args, prog="tandem restore", example=EXAMPLE, about=restore_command.__doc__ or ""
    )  # fmt: skip
    _check(command)
    loaded = generative.load(command.run, pick_device(command.device))
    if not isinstance(loaded, ImageToImage):
        raise ValueError(f"{command.run} draws pictures of its own, it restores none: tandem sample {command.run}")
    if loaded.config.net.classes and command.label is None:
        known = f": {', '.join(loaded.meta['classes'])}" if loaded.meta["classes"] else ""
        raise ValueError(f"this model needs a class: name one with --label{known}")
    wanted = Wanted(
        command=command,
        models=(loaded, *(_further(run, loaded, command) for run in command.then)),
        task=_task(command, loaded),
        label=labels(command.label, command.n, loaded),
        schedule=None if command.schedule is None else schedules.make(sweep_schedule.read(command.schedule)),
    )
    return _folder(wanted) if command.source.is_dir() else _picture(wanted)


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


def _further(run: str, first: ImageToImage, command: RestoreCommand) -> ImageToImage:
    """A model of --then. Raises ValueError for one that does not fit."""
    model = generative.load(run, pick_device(command.device))
    if not isinstance(model, ImageToImage) or model.factor == 1 or first.factor == 1:
        raise ValueError(f"--then is for models that enlarge, after one that does: {command.run}, {run}")
    for what, has, needed in (
        ("channels", model.shape[0], first.shape[0]),
        ("levels", model.num_levels, first.num_levels),
        ("classes", tuple(model.meta["classes"]), tuple(first.meta["classes"])),
    ):
        if has != needed and (what != "classes" or model.config.net.classes):
            raise ValueError(f"{run} does not fit {command.run}: its {what} are {has}, not {needed}")
    return model


def _check(command: RestoreCommand) -> None:
    for name, least, most in (("n", 1, 64), ("times", 1, 64), ("steps", 1, 1_000_000), ("seed", 0, 2**62)):
        value = getattr(command, name)
        if value is not None and not least <= value <= most:
            raise ValueError(f"--{name} must be from {least} to {most:,}, got {value}")
    if command.sampler is not None and command.sampler not in SAMPLERS:
        raise ValueError(f"sampler {command.sampler!r} does not exist; allowed: {', '.join(SAMPLERS)}")
    corners((1, 1), (1, 1), command.overlap)
    if not command.source.exists():
        raise ValueError(f"there is no picture {command.source}")
    for path in (command.mask, command.reference):
        if path is not None and not path.exists():
            raise ValueError(f"there is no file {path}")
    if command.spoil and (command.reference or command.mask):
        raise ValueError("--spoil takes IN as the original and spoils it itself: leave --reference and --mask out")
    output = _output(command)
    if command.source.is_dir():
        if output.exists() and not output.is_dir():
            raise ValueError(f"--output must be a folder, where {command.source} is one: {output} is none")
        if output.resolve() == command.source.resolve():
            raise ValueError(f"the pictures in {command.source} would be overwritten: name another --output")
        return
    if output.suffix.lower() != ".png":
        raise ValueError(f"--output must end in .png, got {output}")
    made = {path.resolve() for path in (*restore_folder.names(output, command.n), restore_folder.sheet_of(output))}
    for path in (command.source, command.mask, command.reference, command.schedule):
        if path is not None and path.resolve() in made:
            raise ValueError(f"{path} would be overwritten: name another --output")


def _output(command: RestoreCommand) -> Path:
    return command.output or Path("restored" if command.source.is_dir() else "restored.png")


def _task(command: RestoreCommand, model: ImageToImage) -> str:
    """What to do. Raises ValueError for what the model was not trained for, and flags of other tasks."""
    task = restoring.task_of(command.run, model, command.task)
    if command.mask is not None and task != "inpaint":
        raise ValueError(f"--mask is for inpaint, not for {task}")
    if (command.side != "right" or command.times != 1) and (task != "uncrop" or command.spoil):
        raise ValueError(f"--side and --times are for uncrop without --spoil, not for {task}")
    restoring.check_level(model, command.level)
    if task == "inpaint" and command.mask is None and not command.spoil:
        raise ValueError("inpaint needs --mask M.png, white where the picture is to be made anew (or --spoil)")
    return task


def _picture(wanted: Wanted) -> int:
    command, output = wanted.command, _output(wanted.command)
    places, page = restore_folder.names(output, command.n), restore_folder.sheet_of(output)
    for path in (*places, page):
        flags.check_writable(path)
    row, answers = _restored(wanted, command.source, 0)
    for place, pixels in zip(places, answers, strict=True):
        picture_files.write(place, pixels)
    picture_files.write(page, contact_sheet.sheet([row]))
    parts = [
        "given",
        "the answers" if command.n > 1 else "the answer",
        *(["the original"] if row.original is not None else []),
    ]
    say(f"{', '.join(map(str, places))}\n{page}: {', '.join(parts)}")
    return 0


def _folder(wanted: Wanted) -> int:
    """All pictures of a folder; what an earlier call with the same settings has made stays."""
    command, output = wanted.command, _output(wanted.command)
    sources = restore_folder.pictures_of(command.source)
    flags.check_writable(output / restore_folder.RECORD)
    settings = {
        "weights": [model.fingerprint() for model in wanted.models],
        "task": wanted.task, "n": command.n, "seed": command.seed,
        "spoil": command.spoil, "side": command.side, "times": command.times, "level": command.level,
        "label": command.label, "steps": [wanted.steps(model) for model in wanted.models], "overlap": command.overlap,
        "sampler": [command.sampler or model.sampler for model in wanted.models],
        "schedule": None if command.schedule is None else command.schedule.read_text(),
    }  # fmt: skip

    def belongs(path: Path) -> list[Path]:
        try:
            others = [picture_files.beside(place, path) for place in (command.mask, command.reference) if place]
        except ValueError as error:
            raise restore_folder.Unreadable(str(error)) from None
        return [path, *others]

    def make(path: Path, number: int) -> restore_folder.Answer:
        try:
            return _restored(wanted, path, number)
        except ValueError as error:  # flags were looked at before: it is the picture
            raise restore_folder.Unreadable(str(error)) from None

    failed = restore_folder.restore(sources, output, command.n, settings, belongs, make)
    if failed == len(sources):
        raise RunFailed(f"none of the {failed} pictures in {command.source} could be restored")
    return 0


def _restored(wanted: Wanted, path: Path, number: int) -> restore_folder.Answer:
    """A row of the contact sheet, and the answers uint8 [H, W, C], of a picture; number: of its noise."""
    command, model = wanted.command, wanted.model
    most = MOST_PIXELS // command.n
    picture = picture_files.read(path, model, most)
    original = picture if command.spoil else None
    if command.reference is not None:
        original = picture_files.read(picture_files.beside(command.reference, path), model, MOST_PIXELS)
    given, asked = _given(wanted, path, picture, number)
    rounds: list[Side | None] = [None]
    if wanted.task == "uncrop" and not command.spoil:
        rounds = [*(SIDES if command.side == "all" else (command.side,))] * command.times
    sizes = [_size(model, given, rounds)]
    for further in wanted.models[1:]:
        high, wide = (max(size * further.factor, further.shape[1 + axis]) for axis, size in enumerate(sizes[-1]))
        sizes.append((high, wide))
    height, width = sizes[-1]
    if height * width > most:
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
        for time, further in enumerate(wanted.models[1:], len(rounds)):
            k = drawn(further, k, before, noise.mix(command.seed, time, number))
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
    tiles = len(corners(size, (model.shape[1], model.shape[2]), wanted.command.overlap))
    if tiles > 1:
        say(f"{path}: {size[1]} x {size[0]}, in {tiles} tiles of {model.shape[2]} x {model.shape[1]} at each step")
    return tiles


def _half(model: ImageToImage, side: Side) -> int:
    """How much one round of uncropping adds."""
    return model.shape[2 if side in ("left", "right") else 1] // 2


def _size(model: ImageToImage, given: Tensor, rounds: list[Side | None]) -> tuple[int, int]:
    """Height and width of what is made in the end, and at least those of a tile."""
    height, width = given.shape[-2] * model.factor, given.shape[-1] * model.factor
    height += sum(_half(model, side) for side in rounds if side in ("top", "bottom"))
    width += sum(_half(model, side) for side in rounds if side in ("left", "right"))
    return max(height, model.shape[1]), max(width, model.shape[2])


def _given(wanted: Wanted, path: Path, picture: Tensor, number: int) -> tuple[Tensor, dict[str, Any]]:
    """What the model is given [C, h, w], and what is asked of it."""
    command, model = wanted.command, wanted.model
    if not isinstance(model, Palette):
        if command.spoil:
            low = tuple(max(1, side // model.factor) for side in picture.shape[-2:])
            picture = resize_levels(picture[None], (low[0], low[1]), model.num_levels)[0]
        return picture, ({"level": command.level} if isinstance(model, CascadeStage) else {})
    asked: dict[str, Any] = {"task": wanted.task}
    if command.spoil:
        given, hole = restoring.spoiled(model, wanted.task, picture[None], command.seed, number)
        return given[0], asked if hole is None else {**asked, "mask": hole[0, 0] > 0}
    if wanted.task == "inpaint":
        assert command.mask is not None
        asked["mask"] = picture_files.read_mask(picture_files.beside(command.mask, path), MOST_PIXELS)
    return picture, asked
