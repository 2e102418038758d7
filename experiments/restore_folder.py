"""Answers for all pictures of a folder, so that a call that was cut short goes on, and nothing stale or foreign passes
for an answer.

OUTPUT/NAME.png             the answers of NAME (NAME-1.png, NAME-2.png, ... of several)
OUTPUT/restore-sheet.png    a contact sheet of the first of them
OUTPUT/restore.json         which settings made them, and hashes of what each was made of and of its answers
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from experiments import contact_sheet, files, picture_files
from experiments.flags import say
from experiments.progress import goes_on
from generative.checkpoint import Store
from generative.data.decode import EXTENSIONS, decode

RECORD, SHEET = "restore.json", "restore-sheet.png"
MOST_LETTERS = 255
"""Bytes in a file's name."""
MOST_BYTES = 2**31
"""In a file: more than the largest picture that is decoded has, at two bytes for each of four channels."""


def names(path: Path, n: int) -> list[Path]:
    """Where n answers for one picture go."""
    return [path] if n == 1 else [path.with_name(f"{path.stem}-{i + 1}.png") for i in range(n)]


def sheet_beside(output: Path) -> Path:
    """Where the contact sheet of a single picture's answers goes."""
    return output.with_name(f"{output.stem}-sheet.png")


def number_of(path: Path) -> int:
    """A number for a picture that depends on its name alone, so that other pictures do not change its noise."""
    return int.from_bytes(hashlib.sha256(path.name.encode("utf-8", "surrogateescape")).digest()[:6])


def pictures_of(folder: Path) -> list[Path]:
    """The pictures in a folder, by name, without an earlier call's contact sheet. Raises ValueError if there are none,
    or their answers would collide."""
    sheet = folder / SHEET if (folder / RECORD).exists() else None
    found = sorted(p for p in folder.iterdir() if p.suffix.lower() in EXTENSIONS and p.is_file() and p != sheet)
    found = [path for path in found if not path.name.startswith(".")]  # such as what a killed process was writing
    if not found:
        raise ValueError(f"there is no picture ({', '.join(EXTENSIONS)}) in {folder}")
    seen: dict[str, Path] = {Path(SHEET).stem: Path("the contact sheet")}
    for path in found:
        if (other := seen.setdefault(path.stem, path)) != path:
            raise ValueError(f"the answers for {path.name} and {other.name} would have one name: rename it in {folder}")
    return found


def restore(
    sources: list[Path],
    output: Path,
    n: int,
    settings: dict[str, Any],
    belongs: Callable[[Path], Iterable[Path]],
    make: Callable[[Path], list[np.ndarray]],
    show: Callable[[Path, list[np.ndarray]], contact_sheet.Row],
) -> int:
    """Makes what is not made yet, and a contact sheet; returns how many pictures have no answer in the end, or are
    missing on the sheet.

    Args:
        settings: what else decides the answers, as plain data; belongs: the files that a picture's answer is made of,
            and make: its answers uint8 [H, W, C] (a ValueError of these leaves the picture out); show: its row of the
            contact sheet.
    Raises: ValueError, before any picture is made, for a folder with answers of other settings or other people's files,
        or one in which another process is at work.
    """
    places = {path: names(output / f"{path.stem}.png", n) for path in sources}
    _check_foreign(output, _done(output, settings), places, n)  # before there is a lock in somebody's folder
    with goes_on(), Store(output).locked("restores pictures into it"):
        done = _done(output, settings)
        _check_foreign(output, done, places, n)
        made, failed, unseen, rows = 0, 0, 0, []
        for path in sources:
            known = done.get(path.stem, [])
            try:
                key = _hash(belongs(path))
                answers = None if _is_made(places[path], known, key) else make(path)
            except ValueError as error:
                stale = f"; {places[path][0]} is of an earlier one" if known and places[path][0].exists() else ""
                say(f"{error}: {path.name} is left out{stale}")
                failed += 1
                continue
            if answers is not None:
                # Noted as ours first, as done last: whatever stops this in between, the answer is made again.
                _note(output, settings, done, path, [])
                for place, pixels in zip(places[path], answers, strict=True):
                    picture_files.write(place, pixels)
                _note(output, settings, done, path, [key, *(_hash([place]) for place in places[path])])
                made += 1
            if len(rows) < contact_sheet.MOST_ROWS:
                try:
                    rows.append(show(path, answers or [decode(place) for place in places[path]]))
                except ValueError as error:  # what it is shown beside may have changed since the answers were made
                    say(f"{error}: {path.name} is left out of {SHEET}")
                    unseen += 1
        if rows:
            picture_files.write(output / SHEET, contact_sheet.sheet(rows))
    shown = f"; {output / SHEET} shows {'them' if len(rows) == len(sources) else len(rows)}" if rows else ""
    there = len(sources) - made - failed
    say(f"{output}: {made} of {len(sources)} pictures made now, {there} there already, {failed} left out{shown}")
    return failed + unseen


def _is_made(places: list[Path], known: list[str], key: str) -> bool:
    """Whether a picture's answers are there. Raises ValueError for files that are not what was made, and names that no
    file can have."""
    if any(map(_is_too_long, places)):
        raise ValueError("its answers would have names that are too long")
    if odd := next((place for place in places if place.exists() and not place.is_file()), None):
        raise ValueError(f"{odd} is there and no regular file")
    there = [place.is_file() and place.stat().st_size > 0 for place in places]
    for place, one, was in zip(places, there, known[1:], strict=False):  # nothing is known while they are being made
        if one and _hash([place]) != was:
            raise ValueError(f"{place} is not what was made (remove it to have it made anew)")
    return known[:1] == [key] and all(there)


def _is_too_long(place: Path) -> bool:
    return len(os.fsencode(place.name)) > MOST_LETTERS


def _note(output: Path, settings: dict[str, Any], done: dict[str, list[str]], path: Path, hashes: list[str]) -> None:
    done[path.stem] = hashes
    files.write_text(output / RECORD, json.dumps({"settings": settings, "pictures": done}, indent=2))


def _check_foreign(output: Path, done: dict[str, list[str]], places: dict[Path, list[Path]], n: int) -> None:
    """Raises ValueError for files with the names of answers, or of the contact sheet, that no earlier call made."""
    ours = {place for stem in done for place in names(output / f"{stem}.png", n)}
    wanted = [place for several in places.values() for place in several if place not in ours]
    for place in (*wanted, *(() if done else (output / SHEET,))):
        if not _is_too_long(place) and (place.exists() or place.is_symlink()):
            raise ValueError(f"{place} is there, and no earlier call made it: name another folder with --output")


def _done(output: Path, settings: dict[str, Any]) -> dict[str, list[str]]:
    """Picture, without its ending -> a hash of what its answers were made of, and one of each answer; none while they
    are being made. Raises ValueError for other settings."""
    path = output / RECORD
    if not path.exists():
        return {}
    try:
        if not path.is_file():
            raise ValueError("it is no regular file")
        record = json.loads(path.read_text())
        done: dict[str, list[str]] = record["pictures"]
        if not all(isinstance(keys, list) and all(isinstance(key, str) for key in keys) for keys in done.values()):
            raise ValueError("its pictures have no lists of hashes")
        had = dict(record["settings"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path} cannot be read ({error}): name another folder with --output") from None
    if odd := sorted(name for name in {*had, *settings} if had.get(name) != settings.get(name)):
        one = f"{odd[0]} was {had.get(odd[0])}, is {settings.get(odd[0])}"
        raise ValueError(f"{output} holds pictures that other settings made ({one}): name another folder with --output")
    return done


def _hash(paths: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        try:
            if (size := path.stat().st_size) > MOST_BYTES:
                raise ValueError(f"{path} has {size:,} bytes: no picture; allowed: {MOST_BYTES:,}")
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        except OSError as error:
            raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    return digest.hexdigest()[:16]
