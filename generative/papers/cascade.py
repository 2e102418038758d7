"""Cascaded Diffusion Models for High Fidelity Image Generation. Ho, Saharia, Chan, Fleet, Norouzi & Salimans 2022,
arXiv 2106.15282.

Sec 2: a chain p(z_0 | c) p(x_0 | z_0, c) of models that are trained apart, each of the later ones told the enlarged
small picture (as SR3, generative/papers/sr3.py) and the class; Sec 3: what it is told is spoiled in training, so that
it forgives what the stage before gets wrong (generative/augmentations.py): blurred (Sec 3.1), in training alone, or
with noise whose level is told to the network, and chosen for sampling after training; truncated (Sec 3.2: the stage
before stops early, at that level) or not (Sec 3.3: it ends, and its picture is noised again).

Where we differ: levels are log_snr, so a stage before may have any schedule; the noise is added at the small size (or,
by choice, at the large one, where the same level spoils less). The paper's networks at 32 and 64 pixels also learn the
variance of their steps, by a hybrid loss (Nichol & Dhariwal 2021); here all learn the mean, and the variance is chosen.
"""

import math
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from generative import noise, schedules
from generative.augmentations import Augmentation, Blur, Clean, GaussianNoise
from generative.batching import evaluating, in_chunks
from generative.denoiser import static_threshold
from generative.image_to_image import ImageToImage, ImageToImageConfig
from generative.model import PictureModel, check_finite
from generative.noise import Source
from generative.papers.sr3 import check_factor, reduced
from generative.pixels import scale
from generative.resize import resize
from generative.samplers import SAMPLERS, Callback
from generative.schedules import ScheduleConfig


@dataclass(frozen=True, kw_only=True)
class CascadeConfig(ImageToImageConfig):
    """A stage of a cascade that enlarges what the stage before drew."""

    low: int = 16
    """Side in pixels of what is enlarged; a divisor of the pictures' side."""
    augmentation: Literal["none", "gaussian", "blur"] = "gaussian"
    """How what is enlarged is spoiled in training."""
    noise_at: Literal["lowres", "target"] = "lowres"
    """Whether Gaussian noise is added before or after the enlargement."""
    augmentation_schedule: ScheduleConfig = field(
        default_factory=lambda: ScheduleConfig(kind="cosine", log_snr_max=15.0, log_snr_min=-15.0)
    )
    """log_snr of the noise at s in [0, 1]; s = 0 is next to nothing, s = 1 noise alone."""
    most: float = 1.0
    """The largest s that is trained: s is uniform in [0, most]."""
    blur_sigma: tuple[float, ...] = (0.4, 0.6)
    """Least and largest standard deviation of the blurring filter, in pixels."""
    blur_share: float = 0.5
    """Share of the pictures that are blurred."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "blur_sigma", tuple(self.blur_sigma))
        super().__post_init__()
        if self.low < 1:
            raise ValueError(f"low must be positive, got {self.low}")
        if self.low < 2 and self.augmentation == "blur":
            raise ValueError("low must be 2 or more with blur, whose filter mirrors the pictures at their edges, got 1")
        if self.augmentation_schedule.kind == "learned" or self.augmentation_schedule.learn_endpoints:
            raise ValueError("augmentation_schedule must be fixed: linear, cosine or betas, without learned ends")
        if not 0 < self.most <= 1 or not 0 <= self.blur_share <= 1:
            raise ValueError(f"most must be in (0, 1] and blur_share in [0, 1], got {self.most} and {self.blur_share}")
        if len(self.blur_sigma) != 2 or not 0 < self.blur_sigma[0] <= self.blur_sigma[1] < math.inf:
            raise ValueError(f"blur_sigma must be two rising positive numbers, got {self.blur_sigma}")

    def made(self) -> Augmentation:
        """The augmentation as an object."""
        if self.augmentation == "blur":
            low, high = self.blur_sigma
            return Blur(sigma=(low, high), share=self.blur_share)
        if self.augmentation == "none":
            return Clean()
        return GaussianNoise(log_snr=schedules.make(self.augmentation_schedule), most=self.most, at=self.noise_at)


class CascadeStage(ImageToImage):
    """A model of pictures given small ones, which may be spoiled: `restore(small, level=0.2)` enlarges by `factor`."""

    config: CascadeConfig

    def __init__(self, config: CascadeConfig, shape: tuple[int, int, int], num_levels: int = 256) -> None:
        """shape: (C, side, side) of the large pictures. Raises ValueError if `low` does not divide the side."""
        check_factor(config.low, shape)
        super().__init__(config, shape, num_levels, augmented=config.augmentation == "gaussian")
        self.augmentation = config.made()

    @property
    def factor(self) -> int:
        return self.shape[1] // self.config.low

    def given(self, batch: dict[str, Tensor], source: Source) -> dict[str, Tensor]:
        """Each picture of a batch is spoiled in its own measure."""
        small = scale(reduced(batch["x"], self.config.low, self.num_levels), self.num_levels)
        place = noise.uniform(source, (len(small), 2), device=small.device, dtype=torch.float64)
        return self._told(*self.augmentation.training(small, place, source, self._large))

    def asked(self, pictures: Tensor, sources: Source, level: float = 0.0) -> dict[str, Tensor]:
        """level: s of the noise that is added to `pictures` before they are enlarged (the not truncated way)."""
        self.augmentation.check_level(level)
        small = scale(pictures, self.num_levels)
        return self._told(*self.augmentation.sampling(small, level, sources, self._large))

    def handed(self, z: Tensor, log_snr: Tensor) -> dict[str, Tensor]:
        """The condition of a small latent z [B, C, h, w] at log_snr [B]."""
        return self._told(self._large(z), log_snr)

    def _told(self, image: Tensor, log_snr: Tensor | None) -> dict[str, Tensor]:
        if log_snr is None:
            return {"image": image}
        known = self.config.schedule
        return {"image": image, "level": log_snr.clamp(known.log_snr_min, known.log_snr_max)}

    def _large(self, small: Tensor) -> Tensor:
        return resize(small, (small.shape[-2] * self.factor, small.shape[-1] * self.factor))


def time_of(schedule: schedules.Schedule, log_snr: float) -> float:
    """t in [0, 1] at which a falling schedule has this log_snr, to float64's precision; an end for levels beyond."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        above = float(schedule(torch.tensor([middle], dtype=torch.float64))) > log_snr
        low, high = (middle, high) if above else (low, middle)
    return (low + high) / 2


def stop_of(base: PictureModel, stage: CascadeStage, level: float) -> float:
    """t at which a base that `stage` takes unfinished stops: where its own schedule has the noise of `level`. Raises
    ValueError for stages that do not fit, and a level outside the trained ones."""
    check_fits(base, stage)
    if base.taught_steps:
        raise ValueError(f"a base that knows {base.taught_steps} times alone cannot stop between them")
    noisy = check_truncated(stage)
    noisy.check_level(level)
    stop = float(noisy.log_snr(torch.tensor([level], dtype=torch.float64)))
    schedule = base.sampling_schedule
    return round(time_of(lambda t: schedule(t.to(base.device)).cpu(), stop), 12)


def steps_to(end: float, steps: int) -> int:
    """How many of its steps a base takes that stops at t = `end`."""
    return max(1, round(steps * (1 - end)))


@torch.no_grad()
def unfinished(
    base: PictureModel,
    n: int,
    end: float,
    *,
    steps: int,
    sampler: str = "ancestral",
    seed: int = 0,
    first: int = 0,
    label: Tensor | None = None,
    callback: Callback | None = None,
) -> Tensor:
    """z_s [n, C, h, w] of a base that stops at t = `end`. Sec 3.2. Number i depends on (seed, first + i) alone.

    steps: of the base, were it to go to the end; it takes its share of them; callback: of the sampler.
    """
    times = torch.linspace(1, end, steps_to(end, steps) + 1, dtype=torch.float64, device=base.device)
    sources = noise.per_example(noise.mix(seed, noise.SAMPLES), range(first, first + n), base.device)
    z = noise.normal(sources, (n, *base.shape), device=base.device, dtype=torch.float32)
    if end == 1:  # what is handed over is noise alone
        return z
    denoise = in_chunks(base.denoise, base.chunk, first)
    denoise = static_threshold(denoise) if base.clips else denoise
    log_snrs = base.sampling_schedule(times).detach()
    with evaluating(base):
        how: dict[str, Any] = {"cond": base.condition(label, n), "generator": sources, "callback": callback}
        return check_finite(SAMPLERS[sampler](denoise, z, log_snrs, **how))


def truncated(base: PictureModel, stage: CascadeStage, n: int, level: float, **options: Any) -> dict[str, Tensor]:
    """What `stage` is told where the stage before stops at the noise of `level` and hands over z_s itself. Sec 3.2.

    options: of `unfinished`. Raises: ValueError as `stop_of`.
    """
    end = stop_of(base, stage, level)
    return continued(base, stage, unfinished(base, n, end, **options), end, options.get("label"))


def continued(
    base: PictureModel, stage: CascadeStage, z: Tensor, end: float, label: Tensor | None = None
) -> dict[str, Tensor]:
    """The condition of what a base left at t = `end`."""
    places = torch.full((len(z),), end, dtype=torch.float64, device=base.device)
    log_snr = base.sampling_schedule(places).detach()
    return stage.handed(z.to(base.device), log_snr) | (stage.condition(label, len(z)) or {})


def check_truncated(stage: PictureModel) -> GaussianNoise:
    """The noise of a stage that takes what the one before left unfinished. Raises ValueError for one that does not."""
    noisy = stage.augmentation if isinstance(stage, CascadeStage) else None
    if not isinstance(noisy, GaussianNoise) or noisy.at != "lowres":
        raise ValueError("only a stage with Gaussian noise at the small size takes what another left unfinished")
    return noisy


def check_fits(before: PictureModel, stage: PictureModel) -> None:
    """Raises ValueError unless `stage` enlarges what `before` draws."""
    if not isinstance(stage, ImageToImage) or stage.factor == 1:
        raise ValueError(
            "a stage after the first enlarges pictures: train it as SR3 or as a stage of a cascade, and name the runs "
            "from the smallest pictures up"
        )
    side = stage.shape[1] // stage.factor
    want = stage.shape[0], side, side
    if tuple(before.shape) != want or before.num_levels != stage.num_levels:
        has, needs = (f"{'x'.join(map(str, shape))} of {levels} levels" for shape, levels in (
            (before.shape, before.num_levels), (want, stage.num_levels)
        ))  # fmt: skip
        raise ValueError(f"the stages do not fit: one draws pictures of {has}, the next takes {needs}")
    ours, theirs = before.config.net.classes, stage.config.net.classes
    if theirs and ours != theirs:
        raise ValueError(f"the stages do not fit: one has {ours} classes, the next {theirs}")
    ours, theirs = (model.meta.get("classes") if theirs else None for model in (before, stage))
    if ours and theirs and list(ours) != list(theirs):
        raise ValueError(f"the stages do not fit: one has the classes {', '.join(ours)}, the next {', '.join(theirs)}")


def other_reductions(before: PictureModel, stage: PictureModel) -> str:
    """How the pictures of `before` were reduced in training, where `stage` learnt to enlarge ones that were reduced in
    other steps: each step is a filter, so they look another way. Empty where the steps are the same, or unknown."""
    ours, theirs = (model.meta.get("config", {}).get("data") for model in (before, stage))
    same = "name", "path", "size", "downscale"
    if not ours or not theirs or any(name not in data for data in (ours, theirs) for name in (*same, "reduced")):
        return ""  # of models that were saved before there were such fields
    if not ours["size"] or any(ours[name] != theirs[name] for name in same):
        return ""
    side = stage.shape[1] // (stage.factor if isinstance(stage, ImageToImage) else 1)
    paths = [[ours["size"], *ours["reduced"]], [theirs["size"], *theirs["reduced"], side]]
    if paths[0] == paths[1]:
        return ""
    one, other = (" to ".join(map(str, path)) for path in paths)
    return f"reduced from {one}, where the next stage knows pictures that were reduced from {other}"
