"""Files of teams are written whole or not at all, and a folder is worked in by one process at a time.

(`experiments/files.py` writes for both halves, and the generative one does without this package.)
"""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOCK = ".lock"


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A temporary name beside `path` to write to, which becomes `path` if the block ends well, and is gone if not.

    Raises: ValueError in one sentence for what the system refuses (a full disk, no permission).
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.writing")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else error  # libraries make long stories of it
        raise ValueError(f"cannot write {path}: {reason}") from None
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Makes `folder` and holds it. The system gives the hold up with its process, however that ends.

    Raises: ValueError where another process holds it, or it cannot be made or written to.
    """
    path = folder / LOCK  # a file, since network file systems lock only what is open for writing
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    except OSError as error:
        raise ValueError(f"cannot write to {folder}: {error.strerror}") from None
    try:
        if not _held(handle, path):
            raise ValueError(f"another process is at work in {folder}; wait for it, or give another folder")
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
    finally:
        os.close(handle)


def _held(handle: int, path: Path) -> bool:
    """Whether the lock could be taken, and is the one that everybody else would find."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(handle), path.stat())  # else whoever had it has just ended and removed it
    except (BlockingIOError, FileNotFoundError):
        return False
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.ENOTSUP):
            return True  # a file system that has no locks
        raise ValueError(f"cannot lock {path}: {error.strerror}") from None
