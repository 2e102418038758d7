"""What restored pictures are given, and what networks say of the answers beside the originals."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from experiments.progress import Lines
from experiments.sample_quality import features_of, in_parts, known_features, network
from generative.metrics import fid, lpips, pictures, restoration
from generative.metrics.bits import mean_and_se
from generative.metrics.classifier import EfficientNetLite0, FromFile, efficientnet_lite0
from generative.metrics.features import to_bytes

FLOOR = "originals (floor)"
SMALLEST_SSIM, SMALLEST_LPIPS = 12, 31
"""Sides in pixels below which SSIM (also at several scales) and LPIPS measure nothing."""
EFFICIENTNET, NONE = "efficientnet", "none"


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What all methods are given."""

    task: str
    originals: Tensor
    """uint8 [N, C, H, W]"""
    label: Tensor
    """int64 [N]"""
    classes: int
    """How many there are; 0 for none."""
    groups: list[str]
    """What each picture is from."""
    given: Tensor
    """uint8 [N, C, h, w], as a person would see it; holes are 0."""
    mask: Tensor | None
    """[N, 1, H, W], 1 where pixels are to be made; None where all are."""


@dataclass(frozen=True, kw_only=True)
class Scores:
    """One line of the table. Each measure is (mean, standard error); None where it was not measured."""

    name: str
    psnr: tuple[float, float] | None
    ssim: tuple[float, float] | None
    consistency: tuple[float, float] | None
    lpips: tuple[float, float] | None
    kid_blocks: tuple[float, ...]
    """KID against real pictures, in blocks that hold the same pictures for every method."""
    fid: float
    """Against the same."""
    distance: tuple[float, float] | None
    agreement: tuple[float, float] | None
    """Share with the class of the original, by the classifier."""
    accuracy: tuple[float, float] | None
    """Share with the true class, where the classifier knows as many classes as the set has."""
    inception_score: float | None
    mean_psnr: tuple[float, float] | None = None
    """Of the mean of several answers, which is nearer to the original than each of them, where several were asked for;
    of the one answer of a method that has one, for the same pictures."""
    lpips_between: tuple[float, float] | None = None
    ssim_between: tuple[float, float] | None = None

    @property
    def kid(self) -> tuple[float, float]:
        return blocks_mean(self.kid_blocks)

    def kid_minus(self, other: "Scores") -> tuple[float, float]:
        """The difference of two methods' KIDs, from the differences of their blocks."""
        return blocks_mean([a - b for a, b in zip(self.kid_blocks, other.kid_blocks, strict=True)])


def blocks_mean(values: Sequence[float]) -> tuple[float, float]:
    """Mean and standard error of blocks."""
    return float(np.mean(values)), float(np.std(values, ddof=1)) / len(values) ** 0.5


class Judge:
    """Networks, and what they say of the originals."""

    def __init__(
        self,
        asked: Asked,
        reference: Tensor,
        num_levels: int,
        device: str,
        *,
        split: str,
        features: str,
        perceptual: bool,
        classifier: str,
    ) -> None:
        """reference: real pictures, for KID and FID; split: what they are from; features, classifier: name or file of a
        network; perceptual: whether LPIPS is measured."""
        self.asked, self.num_levels, self.device, self.split = asked, num_levels, device, split
        self.net = network(features, device)
        self.perceptual: lpips.LPIPS | None = None
        self.classifier: EfficientNetLite0 | FromFile | None = None
        with Lines("networks") as tell:
            if perceptual and min(asked.originals.shape[2:]) >= SMALLEST_LPIPS:
                tell("LPIPS, fetched once")
                self.perceptual = lpips.lpips(device=device)
            if classifier == EFFICIENTNET:
                tell("EfficientNet-Lite0, fetched once")
                self.classifier = efficientnet_lite0(device=device)
            elif classifier != NONE:
                self.classifier = FromFile(classifier).to(device)
        self.reference = known_features(self.net, reference, num_levels, "real pictures")
        self.features = known_features(self.net, asked.originals, num_levels, "originals")
        self.logits = self._logits(asked.originals)

    def score(self, name: str, made: Tensor, several: Tensor | None = None) -> Scores:
        """made: uint8 [N, C, H, W]; several: [k, M, C, H, W], k answers for the first M pictures."""
        asked, levels = self.asked, self.num_levels
        features = self.features if name == FLOOR else self._features(name, made)
        logits, other = self._logits(made), name == FLOOR
        found: dict[str, Any] = {"psnr": None, "ssim": None, "consistency": None, "lpips": None, "distance": None}
        if not other:
            mask = torch.ones_like(made[:, :1]) if asked.mask is None else asked.mask
            found["psnr"] = self._mean(restoration.hidden_psnr(made, asked.originals, mask, levels).clamp_max(100))
            if min(made.shape[2:]) >= SMALLEST_SSIM:
                found["ssim"] = self._mean(pictures.ssim(made, asked.originals, levels))
            if made.shape[2:] != asked.given.shape[2:]:
                found["consistency"] = self._mean(1e5 * restoration.consistency(made, asked.given, levels))
            if self.perceptual is not None:
                found["lpips"] = self._mean(lpips.distance(self.perceptual, made, asked.originals, num_levels=levels))
            found["distance"] = self._mean(restoration.perceptual_distance(features, self.features))
        agreement = accuracy = score = None
        if logits is not None and self.logits is not None:
            score = restoration.inception_score(logits)
            if asked.classes == logits.shape[1]:
                accuracy = self._mean((logits.argmax(1) == asked.label).double())
            if not other:
                agreement = self._mean(restoration.agreement(logits, self.logits))
        return Scores(
            name=name, kid_blocks=tuple(fid.kid_blocks(features, self.reference).tolist()),
            fid=fid.fid(features, self.reference), **found, agreement=agreement, accuracy=accuracy,
            inception_score=score,
            **self._several(several),
        )  # fmt: skip

    def _several(self, answers: Tensor | None) -> dict[str, Any]:
        """How near their mean is, and how much answers for the same picture differ: LPIPS of each and the next, MS-SSIM
        of the first and others."""
        if answers is None:
            return {}
        asked, some = self.asked, answers.shape[1]
        groups, originals = asked.groups[:some], asked.originals[:some]
        mask = torch.ones_like(originals[:, :1]) if asked.mask is None else asked.mask[:some]
        mean = answers.double().mean(0).round().to(torch.uint8)
        psnr = restoration.hidden_psnr(mean, originals, mask, self.num_levels).clamp_max(100)
        found = {"mean_psnr": mean_and_se(psnr, groups)}
        if len(answers) < 2:
            return found
        if min(answers.shape[-2:]) >= SMALLEST_SSIM:
            found["ssim_between"] = mean_and_se(restoration.diversity(answers, self.num_levels), groups)
        if self.perceptual is not None:
            pairs = [lpips.distance(self.perceptual, a, b, num_levels=self.num_levels) for a, b in pairwise(answers)]
            found["lpips_between"] = mean_and_se(torch.stack(pairs).mean(0), groups)
        return found

    def _mean(self, values: Tensor) -> tuple[float, float]:
        return mean_and_se(values, self.asked.groups)

    def _features(self, name: str, x: Tensor) -> Tensor:
        return features_of(self.net, x, self.num_levels, name)

    def _logits(self, x: Tensor) -> Tensor | None:
        net = self.classifier
        if net is None:
            return None
        return in_parts(lambda part: net(to_bytes(part, self.num_levels).to(self.device)).cpu(), x, "classes")
