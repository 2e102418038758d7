"""What the page of `tandem report` shows of the runs of one task: charts, pictures, tables."""

import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from experiments.report_charts import STYLES, chart, data_uri
from experiments.report_groups import ALIKE, Group, Line, differences, groups, line
from experiments.report_numbers import POINTS, Curve, is_bound
from experiments.report_runs import Run
from experiments.report_tables import Cell, results_table
from experiments.report_words import NAMES, codec, unit_of, unit_of_time

HEADINGS = {"eval": "Evaluation", "train": "Training", "": "Other numbers", "time": "Time"}
PICTURES = ("samples", "denoising", "strip", "schedule", "level", "attention")
"""Beginnings of picture names, in the order in which they are shown; others follow."""
MAX_PICTURE_BYTES = 16 * 2**20
SEEDS = (
    "n counts seeds: the thick line is their mean, the band its 95% interval (Student's t, point by point, where all "
    "seeds have data, linear in between), and the thin lines are the seeds. Evaluations of teams with at least three "
    "seeds have the interquartile mean and its 95% stratified bootstrap interval instead. "
)
LEGEND = (
    "The band or bar of a single run is its evaluation's own 95% interval (of bits, 1.96 standard errors). "
    f"Curves of more than {POINTS} points are means of {POINTS} bins."
)


def task_of(run: Run) -> str:
    """What a run is about. Runs of one task are drawn together, whatever their presets."""
    part = run.config.get("data" if run.generative else "env")
    facts = part if isinstance(part, dict) else {}
    if run.generative and facts.get("name"):
        where, size = facts.get("path"), facts.get("size")
        return f"{facts['name']}{f' {where}' if where else ''}{f', {size} x {size}' if size else ''}"
    if facts.get("level"):
        players = facts.get("players")
        team = f", {players} player{'s' * (players != 1)}" if players else ""
        return f"{facts.get('suite', '')}/{facts['level']}{team}"
    return run.preset


def section(title: str, runs: list[Run], notes: list[str], progress: Callable[[], None]) -> dict[str, Any]:
    """Runs of one task, for the template. Adds to notes what cannot be shown."""
    found = groups(runs)
    odd = differences([group.runs[0] for group in found])
    rows: list[list[Cell]] = [[key, *values] for key, values in odd.items() if key not in ALIKE]
    differing = [("What differs", ["field", *(group.label for group in found)], rows)] if rows else []
    media = [(run, pictures(run, notes), run is group.seeds[0]) for group in found for run in group.runs]
    return {
        "title": title,
        "tables": results_table(runs),
        "bits": bits_charts(found) if runs[0].generative else [],
        "curves": curve_charts(found, runs[0].metric, progress),
        "media": [(f"{run.name}, seed {run.seed}", shown, first) for run, shown, first in media if shown],
        "differences": differing,
        "legend": SEEDS * any(len(group.seeds) > 1 for group in found) + LEGEND * any(run.curves for run in runs),
        "configs": [(group.label, json.dumps(group.runs[0].config, indent=2)) for group in found],
    }


def curve_charts(found: list[Group], metric: str, progress: Callable[[], None]) -> list[dict[str, Any]]:
    """A chart per tag, the measure's first, in parts by the tags' first words: {"heading", "charts", "open"}."""
    runs = [run for group in found for run in group.runs]
    steps = "optimiser steps" if runs[0].generative else "environment steps"
    drawn = [group for group in found if any(run.curves for run in group.runs)]
    times = line(drawn[0], "time/train_s") if len(drawn) == 1 else None
    train_s = times and Curve(np.append(0, times.curve.x), np.append(0, times.curve.y))
    parts: dict[str, list[dict[str, str]]] = {heading: [] for heading in HEADINGS.values()}
    for tag in sorted(tags_of(runs), key=lambda tag: (tag.partition("/")[2] != metric, tag)):
        lines = [each for number, group in enumerate(found) if (each := line(group, tag, number))]
        uri = chart(lines, x_label=steps, y_label=unit_of(tag), train_s=train_s)
        parts[HEADINGS.get(tag.partition("/")[0], "Other numbers")].append(_figure(tag, uri, lines))
        progress()
    return [{"heading": name, "charts": charts, "open": name != "Time"} for name, charts in parts.items() if charts]


def tags_of(runs: list[Run]) -> list[str]:
    """Tags with a chart of their own, in order of appearance."""
    return list(dict.fromkeys(tag for run in runs for tag in run.curves if not is_bound(tag, run.curves)))


def bits_charts(found: list[Group]) -> list[dict[str, str]]:
    """Bits per dimension over training time beside the codecs, and for each group in its parts over steps."""
    runs = [run for group in found for run in group.runs]
    longest = max(run.train_s.y[-1] for run in runs)
    unit, size = unit_of_time(longest)
    lines = [each for number, group in enumerate(found) if (each := line(group, "eval/bpd", number, unit_s=size))]
    charts = []
    if lines and longest > 0:
        codecs = next((run.codecs for run in runs if run.codecs), {})
        references = {codec(name): value for name, value in codecs.items()}
        uri = chart(lines, x_label=f"training time ({unit})", y_label="bits per dimension", references=references)
        charts.append(_figure("test pictures, over training time", uri, lines))
    for group in found:
        named = [(part, replace(group, short=NAMES[part])) for part in NAMES]
        drawn = [line(part_group, f"eval/{part}", number) for number, (part, part_group) in enumerate(named)]
        lines = [replace(each, style=STYLES[each.colour]) for each in drawn if each]
        if len(lines) > 1:
            uri = chart(lines, x_label="optimiser steps", y_label="bits per dimension", log=True)
            charts.append(_figure(f"in parts: {group.short}", uri, lines))
    return charts


def _figure(title: str, uri: str, lines: list[Line]) -> dict[str, str]:
    ends = [f"{each.label}{each.count} ends at {each.curve.y[-1]:.4g}" for each in lines if len(each.curve.y)]
    return {"title": title, "uri": uri, "alt": f"chart of {title}; {'; '.join(ends)}"}


def pictures(run: Run, notes: list[str]) -> list[dict[str, Any]]:
    """The newest picture of each name in media/, as it is. Adds to notes what cannot be shown."""
    newest: dict[str, tuple[int, Path]] = {}
    for path in sorted(run.folder.glob("media/*.png")):
        if match := re.fullmatch(r"([^.].*)-(\d{12})\.png", path.name):
            newest[match[1]] = int(match[2]), path
    rank = lambda tag: next((i for i, start in enumerate(PICTURES) if tag.startswith(start)), len(PICTURES))  # noqa: E731
    shown = []
    for tag in sorted(newest, key=lambda tag: (rank(tag), tag)):
        step, path = newest[tag]
        try:
            content = path.read_bytes()
            if len(content) > MAX_PICTURE_BYTES:
                raise ValueError(f"it has more than {MAX_PICTURE_BYTES // 2**20} MiB")
            with Image.open(io.BytesIO(content), formats=["PNG"]) as picture:
                width, height = picture.size
                picture.verify()
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            why = "it is no PNG picture" if isinstance(error, UnidentifiedImageError) else error
            notes.append(f"{run.name}: media/{path.name} is not shown: {why}")
            continue
        uri = data_uri("image/png", content)
        shown.append({"title": f"{tag} after {step:,} steps", "uri": uri, "width": width, "height": height})
    return shown
