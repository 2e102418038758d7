"""Rendered 3D emoji with captions: 3,391 pictures of 256 x 256, composited on white, in nine groups.

Pictures: Microsoft's Fluent emoji as packaged by LobeHub, one file per sequence of code points. Captions and groups:
OpenMoji's table (Unicode's CLDR names and groups). Skin tones and genders of one emoji are nearly the same picture, so
splits go by concept, never by file: `concept` strips tones and genders and joins what is drawn alike.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from generative.data import archives, arrays, splits
from generative.data.config import DataConfig
from generative.data.decode import decode, fit
from generative.data.fetch import Package, fetch, member
from generative.data.images import ImageSet

FLUENT = Package(
    registry="npm",
    name="@lobehub/fluent-emoji-3d",
    version="1.1.0",
    sha256="c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58",
)
OPENMOJI = Package(
    registry="npm",
    name="openmoji",
    version="17.0.0",
    sha256="55ee7d13485dec86e9f38c1f3a645a13382d33ff97c0cd845ee824b0aef45e68",
)
SIDE = 256
"""Side of the pictures as stored."""
GROUPS = (
    "smileys-emotion",
    "people-body",
    "animals-nature",
    "food-drink",
    "travel-places",
    "activities",
    "objects",
    "symbols",
    "flags",
)
"""The classes, in Unicode's order."""

_PERSON, _CHILD, _FAMILY, _HANDS, _KISS, _COUPLE, _SHAKE = 0x1F9D1, 0x1F9D2, 0x1F46A, 0x1F46B, 0x1F48F, 0x1F491, 0x1F91D
_TONES = frozenset(range(0x1F3FB, 0x1F400))
_UNSEEN = frozenset((0xFE0F, 0x200D, 0xE007F))  # emoji style, joiner, end of a flag's tag
_VARIANTS = _TONES | {0x2640, 0x2642, 0x27A1}  # tones; female, male and facing right, where joined to something
_HAIR = frozenset(range(0x1F9B0, 0x1F9B4))
_SAME = {
    # men and women, boys and girls, old men and women, princes and princesses, dancers, Santa and Mrs Claus, pregnant
    **dict.fromkeys((0x1F468, 0x1F469), _PERSON),
    **dict.fromkeys((0x1F466, 0x1F467), _CHILD),
    **dict.fromkeys((0x1F474, 0x1F475), 0x1F9D3),
    **dict.fromkeys((0x1F478, 0x1FAC5), 0x1F934),
    0x1F57A: 0x1F483,
    0x1F936: 0x1F385,
    **dict.fromkeys((0x1FAC3, 0x1FAC4), 0x1F930),
    **dict.fromkeys((0x1F46C, 0x1F46D), _HANDS),
    # the same drawing in this set, or nearly: blond and bearded people, grinning cat and cat face, snowman with and
    # without snow, magnifying glasses tilted left and right
    **dict.fromkeys((0x1F471, 0x1F9D4), _PERSON),
    0x1F63A: 0x1F431,
    0x26C4: 0x2603,
    0x1F50E: 0x1F50D,
    # left and right of one hand
    0x1F91C: 0x1F91B,
    0x1FAF2: 0x1FAF1,
    0x1FAF8: 0x1FAF7,
}


@dataclass(frozen=True, kw_only=True)
class Description:
    """What one emoji shows, in words."""

    caption: str
    """Unicode's English name, for example "woman farmer: dark skin tone"."""
    tags: tuple[str, ...]
    """More words for it."""
    group: str
    """One of GROUPS."""
    subgroup: str


def load(config: DataConfig, split: str, cache: Path | None = None) -> ImageSet:
    """One split of the emoji, [C, size, size] mapped from the cache, labelled by group; resized by area.

    Names are emoji/CODE-POINTS, groups emoji/CONCEPT; `describe` has the captions.

    Raises:
        ValueError: a size above 256, or a downscale. FetchError: a package cannot be had.
    """
    size, channels = config.size or SIDE, config.channels or 3
    if size > SIDE or config.downscale != 1:
        raise ValueError(
            f"emoji have {SIDE} pixels a side: size must be at most that and downscale 1, got {config.size}"
        )
    decides = {"package": FLUENT.sha256, "size": size, "channels": channels}
    folder, about = arrays.cached(cache, f"emoji{size}", decides, lambda part: _build(part, size, channels, cache))
    names: list[str] = about["names"]
    rows = splits.members([concept(name) for name in names], split, config.holdout)
    chosen = [names[row] for row in rows]
    described = describe(chosen, cache)
    return ImageSet(
        name="emoji",
        split=split,
        pixels=np.load(folder / "images.npy", mmap_mode="r"),
        rows=rows,
        names=chosen,
        group_names=[concept(name) for name in chosen],
        labels=np.array([GROUPS.index(one.group) for one in described]),
        classes=GROUPS,
    )


def describe(names: Sequence[str], cache: Path | None = None) -> list[Description]:
    """Captions, tags and groups of pictures, by their names in the set.

    Raises:
        ValueError: a name that is none of the set's. FetchError: a package cannot be had.
    """
    table = json.loads(member(OPENMOJI, "package/data/openmoji.json", cache=cache).read_bytes())
    rows = {_seen(row["hexcode"]): row for row in table if row["group"] in GROUPS}
    if missing := [name for name in names if _seen(name) not in rows]:
        raise ValueError(f"there is no emoji {missing[0]!r}")
    return [_description(rows[_seen(name)]) for name in names]


def _description(row: dict[str, str]) -> Description:
    tags = tuple(tag.strip() for tag in row["tags"].split(",") if tag.strip())
    return Description(caption=row["annotation"], tags=tags, group=row["group"], subgroup=row["subgroups"])


def concept(name: str) -> str:
    """What an emoji is of, without skin tone, gender, hair, direction, and the number of people in a family.

    Args: name: code points in hexadecimal with dashes, for example emoji/1f469-1f3fd-200d-1f33e (woman farmer).
    Returns: the same of the concept: emoji/1f9d1-1f33e (farmer). Raises: ValueError if these are no code points.
    """
    points = _seen(name)
    kept = [_SAME.get(point, point) for point in points if point not in _VARIANTS] or list(points)
    if kept[0] == _PERSON:
        kept = [point for point in kept if point not in _HAIR]
    if kept == [_PERSON, 0x1F384]:  # Mx Claus: a person and a tree
        kept = [0x1F385]
    elif kept == [0x1FAF1, 0x1FAF1]:
        kept = [_SHAKE]
    elif sum(point in (_PERSON, _CHILD) for point in kept) > 1:
        marks = {0x1F48B: _KISS, 0x2764: _COUPLE, _SHAKE: _HANDS}
        kept = [next((marks[mark] for mark in marks if mark in kept), _FAMILY)]
    return "emoji/" + "-".join(f"{point:x}" for point in kept)


def _seen(name: str) -> tuple[int, ...]:
    """The code points of a name, without those that draw nothing. Some files lack leading zeros or the end of a tag."""
    stem = name.rpartition("/")[2]
    if re.fullmatch("[0-9a-fA-F]{1,6}([-_][0-9a-fA-F]{1,6})*", stem):
        points = [int(part, 16) for part in re.split("[-_]", stem)]
        if seen := tuple(point for point in points if point not in _UNSEEN):
            return seen
    raise ValueError(f"an emoji is named by code points such as 1f469-200d-1f33e, got {name!r}")


def _build(folder: Path, size: int, channels: int, cache: Path | None) -> dict[str, Any]:
    """Writes images.npy in the order of the files' names."""
    archive = fetch(FLUENT, cache)
    files = dict(archives.read(archive, lambda path: path.endswith(".webp")))
    writer = arrays.ArrayWriter(folder / "images.npy", (channels, size, size))
    for path in sorted(files):
        try:
            pixels = fit(decode(files[path], channels), size)
        except ValueError as error:
            raise ValueError(f"{path} in {archive} cannot be read: {error}") from error
        writer.append(pixels.transpose(2, 0, 1)[None])
    writer.close()
    return {"names": [f"emoji/{PurePosixPath(path).stem}" for path in sorted(files)]}
