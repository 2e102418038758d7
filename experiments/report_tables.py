"""The tables of `tandem report`, for the terminal and the page."""

import numpy as np

from experiments.report_groups import groups
from experiments.report_numbers import Estimate, number, t_interval
from experiments.report_runs import Run
from experiments.report_words import NAMES, codec, duration

Cell = str | tuple[str, str]
"""A table's cell, or a cell with a remark below it."""
Table = tuple[str, list[str], list[list[Cell]]]
"""Title, headings, rows."""


def summary_table(runs: list[Run]) -> Table:
    """A row per run: how far it is, and its preset's measure beside what is expected."""
    rows: list[list[Cell]] = []
    for run in runs:
        budget = number(run.config.get("steps" if run.generative else "env_steps"))
        steps = f"{run.steps:,}" + (f" of {budget:,.0f}" if run.steps < budget else "") + " steps"
        sha, _, dirty = str(run.record.get("git_sha", "unknown")).partition("-")
        result = run.results.get(run.metric)
        rows.append([
            (run.preset, run.folder.name),
            str(run.seed),
            (steps, f"in {duration(run.train_s.y[-1])}" if run.train_s.y[-1] else ""),
            (f"{run.metric} {result}" if result else "-", run.source),
            run.expected,
            (sha[:10], "with changes" if dirty else ""),
        ])  # fmt: skip
    return "Runs", ["run", "seed", "training", "result [95% interval]", "expected", "source code"], rows


def seeds_table(runs: list[Run]) -> list[Table]:
    """A row per group of several seeds, if there is any: the measure's mean over seeds."""
    rows: list[list[Cell]] = []
    for group in groups(runs):
        measured = [run for run in group.seeds if run.metric in run.results]
        if len(measured) > 1:
            means = np.array([run.results[run.metric].mean for run in measured])
            estimate = Estimate(*map(float, t_interval(means)))
            seeds = ", ".join(str(run.seed) for run in measured)
            rows.append([group.label, f"{len(measured)} ({seeds})", f"{measured[0].metric} {estimate}"])
    return [("Over seeds", ["preset", "seeds", "mean over seeds [95% t interval]"], rows)] if rows else []


def results_table(runs: list[Run]) -> list[Table]:
    """Every number of the runs' evaluations."""
    runs = [run for run in runs if len(run.results) > 1]
    names = dict.fromkeys(name for run in runs for name in run.results)
    ordered = sorted(names, key=lambda name: list(NAMES).index(name) if name in NAMES else len(NAMES))
    codecs = list(dict.fromkeys(name for run in runs for name in run.codecs))
    rows = []
    for run in runs:
        numbers = [str(run.results.get(name, "-")) for name in ordered]
        sizes = [f"{run.codecs[name]:.3f}" if name in run.codecs else "-" for name in codecs]
        rows.append([(run.preset, run.folder.name), run.source, *numbers, *sizes])
    heads = [NAMES.get(name, name) for name in ordered] + [codec(name) for name in codecs]
    title = "Bits per dimension of test pictures" if "bpd" in names else "Evaluations"
    return [(title, ["run", "evaluation", *heads], rows)] if names else []
