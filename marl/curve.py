"""The learning curve of a run: every evaluation on the way with every episode of it, in `evaluations.jsonl`.

One line per evaluation: {"step": environment steps, "episodes": {name: [value of each episode]}}. Statistics over
runs need the episodes, not their means, and need every run to be evaluated at the same steps.
"""

import json
import os
from pathlib import Path
from typing import Any

from marl.episodes import Episode, columns

FILE = "evaluations.jsonl"


def append(run: Path, step: int, episodes: list[Episode]) -> None:
    """Adds an evaluation after `step` environment steps."""
    line = {"step": step, "episodes": columns(episodes)}
    with (run / FILE).open("a") as file:
        file.write(json.dumps(line) + "\n")


def read(run: Path) -> list[dict[str, Any]]:
    """All evaluations in order; none where the file does not exist. Of two at one step (a run that was killed before
    its first checkpoint begins again) the later counts. Raises ValueError if the file is damaged."""
    path = run / FILE
    if not path.exists():
        return []
    try:
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        for line in lines:
            _check(line)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} cannot be read as evaluations: {error}") from None
    return list({line["step"]: line for line in lines}.values())


def _check(line: dict[str, Any]) -> None:
    lengths = {len(values) for values in line["episodes"].values()}
    if len(lengths) != 1 or not isinstance(line["step"], int):
        raise ValueError(f"an evaluation has lists of {sorted(lengths)} episodes")


def truncate(run: Path, step: int) -> None:
    """Drops what a killed run had written beyond `step`, and a half-written last line; it will be written again."""
    path = run / FILE
    if not path.exists():
        return
    kept = []
    for text in path.read_text().splitlines():
        try:
            line = json.loads(text)
            _check(line)
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
        if line["step"] <= step:
            kept.append(text)
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text("".join(f"{line}\n" for line in kept))
    os.replace(temporary, path)
