"""`tandem sweep aug-level`: how much noise on what a stage enlarges makes a cascade's pictures best.

The pictures of the stages before are drawn once and kept; the last stage enlarges the same ones at every level.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro
from torch import Tensor

import generative
from experiments import cascade, files, flags, tables
from experiments.cascade_judge import Judge, Row
from experiments.data import load_set
from experiments.flags import say
from experiments.pictures import grid, with_names
from experiments.progress import goes_on
from experiments.sample_quality import network, pictures_of
from generative import config as configs
from generative.config import Device
from generative.metrics.statistics import describe
from generative.model import PictureModel
from generative.papers.cascade import CascadeStage
from generative.train import pick_device

EXAMPLE = "tandem sweep aug-level runs/cdm-mnist8/TIME-0 runs/cdm-mnist16/TIME-0 --levels 0 0.1 0.2 0.4 0.8"


COLUMNS = 8
"""Pictures of each level that are shown."""
REAL = 5000
"""Test pictures that samples are compared with, at most, evenly spread."""


@dataclass(frozen=True, kw_only=True)
class AugLevelCommand:
    """Flags of `tandem sweep aug-level`."""

    runs: tyro.conf.Positional[tuple[str, ...]]
    """The runs of a cascade, the smallest first; the last one's level is varied."""
    levels: tuple[float, ...] = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8)
    """s of the noise, from 0 (next to none) to 1."""
    before: tuple[float, ...] = ()
    """Levels of the stages between the first and the last; 0 if omitted."""
    schedules: tuple[str, ...] = ()
    """A file of `tandem sweep schedule` for each stage after the first, or "own" for the model's own."""
    truncated: bool = False
    """The base stops at each level and hands over what it has, instead of being noised again: for two runs."""
    samples: int = 1000
    """Pictures at each level."""
    steps: int | None = None
    """Denoising steps of each stage; as configured if omitted."""
    stage_steps: tuple[int, ...] = ()
    """A number for each stage, in place of --steps for all."""
    sampler: str | None = None
    """ancestral, ddim, heun or dpm++; each model's own if omitted."""
    seed: int = 0
    """Of the noise."""
    features: str = "inception"
    """Features of KID and FID: inception (fetched once), random, or a TorchScript file."""
    classifiers: int = 3
    """With classes: so many classifiers are trained on the samples of each level and tested on real pictures."""
    device: Device = "auto"
    """Where to run."""
    output: Path = Path("aug-level")
    """Folder of the page, its curve and pictures, and of every stage's pictures."""


@goes_on()
def command(args: list[str]) -> int:
    """Draws a cascade's pictures at several levels of noise on what its last stage enlarges, and scores them."""
    asked = flags.parse(
        AugLevelCommand, args, prog="tandem sweep aug-level", example=EXAMPLE, about=command.__doc__ or ""
    )
    _check(asked)
    models = [generative.load(run, pick_device(asked.device)) for run in asked.runs]
    cascade.check(models, asked.before, asked.truncated)
    last = models[-1]
    if not isinstance(last, CascadeStage) or last.config.augmentation != "gaussian":
        raise ValueError(f"{asked.runs[-1]} was not trained with Gaussian noise on what it enlarges: it has no levels")
    if max(asked.levels) > last.config.most:
        raise ValueError(f"--levels must be at most {last.config.most}, what training went to, got {max(asked.levels)}")
    cascade.tell_reductions(asked.runs, models)
    stages = {level: _stages(asked, models, level) for level in asked.levels}
    flags.check_writable(asked.output / "aug-level.md")
    config = configs.from_json(last.meta["config"])
    test, train = load_set(config.data, "test"), load_set(config.data, "train")
    net = network(asked.features, pick_device(asked.device))
    real, real_groups = pictures_of(test, REAL)
    known, known_groups = pictures_of(train, asked.samples)
    judged = Judge(
        net, real, real_groups, last, classifiers=asked.classifiers, store=asked.output / "scores"
    )  # fmt: skip
    rows, shown = [], []
    for level in asked.levels:
        store = asked.output / "stages"
        *_, given, made = cascade.draw(models, stages[level], asked.samples, store, seed=asked.seed)
        labels = cascade.labels_of(last, 0, asked.samples, None)
        row = judged.row(level, made, None if asked.truncated else given, labels)
        rows.append(row)
        shown.append(made[:COLUMNS])
        say(f"level {level:g}: KID {row.kid.value:.5f} ± {row.kid.se:.5f}, FID {row.fid:.2f}")
    floor = judged.row(-1.0, known["x"], None, known["label"], known_groups)
    against = f"{describe(net)}, against {len(real['x']):,} test pictures of {test.name}"
    _write(asked, last, rows, floor, against, shown, None if asked.truncated else given[:COLUMNS])
    return 0


def _check(asked: AugLevelCommand) -> None:
    if len(asked.runs) < 2:
        raise flags.FlagError(f"a cascade has two runs or more; for example: {EXAMPLE}")
    if not asked.levels or not all(0 <= level <= 1 for level in asked.levels):
        raise ValueError(f"--levels must be numbers from 0 to 1, got {asked.levels}")
    if list(asked.levels) != sorted(set(asked.levels)):
        raise ValueError(f"--levels must rise, each once, got {' '.join(f'{level:g}' for level in asked.levels)}")
    if len(asked.before) not in (0, len(asked.runs) - 2):
        raise ValueError(f"--before needs {len(asked.runs) - 2} levels, got {len(asked.before)}")
    if asked.truncated and len(asked.runs) > 2:
        raise ValueError("--truncated is for a base and one stage: only a base stops early")
    if not 0 <= asked.classifiers <= 100:
        raise ValueError(f"--classifiers must be from 0 to 100, got {asked.classifiers}")
    for name, value, least, most in (
        ("samples", asked.samples, 8, 100_000), ("seed", asked.seed, 0, 2**62),
        ("steps", 1 if asked.steps is None else asked.steps, 1, 1_000_000),
        *(("stage-steps", count, 1, 1_000_000) for count in asked.stage_steps),
    ):  # fmt: skip
        if not least <= value <= most:
            raise ValueError(f"--{name} must be from {least} to {most:,}, got {value}")


def _stages(asked: AugLevelCommand, models: list[PictureModel], level: float) -> list[cascade.Stage]:
    levels = *(asked.before or (0.0,) * (len(models) - 2)), level
    return cascade.planned(
        models, levels, steps=asked.steps, stage_steps=asked.stage_steps, sampler=asked.sampler,
        truncated=asked.truncated, schedules=asked.schedules,
    )  # fmt: skip


def _write(
    asked: AugLevelCommand, last: CascadeStage, rows: list[Row], floor: Row, against: str, shown: list[Tensor],
    base: Tensor | None,
) -> None:  # fmt: skip
    from experiments.tracking import write_png  # imports TensorBoard

    output = asked.output
    head = ["level s", "KID", "FID", "consistency, 1e-5", *(f"accuracy score, {k}" for k in rows[0].accuracy_scores)]
    lines = [_line(f"{row.level:g}", row) for row in rows]
    lines.append(_line("real training pictures", floor))
    best = min(rows, key=lambda row: row.kid.value)
    none = min(rows, key=lambda row: row.level)
    gap = none.kid.minus(best.kid)
    verdict = f"The lowest KID of these levels is at s = {best.level:g}: {best.kid.value:.5f}"
    if best is none:
        verdict += ", where there is least noise: more of it does not help."
    else:
        verdict += (
            f", against {none.kid.value:.5f} at s = {none.level:g}: {gap.value:.5f} ± {gap.se:.5f} (standard error; "
            f"pictures with the same numbers are paired; the best of {len(rows)} levels was chosen on these very ones)."
        )
    if (most := rows[-1]) is not best:
        more = most.kid.minus(best.kid)
        verdict += f" At s = {most.level:g} it is {more.value:.5f} ± {more.se:.5f} above the lowest."
    text = (
        f"# Noise on what is enlarged\n\n{asked.samples:,} pictures at each level, {_how(asked)}, seed "
        f"{asked.seed}; {against}. KID ± its standard error{_classifiers(rows[0])}.\n\n"
        f"{tables.markdown(head, lines)}\n{verdict}\n\n"
        f"![curve](curve.png)\n\npictures.png: {'' if base is None else 'what was enlarged, then '}a row for each "
        "level.\n\n"
        f"`{flags.said('tandem sweep aug-level', asked, ('levels', 'samples', 'seed', 'classifiers'))}`\n"
    )
    files.write_text(output / "aug-level.md", text)
    files.write_text(output / "aug-level.json", json.dumps([row.plain() for row in [*rows, floor]], indent=2))
    figure(output / "curve.png", rows, floor)
    names = [f"s = {row.level:g}" for row in rows]
    if base is not None:
        names = ["enlarged", *names]
        shown = [base.repeat_interleave(last.factor, 2).repeat_interleave(last.factor, 3), *shown]
    sheet = grid(torch.cat(shown), last.num_levels, columns=len(shown[0]))
    write_png(output / "pictures.png", with_names(sheet, names))
    tables.show("noise on what is enlarged", head, lines)
    say(f"{verdict}\n{output / 'aug-level.md'}, curve.png and pictures.png beside it")


def _classifiers(row: Row) -> str:
    count = len(row.accuracy_scores.get("top-1", ()))
    return f"; accuracy score ± its standard error over {count} classifiers" if count > 1 else ""


def _how(asked: AugLevelCommand) -> str:
    return "the base stopped at it" if asked.truncated else "from one set of base pictures that are noised again"


def _line(name: str, row: Row) -> list[str]:
    missed = "-" if row.consistency is None else f"{row.consistency:.1f}"
    cells = [name, f"{row.kid.value:.5f} ± {row.kid.se:.5f}", f"{row.fid:.2f}", missed]
    return [*cells, *(_score(values) for values in row.accuracy_scores.values())]


def _score(values: tuple[float, ...]) -> str:
    if len(values) == 1:
        return f"{values[0]:.3f}"
    return f"{np.mean(values):.3f} ± {np.std(values, ddof=1) / len(values) ** 0.5:.3f}"


def figure(path: Path, rows: list[Row], floor: Row) -> None:
    """KID and consistency over the level."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(6.6, 4.2), layout="constrained")
    axes = drawing.subplots()
    levels = [row.level for row in rows]
    axes.errorbar(
        levels, [row.kid.value for row in rows], [1.96 * row.kid.se for row in rows], marker="o", capsize=3, label="KID"
    )
    axes.axhline(floor.kid.value, color="grey", linestyle=":", label="KID of real training pictures")
    axes.set(xlabel="s: noise on what the last stage enlarges", ylabel="KID (lower is better), 95% interval")
    axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
    handles = axes.get_legend_handles_labels()[0]
    if missed := [row.consistency for row in rows if row.consistency is not None]:
        other = axes.twinx()
        handles += other.plot(levels, missed, "s--", color="C1", label="consistency error")
        other.set_ylabel("mean square difference to it, 1e-5", color="C1")
        other.set_ylim(0, 1.1 * max(missed) or None)
    drawing.legend(handles=handles, frameon=False, loc="outside upper center", ncols=len(handles))
    with files.whole(path) as temporary:
        drawing.savefig(temporary, format="png", dpi=130, metadata={"Software": None})
