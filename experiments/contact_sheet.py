"""A page of pictures for a person: a row for each, with what was given, what was made of it, and the original."""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from PIL import Image, ImageDraw

from experiments.pictures import font

BOX, GAP, HEAD, NAME = 256, 4, 22, 16
"""Pixels of a picture's place, of the space between places, of the headings, and of a row's name."""
MOST_ROWS = 24


@dataclass(frozen=True, kw_only=True)
class Row:
    """One picture. All are uint8 [H, W, 3], of any size."""

    name: str
    given: np.ndarray
    made: list[np.ndarray]
    original: np.ndarray | None = None


def sheet(rows: list[Row], titles: tuple[str, ...] = ()) -> np.ndarray:
    """At most MOST_ROWS rows under headings: uint8 [H, W, 3]. titles: of the columns of `made`."""
    rows = rows[:MOST_ROWS]
    made = max(len(row.made) for row in rows)
    has_original = any(row.original is not None for row in rows)
    titles = titles or (("sample",) if made == 1 else tuple(f"sample {i + 1}" for i in range(made)))
    heads = ("given", *titles, *(("original",) if has_original else ()))
    width = GAP + len(heads) * (BOX + GAP)
    canvas = Image.new("RGB", (width, HEAD + len(rows) * (BOX + NAME + GAP)), "white")
    pen, letters = ImageDraw.Draw(canvas), font(12)
    for column, head in enumerate(heads):
        pen.text((GAP + column * (BOX + GAP) + BOX // 2, HEAD // 2), head, font=letters, fill="black", anchor="mm")
    for number, row in enumerate(rows):
        top = HEAD + number * (BOX + NAME + GAP)
        pen.text((GAP, top + NAME // 2), _short(row.name), font=letters, fill=(90, 90, 90), anchor="lm")
        pictures = [row.given, *row.made, *[None] * (made - len(row.made)), row.original]
        largest = max((picture for picture in pictures if picture is not None), key=lambda picture: picture.size)
        for column, picture in enumerate(pictures[: len(heads)]):
            if picture is not None:
                shown = _fitted(picture, largest)
                left = GAP + column * (BOX + GAP) + (BOX - shown.width) // 2
                canvas.paste(shown, (left, top + NAME + (BOX - shown.height) // 2))
    return np.asarray(canvas)


def _short(name: str, most: int = 60) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}\N{HORIZONTAL ELLIPSIS}"


def _fitted(picture: np.ndarray, largest: np.ndarray) -> Image.Image:
    """In its place, on the scale of the row's largest picture; one of the same form, which shows the same, as large as
    that. Pixels are repeated where pictures grow twofold or more."""
    image, scale = Image.fromarray(picture), BOX / max(largest.shape[:2])
    scale = scale if scale < 2 else int(scale)
    if _form(picture) == _form(largest):
        scale *= len(largest) / len(picture)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    return image.resize(size, Image.Resampling.LANCZOS if scale < 2 else Image.Resampling.NEAREST)


def _form(picture: np.ndarray) -> Fraction:
    return Fraction(*picture.shape[:2])
