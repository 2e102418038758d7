"""What restored pictures are given, and what networks say of the answers beside the originals."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from experiments.progress import Lines
from experiments.sample_quality import features_of, in_parts, known_features, network
from generative.metrics import fid, lpips, pictures, restoration
from generative.metrics.bits import half_width, mean_and_se
from generative.metrics.classifier import EfficientNetLite0, FromFile, efficientnet_lite0
from generative.metrics.features import to_bytes
from generative.metrics.kid import Kid, kid

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
class Each:
    """What a measure is for each of some pictures."""

    values: Tensor
    """[n]"""
    groups: Sequence[str]
    """What each is from."""

    def mean(self) -> tuple[float, float]:
        """And its standard error."""
        return mean_and_se(self.values, self.groups)


@dataclass(frozen=True, kw_only=True)
class Scores:
    """One line of the table. Each measure is (mean, standard error); None where it was not measured."""

    name: str
    psnr: tuple[float, float] | None
    ssim: tuple[float, float] | None
    consistency: tuple[float, float] | None
    lpips: tuple[float, float] | None
    kid: tuple[float, float]
    """Against real pictures."""
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
    details: "Details" = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Details:
    """What differences between methods are made of, which know that all answer the same pictures."""

    groups: Sequence[str]
    kid: Kid
    """Of all pictures."""
    each: dict[str, Each]
    """Measure -> its values: of all pictures, or of those with several answers."""

    def half_width(self, measure: str, se: float) -> float:
        """Of the 95% interval of a measure with this standard error."""
        return half_width(se, self.each[measure].groups if measure in self.each else self.groups)


def difference(one: Scores, other: Scores, measure: str) -> tuple[float, float] | None:
    """One method's measure minus another's, and the standard error of that; None where one of them has it not."""
    mine, theirs = one.details, other.details
    if measure == "kid":
        gap = mine.kid.minus(theirs.kid)
        return gap.value, gap.se
    if measure not in mine.each or measure not in theirs.each:
        return None
    return replace(mine.each[measure], values=mine.each[measure].values - theirs.each[measure].values).mean()


def ratio(one: Scores, other: Scores, measure: str) -> tuple[float, float] | None:
    """One method's mean over another's, and its standard error to first order, as of a ratio of sums over groups."""
    mine, theirs = one.details.each.get(measure), other.details.each.get(measure)
    if mine is None or theirs is None or (below := theirs.mean()[0]) == 0:
        return None
    found = mine.mean()[0] / below
    return found, replace(mine, values=mine.values - found * theirs.values).mean()[1] / below


class Judge:
    """Networks, and what they say of the originals."""

    def __init__(
        self,
        asked: Asked,
        reference: Tensor,
        reference_groups: Sequence[str],
        num_levels: int,
        device: str,
        *,
        split: str,
        features: str,
        perceptual: bool,
        classifier: str,
    ) -> None:
        """reference, reference_groups: real pictures, for KID and FID, and what each is from; split: of which they are;
        features, classifier: name or file of a network; perceptual: whether LPIPS is measured."""
        self.asked, self.num_levels, self.device, self.split = asked, num_levels, device, split
        self.reference_groups = reference_groups
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

    def score(self, name: str, made: Tensor, several: Tensor | None = None, rows: Tensor | None = None) -> Scores:
        """made: uint8 [N, C, H, W]; several: [k, M, C, H, W], k answers for the pictures `rows` [M] of them
        (none is as good as None)."""
        asked, levels = self.asked, self.num_levels
        features = self.features if name == FLOOR else self._features(name, made)
        logits, other = self._logits(made), name == FLOOR
        found: dict[str, Any] = {"psnr": None, "ssim": None, "consistency": None, "lpips": None, "distance": None}
        each: dict[str, Each] = {}
        if not other:
            mask = torch.ones_like(made[:, :1]) if asked.mask is None else asked.mask
            values = {"psnr": restoration.hidden_psnr(made, asked.originals, mask, levels).clamp_max(100)}
            if min(made.shape[2:]) >= SMALLEST_SSIM:
                values["ssim"] = pictures.ssim(made, asked.originals, levels)
            if made.shape[2:] != asked.given.shape[2:]:
                values["consistency"] = 1e5 * restoration.consistency(made, asked.given, levels)
            if self.perceptual is not None:
                values["lpips"] = lpips.distance(self.perceptual, made, asked.originals, num_levels=levels)
            values["distance"] = restoration.perceptual_distance(features, self.features)
            each = {measure: Each(values=x, groups=asked.groups) for measure, x in values.items()}
            if several is not None and rows is not None and len(rows):
                each |= self._several(several, rows)
            found |= {measure: one.mean() for measure, one in each.items()}
        agreement = accuracy = score = None
        if logits is not None and self.logits is not None:
            score = restoration.inception_score(logits)
            if asked.classes == logits.shape[1]:
                accuracy = self._mean((logits.argmax(1) == asked.label).double())
            if not other:
                agreement = self._mean(restoration.agreement(logits, self.logits))
        estimate = kid(features, self.reference, asked.groups, self.reference_groups)
        return Scores(
            name=name, kid=(estimate.value, estimate.se), fid=fid.fid(features, self.reference), **found,
            agreement=agreement, accuracy=accuracy, inception_score=score,
            details=Details(groups=asked.groups, kid=estimate, each=each),
        )  # fmt: skip

    def _several(self, answers: Tensor, rows: Tensor) -> dict[str, Each]:
        """How near their mean is, and how much answers for the same picture differ: LPIPS of each and the next, MS-SSIM
        of the first and others."""
        asked, originals = self.asked, self.asked.originals[rows]
        mask = torch.ones_like(originals[:, :1]) if asked.mask is None else asked.mask[rows]
        mean = answers.double().mean(0).round().to(torch.uint8)
        values = {"mean_psnr": restoration.hidden_psnr(mean, originals, mask, self.num_levels).clamp_max(100)}
        if len(answers) > 1 and min(answers.shape[-2:]) >= SMALLEST_SSIM:
            values["ssim_between"] = restoration.diversity(answers, self.num_levels)
        if len(answers) > 1 and self.perceptual is not None:
            pairs = [lpips.distance(self.perceptual, a, b, num_levels=self.num_levels) for a, b in pairwise(answers)]
            values["lpips_between"] = torch.stack(pairs).mean(0)
        groups = [asked.groups[i] for i in rows.tolist()]
        return {measure: Each(values=x, groups=groups) for measure, x in values.items()}

    def _mean(self, values: Tensor) -> tuple[float, float]:
        return mean_and_se(values, self.asked.groups)

    def _features(self, name: str, x: Tensor) -> Tensor:
        return features_of(self.net, x, self.num_levels, name)

    def _logits(self, x: Tensor) -> Tensor | None:
        net = self.classifier
        if net is None:
            return None
        return in_parts(lambda part: net(to_bytes(part, self.num_levels).to(self.device)).cpu(), x, "classes")
