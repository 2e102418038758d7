"""`tandem restore`: pictures made anew by a model that learnt it: enlarged, coloured, filled, continued, cleaned."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import torch
import tyro
from PIL import Image
from torch import Tensor

import generative
from experiments import contact_sheet, files, flags, restoring, sweep_schedule
from experiments.flags import say
from experiments.progress import Steps
from experiments.sample import labels
from generative import noise, schedules
from generative.config import Device
from generative.data.decode import EXTENSIONS, decode
from generative.image_to_image import ImageToImage
from generative.papers.palette import SIDES, Palette, extended
from generative.resize import resize_levels
from generative.samplers import SAMPLERS
from generative.tiling import corners
from generative.train import pick_device

if TYPE_CHECKING:
    from generative.model import PictureModel

EXAMPLE = "tandem restore runs/palette-inpaint64/20260101-120000-0 IN.png --mask M.png -o OUT.png -n 4"
MOST_PIXELS = 2**25
"""Of what is made in one call, over all samples of a picture."""
MANIFEST = "restore.json"
_WORDS = {"P": "a palette", "CMYK": "CMYK", "YCbCr": "YCbCr", "LAB": "Lab", "HSV": "HSV", "1": "black and white"}


@dataclass(frozen=True, kw_only=True)
class RestoreCommand:
    """Flags of `tandem restore`. Pictures may have any size: larger ones than the model was trained on are worked on in
    overlapping tiles that are blended at every step, smaller ones are continued at their edges and cut again."""

    run: tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="RUN")]]
    """A run folder or URL of SR3, Palette or a stage of a cascade, a checkpoint, or a folder with a model."""
    source: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="IN")]]
    """A picture, or a folder of pictures."""
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
    """Of neighbouring tiles, as a share of their side; 0.25 is faster."""
    seed: int = 0
    """Answer j of picture i depends on the seed, i and j alone."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("restored.png")
    """A .png, or for a folder a folder. With -n 4: OUT-1.png to OUT-4.png. Beside it a contact sheet: OUT-sheet.png."""
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
    task = _task(command, loaded)
    if loaded.config.net.classes and command.label is None:
        raise ValueError(f"this model needs a class: name one with --label: {', '.join(loaded.meta['classes'])}")
    if command.source.is_dir():
        _folder(command, loaded, task)
        return 0
    _check_apart(command)
    picture = _read(command.source, loaded)
    flags.check_writable(command.output)
    row, made = _restored(command, loaded, task, command.source, picture, 0)
    paths = _write(command.output, made, loaded)
    page = _sheet(_sheet_of(command.output), [row])
    say(
        f"{', '.join(map(str, paths))}\n{page}: given, {'the answers' if command.n > 1 else 'the answer'}, the original"
    )
    return 0


def _check(command: RestoreCommand) -> None:
    for name, least, most in (("n", 1, 64), ("times", 1, 64), ("steps", 1, 1_000_000), ("seed", 0, 2**62)):
        value = getattr(command, name)
        if value is not None and not least <= value <= most:
            raise ValueError(f"--{name} must be from {least} to {most:,}, got {value}")
    if command.sampler is not None and command.sampler not in SAMPLERS:
        raise ValueError(f"sampler {command.sampler!r} does not exist; allowed: {', '.join(SAMPLERS)}")
    if not command.source.exists():
        raise ValueError(f"there is no picture {command.source}")
    if not command.source.is_dir() and command.output.suffix.lower() != ".png":
        raise ValueError(f"--output must end in .png, got {command.output}")
    if command.spoil and command.reference:
        raise ValueError("--spoil takes IN as the original: leave --reference out")


def _check_apart(command: RestoreCommand) -> None:
    """Raises ValueError if something that is read would be overwritten."""
    made = {path.resolve() for path in (*_names(command.output, command.n), _sheet_of(command.output))}
    for path in (command.source, command.mask, command.reference, command.schedule):
        if path is not None and path.resolve() in made:
            raise ValueError(f"{path} would be overwritten: name another --output")


def _sheet_of(output: Path) -> Path:
    return output.with_name(f"{output.stem}-sheet.png")


def _task(command: RestoreCommand, model: ImageToImage) -> str:
    """What to do. Raises ValueError for what the model was not trained for, and flags of other tasks."""
    task = restoring.task_of(command.run, model, command.task)
    if command.mask is not None and task != "inpaint":
        raise ValueError(f"--mask is for inpaint, not for {task}")
    if command.level and not hasattr(model.config, "augmentation"):
        raise ValueError("--level is for a stage of a cascade that was trained with noise on what it is given")
    if task == "inpaint" and command.mask is None and not command.spoil:
        raise ValueError("inpaint needs --mask M.png, white where the picture is to be made anew (or --spoil)")
    return task


def _folder(command: RestoreCommand, model: ImageToImage, task: str) -> None:
    """All pictures of a folder; what an earlier call with the same settings has made stays."""
    sources = sorted(p for p in command.source.iterdir() if p.suffix.lower() in EXTENSIONS and p.is_file())
    if not sources:
        raise ValueError(f"there is no picture ({', '.join(EXTENSIONS)}) in {command.source}")
    if len({path.stem for path in sources}) < len(sources):
        raise ValueError(f"two pictures in {command.source} differ in their endings alone: their answers would collide")
    output = command.output if command.output.suffix == "" else command.output.with_suffix("")
    flags.check_writable(output / MANIFEST)
    _same_settings(command, model, output)
    rows = []
    for number, path in enumerate(sources):
        try:
            picture = _read(path, model)
            if all(known.is_file() for known in _names(output / f"{path.stem}.png", command.n)):
                continue
            row, made = _restored(command, model, task, path, picture, number)
        except ValueError as error:
            say(f"{error}: left out")
            continue
        _write(output / f"{path.stem}.png", made, model)
        rows.append(row)
    if rows:
        _sheet(output / "sheet.png", rows)
    say(f"{output}: {len(rows)} of {len(sources)} pictures made now; a contact sheet of them is sheet.png")


def _same_settings(command: RestoreCommand, model: "PictureModel", output: Path) -> None:
    """Raises ValueError if the folder holds what other settings made."""
    settings = {name: str(value) for name, value in vars(command).items() if name not in ("device", "output", "run")}
    record = {"weights": model.fingerprint(), **settings}
    path = output / MANIFEST
    if path.is_file():
        try:
            known = json.loads(path.read_text())
        except ValueError:
            known = None
        if known != record:
            raise ValueError(f"{output} holds pictures that other settings made: name another folder with --output")
    files.write_text(path, json.dumps(record, indent=2))


def _read(path: Path, model: ImageToImage) -> Tensor:
    """A picture as level indices uint8 [C, H, W] of the model's channels, with a word where it had to be converted."""
    if not path.is_file():
        raise ValueError(f"{path} is no regular file")
    channels = model.shape[0]
    try:
        pixels = decode(path, channels)
        with Image.open(path) as opened:
            mode, transparent = opened.mode, "transparency" in opened.info
    except ValueError as error:
        raise ValueError(f"{path} cannot be read as a picture: {error}") from None
    as_what = "RGB" if channels == 3 else "grey"
    if mode.startswith("I"):
        say(f"{path}: 16 bits became 8, {as_what}")
    elif "A" in mode or transparent:
        say(f"{path}: put on white, {as_what} without transparency")
    elif mode in _WORDS or (mode == "RGB" and channels == 1):
        say(f"{path}: {_WORDS.get(mode, 'colour')} became {as_what}")
    levels = torch.from_numpy(pixels.transpose(2, 0, 1).copy())
    return levels if model.num_levels == 256 else (levels.float() * (model.num_levels - 1) / 255).round().byte()


def _restored(
    command: RestoreCommand, model: ImageToImage, task: str, path: Path, picture: Tensor, number: int
) -> tuple[contact_sheet.Row, Tensor]:
    """A row of the contact sheet, and the answers uint8 [n, C, H, W]."""
    original = picture if command.spoil else None
    if command.reference is not None:
        original = _read(_beside(command.reference, path), model)
    given, asked = _given(command, model, task, path, picture, number)
    height, width = given.shape[-2] * model.factor, given.shape[-1] * model.factor
    if command.n * height * width > MOST_PIXELS:
        raise ValueError(f"{path}: {command.n} x {width} x {height} are more than {MOST_PIXELS:,} pixels at once")
    steps = command.steps or model.steps
    side = model.shape[1], model.shape[2]
    tiles = len(corners((max(height, side[0]), max(width, side[1])), side, command.overlap))
    if tiles > 1:
        say(f"{path}: {width} x {height}, in {tiles} tiles of {model.shape[2]} x {model.shape[1]} at each step")
    shown = None
    schedule = None if command.schedule is None else schedules.make(sweep_schedule.read(command.schedule))
    rounds: list[Any] = [None]
    if task == "uncrop" and not command.spoil:
        rounds = [*(SIDES if command.side == "all" else (command.side,))] * command.times
    with Steps(path.name, steps * len(rounds)) as progress:
        k = given.expand(command.n, *given.shape)
        for time, one in enumerate(rounds):
            if one is not None:
                k, hole = extended(k, one, model.shape[2 if one in ("left", "right") else 1] // 2)
                asked = {"task": task, "mask": hole}
            shown = k if shown is None else shown
            draw = {
                "steps": command.steps,
                "sampler": command.sampler,
                "schedule": schedule,
                "overlap": command.overlap,
                "chunk": min(model.chunk, command.n * tiles),
                "callback": lambda step, before=time: progress.update(before * steps + step["step"] + 1),
            }
            options: dict[str, Any] = {"label": labels(command.label, command.n, model), "draw": draw, **asked}
            k = model.restore(k, seed=noise.mix(command.seed, time, number), **options).cpu()
    assert shown is not None
    if command.spoil and "mask" in asked:
        shown = torch.where(asked["mask"], 128, shown)
    elif command.mask is not None:
        shown = torch.where(asked["mask"], 255, shown)
    row = contact_sheet.Row(
        name=path.name, given=_rgb(shown[0], model), made=[_rgb(one, model) for one in k],
        original=None if original is None else _rgb(original, model),
    )  # fmt: skip
    return row, k


def _given(
    command: RestoreCommand, model: ImageToImage, task: str, path: Path, picture: Tensor, number: int
) -> tuple[Tensor, dict[str, Any]]:
    """What the model is given [C, h, w], and what is asked of it."""
    if not isinstance(model, Palette):
        if command.spoil:
            low = tuple(max(1, side // model.factor) for side in picture.shape[-2:])
            picture = resize_levels(picture[None], (low[0], low[1]), model.num_levels)[0]
        return picture, ({"level": command.level} if hasattr(model.config, "augmentation") else {})
    asked: dict[str, Any] = {"task": task}
    if command.spoil:
        given, hole = restoring.spoiled(model, task, picture[None], command.seed, number)
        return given[0], asked if hole is None else {**asked, "mask": hole[0, 0] > 0}
    if task == "inpaint":
        assert command.mask is not None
        asked["mask"] = _mask(_beside(command.mask, path))
    return picture, asked


def _mask(path: Path) -> Tensor:
    """bool [H, W], True where the picture is white. Raises ValueError."""
    try:
        return torch.from_numpy(decode(path, 1)[..., 0] >= 128)
    except ValueError as error:
        raise ValueError(f"the mask {path} cannot be read as a picture: {error}") from None


def _beside(place: Path, path: Path) -> Path:
    """The file of a folder that belongs to a picture, or the one file for all. Raises ValueError if there is none."""
    if place.is_dir():
        found = sorted(p for p in place.iterdir() if p.stem == path.stem and p.suffix.lower() in EXTENSIONS)
        if not found:
            raise ValueError(f"{place} has nothing for {path.name}")
        return found[0]
    if not place.is_file():
        raise ValueError(f"there is no file {place}")
    return place


def _names(path: Path, n: int) -> list[Path]:
    return [path] if n == 1 else [path.with_name(f"{path.stem}-{i + 1}.png") for i in range(n)]


def _write(path: Path, made: Tensor, model: ImageToImage) -> list[Path]:
    names = _names(path, len(made))
    for name, picture in zip(names, made, strict=True):
        pixels = _bytes(picture, model)
        with files.whole(name) as temporary:
            Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(temporary, "PNG")
    return names


def _sheet(path: Path, rows: list[contact_sheet.Row]) -> Path:
    with files.whole(path) as temporary:
        Image.fromarray(contact_sheet.sheet(rows)).save(temporary, "PNG")
    return path


def _bytes(picture: Tensor, model: ImageToImage) -> np.ndarray:
    """uint8 [H, W, C] of 0 to 255."""
    levels = picture if model.num_levels == 256 else (picture.float() * 255 / (model.num_levels - 1)).round().byte()
    return levels.permute(1, 2, 0).numpy()


def _rgb(picture: Tensor, model: ImageToImage) -> np.ndarray:
    return np.broadcast_to(pixels := _bytes(picture, model), (*pixels.shape[:2], 3)).copy()
