"""Draws a chart of `tandem report` as an SVG picture."""

import base64
import io
import math
import warnings
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter, ScalarFormatter

from experiments.report_groups import Line
from experiments.report_numbers import Curve
from experiments.report_words import compact, printable, unit_of_time

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#aa4499", "#e69f00", "#56b4e9", "#555555")  # Okabe & Ito, without yellow
STYLES = ("-", "--", ":", "-.")


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


def _time_axis(axes: Axes, train_s: Curve) -> None:
    """A second x axis on top: what the steps below it took."""
    unit, size = unit_of_time(train_s.y[-1])
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
