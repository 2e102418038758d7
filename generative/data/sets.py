"""The sets of pictures, and the texts and networks beside them: what there is, where it comes from, what loads it.

A new set is one row here: its `loader` names a function `(config, split, cache) -> ImageSet` as "module:function",
which is imported when the set is used.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from generative.data import digits, emoji, networks, photos, text
from generative.data.config import DataConfig
from generative.data.fetch import Package, Progress, cache_dir, fetch
from generative.data.images import ImageSet
from generative.data.reduce import reduce
from generative.data.splits import SPLITS

Loader = Callable[[DataConfig, str, Path | None], ImageSet]


@dataclass(frozen=True, kw_only=True)
class SetRow:
    """One set, as `tandem data list` shows it."""

    name: str
    """As in DataConfig.name."""
    what: str
    """The pictures, in one line."""
    packages: tuple[Package, ...] = ()
    """Where they come from; empty for sets whose files the user places."""
    licence: str = ""
    """As the package or its copyright file states it."""
    size_mb: float = 0.0
    """Download, in 10^6 bytes."""
    split: str = ""
    """How train, validation and test are told apart."""
    loader: str = ""
    """module:function, imported when used."""
    place: bool = False
    """True if the user names the files with DataConfig.path."""
    kind: Literal["pictures", "text", "network"] = "pictures"
    """Only pictures are loaded with `load`; the others' loaders have arguments of their own."""


_BY_HASH = "by a hash of the group's name, `holdout` each for validation and test; a group is a {}"
_ROWS = (
    SetRow(
        name="digits",
        what="1,797 handwritten digits, 8 x 8 grey, 17 levels, 10 classes",
        packages=(digits.DIGITS,),
        licence="BSD-3-Clause (scikit-learn); data CC BY 4.0 (UCI)",
        size_mb=9.3,
        split=_BY_HASH.format("picture"),
        loader="generative.data.digits:load_digits",
    ),
    SetRow(
        name="mnist",
        what="70,000 handwritten digits, 28 x 28 grey (size=32 pads), 10 classes",
        packages=(digits.MNIST,),
        licence="CC BY-SA 3.0 (its authors); the package states none",
        size_mb=20.3,
        split="the official 60,000 for training and 10,000 for testing; no validation",
        loader="generative.data.digits:load_mnist",
    ),
    SetRow(
        name="photos",
        what="crops of 334 photographs, RGB; name size, and downscale=2 against traces of compression",
        packages=photos.PACKAGES,
        licence="GPL-2+/GPL-3+, LGPL, CC BY-SA 3.0/4.0, CC BY 4.0: per package in its copyright file",
        size_mb=158.1,
        split=_BY_HASH.format("photograph, with those that look alike"),
        loader="generative.data.photos:load",
    ),
    SetRow(
        name="emoji",
        what="3,391 rendered emoji with captions, 256 x 256 RGB on white, 9 classes; size reduces them",
        packages=(emoji.FLUENT, emoji.OPENMOJI),
        licence="MIT (pictures), CC BY-SA 4.0 (captions)",
        size_mb=20.1,
        split=_BY_HASH.format("concept, with all its skin tones and genders"),
        loader="generative.data.emoji:load",
    ),
    SetRow(
        name="folder",
        what="your folder of pictures, or of one folder per class",
        split="train/, val/ and test/ if there are such folders, else " + _BY_HASH.format("file"),
        loader="generative.data.folder:load",
        place=True,
    ),
    SetRow(
        name="shards",
        what="your webdataset tars or Parquet files",
        split="train, val and test by the folders or names of shards, else by a hash of the shard's name",
        loader="generative.data.shards:load",
        place=True,
    ),
    SetRow(
        name="cifar10",
        what="CIFAR-10's official python or binary version, packed or not: 60,000 pictures of 32 x 32, 10 classes",
        split="the official 50,000 for training and 10,000 for testing; no validation",
        loader="generative.data.cifar:load",
        place=True,
    ),
    SetRow(
        name="imagenet32",
        what="ImageNet at 32 x 32: Chrabaszcz's batches (pickles or .npz) or van den Oord's PNG folders",
        split="official: training pictures, and the validation pictures for testing; no validation",
        loader="generative.data.imagenet:load",
        place=True,
    ),
    SetRow(
        name="imagenet64",
        what="ImageNet at 64 x 64: Chrabaszcz's batches (pickles or .npz) or van den Oord's PNG folders",
        split="official: training pictures, and the validation pictures for testing; no validation",
        loader="generative.data.imagenet:load",
        place=True,
    ),
    *(
        SetRow(
            name=one.name,
            what=one.what,
            packages=(one.package,),
            licence=one.licence,
            size_mb=one.size_mb,
            split=one.split,
            loader="generative.data.text:load_text",
            kind="text",
        )
        for one in text.TEXTS.values()
    ),
    *(
        SetRow(
            name=name,
            what=one.what,
            packages=(one.package,),
            licence=one.licence,
            size_mb=one.size_mb,
            split="no splits: it is a network",
            loader="generative.data.networks:network_file",
            kind="network",
        )
        for name, one in networks.NETWORKS.items()
    ),
)
SETS: dict[str, SetRow] = {row.name: row for row in _ROWS}
"""Every set by name."""


def row(name: str) -> SetRow:
    """The set of that name; ValueError naming all sets if there is none."""
    if name not in SETS:
        raise ValueError(f"there is no set {name!r}; there are {', '.join(sorted(SETS))}")
    return SETS[name]


def get(name: str, cache: Path | None = None, progress: Progress | None = None) -> Path:
    """Fetches and verifies a set's packages once; returns the cache they lie in.

    Raises:
        ValueError: no such set, or one whose files the user places. FetchError: a package cannot be had.
    """
    found = row(name)
    if found.place:
        raise ValueError(f"{name} is not fetched: {found.what}; name its place with --data.path")
    for package in found.packages:
        fetch(package, cache, progress)
    return cache_dir(cache)


def load(config: DataConfig, split: str, cache: Path | None = None) -> ImageSet:
    """One split of a set: "train", "validation" or "test". Packages are fetched at first use.

    Raises:
        ValueError: no such set or split, or fields that do not fit the set; in one sentence.
    """
    found = row(config.name)
    if found.kind != "pictures":
        raise ValueError(f"{found.name} is no set of pictures: {found.loader.replace(':', '.')} reads it")
    if split not in SPLITS:
        raise ValueError(f"split must be train, validation or test, got {split!r}")
    if found.place and config.path is None:
        raise ValueError(f"{config.name} needs --data.path, the place of its files: {found.what}")
    if not found.place and config.path is not None:
        raise ValueError(f"{config.name} comes from a package and takes no path, got {config.path!r}")
    images = loader(config.name)(config, split, cache)
    return reduce(images, config.reduced, cache) if config.reduced else images


def loader(name: str) -> Callable[..., Any]:
    """The function that loads a set (for pictures a `Loader`); its module is imported now."""
    module, function = row(name).loader.split(":")
    return getattr(import_module(module), function)
