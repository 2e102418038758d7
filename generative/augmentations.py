"""Conditioning augmentation: how what a stage of a cascade enlarges is spoiled, so that the stage forgives what the one
before gets wrong. Ho et al. 2022 (arXiv 2106.15282), Sec 3.

    image, log_snr = augmentation.training(small, place, source, enlarge)
    image, log_snr = augmentation.sampling(small, level, source, enlarge)

small: [B, C, h, w] in (-1, 1); image: the same enlarged by `enlarge`, spoiled before or after; log_snr: [B] of the
noise on it, which the network is told, or None where there is nothing to tell.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from generative import noise, process
from generative.noise import Source
from generative.schedules import Schedule

Enlarge: TypeAlias = Callable[[Tensor], Tensor]
Spoiled: TypeAlias = tuple[Tensor, Tensor | None]


class Augmentation(Protocol):
    """What they have in common. place: [B, 2] uniform in [0, 1), a row for each picture; level: s of the noise that a
    person chose for sampling."""

    def training(self, small: Tensor, place: Tensor, source: Source, enlarge: Enlarge) -> Spoiled: ...

    def sampling(self, small: Tensor, level: float, source: Source, enlarge: Enlarge) -> Spoiled: ...

    def check_level(self, level: float) -> None:
        """Raises ValueError for an s that was not trained; 0 is always right."""
        ...


@dataclass(frozen=True)
class Clean:
    """Nothing is done."""

    def training(self, small: Tensor, place: Tensor, source: Source, enlarge: Enlarge) -> Spoiled:
        return enlarge(small), None

    def sampling(self, small: Tensor, level: float, source: Source, enlarge: Enlarge) -> Spoiled:
        return enlarge(small), None

    def check_level(self, level: float) -> None:
        if level != 0:
            raise ValueError("this stage was trained without noise on what it enlarges: it has no levels")


@dataclass(frozen=True, kw_only=True)
class Blur(Clean):
    """Some pictures are blurred, in training alone: a 3x3 Gaussian filter with mirrored edges. Sec 3.1."""

    sigma: tuple[float, float] = (0.4, 0.6)
    """Least and largest standard deviation of the filter, in pixels."""
    share: float = 0.5
    """Of the pictures."""

    def training(self, small: Tensor, place: Tensor, source: Source, enlarge: Enlarge) -> Spoiled:
        low, high = self.sigma
        soft = blurred(small, low + (high - low) * place[:, 0])
        return enlarge(torch.where((place[:, 1] < self.share)[:, None, None, None], soft, small)), None


@dataclass(frozen=True, kw_only=True)
class GaussianNoise:
    """Noise of a level that is drawn for each picture in training, and chosen for sampling afterwards. Sec 3.2, 3.3."""

    log_snr: Schedule
    """log_snr of the noise at s in [0, 1], float64."""
    most: float = 1.0
    """The largest s that is trained: s is uniform in [0, most]."""
    at: Literal["lowres", "target"] = "lowres"
    """Whether noise is added before or after the enlargement."""

    def training(self, small: Tensor, place: Tensor, source: Source, enlarge: Enlarge) -> Spoiled:
        return self._noised(small, self.log_snr(self.most * place[:, 0]), source, enlarge)

    def sampling(self, small: Tensor, level: float, source: Source, enlarge: Enlarge) -> Spoiled:
        places = torch.full((len(small),), level, dtype=torch.float64, device=small.device)
        return self._noised(small, self.log_snr(places), source, enlarge)

    def check_level(self, level: float) -> None:
        if not 0 <= level <= self.most:
            raise ValueError(f"level must be from 0 to {self.most}, what training went to, got {level}")

    def _noised(self, small: Tensor, log_snr: Tensor, source: Source, enlarge: Enlarge) -> Spoiled:
        """Scaled, then noised, then enlarged (or enlarged, then noised), in training as in sampling."""
        if self.at == "lowres":
            return enlarge(process.diffuse(small, log_snr, noise.normal_like(source, small))), log_snr
        large = enlarge(small)
        return process.diffuse(large, log_snr, noise.normal_like(source, large)), log_snr


def blurred(x: Tensor, sigma: Tensor) -> Tensor:
    """x [B, C, H, W] under a 3x3 Gaussian filter of standard deviation sigma [B], with mirrored edges."""
    side = torch.exp(-0.5 / sigma.to(x).square())
    line = torch.stack([side, torch.ones_like(side), side], 1)
    line = line / line.sum(1, keepdim=True)
    kernel = line[:, :, None] * line[:, None, :]
    batch, channels, height, width = x.shape
    mirrored = F.pad(x, (1, 1, 1, 1), mode="reflect").reshape(1, batch * channels, height + 2, width + 2)
    kernel = kernel.repeat_interleave(channels, 0)[:, None]
    return F.conv2d(mirrored, kernel, groups=batch * channels).reshape(x.shape)
