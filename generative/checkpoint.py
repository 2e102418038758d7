"""Checkpoints of a run, in a folder or under a URL (s3://, gs://, memory://): whole or not there.

    checkpoints/000000012000/model.json           what the model is
                             model.safetensors    the averaged weights: what people load
                             train.safetensors    the trained weights and the optimiser's moments, to go on from
                             progress.json        where the run stood
                             manifest.json        sizes and SHA-256 of the files above, written last

A folder without its manifest, or whose files do not fit it, is not a checkpoint: that holds on an object store too,
where nothing can be renamed. Nothing is pickled.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

MANIFEST = "manifest.json"
DIGITS = 12
"""Steps are written with leading zeros, so that names sort."""


class Store:
    """The checkpoints under one root, a path or a URL that fsspec understands."""

    def __init__(self, root: str | Path) -> None:
        """Raises ValueError for a URL of a kind that is not installed, or that names nothing that can be reached."""
        import fsspec
        from fsspec.implementations.local import LocalFileSystem

        try:
            self.fs, self.root = fsspec.url_to_fs(str(root))
        except Exception as error:  # each kind of URL has a library of its own, which raises what it likes
            raise ValueError(f"storage {str(root)!r} cannot be used: {why(error)}") from None
        self.is_local = isinstance(self.fs, LocalFileSystem)

    @contextmanager
    def locked(self, work: str = "trains this run") -> Iterator[None]:
        """One training, or other `work`, at a time: raises ValueError while another process on this machine holds a
        folder's lock.

        The system gives the lock up with its process, however that ends. Under a URL there is none.
        """
        if not self.is_local:
            yield
            return
        import fcntl

        lock = Path(self.root) / ".lock"
        lock.parent.mkdir(parents=True, exist_ok=True)
        try:  # open for both ways: a pipe under that name does not keep us waiting
            opened = os.open(lock, os.O_RDWR | os.O_CREAT)
        except OSError as error:
            raise ValueError(f"cannot lock {self.root}: {lock}: {error.strerror}") from None
        with os.fdopen(opened, "rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ValueError(f"{self.root} is in use: another process {work}") from None
            yield

    def newest(self) -> int | None:
        """The newest step with a whole checkpoint, or None."""
        return next(filter(self.is_whole, reversed(self.steps())), None)

    def is_whole(self, step: int) -> bool:
        """Whether a manifest is there and the files have the sizes that it names; `read` compares checksums too."""
        try:
            manifest = json.loads(_bytes(self.fs, self.path(step, MANIFEST)))
            sizes = {name: self.fs.size(self.path(step, name)) for name in manifest}
            return bool(manifest) and all(manifest[name]["bytes"] == size for name, size in sizes.items())
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return False

    def steps(self) -> list[int]:
        """All steps with a folder, whole or not, rising."""
        if not self.fs.exists(self.root):
            return []
        self.fs.invalidate_cache()
        names = (path.rstrip("/").rsplit("/", 1)[-1] for path in self.fs.ls(self.root, detail=False))
        return sorted(int(name) for name in names if len(name) == DIGITS and name.isascii() and name.isdigit())

    def path(self, step: int, *names: str) -> str:
        return "/".join([self.root, f"{step:0{DIGITS}d}", *names])

    def save(self, step: int, files: dict[str, bytes], keep: int) -> None:
        """Writes a checkpoint, then removes all but the newest `keep`, and what is not whole. One that is there already
        stays as it is."""
        if self.is_whole(step):
            return
        manifest = {name: {"bytes": len(data), "sha256": _sha256(data)} for name, data in files.items()}
        everything = {**files, MANIFEST: json.dumps(manifest, indent=2).encode()}
        if self.is_local:
            self._rename_into_place(step, everything)
        else:
            for name, data in everything.items():  # the manifest comes last
                self.fs.pipe_file(self.path(step, name), data)
        whole = [known for known in self.steps() if self.is_whole(known)]
        for old in set(self.steps()) - set(whole[-keep:]):
            self._remove(old)

    def read(self, step: int, name: str) -> bytes:
        """One file of a checkpoint. Raises ValueError in one sentence if it is missing or not what was written."""
        return read(self.fs, self.path(step), name)

    def _rename_into_place(self, step: int, files: dict[str, bytes]) -> None:
        target = Path(self.path(step))
        temporary = target.with_name(".writing")
        shutil.rmtree(temporary, ignore_errors=True)  # of a process that was killed
        temporary.mkdir(parents=True)
        try:
            for name, data in files.items():
                write_through(temporary / name, data)
        except OSError:  # a full disk: make the room again
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        shutil.rmtree(target, ignore_errors=True)  # the remains of a removal that was cut short: it has no manifest
        temporary.replace(target)

    def _remove(self, step: int) -> None:
        """The manifest goes first: what is left of a removal that is cut short must not look whole."""
        if self.fs.exists(self.path(step, MANIFEST)):
            self.fs.rm_file(self.path(step, MANIFEST))
        self.fs.rm(self.path(step), recursive=True)


def read(fs: Any, folder: str, name: str) -> bytes:
    """One file of a checkpoint's folder on an fsspec file system, checked against its manifest. Raises ValueError."""
    try:
        noted = json.loads(_bytes(fs, f"{folder}/{MANIFEST}"))[name]
        data, size, sha256 = _bytes(fs, f"{folder}/{name}"), noted["bytes"], noted["sha256"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{folder} is not a whole checkpoint ({name}: {error!r})") from None
    if len(data) != size or _sha256(data) != sha256:
        raise ValueError(f"{folder}/{name} is damaged: its checksum differs from the one in {MANIFEST}")
    return data


def _bytes(fs: Any, path: str) -> bytes:
    """What is in a file. Raises OSError for a pipe too, which would keep us waiting."""
    from fsspec.implementations.local import LocalFileSystem

    if isinstance(fs, LocalFileSystem) and not Path(path).is_file():
        raise FileNotFoundError(f"{path} is no regular file")
    data = fs.cat_file(path)
    assert isinstance(data, bytes)
    return data


def pack(tensors: dict[str, Tensor]) -> bytes:
    """Tensors as the bytes of a safetensors file."""
    return safetensors.torch.save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})


def unpack(data: bytes, where: str) -> dict[str, Tensor]:
    """The inverse of `pack`. Raises ValueError for bytes that are no safetensors file."""
    try:
        return safetensors.torch.load(data)
    except Exception as error:  # a type that torch lacks is a KeyError, a size beyond its numbers a TypeError
        raise ValueError(f"{where} cannot be read as safetensors: {why(error).splitlines()[0]}") from None


def why(error: Exception) -> str:
    """What is wrong with the contents of a file, for the end of a sentence."""
    if isinstance(error, KeyError):
        return f"it has no field {error}"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def load_into(put: Callable[..., Any], own: dict[str, Tensor], tensors: dict[str, Tensor], where: str) -> None:
    """Calls `put(tensors)` (a load_state_dict) if names, shapes and dtypes fit `own`; raises ValueError if not."""
    if odd := sorted(set(own) ^ set(tensors)):
        raise ValueError(f"{where} is of another model: {odd[0]!r} is only in {'it' if odd[0] in tensors else 'ours'}")
    for name, tensor in tensors.items():
        got, wanted = (f"{tuple(t.shape)} {t.dtype}".replace("torch.", "") for t in (tensor, own[name]))
        if got != wanted:
            raise ValueError(f"{where} is of another model: {name!r} is {got}, expected {wanted}")
    put(tensors)


def write_through(path: Path, data: bytes) -> None:
    """Down to the disk, so that a power cut after the renaming leaves whole files."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
