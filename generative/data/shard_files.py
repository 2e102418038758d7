"""One shard of pictures: a webdataset tar, read with the standard library, or a Parquet file, read with pyarrow.

Both are first scanned from beginning to end, then read at random: a tar by byte offsets, Parquet by row groups.
"""

import json
import tarfile
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

PICTURES = ("png", "jpg", "jpeg", "webp")
"""Endings of members that are pictures."""
COLUMNS = ("image", "img")
"""Parquet columns that hold pictures, the first that is there: bytes, or a struct with bytes."""
MAX_CLASSES = 100_000
"""Larger labels are no class numbers."""
CACHED_BYTES = 256 * 2**20
"""Row groups kept in memory, in bytes of encoded pictures."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One picture of a shard, still encoded."""

    key: str
    """Its name in the shard: the member, or the number of the row."""
    place: tuple[int, int]
    """Tar: byte offset and length. Parquet: row group and row in it."""
    label: int | None
    content: bytes | None
    """None where a row holds no bytes."""


class Damaged(ValueError):
    """The shard, or its rest, cannot be read; the message says why, without the shard's name."""


def scan(path: Path) -> Iterator[Sample]:
    """Every picture of a shard in order.

    Raises:
        Damaged: at the place where the shard cannot be read on. ValueError: it is whole, but holds something else.
    """
    return _scan_parquet(path) if path.suffix == ".parquet" else _scan_tar(path)


class Reader:
    """Reads pictures of many shards by their places; safe to use from several threads."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = paths
        self._groups: OrderedDict[tuple[int, int], list[bytes | None]] = OrderedDict()  # by shard and row group
        self._bytes = 0
        self._lock = Lock()

    def read(self, shard: int, place: tuple[int, int]) -> bytes:
        """The encoded picture at a place of a shard. Raises ValueError if it is no longer there."""
        path = self.paths[shard]
        try:
            content = self._row(shard, *place) if path.suffix == ".parquet" else _slice(path, *place)
        except (OSError, Damaged, IndexError) as error:
            raise ValueError(f"{path} has changed since it was indexed: {error}") from error
        if content is None:
            raise ValueError(f"{path} has changed since it was indexed: the picture is gone")
        return content

    def _row(self, shard: int, group: int, row: int) -> bytes | None:
        with self._lock:
            if (shard, group) in self._groups:
                self._groups.move_to_end((shard, group))
            else:
                pictures, _ = _row_group(_Parquet(self.paths[shard]), group)
                self._groups[shard, group] = pictures
                self._bytes += _size(pictures)
                while self._bytes > CACHED_BYTES and len(self._groups) > 1:
                    self._bytes -= _size(self._groups.popitem(last=False)[1])
            return self._groups[shard, group][row]


def _size(pictures: list[bytes | None]) -> int:
    return sum(len(picture) for picture in pictures if picture)


def _slice(path: Path, offset: int, length: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        content = file.read(length)
    if len(content) < length:
        raise Damaged("unexpected end of data")
    return content


def _scan_tar(path: Path) -> Iterator[Sample]:
    """Members that share a name up to the first dot of its last part are one sample, as webdataset has it."""
    sample: dict[str, tuple[str, int, bytes]] = {}
    last = None
    try:
        with tarfile.open(path, "r:") as tar:
            for info in tar:
                folder, _, name = info.name.removeprefix("./").rpartition("/")
                stem, _, ending = name.partition(".")
                if not info.isfile() or ending.lower() not in (*PICTURES, "cls"):
                    continue
                if (folder, stem) != last:
                    yield from _sample(sample, path)
                    sample, last = {}, (folder, stem)
                file = tar.extractfile(info)
                assert file is not None  # isfile() excludes all without content
                sample[ending.lower()] = info.name.removeprefix("./"), info.offset_data, file.read()
            if _slice(path, tar.offset, tarfile.BLOCKSIZE).strip(b"\0"):
                raise Damaged("a header is damaged")  # there tarfile takes a damaged header for the end
    except (tarfile.TarError, OSError) as error:  # the last sample may be incomplete: it is left out
        raise Damaged(str(error)) from error
    yield from _sample(sample, path)


def _sample(members: dict[str, tuple[str, int, bytes]], path: Path) -> Iterator[Sample]:
    for ending in PICTURES:
        if ending in members:
            name, offset, content = members[ending]
            label = None
            if "cls" in members:
                text = members["cls"][2].decode("ascii", "replace").strip()
                label = _class_number(int(text) if text.isdigit() else text, f"{path.name}: {members['cls'][0]}")
            yield Sample(key=name, place=(offset, len(content)), label=label, content=content)
            return


def _class_number(value: Any, source: str) -> int | None:
    if value is None:
        return None
    if not isinstance(value, int) or not 0 <= value < MAX_CLASSES:
        raise ValueError(f"{source} must be the number of a class, 0 to {MAX_CLASSES - 1}, got {str(value)[:40]!r}")
    return value


class _Parquet:
    """An open Parquet file, its column of pictures and whether it has labels."""

    def __init__(self, path: Path) -> None:
        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError as error:
            raise ValueError("Parquet shards are read with pyarrow: install it (pip install pyarrow)") from error
        self.errors = (OSError, pyarrow.ArrowException)
        self.name = path.name
        try:
            self.file = pyarrow.parquet.ParquetFile(path)
        except self.errors as error:
            raise Damaged(_first_sentence(error)) from error
        schema = self.file.schema_arrow
        self.picture = next((name for name in COLUMNS if name in schema.names), "")
        self.labelled = "label" in schema.names
        self.metadata = schema.metadata or {}
        kind = schema.field(self.picture).type if self.picture else None
        self.nested = kind is not None and pyarrow.types.is_struct(kind) and kind.get_field_index("bytes") >= 0
        if kind is None or not (self.nested or _is_bytes(kind)):
            raise ValueError(
                f"{path} needs a column image of bytes, or with a field bytes; it has "
                f"{', '.join(f'{field.name} ({field.type})' for field in schema)}"
            )


def _is_bytes(kind: Any) -> bool:
    import pyarrow

    return pyarrow.types.is_binary(kind) or pyarrow.types.is_large_binary(kind)


def _row_group(parquet: _Parquet, group: int) -> tuple[list[bytes | None], list[Any]]:
    """Encoded pictures and labels of one row group."""
    column = f"{parquet.picture}.bytes" if parquet.nested else parquet.picture
    try:
        table = parquet.file.read_row_group(group, columns=[column, *(["label"] if parquet.labelled else [])])
    except parquet.errors as error:
        raise Damaged(_first_sentence(error)) from error
    pictures = table.column(parquet.picture).to_pylist()
    if parquet.nested:
        pictures = [None if picture is None else picture["bytes"] for picture in pictures]
    return pictures, table.column("label").to_pylist() if parquet.labelled else [None] * len(pictures)


def _scan_parquet(path: Path) -> Iterator[Sample]:
    parquet = _Parquet(path)
    number = 0
    for group in range(parquet.file.num_row_groups):
        pictures, labels = _row_group(parquet, group)
        for row, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
            checked = _class_number(label, f"{path.name}: label of row {number}")
            yield Sample(key=str(number), place=(group, row), label=checked, content=picture)
            number += 1


def class_names(path: Path) -> tuple[str, ...]:
    """Names of the classes that Hugging Face's metadata of a Parquet file give; none if there are none."""
    if path.suffix != ".parquet":
        return ()
    try:
        about = json.loads(_Parquet(path).metadata.get(b"huggingface", b"{}"))
        names = about["info"]["features"]["label"]["names"]
    except (ValueError, KeyError, TypeError):
        return ()
    return tuple(map(str, names)) if isinstance(names, list) else ()


def _first_sentence(error: Exception) -> str:
    return str(error).split("\n")[0].split(". ")[0]
