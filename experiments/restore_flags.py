"""The flags of `tandem restore`, and what can be said against them before any model is read."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from experiments import restore_folder
from generative.config import Device
from generative.data.decode import EXTENSIONS
from generative.samplers import SAMPLERS
from generative.tiling import corners


@dataclass(frozen=True, kw_only=True)
class RestoreCommand:
    """Flags of `tandem restore`."""

    run: tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="RUN")]]
    """A run folder or URL of SR3, Palette or a stage of a cascade, a checkpoint, or a folder with a model."""
    source: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="IN")]]
    """A picture, or a folder of pictures (not those in folders inside it)."""
    then: tuple[str, ...] = ()
    """upscale: runs that enlarge further what RUN made, one after the other (RUN to 64 pixels, --then one to 256)."""
    then_levels: tuple[float, ...] = ()
    """upscale: as --level, for each run of --then; 0 if omitted."""
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
    it a contact sheet, OUT-sheet.png; in a folder restore-sheet.png."""
    device: Device = "auto"
    """Where to run."""


def check(command: RestoreCommand) -> None:
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
    output = output_of(command)
    if command.source.is_dir():
        if output.exists() and not output.is_dir():
            raise ValueError(f"--output must be a folder, where {command.source} is one: {output} is none")
        if output.suffix.lower() in EXTENSIONS and not output.exists():
            raise ValueError(f"--output must be a folder, where {command.source} is one, got {output}")
        if command.reference is not None and not command.reference.is_dir():
            raise ValueError(f"--reference must be a folder, where {command.source} is one, got {command.reference}")
        if os.path.realpath(output) == os.path.realpath(command.source):
            raise ValueError(f"the pictures in {command.source} would be overwritten: name another --output")
        for place in (command.mask, command.reference):
            if place is not None and os.path.realpath(place) == os.path.realpath(output):
                raise ValueError(f"the answers would lie among the pictures of {place}: name another --output")
        return
    if output.suffix.lower() != ".png":
        raise ValueError(f"--output must end in .png, got {output}")
    made = {
        os.path.realpath(path)
        for path in (*restore_folder.names(output, command.n), restore_folder.sheet_beside(output))
    }
    for path in (command.source, command.mask, command.reference, command.schedule):
        if path is not None and os.path.realpath(path) in made:
            raise ValueError(f"{path} would be overwritten: name another --output")


def output_of(command: RestoreCommand) -> Path:
    return command.output or Path("restored" if command.source.is_dir() else "restored.png")
