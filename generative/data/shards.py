"""Pictures in shards: webdataset tars (key.png, .jpg or .webp with key.cls) or Parquet as in Hugging Face's sets (a
column image, with label), read at random.

At first use every shard is read once: an index of where each picture lies goes to the cache, and pictures that cannot
be decoded are named there. After that a batch reads its pictures alone. Splits never part a shard:
- folders train/, val/ and test/ that hold shards, or else names that begin with train-, val- and test-, are official if
  there are at least two of them;
- otherwise the hash of the shard's name decides (splits.py).
"""

import json
import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, cast

import numpy as np

from generative.data import arrays, shard_files, splits
from generative.data.config import DataConfig
from generative.data.decode import decode, fit, shrink
from generative.data.folder import SPLIT_FOLDERS
from generative.data.images import ImageSet
from generative.data.shard_files import Damaged, Reader, Sample

_OFFICIAL = re.compile(rf"({'|'.join(sorted(SPLIT_FOLDERS, key=len, reverse=True))})[-_.]")
_MAX_SHARDS = 100_000


class Decoded:
    """Pictures of shards as an array uint8 [N, C, H, W] that is read and decoded where it is indexed."""

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(self, reader: Reader, index: np.ndarray, shape: tuple[int, int, int], config: DataConfig) -> None:
        self.reader, self.index, self.config = reader, index, config
        self.shape = (len(index), *shape)

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        """uint8 [B, C, H, W] of rows [B], read in the order in which they lie."""
        out = np.empty((len(rows), *self.shape[1:]), np.uint8)
        places = self.index[rows, :3].tolist()
        for i in sorted(range(len(rows)), key=places.__getitem__):
            shard, *place = places[i]
            out[i] = pixels_of(self.reader.read(shard, (place[0], place[1])), self.config)
        return out


def load(config: DataConfig, split: str, cache: Path | None = None) -> ImageSet:
    """One split, pictures decoded as they are asked for; with `size`, resized by area and cut to the centre.

    Names are SHARD#KEY. A group is a picture: shards are places of storage only.

    Raises:
        ValueError: no shard, none of the split, no picture, mixed sizes or modes, labels that are no class numbers, or
            a picture or shard that cannot be read if on_corrupt is "fail".
    """
    root, paths = find(config.path or "")
    names = [path.relative_to(root).as_posix() for path in paths]
    decides = {
        "files": [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in paths],
        "size": config.size,
        "channels": config.channels,
        "downscale": config.downscale,
        **({} if config.smaller == "enlarge" else {"smaller": config.smaller}),
    }
    folder, about = arrays.cached(cache, "shards", decides, lambda part: _build(part, paths, names, config))
    if about["skipped"] and config.on_corrupt == "fail":
        raise ValueError(_unreadable(about["skipped"][0][1:]))
    index = np.load(folder / "index.npy", mmap_mode="r")
    keys = json.loads((folder / "keys.json").read_text())
    wanted = np.array([own == split for own in split_names(names, config.holdout)])
    rows = np.flatnonzero(wanted[index[:, 0]])
    if not len(rows):
        raise ValueError(
            f"none of the {len(paths)} shards in {root} is for {split}: name shards train-, val- and test-, put them "
            "into folders of these names, or use more shards"
        )
    chosen = [f"{names[shard]}#{keys[row]}" for row, shard in zip(rows.tolist(), index[rows, 0].tolist(), strict=True)]
    classes = tuple(about["classes"])
    return ImageSet(
        name="shards",
        split=split,
        pixels=cast(np.ndarray, Decoded(Reader(paths), index, tuple(about["shape"]), config)),
        rows=rows,
        names=chosen,
        group_names=chosen,
        labels=index[rows, 3] if classes else None,
        classes=classes,
        skipped=tuple(name for shard, name, _ in about["skipped"] if wanted[shard]),
    )


def find(where: str) -> tuple[Path, list[Path]]:
    """The shards that a path names, sorted, and the folder that their names are relative to.

    Args: where: a folder (and all below), one shard, or a pattern with braces: t-{0000..0012}.tar, {train,test}-0.tar.
    Raises: ValueError: a shard of the pattern is missing, there is none, or one that is neither tar nor Parquet.
    """
    path = Path(where).expanduser()
    if "{" in where:
        paths = sorted(Path(one) for one in expand(str(path)))
        root = Path(os.path.commonpath([one.parent for one in paths]))
    elif path.is_dir():
        paths = [one for one in sorted(path.rglob("*")) if one.suffix in (".tar", ".parquet") and one.is_file()]
        root = path
    else:
        paths, root = [path], path.parent
    if missing := [one for one in paths if not one.is_file()]:
        raise ValueError(f"there is no shard {missing[0]}" + (f" nor {len(missing) - 1} others" if missing[1:] else ""))
    if odd := [one for one in paths if one.suffix not in (".tar", ".parquet")]:
        raise ValueError(f"shards end in .tar (not compressed) or .parquet, got {odd[0]}")
    if not paths:
        raise ValueError(f"there is no shard (.tar, .parquet) in {where}")
    return root, paths


def expand(pattern: str) -> list[str]:
    """Names with every {a,b} and {000..123} written out, each once. Raises ValueError if there are too many."""
    found = re.search(r"\{([^{}]*)\}", pattern)
    if not found:
        return [pattern]
    names: dict[str, None] = {}
    for choice in _choices(found.group(1)):
        names |= dict.fromkeys(expand(pattern[: found.start()] + choice + pattern[found.end() :]))
        if len(names) > _MAX_SHARDS:
            raise ValueError(f"{pattern} names more than {_MAX_SHARDS} shards")
    return list(names)


def _choices(braced: str) -> Sequence[str]:
    if found := re.fullmatch(r"(\d+)\.\.(\d+)", braced):
        first, last = found.groups()
        if not 0 <= int(last) - int(first) < _MAX_SHARDS:
            raise ValueError(f"{{{braced}}} must count upwards, by at most {_MAX_SHARDS}")
        return [f"{number:0{len(first)}d}" for number in range(int(first), int(last) + 1)]
    return braced.split(",")


def split_names(names: Sequence[str], holdout: float) -> list[str]:
    """The split of each shard: by its folder or the beginning of its name if there are two such, else by a hash."""
    official = [_official(name) for name in names]
    if len(set(official) - {None}) < 2:
        return [splits.split_of(name, holdout) for name in names]
    if None in official:
        raise ValueError(
            f"shards are named by split, but {names[official.index(None)]} is neither train-, val- nor test-"
        )
    return [str(split) for split in official]


def _official(name: str) -> str | None:
    *folders, last = name.split("/")
    for folder in folders:
        if folder in SPLIT_FOLDERS:
            return SPLIT_FOLDERS[folder]
    found = _OFFICIAL.match(last)
    return SPLIT_FOLDERS[found.group(1)] if found else None


def pixels_of(content: bytes, config: DataConfig) -> np.ndarray:
    """uint8 [C, H, W] of an encoded picture, reduced, resized and cut as configured; ValueError if it is none."""
    pixels = shrink(decode(content, config.channels), config.downscale)
    if not pixels.size:
        raise ValueError(f"a reduction by {config.downscale} leaves no pixel")
    return (pixels if config.size is None else fit(pixels, config.size, config.smaller == "enlarge")).transpose(2, 0, 1)


def _build(part: Path, paths: list[Path], names: list[str], config: DataConfig) -> dict[str, Any]:
    """Writes index.npy, int64 [N, 4]: shard, the two numbers of the place, label or -1; and keys.json."""
    index: list[tuple[int, int, int, int]] = []
    keys: list[str] = []
    skipped: list[tuple[int, str, str]] = []
    first: tuple[str, list[int]] | None = None
    for shard, sample, result in _checked(paths, config):
        name = f"{names[shard]}#{sample.key}" if sample else names[shard]
        if sample is None or isinstance(result, str):
            skipped.append((shard, name, str(result)))
            if config.on_corrupt == "fail":
                raise ValueError(_unreadable(skipped[-1][1:]))
            continue
        first = first or (name, result)
        if result != first[1]:
            raise ValueError(_mixed(*first, name, result))
        index.append((shard, *sample.place, -1 if sample.label is None else sample.label))
        keys.append(sample.key)
    if first is None:
        why = f"; the first: {_unreadable(skipped[0][1:])}" if skipped else ""
        raise ValueError(f"the {len(paths)} shards hold no picture that can be read{why}")
    np.save(part / "index.npy", np.array(index, dtype=np.int64))
    (part / "keys.json").write_text(json.dumps(keys))
    return {"shape": first[1], "skipped": skipped, "classes": _classes(index, names, keys, paths)}


def _checked(paths: list[Path], config: DataConfig) -> Iterator[tuple[int, Sample | None, list[int] | str]]:
    """(shard, sample, its shape or why it cannot be read); without a sample, why the shard cannot be read on."""

    def check(sample: Sample) -> list[int] | str:
        try:
            return "the row holds no bytes" if sample.content is None else list(pixels_of(sample.content, config).shape)
        except ValueError as error:
            return str(error)

    with ThreadPoolExecutor(os.cpu_count() or 1) as threads:
        for shard, path in enumerate(paths):
            ended: list[Damaged] = []
            remaining = _until_damage(path, ended)
            while some := list(islice(remaining, 256)):  # a few at a time, so that memory stays small
                for sample, result in zip(some, threads.map(check, some), strict=True):
                    yield shard, sample, result
            if ended:
                yield shard, None, str(ended[0])


def _until_damage(path: Path, ended: list[Damaged]) -> Iterator[Sample]:
    try:
        yield from shard_files.scan(path)
    except Damaged as error:
        ended.append(error)


def _classes(
    index: list[tuple[int, int, int, int]], names: list[str], keys: list[str], paths: list[Path]
) -> tuple[str, ...]:
    """Names out of Parquet metadata, else numbers; none if no picture has a label. ValueError if only some have."""
    labels = [row[3] for row in index]
    if max(labels) < 0:
        return ()
    if min(labels) < 0:
        row = labels.index(-1)
        raise ValueError(f"{names[index[row][0]]}#{keys[row]} has no label, others have: label all pictures or none")
    known = shard_files.class_names(paths[index[0][0]])
    return known if len(known) > max(labels) else tuple(str(number) for number in range(max(labels) + 1))


def _unreadable(named: Sequence[str]) -> str:
    return f"{named[0]} cannot be read: {named[1]}"


def _mixed(first: str, shape: list[int], second: str, other: list[int]) -> str:
    """The sentence for two pictures that differ."""
    sizes = [f"{channels} x {height} x {width}" for channels, height, width in (shape, other)]
    return (
        f"pictures are mixed: {first} has channels x height x width {sizes[0]}, {second} has {sizes[1]}; make them "
        "alike with --data.size and --data.channels"
    )
