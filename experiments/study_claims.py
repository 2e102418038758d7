"""The claims of the paper's abstract and the rule that answers them, fixed before the study was run.

The scores of two arms are compared as two sets of seeds: for "learns faster" the mean height of the learning curve, for
"generalises" the return against opponents that training never met, both normalised per task. A claim is answered only
where every planned seed of both arms is there on every planned task, and where the bootstrap interval of the difference
of interquartile means and Welch's t interval of the difference of means give the same verdict (`statistics.verdict`);
else it is undecided.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from experiments import statistics
from experiments.presets.study import TASKS
from experiments.study_results import TaskScores

MARGIN = 0.05
"""Differences below this, in normalised score, do not matter: an interval within it is "not reproduced"."""
UNDECIDED = "undecided"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two arms, of which one should be better."""

    better: str
    worse: str
    measure: str
    """"area" (of the learning curve) or "unseen" (return against opponents that training never met)."""
    answers: bool = True
    """Whether it answers the claim; else it is shown beside it."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One claim of the abstract, as we read it."""

    name: str
    text: str
    comparisons: tuple[Comparison, ...]


def _comparisons(measure: str, *pairs: tuple[str, str]) -> tuple[Comparison, ...]:
    """The first answers the claim."""
    return tuple(
        Comparison(better=better, worse=worse, measure=measure, answers=number == 0)
        for number, (better, worse) in enumerate(pairs)
    )


CLAIMS = (
    Claim(
        name="Attention",
        text="attention across agents learns faster than agents on their own",
        comparisons=_comparisons("area", ("acam", "independent"), ("acam", "meanpool")),
    ),
    Claim(
        name="Auxiliary loss",
        text="the predictive objective as an auxiliary loss learns faster than without it",
        comparisons=_comparisons("area", ("acam+aux", "acam"), ("acam+aux+pretrain", "acam+pretrain")),
    ),
    Claim(
        name="Pre-training",
        text="starting from the predictive objective's pre-training helps",
        comparisons=_comparisons("area", ("acam+pretrain", "acam"), ("acam+aux+pretrain", "acam+aux")),
    ),
    Claim(
        name="Generalisation",
        text="attention does better against an opponent that training never met",
        comparisons=_comparisons("unseen", ("acam", "independent"), ("acam", "meanpool")),
    ),
)


@dataclass(frozen=True, kw_only=True)
class Row:
    """A comparison on one task, or on all that have it."""

    comparison: Comparison
    task: str
    """Title of the task, or "all tasks"."""
    runs: tuple[int, int]
    """Runs of the better and of the worse arm."""
    difference: statistics.Estimate
    """Of interquartile means, with the bootstrap interval."""
    welch: tuple[float, float]
    improvement: statistics.Estimate
    """Probability that a run of the better arm beats one of the other."""
    verdict: str = UNDECIDED
    note: str = ""


def rows(comparison: Comparison, tasks: Sequence[TaskScores]) -> list[Row]:
    """The comparison on each task, and on all together if there are several; an incomplete task is not answered."""
    found, pairs = [], []
    for task in tasks:
        x, y = (task.of(comparison.measure, arm) for arm in (comparison.better, comparison.worse))
        if not len(x) or not len(y):
            continue
        complete = all(task.complete(arm, comparison.measure) for arm in (comparison.better, comparison.worse))
        found.append(_row(comparison, task.title, [(x, y)], "" if complete else "not all seeds are done"))
        if complete:
            pairs.append((x, y))
    if len(pairs) > 1:
        found.append(_row(comparison, "all tasks", pairs, ""))
    return found


def _row(comparison: Comparison, task: str, pairs: list[tuple[np.ndarray, np.ndarray]], note: str) -> Row:
    difference = statistics.estimate_over_tasks(statistics.difference_of_iqm, pairs)
    welch = statistics.welch_interval(pairs)
    bootstrap = float(difference.low), float(difference.high)
    verdicts = {statistics.verdict(*interval, MARGIN) for interval in (bootstrap, welch)}
    agreed = verdicts.pop() if len(verdicts) == 1 and not note else UNDECIDED
    note = note or ("the two intervals disagree" if verdicts and agreed == UNDECIDED else "")
    return Row(
        comparison=comparison,
        task=task,
        runs=(sum(len(x) for x, _ in pairs), sum(len(y) for _, y in pairs)),
        difference=difference,
        welch=welch,
        improvement=statistics.estimate_over_tasks(statistics.improvement, pairs),
        verdict=agreed,
        note=note,
    )


def answer(claim: Claim, tasks: Sequence[TaskScores], planned: Sequence[str]) -> Row | None:
    """The row that answers a claim: over all tasks if there are several; None where nothing was measured.

    planned: the study's tasks. One on which a seed is missing leaves the claim undecided, whatever the others say.
    """
    (comparison,) = (comparison for comparison in claim.comparisons if comparison.answers)
    found = rows(comparison, tasks)
    if not found:
        return None
    arms = (comparison.better, comparison.worse)
    done = {task.task for task in tasks if all(task.complete(arm, comparison.measure) for arm in arms)}
    missing = [task for task in planned if _has(task, comparison.measure) and task not in done]
    if not missing:
        return found[-1]
    return replace(found[-1], verdict=UNDECIDED, note=f"not all seeds are done of {', '.join(missing)}")


def _has(task: str, measure: str) -> bool:
    """Whether a task says something about a measure."""
    about = TASKS[task]
    return measure != "unseen" or bool(about.unseen_env or about.unseen_task or about.evaluated_unseen)
