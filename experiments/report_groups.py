"""Runs that differ in their seeds only, and the line that a chart of `tandem report` shows of them."""

import json
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from experiments.report_numbers import POINTS, RAW_POINTS, Curve, bounds, iqm_interval, t_interval, thin
from experiments.report_runs import Run

ALIKE = ("seed", "storage")
"""Fields in which the runs of one group, drawn as one mean, may differ."""
ROBUST_SEEDS = 3
"""With fewer seeds an interquartile mean is the mean, and a bootstrap interval says nothing."""


@dataclass(frozen=True)
class Group:
    """Runs of one preset with one configuration, but for the seed."""

    label: str
    short: str
    """The label without a preset that all groups share."""
    runs: list[Run]

    @property
    def seeds(self) -> list[Run]:
        """One run for each seed: the one that went furthest, of those the newest."""
        best: dict[str, Run] = {}
        for run in sorted(self.runs, key=lambda run: (run.steps, run.folder.name)):
            best[str(run.seed)] = run
        return [best[seed] for seed in sorted(best, key=lambda seed: (len(seed), seed))]


def groups(runs: Iterable[Run]) -> list[Group]:
    """Groups in order of appearance. A preset with several configurations has what differs in its labels."""
    found: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        shared = {key: value for key, value in run.config.items() if key not in ALIKE}
        if shared.get("pretrained"):  # in a study every seed has a pre-training of its own
            shared["pretrained"] = str(shared["pretrained"]).replace(f"/{run.seed}/", "/SEED/")
        found.setdefault((run.preset, json.dumps(shared, sort_keys=True)), []).append(run)
    result = []
    for (preset, _), members in found.items():
        rivals = [other[0] for (name, _), other in found.items() if name == preset]
        odd = {key: values for key, values in differences(rivals).items() if key not in ALIKE}
        mine = [f"{key.rpartition('.')[2]} {values[rivals.index(members[0])]}" for key, values in odd.items()]
        extra = ", ".join(mine[:3]) + ", ..." * (len(mine) > 3)
        label = f"{preset}, {extra}" if extra else preset
        result.append(Group(label, extra if len(rivals) == len(found) and extra else label, members))
    return result


def differences(runs: list[Run]) -> dict[str, list[str]]:
    """{field: its value in each run} of the fields that are not the same in all."""
    from experiments.tracking import flatten  # imports TensorBoard

    flat = [flatten(run.config) for run in runs]
    keys = dict.fromkeys(key for one in flat for key in one)
    rows = {key: [str(one.get(key, "-")) for one in flat] for key in keys}
    return {key: row for key, row in rows.items() if len(set(row)) > 1}


@dataclass(frozen=True, kw_only=True)
class Line:
    """What a chart shows of one group: a curve, its 95% interval [n] if known, and what the curve is the mean of."""

    label: str
    colour: int
    curve: Curve
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    behind: tuple[Curve, ...] = ()
    count: str = ""
    """How many seeds it is the mean of, for the legend."""
    style: str | None = None


def robust(group: Group, tag: str) -> bool:
    """Whether a chart shows the interquartile mean of the seeds: evaluations of teams, of at least three seeds."""
    return tag.startswith("eval/") and not group.runs[0].generative and len(group.seeds) >= ROBUST_SEEDS


def line(group: Group, tag: str, colour: int = 0, *, unit_s: float | None = None) -> Line | None:
    """A run's curve with its own interval, or the middle of the seeds with its interval where all seeds have data:
    the mean with Student's t, or, for what is `robust`, the interquartile mean with the stratified bootstrap.

    Args: unit_s: draw over training time in units of so many seconds, not over steps. Returns: None without data.
    """
    runs = [run for run in group.seeds if tag in run.curves]
    curves = [run.curves[tag] for run in runs]
    if unit_s is not None:
        times = [np.interp(c.x, run.train_s.x, run.train_s.y) for run, c in zip(runs, curves, strict=True)]
        curves = [Curve(time / unit_s, curve.y) for time, curve in zip(times, curves, strict=True)]
    if not curves:
        return None
    if len(curves) == 1:
        own = bounds(runs[0].curves, tag)
        low, high = (thin(Curve(curves[0].x, bound)).y for bound in own) if own else (None, None)
        behind = (thin(curves[0], RAW_POINTS),) if len(curves[0].x) > POINTS else ()
        return Line(label=group.short, colour=colour, curve=thin(curves[0]), low=low, high=high, behind=behind)
    thinned = tuple(map(thin, curves))
    first, last = max(curve.x[0] for curve in thinned), min(curve.x[-1] for curve in thinned)
    grid = np.append(min((curve.x for curve in thinned), key=len), [first, last])
    grid = np.unique(grid[(grid >= first) & (grid <= last)])
    values = np.stack([np.interp(grid, curve.x, curve.y) for curve in thinned])
    middle, low, high = (iqm_interval if robust(group, tag) else t_interval)(values)
    count, curve = f" (n = {len(curves)})", Curve(grid, middle)
    return Line(label=group.short, count=count, colour=colour, curve=curve, low=low, high=high, behind=thinned)
