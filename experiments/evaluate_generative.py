"""`tandem eval` of a diffusion model: bits per dimension on test pictures, beside codecs and simple models."""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
import tyro
from rich.console import Console
from rich.table import Table

import generative
from experiments import files, flags
from experiments.data import load_set
from experiments.flags import say
from experiments.progress import Lines, Steps
from generative import config as configs
from generative import watch
from generative.config import Device
from generative.data import ImageSet
from generative.metrics.bits import mean_and_se
from generative.model import PictureModel
from generative.papers.vdm import VDM
from generative.samplers import SAMPLERS
from generative.train import pick_device

EXAMPLE = "tandem eval runs/vdm-digits/20260101-120000-0 --times 32 --num-steps 256"
PARTS = ("prior", "diffusion", "reconstruction")
MOST = 1_000_000
"""Of noise levels and steps: no evaluation with more comes to an end."""
SMALL = 28 * 28
"""Numbers in a picture up to which the two simple models are fitted: the Gaussian has as many squared."""


@dataclass(frozen=True, kw_only=True)
class EvalCommand:
    """Flags of `tandem eval`."""

    run: tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="RUN")]]
    """A run folder or URL (its newest checkpoint), a checkpoint, or a folder with a model."""
    images: int | None = None
    """Pictures, spread evenly over the split; all if omitted."""
    split: Literal["test", "validation"] = "test"
    """Which pictures, none of them trained on."""
    times: int = 16
    """Noise levels per picture; more make the estimate of each picture's bits sharper."""
    num_steps: int | None = None
    """Also the bound of a model that takes this many steps, which is what a compressor with them would pay."""
    seed: int = 0
    """Of the noise."""
    codecs: bool = True
    """Measure PNG, WebP, JPEG 2000 and (if pillow-jxl-plugin is installed) JPEG XL on the same pictures."""
    baselines: bool = True
    """Fit two models without a network to the training pictures, where pictures are small."""
    schedules: bool = False
    """Also evaluate the network under other noise schedules with the same ends: the variance of each one's estimate."""
    samples: int = 0
    """Also draw this many samples and compare them with test pictures: KID, FID, nearest training picture."""
    sample_steps: int | None = None
    """Denoising steps of each sample; 256 if omitted, or what a distilled model was trained for."""
    sampler: str | None = None
    """ancestral, ddim, heun or dpm++; the model's paper's if omitted."""
    features: str = "inception"
    """Features of KID and FID: inception (fetched once), random (to try things out), or a TorchScript file."""
    data_path: str | None = None
    """Where the pictures lie now, for sets that are placed by hand; as in training if omitted."""
    device: Device = "auto"
    """Where to run."""
    output: Path | None = None
    """Also write every picture's bits as JSON lines here."""


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    bits: np.ndarray
    """Bits of each picture, [N]."""
    shared: bool = False
    """Bits of a mosaic, shared equally: no standard error."""


def eval_command(args: list[str]) -> int:
    """Measures bits per dimension on test pictures, beside codecs and simple models on the same pictures."""
    command = flags.parse(
        EvalCommand, args, prog="tandem eval", example=EXAMPLE, about=eval_command.__doc__ or ""
    )  # fmt: skip
    _check(command)
    model = generative.load(command.run, pick_device(command.device))
    config = configs.from_json(model.meta["config"])
    if command.data_path is not None:
        config = replace(config, data=replace(config.data, path=command.data_path))
    images = load_set(config.data, command.split)
    if images.shape != model.shape or images.num_levels != model.num_levels:
        raise ValueError(
            f"{images.name} has pictures {images.shape} of {images.num_levels} levels, "
            f"the model was trained on {model.shape} of {model.num_levels}"
        )
    if command.images is not None and command.images > len(images):
        raise ValueError(
            f"--images must be at most {len(images)} ({images.name} {command.split}), got {command.images}"
        )
    net = _network(command)
    if isinstance(model, VDM):
        _measure_bits(command, model, config, images)
    else:
        _measure_error(command, model, images)
    if command.samples:
        from experiments.sample_quality import compare

        steps, sampler = command.sample_steps or model.steps, command.sampler or model.sampler
        train = load_set(config.data, "train")
        compare(model, net, train, images, command.samples, steps=steps, sampler=sampler, seed=command.seed)
    return 0


def _measure_bits(command: EvalCommand, model: VDM, config: configs.TrainConfig, images: ImageSet) -> None:
    chosen = watch.chosen(images, command.images)
    groups = [images.groups()[i] for i in chosen.tolist()]
    rows = [*_model_rows(command, model, images), *_other_rows(command, config, images, images.batch(chosen)["x"])]
    _print(rows, images, groups)
    _remember(Path(command.run), rows, math.prod(images.shape))
    if command.output:
        _write(command.output, rows, images.keys(chosen), groups)
        say(f"bits of each picture: {command.output}")
    if command.schedules:
        from experiments import schedule_variance

        schedule_variance.compare(model, images, count=command.images, times=command.times, seed=command.seed)


def _measure_error(command: EvalCommand, model: PictureModel, images: ImageSet) -> None:
    """What a model without a bound was trained to lower. Raises ValueError for flags that are about bits."""
    for name, given in (
        ("--num-steps", command.num_steps),
        ("--schedules", command.schedules),
        ("--output", command.output),
    ):
        if given:
            raise ValueError(f"{name} is about bits per dimension, which this model has no bound of; try --samples")
    with Steps("weighted error", 1) as progress:
        found = watch.losses(
            model, images, times=command.times, count=command.images, seed=command.seed,
            progress=lambda done, total: progress.update(done / total),
        )  # fmt: skip
    groups = [images.groups()[i] for i in watch.chosen(images, command.images).tolist()]
    mean, se = mean_and_se(found, groups)
    say(f"weighted error of x0 on {len(found):,} {command.split} pictures: {mean:.5f} ± {se:.5f}")
    if not command.samples:
        say(f"how good its pictures are: tandem eval {command.run} --samples 1000")


def _check(command: EvalCommand) -> None:
    for name, least in (
        ("images", 1),
        ("times", 1),
        ("num_steps", 1),
        ("seed", 0),
        ("samples", 0),
        ("sample_steps", 1),
    ):
        value = getattr(command, name)
        if value is not None and value < least:
            raise ValueError(f"--{name.replace('_', '-')} must be at least {least}, got {value}")
    for name in ("times", "num_steps", "sample_steps"):
        if (getattr(command, name) or 0) > MOST:
            raise ValueError(f"--{name.replace('_', '-')} must be at most {MOST:,}, got {getattr(command, name)}")
    if 0 < command.samples < 4:
        raise ValueError(f"--samples must be 0, or at least 4 for KID and FID, got {command.samples}")
    if command.sampler is not None and command.sampler not in SAMPLERS:
        raise ValueError(f"sampler {command.sampler!r} does not exist; allowed: {', '.join(SAMPLERS)}")
    if command.output:
        flags.check_writable(command.output)


def _network(command: EvalCommand) -> Any:
    """The features of --samples, before anything takes time; None without."""
    if not command.samples:
        return None
    from experiments.sample_quality import network

    return network(command.features, pick_device(command.device))


def _model_rows(command: EvalCommand, model: VDM, images: ImageSet) -> Iterator[Row]:
    """The bound as trained and, if asked for, of so many steps, each with its parts."""
    steps = model.config.num_steps
    for asked in dict.fromkeys([steps, steps if command.num_steps is None else command.num_steps]):
        name = f"model, {asked:,} steps" if asked else "model, continuous time"
        with Steps(name, 1) as progress:
            found = watch.evaluate(
                model,
                images,
                times=command.times,
                num_steps=asked,
                count=command.images,
                seed=command.seed,
                progress=lambda done, total: progress.update(done / total),
            )
        yield Row(name, found.bits.numpy())
        yield from (Row(f"  {part}", getattr(found, part).numpy()) for part in PARTS)


def _other_rows(command: EvalCommand, config: configs.TrainConfig, images: ImageSet, x: torch.Tensor) -> Iterator[Row]:
    """Codecs on the same pictures, one by one and as a mosaic, and simple models fitted to the training pictures."""
    from generative.metrics import baselines, lossless

    if command.codecs and x.shape[1] in (1, 3):
        with Lines("codecs") as tell:
            tell(", ".join(lossless.available()))
            for name, bits in lossless.codec_bits(x, images.num_levels).items():
                plain, mosaic, _ = name.partition("-mosaic")
                yield Row(f"{plain}, one mosaic" if mosaic else f"{plain}, each picture", bits, shared=bool(mosaic))
            if "jxl" not in lossless.available():
                tell("JPEG XL is left out: pillow-jxl-plugin is not installed")
    if command.baselines and math.prod(images.shape) <= SMALL:
        train = load_set(config.data, "train")
        known = train.batch(range(len(train)))["x"]
        with Lines("fitting") as tell:
            tell("a histogram for each pixel")
            yield Row("factorised histograms", baselines.factorised(known, x, images.num_levels))
            tell("a Gaussian with a full covariance")
            yield Row("Gaussian", baselines.gaussian(known, x, images.num_levels, groups=train.groups()))


def _print(rows: list[Row], images: ImageSet, groups: list[str]) -> None:
    dims, units = math.prod(images.shape), len(set(groups))
    shape = "x".join(map(str, images.shape))
    table = Table(title=f"{images.name}, {images.split}: {len(groups):,} pictures {shape} from {units:,} groups")
    for heading in ("", "bits/dim", "s.e.", "bits", "model minus it"):
        table.add_column(heading, justify="left" if not heading else "right", no_wrap=True)
    for row in rows:
        mean, se = mean_and_se(row.bits / dims, groups)
        spread = "" if row.shared or math.isnan(se) else f"{se:.4f}"
        less, error = mean_and_se((rows[0].bits - row.bits) / dims, groups)
        part = row.name.startswith(" ")
        paired = "" if part or row is rows[0] else f"{less:+.3f}" + ("" if math.isnan(error) else f" ± {error:.3f}")
        last = row.name.startswith("  recon")
        table.add_row(row.name, f"{mean:.4f}", spread, f"{mean * dims:,.1f}", paired, end_section=last)
    Console().print(table)
    say("bits per dimension and per picture; standard errors (s.e., ±) count groups as independent, not pictures")


def _remember(run: Path, rows: list[Row], dims: int) -> None:
    """Leaves what codecs take beside a finished run's own evaluation, for the lines in `tandem report`."""
    path = run / "evaluation.json"
    codecs = {
        row.name.replace(", each picture", "").replace(", one mosaic", "_mosaic"): float(row.bits.mean()) / dims
        for row in rows
        if row.name.endswith((", each picture", ", one mosaic"))
    }
    if codecs and path.is_file():
        record = json.loads(path.read_text()) | {"codecs": codecs, "codec_images": len(rows[0].bits)}
        files.write_text(path, json.dumps(record, indent=2))


def _write(path: Path, rows: list[Row], keys: list[str], groups: list[str]) -> None:
    """JSON lines, one a picture."""
    names, head = [], ""
    for row in rows:  # parts are named after the model that they belong to
        head = head if row.name.startswith("  ") else row.name
        names.append(f"{head}:{row.name.strip()}" if row.name.startswith("  ") else row.name)
    lines = []
    for i, (key, group) in enumerate(zip(keys, groups, strict=True)):
        bits: dict[str, Any] = {name: float(row.bits[i]) for name, row in zip(names, rows, strict=True)}
        lines.append(json.dumps({"picture": key, "group": group, "bits": bits}) + "\n")
    files.write_text(path, "".join(lines))
