"""Finished episodes: their numbers, means with 95% intervals, and files of them."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from marl.intervals import student, wilson


@dataclass(frozen=True, kw_only=True)
class Episode:
    """One finished episode."""

    number: int
    seed: int
    length: int
    """Environment steps."""
    return_mean: float
    """Undiscounted return, mean over agents."""
    metrics: dict[str, float]
    """The environment's own numbers (goals, social metrics)."""

    def values(self) -> dict[str, float]:
        return {"return_mean": self.return_mean, "episode_length": float(self.length), **self.metrics}


def confidence_interval(values: np.ndarray) -> tuple[float, float]:
    """95% interval of a mean. For values in {0, 1} Wilson's score interval (1927), else Student's t.

    A single value, or equal values that are not 0 or 1, give an interval of no width.
    """
    values = np.asarray(values, dtype=np.float64)
    if np.isin(values, (0.0, 1.0)).all():
        return wilson(float(values.mean()), len(values))
    return student(values)


def summarise(episodes: list[Episode]) -> dict[str, dict[str, float]]:
    """Each number's mean and 95% interval: {name: {"mean", "low", "high"}}."""
    summary = {}
    for name in episodes[0].values():
        column = np.array([episode.values()[name] for episode in episodes])
        low, high = confidence_interval(column)
        summary[name] = {"mean": float(column.mean()), "low": low, "high": high}
    return summary


def columns(episodes: list[Episode]) -> dict[str, list[float]]:
    """{name: [value of each episode]}."""
    return {name: [episode.values()[name] for episode in episodes] for name in episodes[0].values()}


def write_jsonl(path: Path, episodes: list[Episode]) -> None:
    """One line per episode, so that any statistics can be redone."""
    lines = [json.dumps({"number": e.number, "seed": e.seed, **e.values()}) for e in episodes]
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text("\n".join(lines) + "\n")
    temporary.replace(path)


def read_jsonl(path: Path) -> list[Episode]:
    """The inverse of `write_jsonl`. Raises ValueError if the file is damaged."""
    episodes = []
    try:
        for line in path.read_text().splitlines():
            row = json.loads(line)
            fixed = {name: row.pop(name) for name in ("number", "seed", "return_mean")}
            episodes.append(Episode(length=int(row.pop("episode_length")), metrics=row, **fixed))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} cannot be read as episodes: {error}") from None
    return episodes
