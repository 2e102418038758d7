"""The figures of a study: learning curves, scores and probabilities of improvement, as PNG files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from experiments import files, statistics
from experiments.report_charts import COLOURS
from experiments.report_words import compact
from experiments.study_claims import CLAIMS, Row, rows
from experiments.study_results import TaskScores

PANELS = (
    ("attention", ("independent", "meanpool", "acam")),
    ("auxiliary loss", ("acam", "acam+aux")),
    ("pre-training", ("acam", "acam+pretrain", "acam+aux", "acam+aux+pretrain")),
)
"""What is compared with what: six bands over each other could not be read."""
LOOK = {
    "independent": (COLOURS[6], "-"),
    "meanpool": (COLOURS[4], "-"),
    "acam": (COLOURS[0], "-"),
    "acam+aux": (COLOURS[1], "-"),
    "acam+pretrain": (COLOURS[2], "--"),
    "acam+aux+pretrain": (COLOURS[3], "--"),
}
"""Arm -> colour and line, the same in every figure."""
_STYLE: Any = {"font.size": 10, "text.parse_math": False, "axes.edgecolor": "#555555"}


def learning_curves(path: Path, scores: TaskScores) -> None:
    """Interquartile means over seeds with 95% bootstrap bands, the seeds as thin lines, one panel for each claim."""
    panels = [(title, [arm for arm in arms if arm in scores.curves]) for title, arms in PANELS]
    panels = [(title, arms) for title, arms in panels if len(arms) > 1] or [("", list(scores.curves))]
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(1.0 + 3.6 * len(panels), 3.9), layout="constrained")
        all_axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axes, (title, arms) in zip(all_axes, panels, strict=True):
            for arm in arms:
                _curve(axes, scores, arm)
            axes.axhline(scores.random, color="#333333", linewidth=1, linestyle=":", label="random policy")
            axes.set(title=title, xlabel="environment steps")
            axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
            axes.xaxis.set_major_formatter(FuncFormatter(compact))
            _tidy(axes)
            axes.legend(framealpha=0.85, edgecolor="none", fontsize=8, loc="upper left")
        all_axes[0].set_ylabel(scores.metric.replace("_", " "))
        figure.suptitle(f"{scores.title}: interquartile mean over seeds, 95% stratified bootstrap")
        _save(figure, path)


def _curve(axes: Axes, scores: TaskScores, arm: str) -> None:
    colour, style = LOOK[arm]
    curves = scores.curves[arm]
    band = statistics.estimate(statistics.iqm, curves[:, None])
    for curve in curves:
        axes.plot(scores.steps, curve, color=colour, linestyle=style, linewidth=0.6, alpha=0.3)
    axes.fill_between(scores.steps, band.low, band.high, color=colour, alpha=0.15, linewidth=0)
    label = f"{arm} (n = {len(curves)})"
    axes.plot(scores.steps, band.value, color=colour, linestyle=style, linewidth=1.8, label=label)


def bars(path: Path, tasks: Sequence[TaskScores]) -> None:
    """Normalised scores of every arm: area under the curve, at the end, and against unseen opponents."""
    measures = [("area", "mean height of the learning curve"), ("final", "score at the end")]
    if any(len(each.of("unseen", arm)) for each in tasks for arm in each.curves):
        measures.append(("unseen", "against an unseen opponent"))
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(1.2 + 3.3 * len(measures), 0.9 + 2.0 * len(tasks)), layout="constrained")
        grid = figure.subplots(len(tasks), len(measures), squeeze=False, sharey=True)
        for row, each in zip(grid, tasks, strict=True):
            for axes, (measure, title) in zip(row, measures, strict=True):
                _bars(axes, each, measure)
                axes.set_title(f"{each.title}\n{title}", fontsize=9)
                axes.set_visible(any(len(each.of(measure, arm)) for arm in each.curves))
        for axes, (measure, _) in zip(grid[-1], measures, strict=True):
            against = " against the level's own\nopponent" * (measure == "unseen")  # it never met the unseen one
            axes.set_xlabel(f"0: random policy{against}, 1: reference")
        _save(figure, path)


def _bars(axes: Axes, scores: TaskScores, measure: str) -> None:
    arms = [arm for arm in LOOK if arm in scores.curves]
    for place, arm in enumerate(arms):
        values = scores.of(measure, arm)
        if not len(values):
            continue
        found = statistics.estimate(statistics.iqm, values[:, None])
        axes.barh(place, found.high - found.low, left=found.low, height=0.55, color=LOOK[arm][0], alpha=0.35)
        axes.plot([found.value] * 2, [place - 0.28, place + 0.28], color=LOOK[arm][0], linewidth=2.2)
        axes.plot(values, [place] * len(values), "o", color=LOOK[arm][0], markersize=3, alpha=0.7)
    axes.set_yticks(range(len(arms)), arms)
    axes.set_ylim(len(arms) - 0.4, -0.6)
    axes.use_sticky_edges = False  # a bar would hold the axis to its own end, and cut a dot in half
    axes.margins(x=0.06)
    _tidy(axes)


def improvements(path: Path, tasks: Sequence[TaskScores]) -> None:
    """Probabilities that a run of one arm is better than one of another, for every comparison of the claims."""
    found: list[tuple[str, Row]] = []
    for claim in CLAIMS:
        found += [(claim.name, row) for comparison in claim.comparisons for row in rows(comparison, tasks)]
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(8.6, 1.0 + 0.3 * len(found)), layout="constrained")
        axes = figure.add_subplot()
        for place, (_, row) in enumerate(found):
            better = row.improvement
            low, value, high = float(better.low), float(better.value), float(better.high)
            colour = LOOK[row.comparison.better][0]
            axes.barh(place, high - low, left=low, height=0.5, color=colour, alpha=0.35)
            axes.plot([value] * 2, [place - 0.27, place + 0.27], color=colour, linewidth=2.2)
        labels = [f"{r.comparison.better} > {r.comparison.worse}   {name}, {r.task}" for name, r in found]
        axes.set_yticks(range(len(found)), labels, fontsize=8)
        axes.set(xlim=(-0.02, 1.02), ylim=(len(found) - 0.4, -0.6))
        axes.set_xlabel("probability that a run is better (95% stratified bootstrap)")
        axes.axvline(0.5, color="#333333", linewidth=1, linestyle=":")
        _tidy(axes)
        _save(figure, path)


def _tidy(axes: Axes) -> None:
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _save(figure: Figure, path: Path) -> None:
    with files.whole(path) as temporary:
        figure.savefig(temporary, format="png", dpi=130, metadata={"Software": None})
