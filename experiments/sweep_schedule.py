"""`tandem sweep schedule`: where few steps of a trained enlarger or restorer should lie, without training it again."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro

import generative
from agents.reading import json_of
from experiments import files, flags, restoring, tables
from experiments.data import load_set
from experiments.flags import say
from experiments.sample_quality import features_of, known_features, network
from generative import config as configs
from generative import noise, schedules, watch
from generative.config import Device
from generative.image_to_image import ImageToImage
from generative.metrics import fid
from generative.papers.sr3 import candidates, search
from generative.schedules import ScheduleConfig
from generative.train import pick_device

REFERENCE = 2000
"""Training pictures that FID is measured against, at most."""
EXAMPLE = "tandem sweep schedule runs/sr3-photos64/20260101-120000-0 --steps 16 --output schedule.json"


@dataclass(frozen=True, kw_only=True)
class ScheduleCommand:
    """Flags of `tandem sweep schedule`."""

    run: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RUN")]
    """A run of SR3, Palette or a stage of a cascade."""
    steps: int = 16
    """Denoising steps that the schedule is for."""
    images: int = 200
    """Validation pictures (training pictures of sets without any) that are restored with each schedule."""
    task: str | None = None
    """Of a model that knows several."""
    level: float = 0.0
    """A stage of a cascade: s of the noise that is added to what is enlarged."""
    seed: int = 0
    """Of the noise; the same for every schedule."""
    features: str = "inception"
    """Features of FID: inception (fetched once), random, or a TorchScript file."""
    device: Device = "auto"
    """Where to run."""
    output: Path = Path("schedule.json")
    """Where the best one goes, for --schedule of `tandem restore` and `tandem eval`, or --schedules of a cascade."""


def command(args: list[str]) -> int:
    """Searches linear schedules of inference for the one whose samples have the lowest FID (SR3, Sec 2.4)."""
    asked = flags.parse(
        ScheduleCommand, args, prog="tandem sweep schedule", example=EXAMPLE, about=command.__doc__ or ""
    )
    for name, least, most in (("steps", 2, 10_000), ("images", 8, 100_000), ("seed", 0, 2**62)):
        if not least <= getattr(asked, name) <= most:
            raise ValueError(f"--{name} must be from {least} to {most:,}, got {getattr(asked, name)}")
    model = generative.load(asked.run, pick_device(asked.device))
    if not isinstance(model, ImageToImage):
        raise ValueError(f"{asked.run} draws pictures of its own: its schedule is not searched for")
    if model.config.regression:
        raise ValueError(f"{asked.run} answers in one step, without noise: it has no schedule to search for")
    if not any(candidates(asked.steps)):
        raise ValueError(f"no linear schedule of {asked.steps} steps reaches noise; give more --steps")
    task = restoring.task_of(asked.run, model, asked.task)
    restoring.check_level(model, asked.level)
    flags.check_writable(asked.output)
    config = configs.from_json(model.meta["config"])
    try:
        images = load_set(config.data, "validation")
    except ValueError:  # there are none
        images = load_set(config.data, "train")
    images = images if len(images) else load_set(config.data, "train")
    net = network(asked.features, pick_device(asked.device))
    x = images.batch(watch.chosen(images, asked.images))
    given, mask = restoring.spoiled(model, task, x["x"], asked.seed)
    training = load_set(config.data, "train")
    known = training.batch(watch.chosen(training, REFERENCE))["x"]
    real = known_features(net, known, model.num_levels, "real pictures")
    scores: dict[ScheduleConfig, float] = {}

    def score(schedule: ScheduleConfig | None) -> float:
        draw = {"steps": asked.steps, "schedule": None if schedule is None else schedules.make(schedule)}
        options: dict[str, Any] = {
            "label": x["label"],
            "level": asked.level,
            "seed": noise.mix(asked.seed, 0),
            "draw": draw,
            "what": "samples",
        }
        made = restoring.answers(model, task, given, mask, **options)
        return fid.fid(features_of(net, made, model.num_levels, "samples"), real)

    def report(schedule: ScheduleConfig, found: float) -> None:
        scores[schedule] = found
        say(f"betas from {schedule.beta_start:g} to {schedule.beta_end:g}: FID {found:.2f}")

    own = score(None)
    say(f"the model's own schedule: FID {own:.2f}")
    best = search(score, asked.steps, report)
    lines = [["own", "", f"{own:.2f}"]]
    lines += [[f"{one.beta_start:g}", f"{one.beta_end:g}", f"{found:.2f}"] for one, found in scores.items()]
    title = f"FID with {asked.steps} steps, {len(x['x'])} pictures against {len(real):,}"
    tables.show(title, ["betas from", "to", "FID"], lines)
    if own <= scores[best]:
        say(f"no schedule is better than the model's own with {asked.steps} steps: nothing was written")
        return 0
    files.write_text(asked.output, json.dumps(asdict(best), indent=2))
    say(
        f"{asked.output}: use it with tandem restore {asked.run} IN.png --steps {asked.steps} --schedule {asked.output}"
    )
    return 0


def read(path: Path) -> ScheduleConfig:
    """A schedule that `tandem sweep schedule` wrote. Raises ValueError."""
    with json_of(path, "a schedule") as data:
        found = configs.read(ScheduleConfig, data)
        if found.kind == "learned" or found.learn_endpoints:
            raise ValueError("it is of kind learned, or its ends are, and has no network")
        log_snrs = schedules.make(found)(torch.linspace(1, 0, 1000, dtype=torch.float64))
        if not bool((log_snrs.diff() > 0).all()):
            raise ValueError("its levels do not rise from noise to picture")
        return found
