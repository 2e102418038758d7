"""What a chain of students says of itself in RUN/chain.json, and whether its files are what that says.

{"format", "config": what decides the weights, "teacher": {"from", "sha256"}, "stages": [a row for each finished one]}
"""

import json
import math
from pathlib import Path
from typing import Any

from generative import loading
from generative.checkpoint import why, write_through
from generative.model import PictureModel
from generative.papers.progressive_distillation import MOST_STEPS

FORMAT = "tandem-chain-1"
MANIFEST, TEACHER, STAGES, CONVERT = "chain.json", "teacher", "stages", "convert"


def read_manifest(run: Path) -> dict[str, Any]:
    """chain.json. Raises ValueError in one sentence if it is missing or damaged."""
    path = run / MANIFEST
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} cannot be read as a chain: it is no regular file")
    try:
        manifest = json.loads(path.read_bytes())
        rows = [manifest["teacher"], *manifest["stages"]]
        good = manifest["format"] == FORMAT and _counts(manifest["config"]["optim"]["batch"])
        good = good and all(isinstance(row["sha256"], str) for row in rows) and isinstance(rows[0]["from"], str)
        before = None
        for row in rows[1:]:
            steps = row["steps"]
            first = steps == 0 and row["stage"] == CONVERT and before is None
            good = good and (first or (_counts(steps) and row["stage"] == f"{steps:06d}" and steps <= MOST_STEPS))
            good = good and before in (None, 0, 2 * steps) and type(steps) is int
            good = good and _counts(row["updates"]) and isinstance(row["seed"], int)
            good = good and all(math.isfinite(row[name]) for name in ("loss", "train_s"))
            before = steps
    except (OSError, ValueError, KeyError, TypeError, RecursionError, OverflowError) as error:
        raise ValueError(f"{path} cannot be read as a chain: {why(error)}") from None
    if not good:
        raise ValueError(f"{path} cannot be read as a chain of format {FORMAT}")
    return manifest


def _counts(value: Any) -> bool:
    return type(value) is int and 1 <= value < 2**48


def check_files(run: Path, manifest: dict[str, Any]) -> None:
    """Raises ValueError unless the teacher and every finished student are what the manifest says, and each learnt from
    the one before."""
    places = [(run / TEACHER, manifest["teacher"]["sha256"])]
    places += [(run / STAGES / row["stage"], row["sha256"]) for row in manifest["stages"]]
    for place, expected in places:
        _named(run, place, expected)
    for (place, learnt_from), row in zip(places, manifest["stages"], strict=False):
        if row.get("teacher_sha256") != learnt_from:
            raise ValueError(f"{run / MANIFEST} names another teacher of stage {row['stage']} than the one in {place}")


def _named(run: Path, place: Path, expected: str) -> tuple[bytes, bytes]:
    """The files of a model that a chain names by their hash. Raises ValueError if they are others."""
    data = loading.files(place)
    if loading.digest(*data) != expected:
        raise ValueError(f"the model in {place} is not the one that {run / MANIFEST} names")
    return data


def student(run: str | Path, steps: int) -> PictureModel:
    """The finished student with so many steps. Raises ValueError if the chain has none, or not the one it names."""
    run = Path(run)
    manifest = read_manifest(run)
    known = {row["steps"]: row for row in manifest["stages"] if row["steps"]}
    if steps not in known:
        has = ", ".join(map(str, known)) or "none"
        raise ValueError(f"{run} has no finished student with {steps} steps; it has {has}")
    folder = run / STAGES / known[steps]["stage"]
    return loading.read(*_named(run, folder, known[steps]["sha256"]), str(folder))


def write_whole(path: Path, data: bytes) -> None:
    """A file, whole or not at all, down to the disk."""
    temporary = path.with_name(f".{path.name}.tmp")
    write_through(temporary, data)
    temporary.replace(path)
