"""What came out of distillation, as a page: scores by number of steps, a figure, and pictures from the same noise."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from experiments import files, tables
from experiments.chain_scores import METHODS, ORIGINAL, SETTINGS, STUDENT, Row, Scores
from experiments.pictures import grid
from experiments.report_numbers import t_interval

COLUMNS = 10
"""Pictures in each row of the strip."""
RIVALS = (
    "best undistilled sampler", "student minus it", "chains", "best with as few calls", "student minus it", "chains"
)  # fmt: skip
"""What a student is compared with, in the head of a table."""


def table(rows: list[list[Row]], measure: str, digits: int) -> list[list[str]]:
    """The head and a line for each number of steps; a column for each method. rows: of each chain."""
    everything = [row for chain_rows in rows for row in chain_rows]
    methods = [method for method in (*METHODS, ORIGINAL) if any(row.method == method for row in everything)]
    counts = sorted({row.steps for row in everything}, reverse=True)
    lines = [["steps", *methods]]
    for count in counts:
        cells = []
        for method in methods:
            found = [getattr(r, measure) for r in everything if (r.method, r.steps) == (method, count)]
            cells.append(_cell([value for value in found if value is not None], digits))
        lines.append([str(count), *cells])
    return lines


def _cell(values: list[float], digits: int) -> str:
    if not values:
        return "-"
    if len(values) == 1:
        return f"{values[0]:.{digits}f}"
    mean, _, high = t_interval(np.array(values))
    return f"{mean:.{digits}f} ± {high - mean:.{digits}f}"


def figure(path: Path, rows: list[list[Row]], title: str) -> None:
    """FID over the number of steps, a line for each method, the mean over chains with the chains as dots."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    everything = [row for chain_rows in rows for row in chain_rows]
    drawing = Figure(figsize=(6.6, 4.4), layout="constrained")
    axes = drawing.subplots()
    for number, method in enumerate(METHODS):
        mine = [(row.steps, row.fid) for row in everything if row.method == method and row.fid is not None]
        if not mine:
            continue
        counts = sorted({steps for steps, _ in mine})
        means = [np.mean([fid for steps, fid in mine if steps == count]) for count in counts]
        width = 2.4 if method == STUDENT else 1.3
        axes.plot(counts, means, color=f"C{number}", linewidth=width, label=method)
        axes.scatter(*zip(*mine, strict=True), color=f"C{number}", s=10)
    axes.set(xscale="log", yscale="log", xlabel="sampling steps", ylabel="FID", title=title)
    axes.set_xticks(sorted({row.steps for row in everything}))
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.legend(frameon=False)
    with files.whole(path) as temporary:
        drawing.savefig(temporary, format="png", dpi=130, metadata={"Software": None})


def strip(scores: Scores, rows: list[Row]) -> np.ndarray:
    """A row of pictures for each number of steps of the students, all from the same noise; above them the undistilled
    model's with all steps, below them its DDIM samples with the students' fewest. uint8 [H, W, 3]."""
    seed, samples = rows[0].seed, rows[0].samples
    chosen: list[tuple[str, int]] = [("ddim", scores.all_steps)]
    chosen += [(STUDENT, steps) for steps in scores.students if any(r.steps == steps for r in rows)]
    chosen += [("ddim", steps) for steps in sorted(scores.students)[:3] if any(r.steps == steps for r in rows)][::-1]
    pictures = [scores.pictures(method, "", steps, seed, samples)[:COLUMNS].numpy() for method, steps in chosen]
    return grid(np.concatenate(pictures), scores.teacher.num_levels, columns=min(COLUMNS, samples))


def text(rows: list[list[Row]], about: dict[str, Any]) -> str:
    """The page in Markdown."""
    first, floor = rows[0][0], about["floor"]
    parts = [
        f"# Few steps: {about['title']}\n",
        f"{first.samples:,} samples each, noise of seed {', '.join(str(one[0].seed) for one in rows)}, "
        f"{_spread(len(rows), about['teachers'])}. {first.judge}. As many training pictures against the same test "
        f"pictures have FID {floor[0]:.2f}, KID (thousandths) {1000 * floor[1]:.2f} ± {1000 * floor[2]:.2f}. FID of so "
        "few samples is mostly that bias, so its ratios are nearer to 1 than those above this floor; KID has none. "
        "Heun calls the network 2N - 1 times in N steps, everything else N times.\n",
        "FID:\n",
        _markdown(rows, "fid", 2),
        "KID (thousandths):\n",
        _markdown(_thousandths(rows), "kid", 2),
        *compared(rows, "fid", about["all_steps"], floor[0]),
        *compared(rows, "kid", about["all_steps"], floor[1]),
    ]
    if any(row.lpips is not None for chain_rows in rows for row in chain_rows):
        parts += [
            f"LPIPS to the undistilled model's DDIM sample with {about['all_steps']} steps from the same noise:\n",
            _markdown(rows, "lpips", 4),
            *nearer(rows),
        ]
    if about["converted"]:
        parts.append(
            "The teacher's prediction or schedule cannot be halved, so it was converted first: undistilled means what "
            "it was converted to; original is DDIM of the teacher itself.\n"
        )
    parts += [
        "![FID by steps](scores.png)\n",
        f"![The same noise with {about['strip']}](strip.png)\n",
        "From top to bottom: " + about["strip"] + ".\n",
        f"Compute, in forward passes of one picture: training the teacher {about['teacher_passes']:.3g}, the "
        f"chain {about['chain_passes']:.3g} ({about['chain_passes'] / about['teacher_passes']:.2f} of it; a gradient "
        "counts as two forward passes, and what is drawn to be looked at is not counted).\n",
    ]
    parts.append("".join(f"{line}\n" for line in dict.fromkeys(map(_trained, about["stages"]))))
    for method in SETTINGS:
        chosen = [f"{row.setting} with {row.steps}" for row in rows[0] if row.method == method]
        if chosen:
            parts.append(
                f"Settings of {method}, chosen by KID on other noise for each number of steps: {', '.join(chosen)}.\n"
            )
    parts.append(f"`{about['command']}`\n")
    return "\n".join(parts)


def _trained(manifest: dict[str, Any]) -> str:
    """How the students of a chain were trained."""
    optim = manifest["config"]["optim"]
    updates = {row["stage"].lstrip("0"): row["updates"] for row in manifest["stages"] if row["steps"]}
    longest = [name for name, count in updates.items() if count == max(updates.values())]
    usual = next(iter(updates.values()))
    more = f" ({max(updates.values()):,} of {', '.join(longest)})" if max(updates.values()) != usual else ""
    return (
        f"Each student: {usual:,} updates{more} with batches of {optim['batch']}, steps of {optim['learning_rate']:g} "
        f"(decay {optim['decay']})."
    )


def _spread(chains: int, teachers: int) -> str:
    if chains == 1:
        return "one chain"
    shared = f"{teachers} teachers" if teachers > 1 else "one teacher, whose own spread the intervals do not have"
    return f"mean over {chains} chains of {shared}, with a 95% t interval"


def compared(rows: list[list[Row]], measure: Literal["fid", "kid"], all_steps: int, floor: float) -> list[str]:
    """A table of the students beside the undistilled model's DDIM with all steps, its best sampler with as many steps,
    and its best with at most as many calls of the network, by one measure. floor: what real pictures have of it."""
    name = measure.upper()
    head = ["steps", f"{name} / {name} of {all_steps}", "the same above the floor", *RIVALS]
    lines = []
    for count in _students(rows):
        pairs = []
        for one in rows:
            at = {(row.method, row.steps): getattr(row, measure) for row in one}
            if (whole := at.get(("ddim", all_steps))) is not None:
                pairs.append((at[STUDENT, count], whole))
        rivals = _rivals(rows, measure, count)
        if pairs and rivals:
            ratio = _cell([_ratio(mine, whole) for mine, whole in pairs], 3)
            above = _cell([_ratio(mine - floor, whole - floor) for mine, whole in pairs], 3)
            lines.append([str(count), ratio, above, *rivals])
    said = f"Students beside the undistilled model, by {name}:\n"
    return [said, tables.markdown(head, lines)] if lines else []


def nearer(rows: list[list[Row]]) -> list[str]:
    """A table of how near the students come to the undistilled model's samples with all steps, beside its samplers."""
    lines = [[str(count), *rivals] for count in _students(rows) if (rivals := _rivals(rows, "lpips", count))]
    said = "Students beside the undistilled model, by that LPIPS:\n"
    return [said, tables.markdown(["steps", *RIVALS], lines)] if lines else []


def _students(rows: list[list[Row]]) -> list[int]:
    return sorted({row.steps for one in rows for row in one if row.method == STUDENT}, reverse=True)


def _rivals(rows: list[list[Row]], measure: str, count: int) -> list[str]:
    """A cell for each of RIVALS, or nothing where a student has none."""
    by_steps = _best(rows, measure, count, lambda row: row.steps == count, "{0.method}")
    by_calls = _best(rows, measure, count, lambda row: _calls(row) <= count, "{0.method} with {0.steps}")
    return [*by_steps, *by_calls] if by_steps and by_calls else []


def _best(
    rows: list[list[Row]], measure: str, count: int, allowed: Callable[[Row], bool], called: str
) -> tuple[str, str, str] | None:
    """Of the allowed rows of undistilled samplers: the best one in each chain, by how much the student with so many
    steps is above it, and in how many chains it is below. None if nothing is allowed."""
    margins, names = [], []
    for one in rows:
        scored = [row for row in one if getattr(row, measure) is not None]  # LPIPS is measured where it is wanted
        mine = [row for row in scored if (row.method, row.steps) == (STUDENT, count)]
        others = [row for row in scored if row.method not in (STUDENT, ORIGINAL) and allowed(row)]
        if mine and others:
            best = min(others, key=lambda row: getattr(row, measure))
            margins.append(getattr(mine[0], measure) - getattr(best, measure))
            names.append(called.format(best))
    if not margins:
        return None
    better = f"{sum(margin < 0 for margin in margins)} of {len(margins)} better"
    return ", ".join(dict.fromkeys(names)), _cell(margins, {"fid": 2, "kid": 5, "lpips": 4}[measure]), better


def _calls(row: Row) -> int:
    """Of the network, in all steps of a sampler."""
    return 2 * row.steps - 1 if row.method == "heun" else row.steps


def _ratio(a: float, b: float) -> float:
    return a / b if b else float("nan")


def _thousandths(rows: list[list[Row]]) -> list[list[Row]]:
    return [[replace(row, kid=1000 * row.kid) for row in one] for one in rows]


def _markdown(rows: list[list[Row]], measure: str, digits: int) -> str:
    head, *body = table(rows, measure, digits)
    return tables.markdown(head, body)
