"""What SR3, Palette and the stages of a cascade share: a network that is told a picture, and draws another from it.

The picture is concatenated to z along the channels (SR3, Sec 2; Palette, Sec 3; cascaded diffusion, Sec 3), brought to
z's size first. The network is told the noise level itself, as log_snr, not a step (SR3, Sec 2.4), so that a sampler may
visit other levels than training did; beyond the trained range it is told the nearer end.

Sources: Saharia et al. 2021 (SR3, arXiv 2104.07636); Saharia et al. 2022 (Palette, arXiv 2111.05826). Where we differ:
the levels of a batch are evenly spread over p(gamma) with one random offset (as VDM's times), which leaves each one's
distribution as it is; the network is told log_snr in place of gamma; samplers clip x0_hat to (-1, 1).
"""

from abc import abstractmethod
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from generative import noise, process, schedules
from generative.denoiser import Cond, Denoise, static_threshold
from generative.model import PictureModel
from generative.nets.unet import UNetConfig
from generative.noise import Source
from generative.pixels import check_levels, scale
from generative.samplers import SAMPLERS, Callback, check_variance, sample_x0
from generative.schedules import Schedule, ScheduleConfig, linear_betas
from generative.tiling import tiled

CLEANEST = 30.0
"""The largest log_snr that is trained: p(gamma) reaches 1, where there is no noise to predict."""
Prediction = Literal["eps", "v", "x0"]


@dataclass(frozen=True, kw_only=True)
class ImageToImageConfig:
    """What all of them are configured by."""

    net: UNetConfig = field(default_factory=UNetConfig)
    """Without cond_channels, masked, out_channels and augmented, which follow from the model."""
    schedule: ScheduleConfig = field(default_factory=lambda: linear_betas(1e-6, 1e-2, 2000))
    """Of training; the default is SR3's and Palette's."""
    noise_steps: int = 2000
    """T of p(gamma): t uniform in 1..T, then gamma uniform between those of steps t - 1 and t."""
    prediction: Prediction = "eps"
    """What the network predicts, and what its error is measured in."""
    power: Literal[1, 2] = 1
    """p of the error |error|^p."""
    inference: ScheduleConfig | None = None
    """Of sampling; that of training if omitted."""
    inference_steps: int = 100
    """Steps of sampling if the caller does not say."""
    variance: float = 1.0
    """Of the ancestral sampler, from 0 (the posterior's) to 1 (SR3's and Palette's, the largest)."""
    crop: int = 0
    """Train on random squares of so many pixels, for pictures that are large; 0 trains on whole ones."""
    regression: bool = False
    """The same network without noise: it answers with the mean (power 2) or median (1) of what the picture may be."""

    def __post_init__(self) -> None:
        net = self.net
        if net.cond_channels or net.augmented or net.masked or net.out_channels is not None:
            raise ValueError(
                "net.cond_channels, masked, out_channels and augmented follow from the model: leave them out"
            )
        if self.schedule.kind == "learned" or self.schedule.learn_endpoints:
            raise ValueError("the schedule must be fixed: linear, cosine or betas, without learned ends")
        if self.power not in (1, 2):
            raise ValueError(f"power must be 1 or 2, got {self.power}")
        if not 2 <= self.noise_steps <= 1_000_000 or not 1 <= self.inference_steps <= 1_000_000:
            steps = f"{self.noise_steps} and {self.inference_steps}"
            raise ValueError(f"noise_steps must be 2 and inference_steps 1 to 1,000,000, got {steps}")
        if self.crop < 0 or self.crop % 2 ** (len(self.net.multipliers) - 1):
            factor = 2 ** (len(self.net.multipliers) - 1)
            raise ValueError(f"crop must be 0 (none) or a multiple of the network's {factor}, got {self.crop}")
        check_variance(self.variance)


def log_snr_of(place: Tensor, schedule: Schedule, num_steps: int) -> Tensor:
    """log_snr [B] float64 of noise levels drawn from p(gamma), from numbers `place` [B] uniform in [0, 1).

    p(gamma) is piecewise uniform: t uniform in 1..T, gamma uniform in (gamma_t, gamma_(t-1)), gamma_0 = 1 (SR3, Sec
    2.4). T place has t - 1 before its point and the place in that interval behind it, so gamma and 1 - gamma are both
    straight lines between their values at the steps.
    """
    steps = schedule(torch.arange(num_steps, dtype=torch.float64, device=place.device) / (num_steps - 1))
    zero = steps.new_zeros(1)
    noise_share = torch.cat([zero, torch.sigmoid(-steps)])  # 1 - gamma of steps 0..T, without a difference
    signal_share = torch.cat([zero + 1, torch.sigmoid(steps)])
    position = place.double() * num_steps
    left = position.long().clamp(0, num_steps - 1)
    inside = position - left
    gamma = torch.lerp(signal_share[left], signal_share[left + 1], inside)
    rest = torch.lerp(noise_share[left], noise_share[left + 1], inside)
    return (gamma.log() - rest.log()).clamp_max(CLEANEST)


def with_known(denoise: Denoise) -> Denoise:
    """x0_hat with the pixels that are known put in: cond["image"] where cond["mask"] is 0, if cond has a mask.

    So the known part of z is, at every step, what noise makes of the known pixels, as in training; with the ancestral
    sampler that takes variance 0 there, whatever it is in the hole.
    """

    def call(z: Tensor, log_snr: Tensor, cond: Cond = None) -> Tensor:
        x0_hat = denoise(z, log_snr, cond)
        if isinstance(cond, dict) and "mask" in cond:
            return torch.where(cond["mask"] > 0, x0_hat, cond["image"])
        return x0_hat

    return call


class ImageToImage(PictureModel):
    """A model of pictures given another picture. A subclass says what is given, in training and when asked."""

    sampler: ClassVar[str] = "ancestral"
    clips: ClassVar[bool] = True
    config: ImageToImageConfig

    def __init__(
        self,
        config: Any,
        shape: tuple[int, int, int],
        num_levels: int = 256,
        *,
        augmented: bool = False,
        masked: bool = False,
    ) -> None:
        """shape: (C, H, W) of the pictures that are drawn; augmented: the network is told of noise on what is given;
        masked: it is told which pixels are not known."""
        if config.crop > min(shape[1:]):
            raise ValueError(f"crop must be at most the side of the pictures, {min(shape[1:])}, got {config.crop}")
        net = replace(config.net, cond_channels=shape[0], augmented=augmented, masked=masked)
        super().__init__(config, net, "x0" if config.regression else config.prediction, shape, num_levels)
        self.denoise.trained = config.schedule.log_snr_min, config.schedule.log_snr_max

    @property
    def factor(self) -> int:
        """How many times larger than what is given the pictures are."""
        return 1

    @property
    def taught_steps(self) -> int:
        return int(self.config.regression)

    @property
    def steps(self) -> int:
        return self.taught_steps or self.config.inference_steps

    @property
    def sampling_schedule(self) -> Schedule:
        return self.schedule if self.config.inference is None else schedules.make(self.config.inference)

    @abstractmethod
    def given(self, batch: dict[str, Tensor], source: Source) -> dict[str, Tensor]:
        """What the network is told in training, of a batch of pictures: "image" [B, C, H, W] in (-1, 1); "mask"
        [B, 1, H, W], 1 where a pixel is not known, if some are; "level" [B], the log_snr of noise on "image", if the
        network was made for it."""

    @abstractmethod
    def asked(self, pictures: Tensor, sources: Source, **asked: Any) -> dict[str, Tensor]:
        """The same of pictures that a person wants restored, level indices [n, C, h, w]. Raises ValueError."""

    def told(self, batch: dict[str, Tensor], source: Source) -> dict[str, Tensor]:
        """The network's whole condition: what is given, and the classes if there are any."""
        return {**self.given(batch, source), **(self.cond(batch) or {})}

    def losses(self, batch: dict[str, Tensor], source: Source) -> dict[str, Tensor]:
        """|error|^power of what the network predicts, at one noise level per picture, mean over its unknown numbers."""
        x, cond = scale(batch["x"], self.num_levels), self.told(batch, source)
        if self.config.crop:
            x, cond = self._cropped(x, cond, source)
        if self.config.regression:
            error = x - self._regress(self.denoise, cond, torch.zeros_like(x))
        else:
            place = noise.low_discrepancy_times(source, len(x), device=x.device)
            error = self._error(x, log_snr_of(place, self.schedule, self.config.noise_steps), source, cond)
        error = error.abs() if self.config.power == 1 else error.square()
        mask = cond.get("mask")
        if mask is None:
            return {"loss": error.double().flatten(1).mean(1)}
        # The mean over the hole: a small hole counts as much as a large one.
        hidden = (error * mask).double().flatten(1).sum(1)
        return {"loss": hidden / (mask.double().flatten(1).sum(1) * x.shape[1]).clamp_min(1)}

    def _cropped(self, x: Tensor, cond: dict[str, Tensor], source: Source) -> tuple[Tensor, dict[str, Tensor]]:
        """A square of each picture, and the same of what is told of it."""
        side, (height, width) = self.config.crop, x.shape[-2:]
        place = noise.uniform(source, (len(x), 2), device=x.device, dtype=torch.float64)
        along = torch.arange(side, device=x.device)
        rows = (place[:, 0] * (height - side + 1)).long()[:, None] + along
        columns = (place[:, 1] * (width - side + 1)).long()[:, None] + along
        which = torch.arange(len(x), device=x.device)[:, None, None]

        def cut(entry: Tensor) -> Tensor:
            return entry.movedim(1, -1)[which, rows[:, :, None], columns[:, None, :]].movedim(-1, 1)

        return cut(x), {name: cut(value) if value.ndim == 4 else value for name, value in cond.items()}

    def _error(self, x: Tensor, log_snr: Tensor, source: Source, cond: dict[str, Tensor]) -> Tensor:
        eps = noise.normal_like(source, x)
        z = process.diffuse(x, log_snr, eps)
        x0_hat = self.denoise(z, log_snr, cond)
        if self.config.prediction == "eps":
            return eps - process.eps_from_x0(z, x0_hat, log_snr)
        if self.config.prediction == "v":
            return process.v_from_x0_eps(x, eps, log_snr) - process.v_from_x0(z, x0_hat, log_snr)
        return x - x0_hat

    def _regress(self, denoise: Denoise, cond: Cond, z: Tensor) -> Tensor:
        _, low = self.ends()
        return denoise(z, low.expand(len(z)), cond)

    def sample(self, n: int, **options: Any) -> Tensor:
        behind = ", or name the run of its base before it" if self.factor > 1 else ""
        raise ValueError(
            f"this model makes pictures of pictures: use restore(pictures), or `tandem restore RUN`{behind}"
        )

    def restore(
        self,
        pictures: Tensor | np.ndarray,
        *,
        seed: int = 0,
        first: int = 0,
        label: Tensor | None = None,
        draw: dict[str, Any] | None = None,
        **asked: Any,
    ) -> Tensor:
        """One picture for each of `pictures`, as level indices uint8 [n, C, H, W]; of several answers for one picture,
        give it several times. Number i depends on (seed, first + i) and its picture alone.

        Args:
            pictures: level indices uint8 [n, C, h, w] of any size: larger ones are worked on in overlapping tiles of
                the size of the model's pictures (see tiling.py), smaller ones are continued at their edges first.
            label: as in `sample`; draw: further arguments of `draw`.
            asked: what is wanted of the pictures (see the paper's `asked`).
        Raises: ValueError for what does not fit, in one sentence.
        """
        pictures = torch.as_tensor(pictures)
        n, size = len(pictures), pictures.shape[-2:]
        pictures = check_levels(pictures, (self.shape[0], *size), self.num_levels).to(self.device)
        sources = noise.per_example(noise.mix(seed, noise.DEGRADATION), range(first, first + n), self.device)
        cond = self.asked(self.continued(pictures), sources, **asked) | (self.condition(label, n) or {})
        made = self.draw(cond, seed=seed, first=first, **(draw or {}))
        return made[..., : size[0] * self.factor, : size[1] * self.factor]

    def continued(self, entry: Tensor) -> Tensor:
        """Pictures [n, c, h, w], or masks (a hole at the edge goes on), that are smaller than what a tile is made of,
        continued below and to the right by their last pixels. Raises ValueError for pictures that the network would
        halve to nothing."""
        size, least = entry.shape[-2:], 2 ** (len(self.config.net.multipliers) - 1)
        if min(size) * self.factor < least:
            raise ValueError(
                f"a picture of {size[1]} x {size[0]} is too small: this network halves it to 1/{least} of its sides"
            )
        down, right = (max(0, side // self.factor - has) for side, has in zip(self.shape[1:], size, strict=True))
        if not down and not right:
            return entry
        return F.pad(entry.float(), (0, right, 0, down), mode="replicate").to(entry.dtype)

    @torch.no_grad()
    def draw(
        self,
        cond: dict[str, Tensor],
        *,
        steps: int | None = None,
        sampler: str | None = None,
        seed: int = 0,
        first: int = 0,
        chunk: int | None = None,
        schedule: Schedule | None = None,
        overlap: float = 0.5,
        callback: Callback | None = None,
        **options: Any,
    ) -> Tensor:
        """Pictures given the network's condition (see `told`), as level indices uint8 [n, C, H, W].

        Args: steps, sampler, schedule: as configured if omitted; overlap: of tiles; options: of the sampler; the rest
            as in `sample`. The noise is not that of `sample`: models of a cascade may share a seed with their base.
        Raises: ValueError for a sampler that does not exist, numbers that are not positive, pictures below a tile.
        """
        steps, sampler = self.steps if steps is None else steps, sampler or self.sampler
        if sampler not in SAMPLERS:
            raise ValueError(f"sampler {sampler!r} does not exist; allowed: {', '.join(SAMPLERS)}")
        if steps < 1:
            raise ValueError(f"steps must be positive, got {steps}")
        # Clipped before tiles are blended: near pure noise an error of eps is divided by alpha, which is 1e-10 at the
        # end of Palette's schedule, and one tile would outvote the others.
        clipped, side = static_threshold(self.denoise), (self.shape[1], self.shape[2])
        denoise = tiled(clipped, side, overlap, self.chunk if chunk is None else chunk, first)
        places = torch.linspace(1, 0, steps, dtype=torch.float64, device=self.device)
        log_snrs = (schedule or self.sampling_schedule)(places)
        log_snrs = torch.cat([log_snrs, log_snrs[-1:] + 1])  # the last step gives x0_hat, wherever it leads
        settings: dict[str, Any] = {"cond": cond, "callback": callback, **options}
        if sampler == "ancestral":
            variance = options.get("variance", self.config.variance)
            check_variance(variance)
            settings["variance"] = variance if "mask" not in cond else variance * cond["mask"].double()
        shape = tuple(cond["image"].shape)
        return self._drawn(
            sampler, denoise, shape, log_snrs, settings, seed=seed, first=first, purpose=noise.ANSWERS
        )  # fmt: skip

    def _sampled(self, sampler: str, denoise: Denoise, z: Tensor, log_snrs: Tensor, options: dict[str, Any]) -> Tensor:
        """Known pixels are put in at every step. The network of a regression is called once, without noise."""
        if not self.config.regression:
            return sample_x0(SAMPLERS[sampler], with_known(denoise), z, log_snrs, **options)
        x0 = self._regress(with_known(denoise), options["cond"], torch.zeros_like(z))
        if (callback := options["callback"]) is not None:
            callback({"step": 0, "z": x0, "log_snr": log_snrs[-1], "x0_hat": x0})
        return x0
