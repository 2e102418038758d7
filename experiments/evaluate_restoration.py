"""`tandem eval` of models of pictures given pictures: beside one another, a simple method, and the originals."""

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
import tyro
from torch import Tensor

import generative
from experiments import flags, restoration_page, restoring, simple_methods, sweep_schedule
from experiments.data import load_set
from experiments.kept import kept
from experiments.progress import goes_on
from experiments.restoration_judge import FLOOR, Asked, Judge
from experiments.sample_quality import pictures_of
from generative import config as configs
from generative import loading, noise, schedules, watch
from generative.checkpoint import why
from generative.config import Device
from generative.data import ImageSet
from generative.image_to_image import ImageToImage, ImageToImageConfig
from generative.samplers import SAMPLERS
from generative.schedules import Schedule
from generative.train import pick_device

EXAMPLE = "tandem eval runs/sr3-photos64/TIME-0 runs/sr3-photos64-regression/TIME-0 --images 1000 --output page"


FEWEST = 8
"""Pictures in a table."""


@dataclass(frozen=True, kw_only=True)
class RestorationEvalCommand:
    """Flags of `tandem eval` of models that restore or enlarge pictures."""

    runs: tyro.conf.Positional[tuple[str, ...]]
    """Runs of the same task on the same pictures: a diffusion model, its regression baseline, a generalist."""
    task: Literal["colorize", "inpaint", "uncrop", "jpeg", "upscale"] | None = None
    """What they are asked to do; the first one's own task if it has one."""
    degradation: str | None = None
    """One of Palette's tests: freeform or centre (inpaint), right (uncrop), q5, q10 or q20 (jpeg); as drawn in training
    if omitted."""
    images: int = 1000
    """Test pictures, evenly spread; all if there are fewer."""
    answers: int = 1
    """Answers for each of `answers_images` pictures; of two or more it is measured how much they differ, and how near
    their mean is to the original."""
    answers_images: int = 100
    """Pictures with several answers, evenly spread."""
    level: float = 0.0
    """Stages of a cascade: s of the noise that is added to what is enlarged."""
    steps: int | None = None
    """Denoising steps of each; as configured if omitted."""
    sampler: str | None = None
    """ancestral, ddim, heun or dpm++; ancestral if omitted."""
    schedule: Path | None = None
    """A file of `tandem sweep schedule`: where the steps lie."""
    seed: int = 0
    """Of the noise, and of what is done to the pictures."""
    reference: Literal["train", "test"] = "train"
    """Real pictures that KID and FID are measured against: those of training, of which no answer was made, or as in
    Palette's tables those of the test split, the originals among them."""
    reference_images: int = 5000
    """How many, at most, evenly spread."""
    features: str = "inception"
    """Features of KID, FID and perceptual distance: inception (fetched once), random, or a TorchScript file."""
    perceptual: bool = True
    """Measure LPIPS, for pictures of 31 pixels or more. (Palette's perceptual distance is one of --features.)"""
    classifier: str = "efficientnet"
    """What says the class of answers and originals: efficientnet (Lite0, fetched once), none, or a TorchScript file
    from pictures [N, 3, H, W] of 0 to 255 to logits."""
    data_path: str | None = None
    """Where the pictures lie now, for sets that are placed by hand; as in training if omitted."""
    device: Device = "auto"
    """Where to run."""
    output: Path | None = None
    """Folder of the page, its contact sheet, and the numbers as JSON; scores/ of the first run if omitted."""


@goes_on()
def eval_command(args: list[str]) -> int:
    """Measures restored pictures beside a simple method and the originals, on pictures that were not trained on."""
    command = flags.parse(
        RestorationEvalCommand, args, prog="tandem eval", example=EXAMPLE, about=eval_command.__doc__ or ""
    )  # fmt: skip
    _check(command)
    _schedule(command)  # before anything takes time
    models = {name: _load(run, command) for name, run in zip(_names(command.runs), command.runs, strict=True)}
    first, task = next(iter(models.values())), _task(command, models)
    output = command.output or Path(command.runs[0]) / "scores"
    flags.check_writable(output / "restoration.md")
    config = configs.from_json(first.meta["config"])
    if command.data_path is not None:
        config = replace(config, data=replace(config.data, path=command.data_path))
    images = load_set(config.data, "test")
    if images.shape != first.shape or images.num_levels != first.num_levels:
        raise ValueError(f"{images.name} has pictures {images.shape}, the model was trained on {first.shape}")
    asked = _ask(command, images, first, task)
    real = images if command.reference == "test" else load_set(config.data, "train")
    known, real_groups = pictures_of(real, command.reference_images)
    judge = Judge(
        asked, known["x"], real_groups, first.num_levels,
        pick_device(command.device), split=command.reference, features=command.features,
        perceptual=command.perceptual, classifier=command.classifier,
    )  # fmt: skip
    made = {name: _answers(command, output / "answers", name, model, asked) for name, model in models.items()}
    simple = simple_methods.simple(task, asked.given, asked.mask, first.factor, first.num_levels)
    which = _with_several(command, asked)
    rows = [
        *(judge.score(name, x[0], x[:, which], which) for name, x in made.items()),
        *(judge.score(name, x, x[None, which], which) for name, x in simple.items()),
        judge.score(FLOOR, asked.originals),
    ]
    said = flags.said("tandem eval", replace(command, task=task), ("images", "seed"))
    shown = {**{name: x[0] for name, x in made.items()}, **simple}
    restoration_page.write(output, said, judge, rows, shown, (command.answers, len(which)))
    return 0


def restores(run: str) -> bool:
    """Whether a run, checkpoint or model is of this kind. Raises ValueError for one that cannot be read."""
    about = loading.files(run)[0]
    try:
        return isinstance(configs.from_json(json.loads(about)["config"]).model, ImageToImageConfig)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"model.json of {run} does not describe a model: {why(error)}") from None


def _check(command: RestorationEvalCommand) -> None:
    if not command.runs:
        raise flags.FlagError(f"no run was named; for example: {EXAMPLE}")
    for name, least, most in (
        ("images", FEWEST, 10**6), ("answers", 1, 64), ("answers_images", 1, 10**6), ("steps", 1, 10**6),
        ("reference_images", FEWEST, 10**6), ("seed", 0, 2**62),
    ):  # fmt: skip
        value = getattr(command, name)
        if value is not None and not least <= value <= most:
            raise ValueError(f"--{name.replace('_', '-')} must be from {least} to {most:,}, got {value}")
    if command.sampler is not None and command.sampler not in SAMPLERS:
        raise ValueError(f"sampler {command.sampler!r} does not exist; allowed: {', '.join(SAMPLERS)}")


def _schedule(command: RestorationEvalCommand) -> Schedule | None:
    return None if command.schedule is None else schedules.make(sweep_schedule.read(command.schedule))


def _names(runs: tuple[str, ...]) -> list[str]:
    """What runs are called in the table: their presets, or where those are the same their folders."""
    places = [Path(os.path.realpath(run)) for run in runs]
    presets = [place.parent.name for place in places]
    folders = [f"{place.parent.name}/{place.name}" for place in places]
    if len(set(folders)) < len(folders):
        raise ValueError("a run is named twice")
    return presets if len(set(presets)) == len(presets) else folders


def _load(run: str, command: RestorationEvalCommand) -> ImageToImage:
    model = generative.load(run, pick_device(command.device))
    if not isinstance(model, ImageToImage):
        raise ValueError(f"{run} draws pictures of its own, it makes no table with models that restore some")
    return model


def _task(command: RestorationEvalCommand, models: dict[str, ImageToImage]) -> str:
    """The task. Raises ValueError where a model was not trained for it, or for other pictures than the first."""
    (first_name, first), *others = models.items()
    task = restoring.task_of(first_name, first, command.task)
    for name, model in others:
        restoring.task_of(name, model, task)
        for what in ("shape", "num_levels", "factor"):
            if getattr(model, what) != getattr(first, what):
                raise ValueError(
                    f"{name} makes no table with {first_name}: "
                    f"its {what} is {getattr(model, what)}, not {getattr(first, what)}"
                )
    for model in models.values():
        restoring.check_level(model, command.level)
    return task


def _answers(command: RestorationEvalCommand, folder: Path, name: str, model: ImageToImage, asked: Asked) -> Tensor:
    """uint8 [k, N, C, H, W]; of the answers after the first, pictures that have but one are 0. What an earlier call
    left is read, and all is kept as soon as it is drawn."""
    how: dict[str, Any] = {"steps": command.steps or model.steps, "sampler": command.sampler or model.sampler}
    schedule = None if command.schedule is None else command.schedule.read_text()
    words = model.fingerprint(), asked.task, command.level, how, schedule
    made = torch.zeros((command.answers, *asked.originals.shape), dtype=torch.uint8)
    folder.mkdir(parents=True, exist_ok=True)
    for k in range(command.answers):
        some = torch.arange(len(asked.originals)) if k == 0 else _with_several(command, asked)
        seed = noise.mix(command.seed, k)
        given, label, mask = asked.given[some], asked.label[some], None if asked.mask is None else asked.mask[some]
        keep = _keeper(folder / f"{name.replace('/', '-')}-{k + 1}", (*words, seed), (given, label, mask), model.shape)
        options: dict[str, Any] = {"label": label, "level": command.level, "what": name, "keep": keep}
        draw = {**how, "schedule": _schedule(command)}
        made[k, some] = restoring.answers(model, asked.task, given, mask, seed=seed, draw=draw, **options)
    return made


def _with_several(command: RestorationEvalCommand, asked: Asked) -> Tensor:
    """Indices [M] of the pictures with several answers."""
    total = len(asked.originals)
    return watch.evenly(total, min(command.answers_images, total) if command.answers > 1 else 0)


def _keeper(
    stem: Path, words: tuple[Any, ...], parts: tuple[Tensor | None, ...], shape: tuple[int, ...]
) -> restoring.Keep:
    """What keeps answers at `stem`-KEY.npz. words, parts [N, ...]: all that decides them."""

    def keep(rows: slice, make: Callable[[], Tensor]) -> Tensor:
        told = [part[rows] for part in parts if part is not None]
        data = b"".join(part.numpy().tobytes() for part in told)
        key = hashlib.sha256(repr((*words, rows.start)).encode() + data).hexdigest()[:16]
        return kept(stem.with_name(f"{stem.name}-{key}.npz"), (len(told[0]), *shape), make)

    return keep


def _ask(command: RestorationEvalCommand, images: ImageSet, first: ImageToImage, task: str) -> Asked:
    """What all methods are given."""
    if len(images) < FEWEST:
        raise ValueError(f"{images.name} has {len(images)} test pictures: too few for a table, which needs {FEWEST}")
    batch, groups = pictures_of(images, command.images)
    given, mask = restoring.spoiled(first, task, batch["x"], command.seed, how=command.degradation)
    return Asked(
        task=task, originals=batch["x"], label=batch["label"], classes=len(images.classes), groups=groups, given=given,
        mask=mask,
    )  # fmt: skip
