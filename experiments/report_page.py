"""The page of `tandem report`: charts as SVG and pictures as they are, all inside one HTML file without scripts."""

import base64
import io
import itertools
import json
import math
import re
import shlex
import textwrap
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import jinja2
import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter, ScalarFormatter
from PIL import Image

from experiments import report
from experiments.progress import Steps
from experiments.report import Cell, Curve, Group, Line, Run, Table, line, printable

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#aa4499", "#e69f00", "#56b4e9", "#555555")  # Okabe & Ito, without yellow
STYLES = ("-", "--", ":", "-.")
NAMES = {"bpd": "total", "diffusion_bpd": "diffusion", "reconstruction_bpd": "reconstruction", "prior_bpd": "prior"}
HEADINGS = {"eval": "Evaluation", "train": "Training", "": "Other numbers", "time": "Time"}
CODECS = {"png": "PNG", "webp": "WebP lossless", "jxl": "JPEG XL"}
UNITS = (
    (r".*env_steps_per_s", "environment steps per second"),
    (r".*images_per_s", "pictures per second"),
    (r".*_s", "seconds"),
    (r".*bpd", "bits per dimension"),
    (r".*entropy|kl", "nats"),
    (r".*return(_mean)?", "return per episode"),
    (r"episode_length", "environment steps"),
    (r"learning_rate.*", "step size"),
    (r"grad_norm", "norm of the gradient"),
    (r"estimator_variance", "(bits per dimension)²"),
)
"""What the axis of a tag's chart says, by the tag's last part."""
PICTURES = ("samples", "denoising", "strip", "schedule", "level", "attention")
"""Beginnings of picture names, in the order in which they are shown; others follow."""
MAX_PICTURE_BYTES = 16 * 2**20
SEEDS = (
    "n counts seeds: the thick line is their mean, the band its 95% interval (Student's t, point by point, where all "
    "seeds have data, linear in between), and the thin lines are the seeds. "
)
LEGEND = (
    "The band or bar of a single run is its evaluation's own 95% interval (of bits, 1.96 standard errors). "
    f"Curves of more than {report.POINTS} points are means of {report.POINTS} bins."
)


def chart(
    lines: list[Line],
    *,
    x_label: str,
    y_label: str,
    train_s: Curve | None = None,
    references: dict[str, float] | None = None,
    log: bool = False,
) -> str:
    """The chart as the data URI of an SVG picture.

    Args: train_s: seconds of training per step, for a second axis on top; references: name -> height of a dotted line.
    """
    references = references or {}
    style: Any = {"font.size": 10, "svg.hashsalt": "tandem", "text.parse_math": False, "axes.edgecolor": "#555555"}
    with matplotlib.rc_context(style), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # a name in a script that the font lacks
        rows = len(lines) + len(references)
        figure = Figure(figsize=(4.6, 3.0 + 0.17 * rows * (rows > 1)), layout="constrained")
        axes = figure.add_subplot()
        handles = [_draw(axes, each) for each in lines]
        for number, height in enumerate(references.values()):
            dots = (0, (1 + 2 * number, 2))
            handles.append(axes.axhline(height, color="#333333", linewidth=1.2, linestyle=dots))
        axes.set(xlabel=x_label, ylabel=y_label)
        _scale(axes, lines, list(references.values()), log)
        axes.grid(color="#dddddd", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        if train_s is not None and train_s.y[-1] > 0:
            _time_axis(axes, train_s)
        if rows > 1 or lines[0].count:
            labels = [each.label[:50] + "..." * (len(each.label) > 50) + each.count for each in lines]
            labels += [f"{name}: {height:.3f}" for name, height in references.items()]
            options: Any = {"loc": "outside lower left", "frameon": False, "fontsize": 9, "borderpad": 0}
            figure.legend(handles, [printable(label) for label in labels], **options)
        data = io.StringIO()
        figure.savefig(data, format="svg", metadata={"Date": None})
    return data_uri("image/svg+xml", data.getvalue().encode())


def _draw(axes: Axes, drawn: Line) -> Any:
    """Draws one line. Returns its handle for the legend."""
    x, y, low, high = drawn.curve.x, drawn.curve.y, drawn.low, drawn.high
    colour, style = COLOURS[drawn.colour % len(COLOURS)], STYLES[drawn.colour // len(COLOURS) % len(STYLES)]
    look: dict[str, Any] = {"color": colour, "linestyle": drawn.style or style}
    for curve in drawn.behind:
        axes.plot(curve.x, curve.y, **look, linewidth=0.7, alpha=0.35 if drawn.count else 0.15)
    if low is not None and high is not None and len(x) == 1:
        axes.errorbar(x, y, np.maximum(0, (y - low, high - y)), color=colour, capsize=4)
    elif low is not None and high is not None:
        axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
    marker = {"marker": "o", "markersize": 3.5} if len(x) <= 30 else {}
    return axes.plot(x, y, **look, **marker, linewidth=1.7)[0]


def _scale(axes: Axes, lines: list[Line], references: list[float], log: bool) -> None:
    """Limits and numbers of the axes: logarithmic where asked for or where values differ a thousandfold."""
    curves = [curve for drawn in lines for curve in (drawn.curve, *drawn.behind) if len(curve.x)]
    bands = [(d.count, Curve(d.curve.x, band)) for d in lines for band in (d.low, d.high) if band is not None]
    curves += [band for count, band in bands if not count]
    x, y = np.concatenate([curve.x for curve in curves]), np.concatenate([curve.y for curve in curves])
    start = x.min() + 0.05 * np.ptp(x)
    body, whole = np.append(y[x >= start], references), np.append(y, references)
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(compact))
    if body.min() > 0 and (log or body.max() > 1000 * body.min()):
        axes.set_yscale("log")
        axes.set_ylim(whole[whole > 0].min() / 1.3, whole.max() * 1.3)
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        _limits(axes, body, whole, np.concatenate([body, *(band.y[band.x >= start] for _, band in bands)]))
    plain = ScalarFormatter(useOffset=False)
    plain.set_scientific(False)
    fits = axes.get_yscale() == "linear" and 1e-3 <= np.abs(axes.get_ylim()).max() < 1e4
    axes.yaxis.set_major_formatter(plain if fits else FuncFormatter(compact))


def _limits(axes: Axes, body: np.ndarray, whole: np.ndarray, bounds: np.ndarray) -> None:
    """Cuts first steps off that are far from the body of the values, and says so in the chart.

    Args: whole: all values; bounds: ends of intervals. Those over seeds get at most the values' own height on either
    side: with two seeds they would leave nothing else to see.
    """
    cut = len(body) > 5 and 0 < 4 * np.ptp(body) < np.ptp(whole)
    low, high = (body.min(), body.max()) if cut else (whole.min(), whole.max())
    room, above = (high - low) or math.inf, whole.max() - high > low - whole.min()
    low, high = max(low - room, min(low, bounds.min())), min(high + room, max(high, bounds.max()))
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    axes.set_ylim(low - margin * (4 if cut and not above else 1), high + margin * (4 if cut and above else 1))
    if cut:
        far, side, height = (whole.max(), "top", 0.97) if above else (whole.min(), "bottom", 0.03)
        note = f"first steps, {'up' if above else 'down'} to {far:.3g}, cut off"
        axes.text(0.99, height, note, transform=axes.transAxes, ha="right", va=side, fontsize=8, color="#4c5663")


def compact(value: float, _: Any = None) -> str:
    """A number on an axis: 50k, 1.5M, 2e-05."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= size:
            return f"{value / size:.4g}{unit}"
    return f"{value:.4g}"


def _unit_of_time(seconds: float) -> tuple[str, float]:
    return ("h", 3600.0) if seconds >= 3 * 3600 else ("min", 60.0) if seconds >= 180 else ("s", 1.0)


def _time_axis(axes: Axes, train_s: Curve) -> None:
    """A second x axis on top: what the steps below it took."""
    unit, size = _unit_of_time(train_s.y[-1])
    first, last = axes.get_xlim()
    ticks = np.array(MaxNLocator(5, steps=[1, 2, 5, 10]).tick_values(0, train_s.y[-1] / size))
    places = np.interp(ticks * size, train_s.y, train_s.x, right=math.nan)
    kept = (ticks >= 0) & (places >= first) & (places <= last)
    top = axes.secondary_xaxis("top")
    top.set_xticks(places[kept], [f"{tick:g}" for tick in ticks[kept]])
    top.set_xlabel(f"training time ({unit})", fontsize=9)
    top.tick_params(labelsize=9)


def data_uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


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
            notes.append(f"{run.name}: media/{path.name} is not shown: {error}")
            continue
        uri = data_uri("image/png", content)
        shown.append({"title": f"{tag} after {step:,} steps", "uri": uri, "width": width, "height": height})
    return shown


def codec(name: str) -> str:
    """A codec's name for people; a mosaic is all pictures in one."""
    plain, mosaic = re.subn(r"[-_]mosaic$", "", name)
    return CODECS.get(plain.lower(), plain) + ", one mosaic" * mosaic


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
    return list(dict.fromkeys(tag for run in runs for tag in run.curves if not report.is_bound(tag, run.curves)))


def unit_of(tag: str) -> str:
    """What the y axis of a tag's chart says."""
    name = printable(tag.rpartition("/")[2])
    unit = next((unit for pattern, unit in UNITS if re.fullmatch(pattern, name)), name.replace("_", " "))
    return textwrap.fill(unit, 28, max_lines=2)


def _figure(title: str, uri: str, lines: list[Line]) -> dict[str, str]:
    ends = [f"{each.label}{each.count} ends at {each.curve.y[-1]:.4g}" for each in lines if len(each.curve.y)]
    return {"title": title, "uri": uri, "alt": f"chart of {title}; {'; '.join(ends)}"}


def bits_charts(found: list[Group]) -> list[dict[str, str]]:
    """Bits per dimension over training time beside the codecs, and for each group in its parts over steps."""
    runs = [run for group in found for run in group.runs]
    longest = max(run.train_s.y[-1] for run in runs)
    unit, size = _unit_of_time(longest)
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


def section(title: str, runs: list[Run], notes: list[str], progress: Callable[[], None]) -> dict[str, Any]:
    """Runs of one task, for the template. Adds to notes what cannot be shown."""
    found = report.groups(runs)
    odd = report.differences([group.runs[0] for group in found])
    rows: list[list[Cell]] = [[key, *values] for key, values in odd.items() if key not in report.ALIKE]
    differences = [("What differs", ["field", *(group.label for group in found)], rows)] if rows else []
    media = [(run, pictures(run, notes), run is group.seeds[0]) for group in found for run in group.runs]
    return {
        "title": title,
        "tables": results_table(runs),
        "bits": bits_charts(found) if runs[0].generative else [],
        "curves": curve_charts(found, runs[0].metric, progress),
        "media": [(f"{run.name}, seed {run.seed}", shown, first) for run, shown, first in media if shown],
        "differences": differences,
        "legend": SEEDS * any(len(group.seeds) > 1 for group in found) + LEGEND * any(run.curves for run in runs),
        "configs": [(group.label, json.dumps(group.runs[0].config, indent=2)) for group in found],
    }


def build(runs: list[Run], notes: list[str]) -> str:
    """The page of one or more runs. notes: what the person should know about them."""
    tasks: dict[tuple[bool, str], list[Run]] = {}
    for run in runs:
        tasks.setdefault((run.generative, task_of(run)), []).append(run)
    notes, drawn = list(notes), itertools.count(1)
    with Steps("drawing", sum(len(tags_of(group)) for group in tasks.values())) as steps:
        sections = [
            section(title, group, notes, lambda: steps.update(next(drawn))) for (_, title), group in tasks.items()
        ]
    names = list(dict.fromkeys(run.preset for run in runs))
    options: Any = {"autoescape": True, "trim_blocks": True, "lstrip_blocks": True, "undefined": jinja2.StrictUndefined}
    return (
        jinja2.Environment(**options)
        .from_string(TEMPLATE)
        .render(
            title=", ".join(names[:2]) + (f" and {len(names) - 2} more" if len(names) > 2 else ""),
            made=f"{len(runs)} run{'s' * (len(runs) > 1)}, reported on {time.strftime('%Y-%m-%d %H:%M %Z')} "
            f"by Tandem {metadata.version('tandem-lab')}",
            notes=notes,
            tables=[report.summary_table(runs), *report.seeds_table(runs)],
            sections=sections,
            made_with=[(run.name, *_made_with(run)) for run in runs],
        )
    )


def _made_with(run: Run) -> tuple[str, str]:
    """The command of a run, and its source code and versions."""
    words, versions = run.record.get("command"), run.record.get("versions")
    command = shlex.join(map(str, words)) if isinstance(words, list) else "command unknown"
    found = [f"{name} {version}" for name, version in versions.items()] if isinstance(versions, dict) else []
    return command, ", ".join([f"source code at {run.record.get('git_sha', 'an unknown commit')}", *found])


TEMPLATE = """<!doctype html>
{% macro text(words) %}
<div{% if words|length <= 42 %} class="short"{% endif %}>
{%- for part in words.split('`') -%}
{% if loop.index0 % 2 %}<code>{{ part }}</code>{% else %}{{ part }}{% endif %}
{%- endfor %}</div>
{% endmacro %}
{% macro table(title, head, rows, kind="cards") %}
<h3>{{ title }}</h3>
<div class="scroll"><table class="{{ kind }}">
<thead><tr>{% for name in head %}<th scope="col">{{ name }}</th>{% endfor %}</tr></thead>
<tbody>
{% for row in rows %}
<tr>
{% for cell in row %}
<td data-name="{{ head[loop.index0] }}"><div>
{% if cell is string %}{{ text(cell) }}{% else %}{{ text(cell[0]) }}<small>{{ text(cell[1]) }}</small>{% endif %}
</div></td>
{% endfor %}
</tr>
{% endfor %}
</tbody></table></div>
{% endmacro %}
{% macro charts(items) %}
<div class="charts">
{% for item in items %}
<figure><figcaption>{{ item.title }}</figcaption><img src="{{ item.uri }}" alt="{{ item.alt }}"></figure>
{% endfor %}
</div>
{% endmacro %}
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}: report</title>
<style>
:root { color-scheme: light; --line: #d5dae1; --grey: #4c5663; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1.25rem 3rem; max-width: 84rem; background: #fff; color: #16191d;
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 .25rem; }
h2 { font-size: 1.35rem; margin: 2.75rem 0 .75rem; padding-top: .9rem; border-top: 2px solid #16191d; }
h3, summary { font-size: 1.05rem; font-weight: 700; line-height: 1.4; margin: 1.75rem 0 .5rem; }
p { margin: .4rem 0; max-width: 60rem; }
small, .quiet { display: block; color: var(--grey); font-size: .85rem; }
nav a { margin-right: 1.25rem; color: #004f7c; }
code, pre { font: .85rem/1.45 ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; white-space: pre-wrap; }
.notes { background: #fff6dc; border-left: 4px solid #c98a00; padding: .5rem 1rem .5rem 2rem; margin: 1rem 0; }
.scroll { overflow-x: auto; margin: .5rem 0 1rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .92rem; overflow-wrap: break-word; }
th, td { text-align: left; vertical-align: top; padding: .45rem 1.1rem .45rem 0; border-bottom: 1px solid var(--line); }
th { color: var(--grey); font-weight: 600; border-bottom-color: #16191d; }
th, .short { white-space: nowrap; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 24rem), 1fr)); gap: 1.25rem; }
.media { display: flex; flex-wrap: wrap; gap: 1.25rem; align-items: flex-start; }
figure, tr { margin: .5rem 0 0; break-inside: avoid; }
figcaption { font-weight: 600; font-size: .92rem; margin-bottom: .25rem; }
img { display: block; max-width: 100%; height: auto; }
.charts img { width: 100%; }
@media (max-width: 44rem) {
  body { padding: 1rem .9rem 2rem; }
  .cards thead { display: none; }
  .cards, .cards tbody, .cards tr { display: block; }
  .cards tr { border: 1px solid var(--line); border-radius: .4rem; padding: .4rem .75rem; margin-bottom: .75rem; }
  .cards td { display: grid; grid-template-columns: 7.5rem 1fr; gap: .75rem; border: 0; padding: .2rem 0; }
  .cards td::before { content: attr(data-name); color: var(--grey); font-size: .85rem; }
  .cards .short { white-space: normal; }
}
@media print {
  body { padding: 0; font-size: 10pt; }
  nav, details:not([open]) { display: none; }
  h2, h3, summary { break-after: avoid; }
  .charts { grid-template-columns: 1fr 1fr; }
  .scroll { overflow: visible; }
  table { font-size: 8pt; }
  .short { white-space: normal; }
}
</style>
</head>
<body>
<header>
<h1>{{ title }}</h1>
<p class="quiet">{{ made }}</p>
<nav>
{% for part in sections %}
<a href="#task-{{ loop.index }}">{{ part.title }}</a>
{% endfor %}
<a href="#made-with">Commands and versions</a>
</nav>
</header>
<main>
{% if notes %}
<ul class="notes">{% for note in notes %}<li>{{ note }}</li>{% endfor %}</ul>
{% endif %}
{% for title, head, rows in tables %}
{{ table(title, head, rows) }}
{% endfor %}
{% for part in sections %}
<section>
<h2 id="task-{{ loop.index }}">{{ part.title }}</h2>
{% for title, head, rows in part.tables %}
{{ table(title, head, rows) }}
{% endfor %}
{% if part.bits %}
<h3>Bits per dimension</h3>
{{ charts(part.bits) }}
{% endif %}
{% for block in part.curves %}
<details{% if block.open %} open{% endif %}>
<summary>{{ block.heading }} curves</summary>
{{ charts(block.charts) }}
</details>
{% endfor %}
<p class="quiet">{{ part.legend }}</p>
{% for name, pictures, open in part.media %}
<details{% if open %} open{% endif %}>
<summary>Pictures of {{ name }}</summary>
<div class="media">
{% for item in pictures %}
<figure><figcaption>{{ item.title }}</figcaption>
<img width="{{ item.width }}" height="{{ item.height }}" src="{{ item.uri }}" alt="{{ item.title }}"></figure>
{% endfor %}
</div>
</details>
{% endfor %}
{% for title, head, rows in part.differences %}
{{ table(title, head, rows, "plain") }}
{% endfor %}
{% for name, text in part.configs %}
<details><summary>Full configuration of {{ name }}</summary><pre>{{ text }}</pre></details>
{% endfor %}
</section>
{% endfor %}
<section>
<h2 id="made-with">Commands and versions</h2>
{% for run, command, versions in made_with %}
<h3>{{ run }}</h3>
<p><code>{{ command }}</code></p>
<p class="quiet">{{ versions }}</p>
{% endfor %}
</section>
</main>
</body>
</html>
"""
