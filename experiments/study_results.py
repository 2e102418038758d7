"""What a study has found so far: one JSON document, of which page, figures and marl-eval's layout are made.

{"format", "size", "tasks": {TASK: {"title", "metric", "reference", "random": [score of each episode], "budget",
"rewards": {OPTION: value}, "cells": [CELL]}}, "tuning", "missing": [KEY]}; a CELL is a finished one, with its curve and
every held-out episode.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from agents.reading import json_of
from experiments import files, presets, runs, statistics
from experiments.presets.study import TASKS
from experiments.study_cells import read_result, state
from experiments.study_plan import Grid, Node

FORMAT = "tandem-study-results-1"
REWARD_OPTIONS = ("rewards", "team_reward", "clean_bonus")
"""Options of an environment that decide what training is paid for."""


def gather(nodes: list[Node], grid: Grid, size: str) -> dict[str, Any]:
    """The document of what is done. What is not, or was made for another configuration, is named and not counted."""
    tasks = {task: _task(task, [node for node in nodes if node.task == task], grid) for task in grid.budgets}
    states = {node.key: state(node) for node in nodes}
    return {
        "format": FORMAT,
        "size": size,
        "arms": list(grid.arms),
        "tasks": tasks,
        "tuning": _tuning(grid.folder / "tuning.json"),
        "missing": [key for key, how in states.items() if how in ("absent", "part")],
        "stale": [key for key, how in states.items() if how == "stale"],
    }


def _tuning(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    with json_of(path, "the result of a search") as found:
        return found


def _task(task: str, nodes: list[Node], grid: Grid) -> dict[str, Any]:
    metric = presets.get(f"{task}-acam").metric
    done = {node.key: node for node in nodes if state(node) == "done"}
    random = done.get(f"{task}/random")
    cells = [_cell(node, done.get(f"{node.key}/unseen"), metric) for node in done.values() if node.kind == "cell"]
    about = TASKS[task]
    return {
        "title": about.title,
        "metric": metric,
        "reference": about.reference,
        "recorders": about.recorders,
        "random": read_result(random)["episodes"][metric] if random else [],
        "budget": asdict(grid.budgets[task]),
        "rewards": _rewards(nodes),
        "cells": cells,
    }


def _rewards(nodes: list[Node]) -> dict[str, Any]:
    """The reward options of a task that are not off: the same for all its cells, else they would be stale."""
    options = asdict(nodes[0].config.env) if nodes else {}
    return {name: options[name] for name in REWARD_OPTIONS if options.get(name)}


def _cell(node: Node, unseen: Node | None, metric: str) -> dict[str, Any]:
    record = read_result(node)
    config = runs.config_from_json(record["config"])
    curve = [[point["step"], _short(point["episodes"][metric])] for point in record["curve"]]
    found = read_result(unseen)["unseen"] if unseen else {}
    others = {name: _short(episodes[metric]) for name, episodes in found.items()}
    if TASKS[node.task].evaluated_unseen:
        others["built-in AI"] = _short(record["final"][metric])
    return {
        "arm": node.arm,
        "seed": node.seed,
        "hidden": config.network.hidden,
        "learning_rate": config.learning.learning_rate,
        **{name: record[name] for name in ("parameters", "env_steps", "train_s", "starts", "git_sha")},
        "curve": [*curve, [record["env_steps"], _short(record["final"][metric])]],
        "unseen": others,
    }


def _short(values: list[float]) -> list[float]:
    return [float(f"{value:.7g}") for value in values]


def write(path: Path, document: dict[str, Any]) -> None:
    """The document as JSON, a line for each cell."""
    lines = json.dumps(document, indent=1)
    for task in document["tasks"].values():
        for cell in task["cells"]:
            lines = lines.replace(json.dumps(cell, indent=1).replace("\n", "\n    "), json.dumps(cell))
    files.write_text(path, lines + "\n")


@dataclass(frozen=True, kw_only=True)
class TaskScores:
    """The scores of one task as arrays, raw and normalised: 0 is the random policy, 1 the task's reference."""

    task: str
    title: str
    metric: str
    reference: float
    random: float
    """Mean of the random policy."""
    seeds: tuple[int, ...]
    """Planned seeds."""
    steps: np.ndarray
    """[P] environment steps of the evaluations, from 0 to the end."""
    curves: dict[str, np.ndarray]
    """Arm -> [N, P] means of the metric in each evaluation, of the seeds that are done."""
    unseen: dict[str, np.ndarray]
    """Arm -> [N] means over unseen opponents and episodes, of the seeds that have them."""
    opponents: tuple[str, ...] = ()
    """Names of the unseen opponents."""

    def normalised(self, scores: np.ndarray) -> np.ndarray:
        return (scores - self.random) / (self.reference - self.random)

    def areas(self, arm: str) -> np.ndarray:
        """[N] mean heights of the normalised learning curves."""
        return statistics.area(self.steps, self.normalised(self.curves[arm]))

    def final(self, arm: str) -> np.ndarray:
        """[N] normalised scores at the end."""
        return self.normalised(self.curves[arm][:, -1])

    def complete(self, arm: str, measure: str) -> bool:
        """Whether every planned seed of the arm is there."""
        return len(self.of(measure, arm)) == len(self.seeds)

    def of(self, measure: str, arm: str) -> np.ndarray:
        """[N] normalised scores: measure "area", "final" or "unseen"."""
        if arm not in self.curves:
            return np.zeros(0)
        if measure == "unseen":
            return self.normalised(self.unseen[arm])
        return self.areas(arm) if measure == "area" else self.final(arm)


def scores(document: dict[str, Any]) -> list[TaskScores]:
    """The tasks of which something is done. Raises ValueError for cells that were evaluated at different steps."""
    found = []
    for task, data in document["tasks"].items():
        if not data["cells"] or not data["random"]:
            continue
        curves: dict[str, list[list[float]]] = {}
        unseen: dict[str, list[float]] = {}
        steps = [point[0] for point in data["cells"][0]["curve"]]
        for cell in data["cells"]:
            if [point[0] for point in cell["curve"]] != steps:
                raise ValueError(f"{task}/{cell['arm']}/{cell['seed']} was evaluated at other steps than the rest")
            curves.setdefault(cell["arm"], []).append([float(np.mean(point[1])) for point in cell["curve"]])
            unseen.setdefault(cell["arm"], [])
            if cell["unseen"]:
                unseen[cell["arm"]].append(float(np.mean([np.mean(values) for values in cell["unseen"].values()])))
        found.append(
            TaskScores(
                task=task,
                title=data["title"],
                metric=data["metric"],
                reference=data["reference"],
                random=float(np.mean(data["random"])),
                seeds=tuple(data["budget"]["seeds"]),
                steps=np.array(steps, float),
                curves={arm: np.array(rows) for arm, rows in _ordered(curves, document["arms"])},
                unseen={arm: np.array(rows) for arm, rows in _ordered(unseen, document["arms"])},
                opponents=tuple(dict.fromkeys(name for cell in data["cells"] for name in cell["unseen"])),
            )
        )
    return found


def _ordered(rows: dict[str, Any], arms: Sequence[str]) -> list[tuple[str, Any]]:
    return [(arm, rows[arm]) for arm in arms if arm in rows]
