"""Finds run folders for `tandem report` and reads them, in whatever state they are."""

import json
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from agents.reading import reading
from experiments import presets
from experiments.report_numbers import Curve, Estimate, Z, bounds, is_bound, number

WHERE = "runs are at runs/PRESET/TIME-SEED"


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
    for reader in (_episodes, _test_pictures, _students):
        try:
            reader(run)
        except ValueError as error:
            run.notes.append(str(error))
    return run


def _object(path: Path) -> dict[str, Any]:
    with reading(path, "JSON"):
        data = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(data, dict):
            raise ValueError("it holds no JSON object")
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
    images, step = number(data.get("images")), number(data.get("step"))
    source = (f"{images:,.0f} " if images > 0 else "") + "test pictures" + _when(run, step)
    if run.metric != "bpd":  # a model without a bound has its loss
        value, se = number(data.get(run.metric)), number(data.get(f"{run.metric}_se"))
        if math.isfinite(value):
            run.results, run.source = {run.metric: Estimate(value, value - Z * se, value + Z * se)}, source
        return
    bpd, se = number(data.get("bpd")), number(data.get("se", data.get("bpd_se")))
    if not math.isfinite(bpd):
        raise ValueError(f"{run.folder / 'evaluation.json'} has no bits per dimension")
    parts, codecs = (data[name] if isinstance(data.get(name), dict) else {} for name in ("parts", "codecs"))
    parts = {f"{name.removesuffix('_bpd')}_bpd": number(value) for name, value in parts.items()}
    parts |= {name: number(value) for name, value in data.items() if name.endswith("_bpd")}
    run.results = {"bpd": Estimate(bpd, bpd - Z * se, bpd + Z * se)}
    run.results |= {name: Estimate(value) for name, value in parts.items() if math.isfinite(value)}
    run.codecs = {name: number(value) for name, value in codecs.items() if math.isfinite(number(value))}
    run.source = source


def _students(run: Run) -> None:
    """scores/rows.jsonl, which `tandem eval` leaves in a chain of students: the FID of each."""
    path = run.folder / "scores" / "rows.jsonl"
    if run.record.get("kind") != "distill":
        return
    run.expected = "about the teacher's pictures in fewer steps"
    if not path.exists():
        return
    with reading(path, "scores"):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        found = {int(row["steps"]): row for row in rows if row["method"] == "distilled"}
        run.results = {f"FID, {steps} step{'s' * (steps > 1)}": Estimate(float(found[steps]["fid"])) for steps in found}
    run.metric = next(reversed(run.results), run.metric)
    run.source = f"{rows[-1]['samples']:,} samples" if rows else ""
