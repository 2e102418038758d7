"""Crops of real photographs out of Debian's wallpaper and education packages.

Photographs are reduced by an integer factor with a box filter, which removes traces of their compression, then cut into
squares that do not overlap. All crops of a photograph, and of photographs that look alike, are in the same split.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from generative.data import archives, arrays, splits
from generative.data.config import DataConfig
from generative.data.decode import decode, shrink, similarity_hash
from generative.data.fetch import Package, fetch
from generative.data.images import ImageSet
from generative.data.photo_names import PHOTOS
from generative.data.rcc import read_rcc

PACKAGES = (
    Package(
        registry="debian",
        name="gcompris-qt-data",
        version="3.1-2",
        sha256="e9cf06ab2105529068df73085784e835d2ff03f870d2a8091f09125d40abac9f",
    ),
    Package(
        registry="debian",
        name="lomiri-wallpapers-16.04",
        version="20.04.0-2",
        sha256="a99ff6a3bfe451e4cc0682ecb3cc82e71740626d59e4845ae34a0a0e45421eab",
    ),
    Package(
        registry="debian",
        name="lxqt-themes",
        version="1.2.0-1",
        sha256="d518df36b515b09d36cb00b12645dd8ce170bb82bb0966297741905ce3edc8e1",
    ),
    Package(
        registry="debian",
        name="mate-backgrounds",
        version="1.26.0-1",
        sha256="7bf4c2209f34b4f61ba6d24c8b58c28b361e82e4b943aae6d42c030169af9e04",
    ),
    Package(
        registry="debian",
        name="scratch",
        version="1.4.0.6~dfsg1-6.1",
        sha256="36c582eb93110f64f06c4e685c41e933ccba2fa68db12f79b10bfe840b21fc10",
    ),
)
"""In the order in which photographs are read."""
ALIKE_BITS = 30
"""Photographs whose 256-bit similarity hashes differ in at most so many bits share a group."""
_RESOURCES = "usr/share/gcompris-qt/rcc/{}.rcc"
_ACTIVITIES = "/gcompris/src/activities/"


def load(config: DataConfig, split: str, cache: Path | None = None) -> ImageSet:
    """Crops of one split, [C, size, size], mapped from the cache.

    Raises:
        ValueError: size is missing or larger than every reduced photograph. FetchError: a package cannot be had.
    """
    if config.size is None:
        raise ValueError("photos have many sizes: name the side of the crops with --data.size, for example 32")
    channels = config.channels or 3
    size, downscale = config.size, config.downscale
    decides = {
        "packages": [package.sha256 for package in PACKAGES],
        "names": PHOTOS,
        "alike": ALIKE_BITS,
        "size": size,
        "downscale": downscale,
        "channels": channels,
    }
    folder, about = arrays.cached(
        cache, f"photos{size}", decides, lambda part: _build(part, _photographs(cache), size, downscale, channels)
    )
    names, groups, rows, row = [], [], [], 0
    for name, group, crops in about["photographs"]:
        if splits.split_of(group, config.holdout) == split:
            names += [f"{name}#{crop}" for crop in range(crops)]
            groups += [group] * crops
            rows.append(np.arange(row, row + crops))
        row += crops
    if not rows:
        raise ValueError(f"no photograph of {split} has {size} pixels on each side after a reduction by {downscale}")
    pixels = np.load(folder / "crops.npy", mmap_mode="r")
    return ImageSet(
        name="photos", split=split, pixels=pixels, rows=np.concatenate(rows), names=names, group_names=groups
    )


def _photographs(cache: Path | None) -> Iterator[tuple[str, bytes]]:
    """(name, file) of every photograph: name is package/folder/file."""
    for package in PACKAGES:
        wanted = PHOTOS[package.name]
        archive = fetch(package, cache)
        read = _in_resources if package.name == "gcompris-qt-data" else _in_folders
        found = {f"{package.name}/{name}": content for name, content in read(archive, wanted)}
        for folder, names in wanted.items():
            for name in names:
                yield f"{package.name}/{folder}/{name}", found[f"{package.name}/{folder}/{name}"]


def _in_folders(archive: Path, wanted: dict[str, tuple[str, ...]]) -> Iterator[tuple[str, bytes]]:
    paths = {f"{folder}/{name}" for folder, names in wanted.items() for name in names}
    yield from archives.read(archive, paths.__contains__)


def _in_resources(archive: Path, wanted: dict[str, tuple[str, ...]]) -> Iterator[tuple[str, bytes]]:
    """GCompris keeps each activity's pictures in a Qt resource file."""
    paths = {f"{_ACTIVITIES}{folder}/{name}" for folder, names in wanted.items() for name in names}
    resources = {_RESOURCES.format(folder.split("/")[0]) for folder in wanted}
    for _, resource in archives.read(archive, resources.__contains__):
        for path, content in read_rcc(resource, paths.__contains__):
            yield path.removeprefix(_ACTIVITIES), content


def _build(
    folder: Path, photographs: Iterator[tuple[str, bytes]], size: int, downscale: int, channels: int
) -> dict[str, Any]:
    """Writes crops.npy; returns (name, group, number of crops) of each photograph that is large enough."""
    counts: dict[str, int] = {}
    hashes: dict[str, int] = {}
    writer = arrays.ArrayWriter(folder / "crops.npy", (channels, size, size))
    for name, content in photographs:
        pixels = decode(content, 3)
        hashes[name] = similarity_hash(pixels)
        pixels = shrink(pixels, downscale)
        crops = _crops(_grey(pixels) if channels == 1 else pixels, size)
        writer.append(crops)
        counts[name] = len(crops)
    writer.close()
    if not writer.count:
        raise ValueError(f"no photograph has {size} pixels on each side after a reduction by {downscale}")
    groups = alike(hashes)
    return {"photographs": [(name, groups[name], count) for name, count in counts.items() if count]}


def _grey(pixels: np.ndarray) -> np.ndarray:
    """Luma of ITU-R 601, as Pillow weighs it."""
    weighed = pixels.astype(np.uint32) @ np.array([19595, 38470, 7471], np.uint32)
    return ((weighed + 0x8000) >> 16).astype(np.uint8)[:, :, None]


def _crops(pixels: np.ndarray, size: int) -> np.ndarray:
    """uint8 [H, W, C] -> [n, C, size, size], row by row from the upper left corner; rests at the edges are left out."""
    rows, columns, channels = pixels.shape[0] // size, pixels.shape[1] // size, pixels.shape[2]
    cut = pixels[: rows * size, : columns * size].reshape(rows, size, columns, size, channels)
    return np.ascontiguousarray(cut.transpose(0, 2, 4, 1, 3)).reshape(rows * columns, channels, size, size)


def alike(hashes: dict[str, int], bits: int = ALIKE_BITS) -> dict[str, str]:
    """Name -> group: pictures whose hashes differ in at most `bits` bits, directly or through others, share a group,
    named by the first of them in sorted order."""
    group = {name: name for name in hashes}
    names = sorted(hashes)
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            if (hashes[first] ^ hashes[second]).bit_count() <= bits and group[first] != group[second]:
                keep, drop = sorted((group[first], group[second]))
                group = {name: keep if member == drop else member for name, member in group.items()}
    return group
