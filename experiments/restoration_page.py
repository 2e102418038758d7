"""What came out of restoring pictures, as a page: a table, and a contact sheet."""

import json
import math
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from experiments import contact_sheet, files, tables
from experiments.flags import say
from experiments.pictures import to_rgb
from experiments.restoration_judge import Asked, Judge, Scores, difference, ratio
from generative.metrics.bits import degrees_of_freedom
from generative.metrics.statistics import describe

SHOWN = 10
"""Rows of the contact sheet."""
MEANINGS = {
    "consistency": "mean square error of the answer, reduced again, against what was given",
    "distance": "Euclidean distance between the features of answer and original",
    "agreement": "share of answers that the classifier takes for what it takes the original for",
    "accuracy": "share that it takes for what they are",
    "inception_score": "its Inception score",
    "lpips_between": "of each answer and the next",
    "ssim_between": "of the first answer and the others",
}
"""Measure -> what its heading does not say."""
MEASURES = {
    "psnr": ("PSNR, dB", 2),
    "mean_psnr": ("PSNR of the answers' mean, dB", 2),
    "ssim": ("SSIM", 3),
    "consistency": ("consistency, 1e-5", 2),
    "lpips": ("LPIPS", 4),
    "kid": ("KID", 5),
    "fid": ("FID", 2),
    "distance": ("perceptual distance", 2),
    "agreement": ("same class", 3),
    "accuracy": ("true class", 3),
    "inception_score": ("class score", 2),
    "lpips_between": ("LPIPS between answers", 4),
    "ssim_between": ("MS-SSIM between answers", 3),
}
"""Measure -> heading, digits."""
COMPARED = {"kid": 5, "lpips": 4, "psnr": 2, "mean_psnr": 2, "lpips_between": 4, "ssim_between": 3}
"""Measures of which differences are shown -> digits."""
RATIO = "consistency, ratio"


def _cell(row: Scores, measure: str, value: Any, digits: int) -> str:
    if value is None:
        return "-"
    if isinstance(value, (int, float)):
        return f"{value:.{digits}f}"
    mean, width = value[0], row.details.half_width(measure, value[1])
    return f"{mean:.{digits}f}" + (f" ± {width:.{digits}f}" if math.isfinite(width) else "")


def table(rows: list[Scores]) -> list[list[str]]:
    """The head and a line for each method; measures that nobody has are left out."""
    shown = [name for name in MEASURES if any(getattr(row, name) is not None for row in rows)]
    lines = [[_cell(row, name, getattr(row, name), MEASURES[name][1]) for name in shown] for row in rows]
    return [
        ["", *(MEASURES[name][0] for name in shown)],
        *([row.name, *line] for row, line in zip(rows, lines, strict=True)),
    ]


def meanings(rows: list[Scores]) -> str:
    """What the headings of `table` mean that do not say it; empty or a paragraph."""
    said = [
        f"{MEASURES[name][0]}: {meaning}"
        for name, meaning in MEANINGS.items()
        if any(getattr(row, name) is not None for row in rows)
    ]
    return "; ".join(said) + ".\n\n" if said else ""


def differences(rows: list[Scores]) -> list[list[str]]:
    """The head and a line for each method but the first: the first's measures minus that one's, and how many times its
    consistency error is as large."""
    first, *rest = rows
    lines = [
        [
            f"minus {row.name}",
            *(_cell(first, name, difference(first, row, name), digits) for name, digits in COMPARED.items()),
            _cell(first, "consistency", ratio(first, row, "consistency"), 2),
        ]
        for row in rest
    ]
    head = ["", *(MEASURES[name][0] for name in COMPARED), RATIO]
    shown = [0, *(i for i in range(1, len(head)) if any(line[i] != "-" for line in lines))]
    return [[line[i] for i in shown] for line in (head, *lines)]


def _plain(row: Scores) -> dict[str, Any]:
    """As JSON: without what single pictures have, and None for what is no number."""
    told = {key.name: getattr(row, key.name) for key in fields(row) if key.name != "details"}
    return {
        name: [_known(one) for one in value] if isinstance(value, tuple) else _known(value)
        for name, value in told.items()
    }


def _known(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def sheet(asked: Asked, made: dict[str, Tensor], num_levels: int) -> np.ndarray:
    """Some of the pictures: given, each method's answer, the original. They are evenly spread over the half of more
    contrast: crops of a sky or a wall tell methods apart only in how plain they leave them."""

    def rgb(k: Tensor) -> np.ndarray:
        return to_rgb(k, num_levels)

    rows, order = [], asked.originals.double().flatten(1).std(1).argsort(descending=True, stable=True)
    half = order[: max(SHOWN, (len(order) + 1) // 2)]
    for i in half[:: max(1, len(half) // SHOWN)][:SHOWN].tolist():
        given = (
            asked.given[i] if asked.mask is None else torch.where(asked.mask[i] > 0, num_levels // 2, asked.given[i])
        )
        answers, name = [rgb(x[i]) for x in made.values()], asked.groups[i].rpartition("/")[2]
        rows.append(contact_sheet.Row(name=name, given=rgb(given), made=answers, original=rgb(asked.originals[i])))
    return contact_sheet.sheet(rows, tuple(made))


def write(
    output: Path, command: str, judge: Judge, rows: list[Scores], made: dict[str, Tensor], several: tuple[int, int]
) -> None:
    """restoration.md, restoration.json and sheet.png of the folder, and the table on the terminal. command: that was
    given; made: uint8 [N, C, H, W] of each method; several: how many answers there are, for how many pictures."""
    from experiments.tracking import write_png  # imports TensorBoard

    asked, lines, gaps = judge.asked, table(rows), differences(rows)
    classes = "" if judge.classifier is None else f"; classes: {judge.classifier.describe()}"
    height, width = asked.originals.shape[-2:]
    title = (
        f"{asked.task}: {len(asked.originals):,} test pictures of {width} x {height} of {len(set(asked.groups)):,} "
        "groups, mean ± the half-width of its 95% interval over groups (Student's t, "
        f"{degrees_of_freedom(asked.groups):.1f} degrees of freedom)"
    )
    others = "of other groups" if judge.split == "train" else "which may hold originals"
    answers, some = several
    which = "picture" if some == 1 else f"{some:,} pictures"
    mean = (
        f" Beside it is that of the mean of {answers} answers of {which}, evenly spread, or of the one answer of a "
        "method that has one; in such columns ± knows the groups of these pictures."
    )
    about = (
        f"{title}. KID and FID are against {len(judge.reference):,} pictures of the {judge.split} split, {others}, and "
        f"so are those of the originals, which nothing can be much below; KID is over pairs of pictures of different "
        f"groups. {describe(judge.net)}{classes}. PSNR is over "
        f"the pixels that were to be made.{mean if answers > 1 else ''}"
    )
    text = (
        f"# {asked.task}\n\n{about}\n\n{tables.markdown(lines[0], lines[1:])}\n{meanings(rows)}What the first has "
        f"more than the others, picture by picture ({RATIO}: how many times as much):\n\n"
        f"{tables.markdown(gaps[0], gaps[1:])}\n"
        f"`{command}`; sheet.png shows some, of the half with more contrast.\n"
    )
    files.write_text(output / "restoration.md", text)
    files.write_text(output / "restoration.json", json.dumps([_plain(row) for row in rows], indent=2))
    write_png(output / "sheet.png", sheet(asked, made, judge.num_levels))
    head, *body = [list(column) for column in zip(*lines, strict=True)]  # a column for each method
    tables.show(title, head, body)
    tables.show(f"{rows[0].name} minus the others ({RATIO}: over them)", gaps[0], gaps[1:])
    say(f"{output / 'restoration.md'}, restoration.json and sheet.png beside it")
