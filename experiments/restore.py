"""`tandem restore`: pictures made anew by a model that learnt it: enlarged, coloured, filled, continued, cleaned."""

from functools import lru_cache
from pathlib import Path

import numpy as np

import generative
from experiments import contact_sheet, flags, picture_files, restore_folder, restore_picture, restoring, sweep_schedule
from experiments.flags import say
from experiments.restore_flags import RestoreCommand, check, output_of
from experiments.restore_picture import Wanted
from experiments.sample import labels
from experiments.train import RunFailed
from generative import schedules
from generative.image_to_image import ImageToImage
from generative.train import pick_device

EXAMPLE = """tandem restore runs/sr3-photos64/TIME-0 IN.png -o OUT.png
tandem restore runs/palette-inpaint64/TIME-0 IN.png --mask M.png -o OUT.png -n 4
tandem restore runs/palette-uncrop64/TIME-0 IN.png --side right --times 8 -o panorama.png
tandem restore runs/palette-all64/TIME-0 PICTURES --task colorize -o coloured"""


def restore_command(args: list[str]) -> int:
    """Makes pictures anew with a model of pictures given pictures: SR3, Palette, or a stage of a cascade.

    Pictures may have any size. Larger ones than the model was trained on are worked on in overlapping tiles that are
    blended at every step; smaller ones are continued (padded) at their edges, and cut again.
    """
    command = flags.parse(
        RestoreCommand, args, prog="tandem restore", example=EXAMPLE, about=restore_command.__doc__ or ""
    )  # fmt: skip
    check(command)
    loaded = generative.load(command.run, pick_device(command.device))
    if not isinstance(loaded, ImageToImage):
        raise ValueError(f"{command.run} draws pictures of its own, it restores none: tandem sample {command.run}")
    further = [_further(run, loaded, command) for run in command.then]
    if all(model.config.regression for model in (loaded, *further)):
        _check_regression(command)
    if loaded.config.net.classes and command.label is None:
        known = f": {', '.join(loaded.meta['classes'])}" if loaded.meta["classes"] else ""
        raise ValueError(f"this model needs a class: name one with --label{known}")
    if len(command.then_levels) not in (0, len(further)):
        raise ValueError(f"--then-levels needs a number for each run of --then, {len(further)}")
    for model, level in zip(further, command.then_levels, strict=False):
        restoring.check_level(model, level)
    wanted = Wanted(
        command=command,
        models=(loaded, *further),
        task=_task(command, loaded),
        label=labels(command.label, command.n, loaded),
        schedule=None if command.schedule is None else schedules.make(sweep_schedule.read(command.schedule)),
    )
    return _folder(wanted) if command.source.is_dir() else _picture(wanted)


def _check_regression(command: RestoreCommand) -> None:
    """Raises ValueError for what networks without noise cannot do."""
    asked = {
        "-n": command.n > 1,
        "--steps": command.steps,
        "--sampler": command.sampler,
        "--schedule": command.schedule,
    }
    if named := [flag for flag, value in asked.items() if value]:
        raise ValueError(
            f"{command.run} is a regression: it has one answer, in one step; leave {' and '.join(named)} out"
        )


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


def _task(command: RestoreCommand, model: ImageToImage) -> str:
    """What to do. Raises ValueError for what the model was not trained for, and flags of other tasks."""
    task = restoring.task_of(command.run, model, command.task)
    if command.mask is not None and task != "inpaint":
        raise ValueError(f"--mask is for inpaint, not for {task}")
    if (command.side != "right" or command.times != 1) and (task != "uncrop" or command.spoil):
        instead = "with --spoil the hole is drawn as in training" if task == "uncrop" else f"not for {task}"
        raise ValueError(f"--side and --times are for uncropping a picture that goes on: {instead}")
    restoring.check_level(model, command.level)
    if task == "inpaint" and command.mask is None and not command.spoil:
        raise ValueError("inpaint needs --mask M.png, white where the picture is to be made anew (or --spoil)")
    return task


def _picture(wanted: Wanted) -> int:
    command, output = wanted.command, output_of(wanted.command)
    places, page = restore_folder.names(output, command.n), restore_folder.sheet_beside(output)
    for path in (*places, page):
        flags.check_writable(path)
        picture_files.check_ours(path)
    one = restore_picture.question(wanted, command.source, 0)
    try:
        made = restore_picture.answers(wanted, one)
    except KeyboardInterrupt:
        say("stopped; nothing was written")
        raise
    for place, pixels in zip(places, made, strict=True):
        picture_files.write(place, pixels)
    picture_files.write(page, contact_sheet.sheet([restore_picture.row(wanted, one, made)]))
    parts = [
        "given",
        "the answers" if command.n > 1 else "the answer",
        *(["the original"] if one.original is not None else []),
    ]
    say(f"{', '.join(map(str, places))}\n{page}: {', '.join(parts)}")
    return 0


def _folder(wanted: Wanted) -> int:
    """All pictures of a folder; what an earlier call with the same settings has made stays."""
    command, output = wanted.command, output_of(wanted.command)
    sources = restore_folder.pictures_of(command.source)
    flags.check_writable(output / restore_folder.RECORD)
    settings = {
        "weights": [model.fingerprint() for model in wanted.models],
        "task": wanted.task, "n": command.n, "seed": command.seed,
        "spoil": command.spoil, "side": command.side, "times": command.times,
        "level": command.level,
        "label": command.label, "steps": [wanted.steps(model) for model in wanted.models], "overlap": command.overlap,
        "sampler": [command.sampler or model.sampler for model in wanted.models],
        "schedule": None if command.schedule is None else command.schedule.read_text(),
    }  # fmt: skip
    settings |= {"then_levels": list(command.then_levels)} if any(command.then_levels) else {}

    def belongs(path: Path) -> list[Path]:
        return [path, *([] if command.mask is None else [picture_files.beside(command.mask, path)])]

    @lru_cache(maxsize=1)
    def asked(path: Path) -> restore_picture.Question:
        return restore_picture.question(wanted, path, restore_folder.number_of(path))

    def make(path: Path) -> list[np.ndarray]:
        return restore_picture.answers(wanted, asked(path))

    def show(path: Path, made: list[np.ndarray]) -> contact_sheet.Row:
        return restore_picture.row(wanted, asked(path), made)

    failed = restore_folder.restore(sources, output, command.n, settings, belongs, make, show)
    if failed:
        raise RunFailed(f"{failed} of the {len(sources)} pictures in {command.source} could not be restored")
    return 0
