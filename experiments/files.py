"""Files are written whole or not at all."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A name beside `path`, with its suffix, to write to: it becomes `path` if the block ends well, and is gone if not.

    It is short, however long `path`'s is. A link is followed. Raises ValueError in one sentence for what the system
    refuses (a full disk, no permission), and for something that is there and is no regular file.
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        raise ValueError(f"cannot write {path}: it is there and no regular file")
    temporary = target.with_name(f".{secrets.token_hex(8)}.writing{target.suffix}")
    try:
        yield temporary
        temporary.replace(target)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else error  # libraries make long stories of it
        raise ValueError(f"cannot write {path}: {reason}") from None
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """A text file, whole or not at all. Raises as `whole`."""
    with whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="replace")
