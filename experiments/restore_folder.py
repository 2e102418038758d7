"""Answers for all pictures of a folder, so that a call that was cut short goes on, and nothing stale or foreign passes
for an answer.

OUTPUT/NAME.png         the answers of NAME (NAME-1.png, NAME-2.png, ... of several)
OUTPUT/restore.json     which settings made them, and a hash of what each was made of
OUTPUT-sheet.png        a contact sheet of the pictures of the last call
"""

import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from experiments import contact_sheet, files, picture_files
from experiments.flags import say
from generative.data.decode import EXTENSIONS

RECORD, MAKING = "restore.json", "being made"
Answer = tuple[contact_sheet.Row, list[np.ndarray]]
"""A row of the contact sheet, and the answers uint8 [H, W, C]."""


class Unreadable(ValueError):
    """A picture, its mask or its original is not what it should be; the others of the folder go on."""


def names(path: Path, n: int) -> list[Path]:
    """Where n answers for one picture go."""
    return [path] if n == 1 else [path.with_name(f"{path.stem}-{i + 1}.png") for i in range(n)]


def sheet_of(output: Path) -> Path:
    """Where the contact sheet goes."""
    return output.with_name(f"{output.stem if output.suffix == '.png' else output.name}-sheet.png")


def number_of(path: Path) -> int:
    """A number for a picture that depends on its name alone, so that other pictures do not change its noise."""
    return int.from_bytes(hashlib.sha256(path.name.encode("utf-8", "surrogateescape")).digest()[:6])


def pictures_of(folder: Path) -> list[Path]:
    """The pictures in a folder, by name. Raises ValueError if there are none, or their answers would collide."""
    found = sorted(p for p in folder.iterdir() if p.suffix.lower() in EXTENSIONS and p.is_file())
    if not found:
        raise ValueError(f"there is no picture ({', '.join(EXTENSIONS)}) in {folder}")
    if len({path.stem for path in found}) < len(found):
        raise ValueError(f"two pictures in {folder} differ in their endings alone: their answers would collide")
    return found


def restore(
    sources: list[Path],
    output: Path,
    n: int,
    settings: dict[str, Any],
    belongs: Callable[[Path], Iterable[Path]],
    make: Callable[[Path, int], Answer],
) -> int:
    """Makes what is not made yet, and returns how many pictures have no answer in the end.

    Args:
        settings: what else decides the answers, as plain data; belongs: the files that a picture's answer is made of
            (may raise Unreadable); make: answers for a picture and its number (may raise Unreadable).
    Raises: ValueError, before anything is written, for a folder with answers of other settings or other people's files.
    """
    done = _done(output, settings)
    rows, failed, made = [], 0, 0
    for path in sources:
        places = names(output / f"{path.stem}.png", n)
        try:
            key = _hash(belongs(path))
            whole = all(place.is_file() and place.stat().st_size for place in places)
            if done.get(path.name) == key and whole:
                continue
            if path.name not in done and (foreign := next((p for p in places if p.exists()), None)):
                raise ValueError(f"{foreign} is there, and no earlier call made it: name another folder with --output")
            row, answers = make(path, number_of(path))
        except Unreadable as error:
            say(f"{error}: {path.name} is left out")
            failed += 1
            continue
        # Noted as ours first, as done last: whatever stops this in between, the answer is made again.
        for note in (MAKING, key):
            done[path.name] = note
            files.write_text(output / RECORD, json.dumps({"settings": settings, "pictures": done}, indent=2))
            if note == MAKING:
                for place, pixels in zip(places, answers, strict=True):
                    picture_files.write(place, pixels)
        made += 1
        rows = [*rows, row][: contact_sheet.MOST_ROWS]
    if rows:
        picture_files.write(sheet_of(output), contact_sheet.sheet(rows))
    shown = f"; {sheet_of(output)} shows them" if rows else ""
    say(f"{output}: {made} of {len(sources)} pictures made now, {failed} left out{shown}")
    return failed


def _done(output: Path, settings: dict[str, Any]) -> dict[str, str]:
    """Picture -> hash of what its answers were made of. Raises ValueError for other settings."""
    path = output / RECORD
    if not path.exists():
        return {}
    try:
        if not path.is_file():
            raise ValueError("it is no regular file")
        record = json.loads(path.read_text())
        done = {str(name): str(key) for name, key in record["pictures"].items()}
        same = record["settings"] == settings
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path} cannot be read ({error}): name another folder with --output") from None
    if not same:
        raise ValueError(f"{output} holds pictures that other settings made: name another folder with --output")
    return done


def _hash(paths: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        try:
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        except OSError as error:
            raise Unreadable(f"{path} cannot be read: {error.strerror}") from None
    return digest.hexdigest()[:16]
