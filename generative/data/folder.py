"""Any folder of pictures, or of one folder per class, with or without train/, val/ and test/ above them.

Pictures are decoded once (decode.py says how each kind is read) into an array in the cache, named by the files' names,
sizes and times of change. Names and groups are paths relative to the folder. What cannot be read is left out and named.
"""

import os
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from generative.data import arrays, splits
from generative.data.config import DataConfig
from generative.data.decode import EXTENSIONS, decode, fit, shrink
from generative.data.images import ImageSet

SPLIT_FOLDERS = {
    "train": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}
"""Folders that are taken as official splits if there is a train/."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One file."""

    path: Path
    name: str
    """Relative to the folder, with slashes."""
    split: str | None
    """By the folder it is in; None if the hash of its name decides."""
    label: str | None
    """Name of the class folder; None if unlabelled."""


def load(config: DataConfig, split: str, cache: Path | None = None) -> ImageSet:
    """One split: by train/, val/ and test/ if there are such folders, else by a hash of each file's relative path.

    With `size`, the shorter side is resized by area (enlarged bicubically) and the centre cut out; with `channels`,
    pictures are converted. Without them all pictures must be alike.

    Raises:
        ValueError: no such folder, no picture, pictures of mixed sizes or modes, no picture of the split, or a picture
            that cannot be read if on_corrupt is "fail".
    """
    root = Path(config.path or "").expanduser()
    if not root.is_dir():
        raise ValueError(
            f"--data.path must name a folder of pictures, {root} is {'a file' if root.exists() else 'missing'}"
        )
    pictures, unlisted = find(root)
    if not pictures:
        why = "".join(f"; {name or 'the folder'} cannot be listed: {reason}" for name, reason in unlisted.items())
        raise ValueError(f"there is no picture ({', '.join(EXTENSIONS)}) in {root}{why}")
    decides = {
        "files": [_stamp(picture) for picture in pictures],
        "size": config.size,
        "channels": config.channels,
        "downscale": config.downscale,
        **({} if config.smaller == "enlarge" else {"smaller": config.smaller}),
    }
    folder, about = arrays.cached(cache, "folder", decides, lambda part: _build(part, pictures, config))
    skipped = unlisted | about["skipped"]
    if skipped and config.on_corrupt == "fail":
        raise ValueError(_unreadable(*next(iter(skipped.items()))))
    return _select(root, pictures, folder, about["skipped"], tuple(unlisted), config, split)


def find(root: Path) -> tuple[list[Picture], dict[str, str]]:
    """The pictures under a folder, sorted by name; and the sub-folders that cannot be listed, name -> reason.

    Symbolic links are followed, but not round in circles. Names that begin with a dot are left out, and so is what lies
    beside the folders train/, val/ and test/ if there is a train/.
    """
    names, unlisted = _walk(root)
    tops = {name.split("/")[0] for name in names if "/" in name}
    if "train" in tops:
        bases = sorted(tops & SPLIT_FOLDERS.keys())
        parts = [(base, name.split("/", 1)[1]) for base in bases for name in names if name.startswith(f"{base}/")]
    else:
        parts = [("", name) for name in names]
    labelled = all("/" in rest for _, rest in parts)
    pictures = [
        Picture(
            path=root / base / rest,
            name=_printable(f"{base}/{rest}" if base else rest),
            split=SPLIT_FOLDERS[base] if base else None,
            label=_printable(rest.split("/")[0]) if labelled else None,
        )
        for base, rest in parts
    ]
    return pictures, unlisted


def _walk(root: Path) -> tuple[list[str], dict[str, str]]:
    """Relative names of all picture files, sorted; and what cannot be listed."""
    names: list[str] = []
    unlisted: dict[str, str] = {}
    waiting: list[tuple[str, tuple[tuple[int, int], ...]]] = [("", ())]
    while waiting:
        prefix, above = waiting.pop()
        try:
            status = os.stat(root / prefix)
            entries = list(os.scandir(root / prefix))
        except OSError as error:
            unlisted[prefix] = error.strerror or str(error)
            continue
        here = (status.st_dev, status.st_ino)
        if here in above:  # a link to a folder that we are in
            continue
        for entry in entries:
            kind = _kind(entry)
            if kind == "folder":
                waiting.append((f"{prefix}{entry.name}/", (*above, here)))
            elif kind == "picture":
                names.append(prefix + entry.name)
    return sorted(names), unlisted


def _printable(name: str) -> str:
    """File names may hold bytes that are no text: they become escapes such as \\xff."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _kind(entry: os.DirEntry[str]) -> str:
    if entry.name.startswith("."):
        return "hidden"
    named = "picture" if entry.name.lower().endswith(EXTENSIONS) else "other"
    try:
        mode = entry.stat().st_mode
    except OSError:  # a dangling link: it is named when it is opened
        return named
    if stat.S_ISDIR(mode):
        return "folder"
    return named if stat.S_ISREG(mode) else "other"  # opening a pipe would wait for ever


def _stamp(picture: Picture) -> list[Any]:
    try:
        status = picture.path.stat()
    except OSError:  # a dangling link: decoding says so
        return [picture.name, picture.label, 0, 0]
    return [picture.name, picture.label, status.st_size, status.st_mtime_ns]


def _build(part: Path, pictures: list[Picture], config: DataConfig) -> dict[str, Any]:
    """Writes images.npy with every picture that can be read; returns the others, name -> reason."""
    skipped: dict[str, str] = {}
    writer, first = None, None
    for picture, pixels in _decoded(pictures, config):
        if isinstance(pixels, str):
            if config.on_corrupt == "fail":
                raise ValueError(_unreadable(picture.name, pixels))
            skipped[picture.name] = pixels
            continue
        if writer is None or first is None:
            writer, first = arrays.ArrayWriter(part / "images.npy", pixels.shape), (picture.name, pixels.shape)
        if pixels.shape != first[1]:
            raise ValueError(_mixed(*first, picture.name, pixels.shape))
        writer.append(pixels[None])
    if writer is None:
        name, reason = next(iter(skipped.items()))
        raise ValueError(f"none of the {len(pictures)} pictures can be read; the first: {_unreadable(name, reason)}")
    writer.close()
    return {"skipped": skipped}


def _decoded(pictures: list[Picture], config: DataConfig) -> Iterator[tuple[Picture, np.ndarray | str]]:
    """Each picture with its pixels uint8 [C, H, W], or with the reason why it cannot be read; decoded in threads."""

    def read(picture: Picture) -> np.ndarray | str:
        try:
            pixels = shrink(decode(picture.path, config.channels), config.downscale)
            if not pixels.size:
                return f"a reduction by {config.downscale} leaves no pixel"
            if config.size is not None:
                pixels = fit(pixels, config.size, config.smaller == "enlarge")
        except ValueError as error:
            return str(error)
        return pixels.transpose(2, 0, 1)

    remaining = iter(pictures)
    with ThreadPoolExecutor(max(1, os.cpu_count() or 1)) as threads:
        while some := list(islice(remaining, 256)):  # a few at a time, so that memory stays small
            yield from zip(some, threads.map(read, some), strict=True)


def _select(
    root: Path,
    pictures: list[Picture],
    folder: Path,
    skipped: dict[str, str],
    unlisted: tuple[str, ...],
    config: DataConfig,
    split: str,
) -> ImageSet:
    """The pictures of one split out of all that were decoded."""

    def chosen(name: str, official: str | None) -> bool:
        return (official or splits.split_of(name, config.holdout)) == split

    read = [picture for picture in pictures if picture.name not in skipped]
    rows = [row for row, picture in enumerate(read) if chosen(picture.name, picture.split)]
    if not rows and pictures[0].split:
        raise ValueError(
            f"{root} has train/ but no picture for {split}: add {split}/, "
            f"or name {root / 'train'} as the path to have pictures held out"
        )
    if not rows:
        raise ValueError(
            f"none of the {len(read)} pictures of {root} falls into {split} by the hash of its name: "
            f"add pictures or raise --data.holdout above {config.holdout}"
        )
    classes = tuple(sorted({picture.label for picture in pictures if picture.label is not None}))
    number = {name: index for index, name in enumerate(classes)}
    names = [read[row].name for row in rows]
    return ImageSet(
        name="folder",
        split=split,
        pixels=np.load(folder / "images.npy", mmap_mode="r"),
        rows=np.array(rows),
        names=names,
        group_names=names,
        labels=np.array([number[read[row].label or ""] for row in rows]) if classes else None,
        classes=classes,
        skipped=tuple(p.name for p in pictures if p.name in skipped and chosen(p.name, p.split)) + unlisted,
    )


def _unreadable(name: str, reason: str) -> str:
    return f"{name} cannot be read: {reason}"


def _mixed(first: str, shape: tuple[int, ...], second: str, other: tuple[int, ...]) -> str:
    """The sentence for two pictures that differ."""
    kinds = {1: "grey", 3: "colour"}
    if shape[0] != other[0]:
        return (
            f"pictures have mixed modes: {first} is {kinds[shape[0]]}, {second} is {kinds[other[0]]}; "
            "convert them with --data.channels 3 or 1"
        )
    return (
        f"pictures have mixed sizes: {first} is {shape[2]} x {shape[1]}, {second} is {other[2]} x {other[1]}; "
        "resize and cut them with --data.size, for example 32"
    )
