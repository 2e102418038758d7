"""`tandem report`: runs side by side in one HTML page, with tables, curves and pictures.

This module finds and reads run folders and works out the numbers; report_page.py draws them.
"""

import json
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from experiments import flags, presets
from experiments.flags import say

EXAMPLE = "tandem report runs/vdm-photos32 -o report.html"
WHERE = "runs are at runs/PRESET/TIME-SEED"
Z = 1.959964
"""Half-width of a 95% normal interval, in standard errors."""
ALIKE = ("seed", "storage")
"""Fields in which the runs of one group, drawn as one mean, may differ."""
POINTS, RAW_POINTS = 120, 1500
"""A curve of more points is drawn as the means of so many bins, before the means of so many more."""
Cell = str | tuple[str, str]
"""A table's cell, or a cell with a remark below it."""
Table = tuple[str, list[str], list[list[Cell]]]
"""Title, headings, rows."""


@dataclass(frozen=True, kw_only=True)
class ReportCommand:
    """Flags of `tandem report`."""

    runs: tyro.conf.Positional[tuple[Path, ...]] = ()
    """Run folders, or folders of runs such as runs/vdm-photos32."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("report.html")
    """The page to write."""


@dataclass(frozen=True)
class Curve:
    """A tag of a run: x (steps, or seconds of training) increases, y is finite; both [n] float64."""

    x: np.ndarray
    y: np.ndarray


@dataclass(frozen=True)
class Estimate:
    """A number with its 95% interval, NaN where there is none."""

    mean: float
    low: float = math.nan
    high: float = math.nan

    def __str__(self) -> str:
        """Two digits of the interval's half-width decide how many are shown."""
        half = (self.high - self.low) / 2
        if not 0 < half < math.inf:
            return f"{self.mean:,.0f}" if abs(self.mean) >= 1e4 else f"{self.mean:.4g}"
        decimals = min(6, max(0, 1 - math.floor(math.log10(half))))
        mean, low, high = (f"{value:,.{decimals}f}" for value in (self.mean, self.low, self.high))
        return f"{mean} [{low}, {high}]"


@dataclass(kw_only=True)
class Run:
    """A run folder, read, in whatever state the run is."""

    folder: Path
    preset: str
    generative: bool
    seed: Any
    record: dict[str, Any]
    """config.json"""
    metric: str
    """The number that the preset is about."""
    expected: str
    curves: dict[str, Curve] = field(default_factory=dict)
    results: dict[str, Estimate] = field(default_factory=dict)
    """The numbers of the run's last evaluation."""
    source: str = ""
    """Which evaluation that is."""
    codecs: dict[str, float] = field(default_factory=dict)
    """Bits per dimension of image codecs on the same pictures."""
    notes: list[str] = field(default_factory=list)
    """What could not be read."""

    @property
    def config(self) -> dict[str, Any]:
        return self.record["config"]

    @property
    def name(self) -> str:
        return f"{self.preset}/{self.folder.name}"

    @property
    def steps(self) -> int:
        return int(max((curve.x[-1] for curve in self.curves.values()), default=0))

    @property
    def train_s(self) -> Curve:
        """Seconds of training at the steps that report them, from (0, 0)."""
        times = self.curves.get("time/train_s", Curve(np.zeros(0), np.zeros(0)))
        return Curve(np.append(0.0, times.x), np.append(0.0, times.y))


def report_command(args: list[str]) -> int:
    """Puts runs side by side in one HTML page: tables, curves with confidence intervals, pictures."""
    about = report_command.__doc__ or ""
    command = flags.parse(ReportCommand, args, prog="tandem report", example=EXAMPLE, about=about)
    if not command.runs:
        raise flags.FlagError(f"no run was named; for example: {EXAMPLE}")
    if command.output.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"cannot write a report as {command.output.name!r}; allowed suffixes: .html, .htm")
    runs, notes = collect(command.runs)
    flags.check_writable(command.output)
    for table in [summary_table(runs), *seeds_table(runs)]:
        _print(table)
    for note in notes:
        say(f"note: {printable(note)}")
    from experiments import report_page  # imports matplotlib

    write(command.output, report_page.build(runs, notes))
    say(f"{command.output} ({command.output.stat().st_size / 1e6:.1f} MB): open it in a browser")
    return 0


def write(path: Path, text: str) -> None:
    """Writes the file whole or not at all. Raises ValueError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8", errors="replace")
        temporary.replace(path)
    except OSError as error:
        raise ValueError(f"cannot write {path}: {error.strerror}") from None
    finally:
        temporary.unlink(missing_ok=True)


def collect(paths: Iterable[Path]) -> tuple[list[Run], list[str]]:
    """The runs at or below `paths`, each once, and notes on what is damaged or missing in them.

    Raises: ValueError for a path that does not exist or holds no run that can be read.
    """
    runs: dict[Path, Run] = {}
    notes: list[str] = []
    for path in paths:
        folders, damaged = find(path), []
        for folder in folders:
            try:
                if folder.resolve() not in runs:
                    runs[folder.resolve()] = read(folder)
            except ValueError as error:
                damaged.append(str(error))
        if len(damaged) == len(folders):
            raise ValueError(damaged[0])
        notes += damaged
    return list(runs.values()), notes + [f"{run.name}: {note}" for run in runs.values() for note in run.notes]


def find(path: Path) -> list[Path]:
    """Run folders at `path` or up to three levels below it, sorted. Raises ValueError if there is none."""
    if not path.exists():
        raise ValueError(f"{path} does not exist ({WHERE})")
    found = []
    for folder, children, files in os.walk(path, followlinks=True):
        is_run, depth = "config.json" in files, len(Path(folder).relative_to(path).parts)
        found += [Path(folder)] * is_run
        # Below a run there is none; hidden folders are runs in the making, and Tune's own.
        children[:] = [name for name in children if not (is_run or depth == 3 or name.startswith("."))]
    if not found:
        raise ValueError(f"{path} holds no run: there is no config.json in it ({WHERE})")
    return sorted(found)


def read(folder: Path) -> Run:
    """A run folder. Raises ValueError if its config.json is damaged; all else that is goes into its notes."""
    record = _object(folder / "config.json")
    name, config = record.get("preset"), record.get("config")
    if not isinstance(name, str) or not isinstance(config, dict):
        raise ValueError(f"{folder / 'config.json'} is not the configuration of a run: it needs a preset and a config")
    generative = record.get("half") == "generative" or ("half" not in record and "model" in config)
    try:
        preset = presets.get(name)
        metric, expected = preset.metric, preset.expected
    except ValueError:  # a run from Python, or of another version
        metric, expected = "bpd" if generative else "return_mean", "no such preset here"
    seed = record.get("seed", config.get("seed"))
    run = Run(
        folder=folder, preset=name, generative=generative, seed=seed, record=record, metric=metric, expected=expected
    )
    run.curves = _metrics(folder / "metrics.jsonl", run.notes)
    _on_the_way(run)
    for reader in (_episodes, _test_pictures):
        try:
            reader(run)
        except ValueError as error:
            run.notes.append(str(error))
    return run


def _object(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if not isinstance(data, dict):
        raise ValueError(f"{path} cannot be read: it holds no JSON object")
    return data


def _metrics(path: Path, notes: list[str]) -> dict[str, Curve]:
    """{tag: curve} of metrics.jsonl; of two values at one step the later counts. Adds to notes what was left out."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError as error:
        notes.append("no metrics yet" if not path.exists() else f"{path.name} cannot be read: {error.strerror}")
        return {}
    points: dict[str, dict[float, float]] = {}
    damaged, odd = 0, 0
    for line in filter(str.strip, lines):
        try:
            record = json.loads(line)
            step, _ = number(record.pop("step")), record.pop("time", None)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            step, record = math.nan, {}
        if not math.isfinite(step):  # the half line of a killed run
            damaged += 1
            continue
        values = {tag: number(value) for tag, value in record.items()}
        for tag, value in values.items():
            if math.isfinite(value):
                points.setdefault(tag, {})[step] = value
        odd += not all(map(math.isfinite, values.values()))
    if damaged:
        notes.append(f"{damaged} damaged line{'s' * (damaged > 1)} of {path.name} left out")
    if odd:
        notes.append(f"{odd} line{'s' * (odd > 1)} of {path.name} with values that are no finite numbers, left out")
    if not points:
        notes.append("no metrics yet")
    return {tag: Curve(*np.array(sorted(pairs.items()), float).T) for tag, pairs in points.items()}


def number(value: Any) -> float:
    """A JSON number as a float; NaN for anything else."""
    try:
        return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else math.nan
    except OverflowError:
        return math.nan


def _on_the_way(run: Run) -> None:
    """The last evaluation in metrics.jsonl; without one, the measure's last value in training."""
    last = max((curve.x[-1] for tag, curve in run.curves.items() if tag.startswith("eval/")), default=None)
    for tag, curve in run.curves.items():
        if last is not None and tag.startswith("eval/") and curve.x[-1] == last and not is_bound(tag, run.curves):
            low, high = bounds(run.curves, tag) or (np.array([math.nan]),) * 2
            run.results[tag.removeprefix("eval/")] = Estimate(curve.y[-1], low[-1], high[-1])
    if run.results:
        run.source = "the last evaluation" + _when(run, last or 0)
    elif curve := run.curves.get(f"train/{run.metric}"):
        run.results[run.metric] = Estimate(curve.y[-1])
        run.source = "in training" + _when(run, curve.x[-1])


def _when(run: Run, step: float) -> str:
    """Says when, of an evaluation that is not of the run's last step."""
    return f", after {step:,.0f} steps" if step < run.steps else ""


def _episodes(run: Run) -> None:
    """evaluation.jsonl: every held-out episode of the evaluation at the end of a MARL run."""
    from marl.evaluation import read_jsonl, summarise

    path = run.folder / "evaluation.jsonl"
    if not path.exists():
        return
    episodes = read_jsonl(path)
    try:
        summary = summarise(episodes)
    except (KeyError, IndexError, TypeError, ValueError):  # no episode, or episodes with different numbers
        raise ValueError(f"{path} cannot be read as the episodes of one evaluation") from None
    run.results = {name: Estimate(row["mean"], row["low"], row["high"]) for name, row in summary.items()}
    run.source = f"{len(episodes)} held-out episode{'s' * (len(episodes) > 1)}"
    curve = run.curves.get("eval/return_mean")  # a run that went on has an evaluation older than its curves
    same = np.isclose(curve.y, summary["return_mean"]["mean"]) if curve else np.zeros(0, bool)
    run.source += _when(run, curve.x[same][-1]) if curve and same.any() else ""


def _test_pictures(run: Run) -> None:
    """evaluation.json, which `tandem eval` leaves in a generative run: bits per dimension, parts, codecs."""
    if not run.generative or not (run.folder / "evaluation.json").exists():
        return
    # At the end of a training run the names are tags (eval/bpd, eval/prior_bpd), and there are no codecs.
    data = {name.removeprefix("eval/"): value for name, value in _object(run.folder / "evaluation.json").items()}
    bpd, se = number(data.get("bpd")), number(data.get("se", data.get("bpd_se")))
    if not math.isfinite(bpd):
        raise ValueError(f"{run.folder / 'evaluation.json'} has no bits per dimension")
    parts, codecs = (data[name] if isinstance(data.get(name), dict) else {} for name in ("parts", "codecs"))
    parts = {f"{name.removesuffix('_bpd')}_bpd": number(value) for name, value in parts.items()}
    parts |= {name: number(value) for name, value in data.items() if name.endswith("_bpd")}
    run.results = {"bpd": Estimate(bpd, bpd - Z * se, bpd + Z * se)}
    run.results |= {name: Estimate(value) for name, value in parts.items() if math.isfinite(value)}
    run.codecs = {name: number(value) for name, value in codecs.items() if math.isfinite(number(value))}
    images, step = number(data.get("images")), number(data.get("step"))
    run.source = (f"{images:,.0f} " if images > 0 else "") + "test pictures" + _when(run, step)


def is_bound(tag: str, curves: dict[str, Curve]) -> bool:
    """Whether a tag is the interval of another tag, not a number of its own."""
    return any(tag.endswith(end) and tag.removesuffix(end) in curves for end in ("_low", "_high", "_se"))


def bounds(curves: dict[str, Curve], tag: str) -> tuple[np.ndarray, np.ndarray] | None:
    """The 95% interval of each point of a curve, from TAG_low and TAG_high or from TAG_se, if known."""
    curve, low, high, se = (curves.get(tag + end) for end in ("", "_low", "_high", "_se"))
    if curve and low and high and np.array_equal(low.x, curve.x) and np.array_equal(high.x, curve.x):
        return low.y, high.y
    return (curve.y - Z * se.y, curve.y + Z * se.y) if curve and se and np.array_equal(se.x, curve.x) else None


def t_interval(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(mean, low, high), each [...], of values [n, ...] over n >= 2 seeds: Student's t, 95%, point by point."""
    from scipy.stats import t  # takes a second to import

    count, mean = len(values), values.mean(0)
    half = float(t.ppf(0.975, count - 1)) * values.std(0, ddof=1) / math.sqrt(count)
    return mean, mean - half, mean + half


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


def thin(curve: Curve, points: int = POINTS) -> Curve:
    """The curve, or means of x and y over `points` bins of equal width if it has more points than that."""
    if len(curve.x) <= points:
        return curve
    place = (curve.x - curve.x[0]) / (curve.x[-1] - curve.x[0]) * points
    bins = np.minimum(place.astype(int), points - 1)
    counts = np.bincount(bins, minlength=points)
    used = counts > 0
    return Curve(*(np.bincount(bins, values, points)[used] / counts[used] for values in (curve.x, curve.y)))


def line(group: Group, tag: str, colour: int = 0, *, unit_s: float | None = None) -> Line | None:
    """A run's curve with its own interval, or the mean over seeds with Student's t where all seeds have data.

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
    mean, low, high = t_interval(np.stack([np.interp(grid, curve.x, curve.y) for curve in thinned]))
    count, curve = f" (n = {len(curves)})", Curve(grid, mean)
    return Line(label=group.short, count=count, colour=colour, curve=curve, low=low, high=high, behind=thinned)


def differences(runs: list[Run]) -> dict[str, list[str]]:
    """{field: its value in each run} of the fields that are not the same in all."""
    from experiments.tracking import flatten  # imports TensorBoard

    flat = [flatten(run.config) for run in runs]
    keys = dict.fromkeys(key for one in flat for key in one)
    rows = {key: [str(one.get(key, "-")) for one in flat] for key in keys}
    return {key: row for key, row in rows.items() if len(set(row)) > 1}


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


def printable(text: str) -> str:
    """The text with ? for control characters and broken ones, which terminals and SVG do not take."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def duration(seconds: float) -> str:
    """Seconds as a person would say them."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if minutes else f"{seconds:.3g} s"
    return f"{minutes // 60} h {minutes % 60} min"


def _print(table: Table) -> None:
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    title, head, rows = table
    console = Console()
    fitting = len(head) if console.width >= 110 else 4  # the rest is on the page
    shown = RichTable(title=title)
    for heading in head[:fitting]:
        shown.add_column(heading, overflow="fold", no_wrap=heading in ("run", "training", "seeds"))
    for row in rows:
        lines = [cell if isinstance(cell, str) else "\n".join(filter(None, cell)) for cell in row[:fitting]]
        shown.add_row(*(Text("\n".join(map(printable, line.split("\n")))) for line in lines))
    console.print(shown)
