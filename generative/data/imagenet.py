"""ImageNet at 32 x 32 and 64 x 64, in both of its down-sampled versions, placed by the user.

Bits per dimension differ between the two, so the set's name says which one it is:
- "(van den Oord)": PNG folders train_32x32/ and valid_32x32/ of van den Oord et al. 2016, "Pixel Recurrent Neural
  Networks": 1,281,149 and 49,999 pictures without labels. The papers' bits per dimension, VDM's among them, were
  measured on this one.
- "(Chrabaszcz)": batches of Chrabaszcz et al. 2017, "A Downsampled Variant of ImageNet as an Alternative to the CIFAR
  datasets": train_data_batch_1 to 10 and val_data, pickles or .npz with data uint8 [N, 3 S S] and labels 1..1000.
The official validation pictures are the test split, as in the papers; there is no other. At first use the pictures are
written to one array in the cache, a piece at a time, and mapped from there: 4 GB at 32 x 32 and 16 GB at 64 x 64.
"""

import json
import zipfile
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from generative.data import arrays, pickles
from generative.data.config import DataConfig
from generative.data.decode import decode
from generative.data.images import ImageSet

SIDES = {"imagenet32": 32, "imagenet64": 64}
CLASSES = 1000
TRAIN_BATCHES = 10
CHRABASZCZ, OORD = "Chrabaszcz", "van den Oord"
_STEMS = {"train": [f"train_data_batch_{i}" for i in range(1, TRAIN_BATCHES + 1)], "test": ["val_data"]}
_FOLDERS = {"train": "train_{0}x{0}", "test": "valid_{0}x{0}"}
_PIECE = 4096  # pictures written at a time

Piece = tuple[np.ndarray, list[int], list[str]]
"""uint8 [n, 3, S, S], labels 0..999 (none in van den Oord's version), names."""


def load(config: DataConfig, split: str, cache: Path | None = None) -> ImageSet:
    """One split: uint8 [N, 3, S, S] mapped from the cache, S = 32 for imagenet32 and 64 for imagenet64.

    Raises:
        ValueError: files missing, damaged or of another size, the split is validation, or fields that do not fit.
    """
    name, side = config.name, SIDES[config.name]
    if split not in _STEMS:
        raise ValueError(f"{name} has no validation split: its official validation pictures are the test split")
    if config.size not in (None, side) or config.channels not in (None, 3) or config.downscale != 1:
        raise ValueError(f"{name} is {side} x {side} in RGB: size and channels must be left out or {side} and 3")
    path = Path(config.path or "").expanduser()
    version, files = _find(path, name, split)
    skipped: list[str] = []
    if version == OORD:
        pieces = partial(_pictures, files[0], side, skipped, config.on_corrupt == "fail")
    else:
        pieces = partial(_batches, files, side)
    stats = [(str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    folder, about = arrays.cached(
        cache, f"{name}-{split}", {"side": side, "files": stats}, lambda part: _build(part, pieces(), side, skipped)
    )
    if about["skipped"] and config.on_corrupt == "fail":
        raise ValueError(f"{files[0].parent / about['skipped'][0]} cannot be read as a picture")
    names = json.loads((folder / "names.json").read_text())
    return ImageSet(
        name=f"{name} ({version})",
        split=split,
        pixels=np.load(folder / "pixels.npy", mmap_mode="r"),
        labels=np.load(folder / "labels.npy") if version == CHRABASZCZ else None,
        classes=_classes(path) if version == CHRABASZCZ else (),
        names=names,
        group_names=names,
        skipped=tuple(about["skipped"]),
    )


def _find(path: Path, name: str, split: str) -> tuple[str, list[Path]]:
    """Which version lies at the path, or in folders right below it, and the files (or the one folder) of the split."""
    side = SIDES[name]
    stems, folder_name = _STEMS[split], _FOLDERS[split].format(side)
    batch_names = stems[0] if split == "test" else f"{stems[0]} to {TRAIN_BATCHES}"
    how = (
        f"place Chrabaszcz's batches ({batch_names}, as pickles or .npz) or van den Oord's folder {folder_name}/ of "
        "PNG files there and name it with --data.path"
    )
    if not path.is_dir():
        raise ValueError(f"{name} is not at {path}: {how}")
    folders = [path, *sorted(child for child in path.iterdir() if child.is_dir())]
    batches = {stem: file for stem in stems for file in _of_stem(folders, stem)}
    pictures = [folder for folder in folders if folder.name == folder_name]
    if batches and pictures:
        raise ValueError(f"{path} holds both versions of {name}: name the folder of one of them")
    if pictures:
        return OORD, pictures[:1]
    if not batches:
        raise ValueError(f"{path} holds no {split} split of {name}: {how}")
    if missing := [stem for stem in stems if stem not in batches]:
        raise ValueError(f"{path} holds no {', '.join(missing)} of {name}: {how}")
    return CHRABASZCZ, list(batches.values())


def _of_stem(folders: list[Path], stem: str) -> list[Path]:
    """The batch of that name, if it is there."""
    return [file for folder in folders for file in (folder / stem, folder / f"{stem}.npz") if file.is_file()][:1]


def _build(folder: Path, pieces: Iterator[Piece], side: int, skipped: list[str]) -> dict[str, Any]:
    """Writes pixels.npy, labels.npy and names.json."""
    writer = arrays.ArrayWriter(folder / "pixels.npy", (3, side, side))
    labels: list[int] = []
    names: list[str] = []
    for pixels, some_labels, some_names in pieces:
        writer.append(pixels)
        labels += some_labels
        names += some_names
    writer.close()
    np.save(folder / "labels.npy", np.array(labels, dtype=np.int64))
    (folder / "names.json").write_text(json.dumps(names))
    return {"skipped": skipped}


def _batches(files: list[Path], side: int) -> Iterator[Piece]:
    """Chrabaszcz's version, one file in memory at a time."""
    for file in files:
        data, labels = _npz(file) if file.suffix == ".npz" else _pickled(file)
        if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.ndim != 2 or len(data) != len(labels):
            raise ValueError(f"{file} is no ImageNet batch: it must hold data, uint8 [N, {3 * side**2}], and N labels")
        if data.shape[1] != 3 * side**2:
            raise ValueError(
                f"{file} holds pictures of {data.shape[1]} bytes; {side} x {side} in RGB has {3 * side**2}"
            )
        values = np.asarray(labels)
        if values.dtype.kind not in "iu" or values.min(initial=1) < 1 or values.max(initial=1) > CLASSES:
            raise ValueError(f"{file} holds labels outside 1 to {CLASSES}")
        for start in range(0, len(data), _PIECE):
            pixels = data[start : start + _PIECE].reshape(-1, 3, side, side)
            numbers = range(start, start + len(pixels))
            yield pixels, (values[numbers] - 1).tolist(), [f"{file.stem}#{number}" for number in numbers]


def _npz(file: Path) -> tuple[Any, Any]:
    try:
        with np.load(file, allow_pickle=False) as opened:
            return opened["data"], opened["labels"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{file} is no ImageNet batch that can be read: {error}") from error


def _pickled(file: Path) -> tuple[Any, Any]:
    with file.open("rb") as opened:
        batch = pickles.load(opened, file, encoding="latin1")
    return (batch.get("data"), batch.get("labels") or []) if isinstance(batch, dict) else (None, [])


def _pictures(folder: Path, side: int, skipped: list[str], fail: bool) -> Iterator[Piece]:
    """van den Oord's version; pictures that cannot be read are added to `skipped`."""
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() == ".png")
    for start in range(0, len(files), _PIECE):
        pixels, names = [], []
        for file in files[start : start + _PIECE]:
            try:
                picture = decode(file, 3)
            except ValueError as error:
                if fail:
                    raise ValueError(f"{file} cannot be read as a picture: {error}") from error
                skipped.append(f"{folder.name}/{file.name}")
                continue
            if picture.shape != (side, side, 3):
                raise ValueError(
                    f"{file} has {picture.shape[1]} x {picture.shape[0]} pixels instead of {side} x {side}"
                )
            pixels.append(picture.transpose(2, 0, 1))
            names.append(f"{folder.name}/{file.name}")
        yield np.array(pixels, np.uint8).reshape(-1, 3, side, side), [], names
    if len(files) == len(skipped):
        raise ValueError(f"{folder} holds no PNG file that can be read")


def _classes(path: Path) -> tuple[str, ...]:
    """The classes' names from map_clsloc.txt ("n02119789 1 kit_fox"), if it lies there; else their numbers."""
    names = [str(number) for number in range(1, CLASSES + 1)]
    for file in [path / "map_clsloc.txt", *sorted(path.glob("*/map_clsloc.txt"))]:
        for line in file.read_text(errors="replace").splitlines() if file.is_file() else []:
            _, number, name = [*line.split(maxsplit=2), "", "", ""][:3]
            if number.isdigit() and 1 <= int(number) <= CLASSES and name:
                names[int(number) - 1] = name
    return tuple(names)
