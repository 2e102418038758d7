"""The page of a study: an answer to each claim with its interval, tables, figures, and how it was run."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from experiments import files, flags, marl_eval_json, statistics, study_method, study_results, tables
from experiments.presets.study import TASKS
from experiments.study_claims import CLAIMS, MARGIN, UNDECIDED, Row, answer, rows
from experiments.study_plan import Grid, Node
from experiments.study_results import TaskScores

PAGE, FOLDER, NUMBERS = "agent-centric.md", "agent-centric", "results.json"
"""The page, and beside it the folder of figures and numbers."""
COVERAGE = {3: 0.81, 5: 0.95, 10: 0.95}
"""Runs -> how often a 95% bootstrap interval of a difference of interquartile means holds the true one, for normal
scores: `experiments.statistics.coverage(runs)`."""
INTRODUCTION = """\
The arms re-implement Shang, Espeholt, Raichuk and Salimans 2021 (arXiv 2104.09402) from the abstract: attention with
explicit connections across agents (`acam`), the predictive objective as an auxiliary loss (`+aux`) and as pre-training
(`+pretrain`), beside agents on their own (`independent`) and agents that share the mean of what they know (`meanpool`).
No number here is the paper's, and where the paper's setting is not known the answer is about ours."""
RULE = f"""\
The rule was fixed before the study was run (`experiments/study_claims.py`). Two arms are compared over seeds by the
mean height of the learning curve ("learns faster"), or by the return against opponents that training never met
("generalises"), both normalised per task: 0 is the random policy against the level's own opponent, 1 the task's
reference. "Reproduced": the whole 95% interval of the difference lies above 0. "Not reproduced": it lies below 0, or
within {MARGIN} of 0 on both sides.
The bootstrap interval of the difference of interquartile means and Welch's t interval of the difference of means must
both say so, and no planned seed may be missing; everything else is "undecided". Intervals are stratified percentile
bootstraps with {statistics.REPETITIONS:,} repetitions and a fixed seed. With few runs they are too narrow: for normal
scores they hold the true difference in {COVERAGE[3]:.0%} of cases with 3 runs, {COVERAGE[5]:.0%} with 5,
{COVERAGE[10]:.0%} with 10. That is why Welch's interval has a say. Several claims and tasks are looked at, each at 95%
and without a correction."""


def check(output: Path) -> None:
    """Makes the folders of the page. Raises ValueError where it could not be written."""
    for path in (output / PAGE, output / FOLDER / NUMBERS):
        flags.check_writable(path)


def write(nodes: list[Node], grid: Grid, output: Path, size: str) -> Path:
    """Everything about a study into `output`: agent-centric.md, and a folder of figures and numbers beside it.

    Returns: the page. Raises: ValueError if nothing is done yet, or the folder cannot be written.
    """
    document = study_results.gather(nodes, grid, size)
    check(output)
    page, folder = output / PAGE, output / FOLDER
    study_results.write(folder / NUMBERS, document)
    files.write_text(folder / "marl-eval.json", json.dumps(marl_eval_json.layout(document)) + "\n")
    tasks = study_results.scores(document)
    if not tasks:
        raise ValueError(f"nothing of the study in {grid.folder} is done yet: no task has a cell and the random policy")
    figures = _figures(folder, tasks)
    files.write_text(page, text(document, tasks, figures, folder.name))
    return page


def _figures(folder: Path, tasks: list[TaskScores]) -> list[tuple[str, str]]:
    """Draws them. Returns (file, what it shows)."""
    from experiments import study_figures  # imports matplotlib

    found = []
    for task in tasks:
        name = f"curves-{task.task}.png"
        study_figures.learning_curves(folder / name, task)
        found.append((name, f"Learning curves, {task.title}"))
    study_figures.bars(folder / "scores.png", tasks)
    found.append(("scores.png", "Normalised scores: interquartile mean, 95% interval, and the seeds as dots"))
    if any(rows(comparison, tasks) for claim in CLAIMS for comparison in claim.comparisons):
        study_figures.improvements(folder / "improvement.png", tasks)
        found.append(("improvement.png", "Probability that a run of the first arm is better than one of the second"))
    return found


def text(document: dict[str, Any], tasks: list[TaskScores], figures: list[tuple[str, str]], folder: str) -> str:
    """The page in Markdown."""
    parts = [
        "# The agent-centric study\n",
        INTRODUCTION + "\n",
        _missing(document),
        "## Answers\n",
        _answers(tasks, list(document["tasks"])),
        RULE + "\n",
        "## All comparisons\n",
        _comparisons(tasks),
        *(f"![{what}]({folder}/{name})\n\n{what}.\n" for name, what in figures),
        "## Scores\n",
        *(_scores(document["tasks"][task.task], task) for task in tasks),
        "## How it was run\n",
        study_method.text(document, tasks, folder),
    ]
    return "\n".join(part for part in parts if part)


def _missing(document: dict[str, Any]) -> str:
    parts = []
    cells = [
        key for key in document["missing"] if key.count("/") == 2 and not key.split("/")[1].startswith(("rec", "pre"))
    ]
    if cells:
        parts.append(f"**Not finished**: {len(cells)} cells are not done, and nothing that needs them is answered.")
    if document["stale"]:
        parts.append(f"{len(document['stale'])} results were made for another configuration and are not counted.")
    return " ".join(parts) + "\n" if parts else ""


def _answers(tasks: list[TaskScores], planned: list[str]) -> str:
    body = []
    for claim in CLAIMS:
        row = answer(claim, tasks, planned)
        first = claim.comparisons[0]
        if row is None:
            body.append([claim.name, claim.text, f"**{UNDECIDED}**", "not measured", f"{first.better} - {first.worse}"])
            continue
        what = f"{first.better} - {first.worse}, {row.task}, n = {row.runs[0]} and {row.runs[1]}{_against(row, tasks)}"
        body.append([claim.name, claim.text, f"**{row.verdict}**" + _note(row), _interval(row.difference), what])
    return tables.markdown(["", "claim", "answer", "difference [95% bootstrap]", "of"], body)


def _against(row: Row, tasks: list[TaskScores]) -> str:
    """Names the opponents of a row about unseen ones."""
    if row.comparison.measure != "unseen":
        return ""
    arms = (row.comparison.better, row.comparison.worse)
    whole = [task for task in tasks if all(task.complete(arm, "unseen") for arm in arms)]
    shown = whole if row.task == "all tasks" else [task for task in tasks if task.title == row.task]
    return ", against " + "; ".join(dict.fromkeys(map(_opponents, shown)))


def _opponents(task: TaskScores) -> str:
    about = TASKS[task.task].unseen_note
    return ", ".join(task.opponents) + (f" ({about})" if about else "")


def _note(row: Row) -> str:
    return f" ({row.note})" if row.note else ""


def _interval(estimate: statistics.Estimate, digits: int = 3) -> str:
    value, low, high = (float(end) for end in (estimate.value, estimate.low, estimate.high))
    return f"{value:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]"


def _comparisons(tasks: list[TaskScores]) -> str:
    body = []
    for claim in CLAIMS:
        for comparison in claim.comparisons:
            for row in rows(comparison, tasks):
                low, high = row.welch
                better = row.improvement
                body.append(
                    [
                        claim.name,
                        f"{comparison.better} - {comparison.worse}",
                        row.task + _against(row, tasks),
                        f"{row.runs[0]}, {row.runs[1]}",
                        _interval(row.difference),
                        f"[{low:+.3f}, {high:+.3f}]" if np.isfinite(low) else "-",
                        f"{float(better.value):.2f} [{float(better.low):.2f}, {float(better.high):.2f}]",
                        row.verdict + _note(row),
                    ]
                )
    head = [
        "claim",
        "arms",
        "task",
        "n",
        "difference of IQM [95% bootstrap]",
        "of means [Welch]",
        "P(better)",
        "verdict",
    ]
    return tables.markdown(head, body)


def _scores(data: dict[str, Any], task: TaskScores) -> str:
    """One row per arm: raw scores, so that they can be compared with other runs."""
    body = []
    for arm, curves in task.curves.items():
        cells = [cell for cell in data["cells"] if cell["arm"] == arm]
        final = statistics.estimate(statistics.iqm, curves[:, -1:])
        area = statistics.estimate(statistics.iqm, task.areas(arm)[:, None])
        unseen = "-"
        if len(task.unseen[arm]):
            found = statistics.estimate(statistics.iqm, task.unseen[arm][:, None])
            unseen = _plain(found)
        body.append(
            [
                arm,
                str(len(curves)),
                f"{cells[0]['parameters']:,}",
                f"{cells[0]['learning_rate']:g}",
                _plain(final),
                ", ".join(f"{value:.3g}" for value in curves[:, -1]),
                unseen,
                _plain(area),
            ]
        )
    head = [
        "arm",
        "seeds",
        "parameters",
        "learning rate",
        "at the end",
        "each seed",
        "unseen opponent",
        "mean height, normalised",
    ]
    title = (
        f"{task.title}: {task.metric.replace('_', ' ')}, interquartile mean [95% bootstrap]. Random policy "
        f"{task.random:.3g} (counts as 0), reference {task.reference:g} (counts as 1)."
    )
    if task.opponents:
        title += f" Unseen opponent{'s' * (len(task.opponents) > 1)}: {_opponents(task)}."
    return f"{title}\n\n{tables.markdown(head, body)}"


def _plain(found: statistics.Estimate) -> str:
    return f"{float(found.value):.3g} [{float(found.low):.3g}, {float(found.high):.3g}]"
