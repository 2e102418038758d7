"""Decoded pictures as .npy files in the cache, named by a hash of all that decides them.

A folder of arrays appears at once, complete, by renaming; two processes that build the same one do not disturb each
other: the second throws its own away. All of it may be deleted at any time.
"""

import errno
import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from generative.data.fetch import cache_dir

log = logging.getLogger(__name__)

FORMAT = 1
"""Raised whenever decoding changes, so that older arrays are not used."""


class ArrayWriter:
    """A .npy file of uint8 [N, ...] written piece by piece, N unknown until the end."""

    def __init__(self, path: Path, shape: tuple[int, ...]) -> None:
        self.shape = shape
        self.count = 0
        self._file = path.open("wb")
        self._write_header()

    def append(self, rows: np.ndarray) -> None:
        """Adds uint8 [n, ...]."""
        if rows.dtype != np.uint8 or rows.shape[1:] != self.shape:
            raise ValueError(f"rows must be uint8 [n, {self.shape}], got {rows.dtype} {rows.shape}")
        self._file.write(np.ascontiguousarray(rows).data)
        self.count += len(rows)

    def close(self) -> None:
        """Notes the final count; without this call the file holds no rows."""
        end = self._file.tell()
        self._file.seek(0)
        self._write_header()  # numpy leaves room for a longer first axis, so it has the same length
        if self._file.tell() + self.count * int(np.prod(self.shape)) != end:
            raise RuntimeError("the header of the .npy file changed its length")
        self._file.close()

    def _write_header(self) -> None:
        header = {"descr": "|u1", "fortran_order": False, "shape": (self.count, *self.shape)}
        np.lib.format.write_array_header_1_0(self._file, header)


def cached(
    cache: Path | None, name: str, decides: dict[str, Any], build: Callable[[Path], dict[str, Any]]
) -> tuple[Path, dict[str, Any]]:
    """The folder of arrays that `decides` stands for, and its description; built at first use.

    Args:
        name: beginning of the folder's name, for people.
        decides: JSON of everything that the content depends on.
        build: writes arrays into the folder given and returns a description as JSON.
    Raises:
        ValueError: the cache cannot be written.
    """
    key = hashlib.sha256(json.dumps([FORMAT, decides], sort_keys=True).encode()).hexdigest()[:16]
    folder = cache_dir(cache) / "arrays" / f"{name}-{key}"
    about = _about(folder)
    if about is None:
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            part = Path(tempfile.mkdtemp(prefix=".part-", dir=folder.parent))
            part.chmod(0o755)  # a cache may be shared
        except OSError as error:
            raise ValueError(f"cannot write to the cache {folder.parent}: {error.strerror or error}") from error
        try:
            log.info("decoding %s into %s", name, folder)
            about = build(part)
            about["files"] = {file.name: file.stat().st_size for file in part.iterdir()}
            (part / "about.json").write_text(json.dumps(about))
            _move(part, folder)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                sentence = f"the disk of the cache {folder.parent} is full: free some, or set TANDEM_DATA"
                raise ValueError(sentence) from error
            raise
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return folder, about


def _about(folder: Path) -> dict[str, Any] | None:
    """The description of a complete folder; None if it is missing or a file is cut short."""
    try:
        about = json.loads((folder / "about.json").read_text())
        complete = all((folder / name).stat().st_size == size for name, size in about["files"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return about if complete else None


def _move(part: Path, folder: Path) -> None:
    """Puts the folder in place unless another process has just done so; a damaged one is replaced."""
    if folder.exists() and _about(folder) is None:
        shutil.rmtree(folder, ignore_errors=True)
    try:
        os.rename(part, folder)
    except OSError:
        if _about(folder) is None:
            raise
