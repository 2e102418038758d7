"""Image Super-Resolution via Iterative Refinement (SR3). Saharia, Ho, Chan, Salimans, Fleet & Norouzi 2021, arXiv
2104.07636.

Sec 2: a denoiser that is told the enlarged low-resolution picture; Sec 2.2 and Algorithm 1: |eps - eps_hat|^p; Sec 2.3
and Algorithm 2: an ancestral sampler with the large variance 1 - alpha_t; Sec 2.4: the noise level in place of a step,
drawn from p(gamma), and schedules of inference that are searched for after training; Sec 4: the regression baseline.
All of that is generative/image_to_image.py; the network is generative/nets/unet.py with `rescale_skips` and
`resample_in_block`. The paper's gamma is our alpha^2 = sigmoid(log_snr).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from generative.image_to_image import ImageToImage, ImageToImageConfig
from generative.noise import Source
from generative.pixels import scale
from generative.resize import resize, resize_levels
from generative.schedules import Betas, ScheduleConfig, linear_betas


@dataclass(frozen=True, kw_only=True)
class SR3Config(ImageToImageConfig):
    """A model that enlarges pictures."""

    low: int = 16
    """Side in pixels of what is enlarged; a divisor of the pictures' side."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.low < 1:
            raise ValueError(f"low must be positive, got {self.low}")


def reduced(k: Tensor, low: int, num_levels: int) -> Tensor:
    """The low-resolution picture [B, C, low, low] of level indices k [B, C, H, W]: bicubic, antialiased, rounded to
    levels. Sec 4."""
    return resize_levels(k, (low, low), num_levels)


def enlarged(k: Tensor, factor: int, num_levels: int) -> Tensor:
    """What the network is told: k [B, C, h, w] in (-1, 1), bicubic at `factor` times the size. Sec 2."""
    return resize(scale(k, num_levels), (k.shape[-2] * factor, k.shape[-1] * factor))


class SR3(ImageToImage):
    """A model of pictures given small ones: `restore(small)` enlarges by `factor`."""

    config: SR3Config

    def __init__(self, config: SR3Config, shape: tuple[int, int, int], num_levels: int = 256) -> None:
        """shape: (C, side, side) of the large pictures. Raises ValueError if `low` does not divide the side."""
        check_factor(config.low, shape)
        super().__init__(config, shape, num_levels)

    @property
    def factor(self) -> int:
        return self.shape[1] // self.config.low

    def given(self, batch: dict[str, Tensor], source: Source) -> dict[str, Tensor]:
        low = reduced(batch["x"], self.config.low, self.num_levels)
        return {"image": enlarged(low, self.factor, self.num_levels)}

    def asked(self, pictures: Tensor, sources: Source) -> dict[str, Tensor]:
        return {"image": enlarged(pictures, self.factor, self.num_levels)}


def check_factor(low: int, shape: tuple[int, int, int]) -> None:
    """Raises ValueError unless pictures of (C, side, side) are a whole number of times larger than `low`."""
    _, height, width = shape
    if height != width or height % low or height == low:
        raise ValueError(f"low must divide the side of square pictures, and be below it, got {low} of {height}x{width}")


def candidates(num_steps: int) -> Iterator[ScheduleConfig]:
    """Schedules of inference with so many steps. Sec 2.4: the paper searches linear ones; the grid is ours.

    Left out are those that leave some of the picture in z_1 (log_snr above -3), since a sampler begins with noise, and
    those whose last levels are beyond all numbers (below -100).
    """
    ends = product((1e-6, 1e-5, 1e-4, 1e-3), (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5))
    for beta_start, beta_end in ends:
        betas = Betas(num_steps=max(2, num_steps), beta_start=beta_start, beta_end=beta_end)
        if -100 <= float(betas(torch.ones(1))) <= -3:
            yield linear_betas(beta_start, beta_end, max(2, num_steps))


def search(
    score: Callable[[ScheduleConfig], float],
    num_steps: int,
    report: Callable[[ScheduleConfig, float], None] | None = None,
) -> ScheduleConfig:
    """The candidate with the least `score` (such as FID or KID of samples on held-out pictures). Sec 2.4: no training.

    Raises: ValueError if there is no candidate with so few steps.
    """
    best, least = None, torch.inf
    for schedule in candidates(num_steps):
        found = score(schedule)
        if report:
            report(schedule, found)
        if found < least:
            best, least = schedule, found
    if best is None:
        raise ValueError(f"no schedule of {num_steps} steps reaches noise; give more steps")
    return best
