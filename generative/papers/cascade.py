"""Cascaded Diffusion Models for High Fidelity Image Generation. Ho, Saharia, Chan, Fleet, Norouzi & Salimans 2022,
arXiv 2106.15282.

Sec 2: a chain p(z_0 | c) p(x_0 | z_0, c) of models that are trained apart, each of the later ones told the enlarged
small picture (as SR3, generative/papers/sr3.py) and the class; Sec 3: what it is told is spoiled in training, so that
it forgives what the stage before gets wrong. Blurring (Sec 3.1): a Gaussian filter, in training alone. Gaussian: noise
of a level that is drawn for each picture, told to the network, and chosen for sampling after training; truncated (Sec
3.2: the stage before stops early, at that level) or not (Sec 3.3: it ends, and its picture is noised again).

Where we differ: levels are log_snr, so a stage before may have any schedule; the noise is added at the small size (or,
by choice, at the large one, where the same level spoils less).
"""

import math
from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from generative import noise, process, schedules
from generative.batching import evaluating, in_chunks
from generative.denoiser import static_threshold
from generative.image_to_image import ImageToImage, ImageToImageConfig
from generative.model import PictureModel
from generative.noise import Source
from generative.papers.sr3 import check_factor, reduced
from generative.pixels import scale
from generative.resize import resize
from generative.samplers import SAMPLERS
from generative.schedules import ScheduleConfig

Augmentation = Literal["none", "gaussian", "blur"]


@dataclass(frozen=True, kw_only=True)
class CascadeConfig(ImageToImageConfig):
    """A stage of a cascade that enlarges what the stage before drew."""

    low: int = 16
    """Side in pixels of what is enlarged; a divisor of the pictures' side."""
    augmentation: Augmentation = "gaussian"
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
        if self.augmentation_schedule.kind == "learned" or self.augmentation_schedule.learn_endpoints:
            raise ValueError("augmentation_schedule must be fixed: linear, cosine or betas, without learned ends")
        if not 0 < self.most <= 1 or not 0 <= self.blur_share <= 1:
            raise ValueError(f"most must be in (0, 1] and blur_share in [0, 1], got {self.most} and {self.blur_share}")
        if len(self.blur_sigma) != 2 or not 0 < self.blur_sigma[0] <= self.blur_sigma[1] < math.inf:
            raise ValueError(f"blur_sigma must be two rising positive numbers, got {self.blur_sigma}")


def blurred(x: Tensor, sigma: Tensor) -> Tensor:
    """x [B, C, H, W] under a 3x3 Gaussian filter of standard deviation sigma [B], with mirrored edges. Sec 3.1."""
    side = torch.exp(-0.5 / sigma.to(x).square())
    line = torch.stack([side, torch.ones_like(side), side], 1)
    line = line / line.sum(1, keepdim=True)
    kernel = line[:, :, None] * line[:, None, :]
    batch, channels, height, width = x.shape
    mirrored = F.pad(x, (1, 1, 1, 1), mode="reflect").reshape(1, batch * channels, height + 2, width + 2)
    kernel = kernel.repeat_interleave(channels, 0)[:, None]
    return F.conv2d(mirrored, kernel, groups=batch * channels).reshape(x.shape)


class CascadeStage(ImageToImage):
    """A model of pictures given small ones, which may be spoiled: `restore(small, level=0.2)` enlarges by `factor`."""

    config: CascadeConfig

    def __init__(self, config: CascadeConfig, shape: tuple[int, int, int], num_levels: int = 256) -> None:
        """shape: (C, side, side) of the large pictures. Raises ValueError if `low` does not divide the side."""
        check_factor(config.low, shape)
        super().__init__(config, shape, num_levels, augmented=config.augmentation == "gaussian")
        self.augmentation = schedules.make(config.augmentation_schedule)

    @property
    def factor(self) -> int:
        return self.shape[1] // self.config.low

    def given(self, batch: dict[str, Tensor], source: Source) -> dict[str, Tensor]:
        """Each picture of a batch is spoiled in its own measure."""
        config, small = self.config, scale(reduced(batch["x"], self.config.low, self.num_levels), self.num_levels)
        place = noise.uniform(source, (len(small), 2), device=small.device, dtype=torch.float64)
        if config.augmentation == "blur":
            low, high = config.blur_sigma
            soft = blurred(small, low + (high - low) * place[:, 0])
            small = torch.where((place[:, 1] < config.blur_share)[:, None, None, None], soft, small)
        if config.augmentation != "gaussian":
            return {"image": self._large(small)}
        return self.noised(small, self.augmentation(config.most * place[:, 0]), source)

    def asked(self, pictures: Tensor, sources: Source, level: float = 0.0) -> dict[str, Tensor]:
        """level: s of the noise that is added to `pictures` before they are enlarged (the not truncated way)."""
        self.check_level(level)
        small = scale(pictures, self.num_levels)
        if self.config.augmentation != "gaussian":
            return {"image": self._large(small)}
        places = torch.full((len(small),), level, dtype=torch.float64, device=small.device)
        return self.noised(small, self.augmentation(places), sources)

    def check_level(self, level: float) -> None:
        """Raises ValueError for an s that was not trained; 0 is always right."""
        if self.config.augmentation != "gaussian":
            if level != 0:
                raise ValueError(
                    f"this stage was trained with augmentation {self.config.augmentation}: it has no levels"
                )
        elif not 0 <= level <= self.config.most:
            raise ValueError(f"level must be from 0 to {self.config.most}, what training went to, got {level}")

    def noised(self, small: Tensor, log_snr: Tensor, source: Source) -> dict[str, Tensor]:
        """The condition of small pictures [B, C, h, w] in (-1, 1) with noise of log_snr [B]: scaled, then noised, then
        enlarged (or enlarged, then noised), in training as in sampling."""
        if self.config.noise_at == "lowres":
            return self.handed(process.diffuse(small, log_snr, noise.normal_like(source, small)), log_snr)
        large = self._large(small)
        noisy = process.diffuse(large, log_snr, noise.normal_like(source, large))
        return {"image": noisy, "level": self._level(log_snr)}

    def handed(self, z: Tensor, log_snr: Tensor) -> dict[str, Tensor]:
        """The condition of a small latent z [B, C, h, w] at log_snr [B]."""
        return {"image": self._large(z), "level": self._level(log_snr)}

    def _level(self, log_snr: Tensor) -> Tensor:
        """As the network knows it."""
        return log_snr.clamp(self.config.schedule.log_snr_min, self.config.schedule.log_snr_max)

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


@torch.no_grad()
def truncated(
    base: PictureModel,
    stage: CascadeStage,
    n: int,
    level: float,
    *,
    steps: int,
    sampler: str = "ancestral",
    seed: int = 0,
    first: int = 0,
    label: Tensor | None = None,
) -> dict[str, Tensor]:
    """What `stage` is told where the stage before stops at the noise of `level` and hands over z_s itself. Sec 3.2.

    steps: of the stage before, were it to go to the end; it takes its share of them. Needs noise_at lowres.
    Raises: ValueError for stages that do not fit, and a level outside the trained ones.
    """
    check_fits(base, stage)
    check_truncated(stage)
    stage.check_level(level)
    stop = float(stage.augmentation(torch.tensor([level], dtype=torch.float64)))
    schedule = base.sampling_schedule
    end = round(time_of(lambda t: schedule(t.to(base.device)).cpu(), stop), 12)
    times = torch.linspace(1, end, max(1, round(steps * (1 - end))) + 1, dtype=torch.float64, device=base.device)
    sources = noise.per_example(noise.mix(seed, noise.SAMPLES), range(first, first + n), base.device)
    z = noise.normal(sources, (n, *base.shape), device=base.device, dtype=torch.float32)
    denoise = in_chunks(base.denoise, base.chunk, first)
    denoise = static_threshold(denoise) if base.clips else denoise
    log_snrs = schedule(times).detach()
    if end < 1:  # else what is handed over is noise alone
        with evaluating(base):
            z = SAMPLERS[sampler](denoise, z, log_snrs, cond=base.condition(label, n), generator=sources)
    return stage.handed(z, log_snrs[-1].expand(n)) | (stage.condition(label, n) or {})


def check_truncated(stage: PictureModel) -> None:
    """Raises ValueError unless `stage` takes what the one before left unfinished."""
    config = stage.config
    if not isinstance(config, CascadeConfig) or (config.augmentation, config.noise_at) != ("gaussian", "lowres"):
        raise ValueError("only a stage with Gaussian noise at the small size takes what another left unfinished")


def check_fits(before: PictureModel, stage: PictureModel) -> None:
    """Raises ValueError unless `stage` enlarges what `before` draws."""
    if not isinstance(stage, ImageToImage) or stage.factor == 1:
        raise ValueError("a stage after the first enlarges pictures: train it as SR3 or as a stage of a cascade")
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
