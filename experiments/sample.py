"""`tandem sample`: pictures from a trained diffusion model."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import tyro

import generative
from experiments import files, flags
from experiments.flags import say
from experiments.progress import Steps, goes_on
from generative import chain_manifest
from generative.config import Device
from generative.samplers import SAMPLERS
from generative.schedules import cosine_like
from generative.train import pick_device

if TYPE_CHECKING:
    from generative.model import PictureModel

EXAMPLE = "tandem sample runs/vdm-digits/20260101-120000-0 -n 64 --steps 256 --sampler ddim -o grid.png"
CASCADE_EXAMPLE = "tandem sample runs/cdm-mnist8/TIME-0 runs/cdm-mnist16/TIME-0 --levels 0.1 -n 36 -o digits.png"
MOST_STEPS = 1_000_000
MOST_BYTES = 4 * 2**30
"""Of all pictures of one call: they are held in memory."""
AT_ONCE = 256
"""Pictures that are drawn together; none depends on it."""


@dataclass(frozen=True, kw_only=True)
class SampleCommand:
    """Flags of `tandem sample`."""

    runs: tyro.conf.Positional[Annotated[tuple[str, ...], tyro.conf.arg(metavar="RUN")]]
    """A run folder or URL (its newest checkpoint), a checkpoint, or a folder with a model. Several are a cascade: each
    enlarges what the one before drew."""
    n: Annotated[int, tyro.conf.arg(aliases=["-n"])] = 64
    """How many pictures."""
    steps: int | None = None
    """Denoising steps of each; 256 if omitted, or what a distilled model was trained for. Of a chain: which student."""
    stage_steps: tuple[int, ...] = ()
    """Of a cascade: denoising steps of each stage, in place of --steps for all."""
    sampler: str | None = None
    """ancestral, ddim, heun or dpm++; the model's paper's if omitted."""
    schedule: Literal["cosine", "own"] | None = None
    """Where the steps lie: a cosine between the model's ends, or the model's own schedule; a VDM's pictures look better
    with a cosine, which is what it has if omitted, and a distilled model needs its own."""
    seed: int = 0
    """Picture i depends on the seed and i alone."""
    label: str | None = None
    """Class of all pictures, by name or number, for a class-conditional model; each in turn if omitted."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("grid.png")
    """Where the grid goes, a .png; small pictures are enlarged."""
    levels: tuple[float, ...] = ()
    """Of a cascade: s of the noise that each stage after the first adds to what it enlarges; 0 if omitted."""
    schedules: tuple[str, ...] = ()
    """Of a cascade: a file of `tandem sweep schedule` for each stage after the first, or "own" for the model's own."""
    truncated: bool = False
    """Of a cascade: the base stops at the first of those levels, instead of being noised again."""
    store: Path | None = None
    """Of a cascade: where every stage's pictures are kept, so that a later call goes on; OUTPUT-stages if omitted."""
    npz: Path | None = None
    """Also write the pictures as they are: an .npz with uint8 levels [n, C, H, W]."""
    device: Device = "auto"
    """Where to run."""


def sample_command(args: list[str]) -> int:
    """Draws pictures from a trained diffusion model, or through the stages of a cascade, and writes a grid of them."""
    command = flags.parse(
        SampleCommand, args, prog="tandem sample", example=f"{EXAMPLE}\n{CASCADE_EXAMPLE}",
        about=sample_command.__doc__ or "",
    )  # fmt: skip
    _check(command)
    if len(command.runs) > 1:
        return _cascade(command)
    model = _model(command)
    _check_room(command.n, model)
    label = labels(command.label, command.n, model)
    for path in filter(None, (command.output, command.npz)):
        flags.check_writable(path)
    steps, sampler = command.steps or model.steps, command.sampler or model.sampler
    schedules = {"cosine": cosine_like(model.schedule), "own": model.schedule, None: None}
    options = {"seed": command.seed, "label": label, "schedule": schedules[command.schedule]}
    pictures = draw(model, command.n, steps=steps, sampler=sampler, **options)
    _write(command, [model], pictures, f"{steps} steps of {sampler}")
    return 0


@goes_on()
def _cascade(command: SampleCommand) -> int:
    """Draws through several models, each told what the one before drew."""
    from experiments import cascade

    models = [generative.load(run, pick_device(command.device)) for run in command.runs]
    cascade.check(models)
    _check_room(command.n, models[-1])
    levels = command.levels or (0.0,) * (len(models) - 1)
    if len(levels) != len(models) - 1:
        raise ValueError(f"--levels needs one number for each stage after the first, {len(models) - 1}, got {levels}")
    cascade.check(models, levels, command.truncated)
    stages = cascade.planned(
        models, levels, steps=command.steps, stage_steps=command.stage_steps, sampler=command.sampler,
        truncated=command.truncated, schedules=command.schedules,
    )  # fmt: skip
    if command.schedule is not None:
        raise ValueError("--schedule is for a single model, --schedules for a cascade")
    for path in filter(None, (command.output, command.npz)):
        flags.check_writable(path)
    label = labels(command.label, 1, models[0])
    store = command.store or command.output.with_name(f"{command.output.stem}-stages")
    if store in (command.output, command.npz) or (store.exists() and not store.is_dir()):
        raise ValueError(f"--store must be a folder of its own, got {store}")
    flags.check_writable(store / "about.json")
    chosen = None if command.label is None else int(label[0])
    cascade.tell_reductions(command.runs, models)
    drawn = cascade.draw(models, stages, command.n, store, seed=command.seed, label=chosen)
    _write(command, models, drawn[-1].numpy(), f"{len(models)} stages")
    say(f"every stage's pictures: {store}")
    return 0


def _model(command: SampleCommand) -> "PictureModel":
    """The model; of a chain the student with --steps, or the last one. Raises ValueError where there is none."""
    device = pick_device(command.device)
    (run,) = command.runs
    if (Path(run) / chain_manifest.MANIFEST).exists():
        done = chain_manifest.read_manifest(Path(run))["stages"]
        return chain_manifest.student(run, command.steps or (done[-1]["steps"] if done else 1)).to(device)
    return generative.load(run, device)


def _check_room(n: int, model: "PictureModel") -> None:
    if n * model.dims > MOST_BYTES:
        raise ValueError(f"-n must be at most {MOST_BYTES // model.dims:,} for pictures of this size (4 GiB), got {n}")


def _check(command: SampleCommand) -> None:
    if not command.runs:
        raise flags.FlagError(f"no run was named; for example: {EXAMPLE}")
    staged = command.levels, command.stage_steps, command.schedules, command.truncated, command.store
    if len(command.runs) == 1 and any(staged):
        names = "--levels, --stage-steps, --schedules, --truncated and --store"
        raise ValueError(f"{names} are for a cascade: name its runs, the smallest first")
    for name, least in (("n", 1), ("seed", 0)):
        if (value := getattr(command, name)) < least:
            raise ValueError(f"--{name} must be at least {least}, got {value}")
    steps = [] if command.steps is None else [command.steps]
    for name, counts in (("steps", steps), ("stage-steps", command.stage_steps)):
        if odd := [count for count in counts if not 1 <= count <= MOST_STEPS]:
            raise ValueError(f"--{name} must be from 1 to {MOST_STEPS:,}, got {odd[0]}")
    if command.sampler is not None and command.sampler not in SAMPLERS:
        raise ValueError(f"sampler {command.sampler!r} does not exist; allowed: {', '.join(SAMPLERS)}")
    for path, suffix in ((command.output, ".png"), (command.npz, ".npz")):
        if path is not None and path.suffix.lower() != suffix:
            raise ValueError(f"cannot write {path.name!r}; allowed suffix: {suffix}")


def labels(label: str | None, n: int, model: "PictureModel") -> Any:
    """int64 [n] of a class by name or number, or of each class in turn; None for an unconditional model. Raises
    ValueError for a class that does not exist."""
    import torch

    count, names = model.config.net.classes, list(model.meta["classes"])
    if not count:
        if label is not None:
            raise ValueError(f"--label {label!r} has no meaning here: the model was trained without classes")
        return None
    if label is None:
        return torch.arange(n) % count
    if label in names:
        return torch.full((n,), names.index(label))
    if label.isascii() and label.isdecimal() and len(label) < 10 and int(label) < count:
        return torch.full((n,), int(label))
    raise ValueError(f"label {label!r} does not exist; allowed: {', '.join(names)}, or 0 to {count - 1}")


def draw(
    model: "PictureModel", n: int, *, steps: int, sampler: str, seed: int, label: Any = None, schedule: Any = None
) -> np.ndarray:
    """`model.sample` with a progress bar, in parts, with steps where they look best if `schedule` is None.

    Returns uint8 [n, C, H, W].
    """
    options: dict[str, Any] = {"steps": steps, "sampler": sampler, "seed": seed}
    options["schedule"] = schedule or model.sampling_schedule
    parts = [range(first, min(first + AT_ONCE, n)) for first in range(0, n, AT_ONCE)]
    pictures = []
    with Steps("sampling", n * steps) as progress:
        for part in parts:

            def tell(at: dict[str, Any], part: range = part) -> None:
                progress.update(part.start * steps + len(part) * (at["step"] + 1), f"{n} pictures")

            chosen = None if label is None else label[part.start : part.stop]
            drawn = model.sample(len(part), first=part.start, label=chosen, callback=tell, **options)
            pictures.append(drawn.cpu().numpy())
    return np.concatenate(pictures)


def _write(command: SampleCommand, models: Sequence["PictureModel"], pictures: np.ndarray, how: str) -> None:
    from experiments.pictures import grid
    from experiments.tracking import write_png  # imports TensorBoard

    write_png(command.output, grid(pictures, models[-1].num_levels))
    where = str(command.output)
    if command.npz:
        with files.whole(command.npz) as temporary:
            np.savez_compressed(temporary, pictures=pictures, num_levels=models[-1].num_levels)
        where += f" and {command.npz}"
    said = f"{len(pictures)} pictures, {how}, seed {command.seed}"
    steps = ", ".join(f"{model.meta['step']:,}" for model in models)
    say(f"{where} ({said}; trained for {steps} steps)")
