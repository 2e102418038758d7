"""Reads files out of package archives: wheels and zip files, .tar.gz (npm, sdist), and Debian's .deb.

Members are handed out as bytes in one pass; nothing is written, so a member's path cannot lead out of a folder.
"""

import io
import lzma
import shutil
import subprocess
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

Keep = Callable[[str], bool]
"""Takes a member's path; true if it is wanted."""


def read(archive: Path, keep: Keep) -> Iterator[tuple[str, bytes]]:
    """Yields (path, content) of the wanted files of an archive, in its order. Links are left out.

    Paths have no leading "./"; in npm's archives they begin with "package/".

    Raises:
        ValueError: the file is no archive of a known kind, or damaged.
    """
    with archive.open("rb") as file:
        start = file.read(8)
    if start.startswith(b"PK\x03\x04"):
        reader = _zip
    elif start.startswith(b"!<arch>\n"):
        reader = _deb
    elif start.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ")):
        reader = _tar
    else:
        raise ValueError(f"{archive} is no wheel, .tar.gz or .deb archive")
    try:
        yield from reader(archive, keep)
    except (tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error, EOFError, OSError, RuntimeError) as error:
        raise ValueError(f"{archive} is damaged: {error}") from error


def clean(path: str) -> str:
    """A member's path if it stays inside the folder it is unpacked to; ValueError if not."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\\" in path or "\0" in path:
        raise ValueError(f"a member's path must be relative, without '..', got {path!r}")
    return path


def _zip(archive: Path, keep: Keep) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(archive) as opened:
        for info in opened.infolist():
            if not info.is_dir() and keep(info.filename):
                yield info.filename, opened.read(info)


def _tar(archive: Path, keep: Keep) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(archive, "r|*") as opened:
        yield from _tar_members(opened, keep)


def _tar_members(opened: tarfile.TarFile, keep: Keep) -> Iterator[tuple[str, bytes]]:
    for info in opened:
        path = info.name.removeprefix("./")
        if info.isfile() and keep(path):
            file = opened.extractfile(info)
            assert file is not None  # isfile() excludes everything without content
            yield path, file.read()


def _deb(archive: Path, keep: Keep) -> Iterator[tuple[str, bytes]]:
    """A .deb is an ar archive of debian-binary, control.tar.* and data.tar.*; the files are in the last one."""
    name, data = _ar_member(archive, "data.tar")
    if name.endswith(".zst"):
        yield from _deb_by_dpkg(archive, keep)
        return
    with tarfile.open(fileobj=io.BytesIO(data), mode="r|*") as opened:
        yield from _tar_members(opened, keep)


def _ar_member(archive: Path, prefix: str) -> tuple[str, bytes]:
    """The first member of an ar archive whose name begins so. Headers have 60 bytes; contents are padded to even."""
    with archive.open("rb") as file:
        file.seek(8)
        while len(header := file.read(60)) == 60 and header[58:] == b"`\n" and header[48:58].strip().isdigit():
            name, size = header[:16].decode("ascii", "replace").strip().rstrip("/"), int(header[48:58])
            if name.startswith(prefix):
                content = file.read(size)
                if len(content) < size:
                    break
                return name, content
            file.seek(size + size % 2, io.SEEK_CUR)
    raise ValueError(f"{archive} is damaged: no complete {prefix} in it")


def _deb_by_dpkg(archive: Path, keep: Keep) -> Iterator[tuple[str, bytes]]:
    """For compressions that Python's tarfile does not read (zstd)."""
    if shutil.which("dpkg-deb") is None:
        raise ValueError(f"{archive.name} is compressed with zstd: install dpkg, which reads it")
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(archive)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        with tarfile.open(fileobj=process.stdout, mode="r|") as opened:
            yield from _tar_members(opened, keep)
        if process.stdout.read() == b"" and process.wait() != 0:
            raise EOFError("dpkg-deb could not unpack it")
