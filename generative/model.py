"""What every model of pictures has: a denoiser, a noise schedule, samples of level indices, and a loss per example.

A paper's model is a subclass that says how a batch becomes a loss. Training, checkpoints, loading and the commands know
this class alone.
"""

import hashlib
import math
from abc import ABC, abstractmethod
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from generative import noise, process, schedules
from generative.batching import evaluating, in_chunks
from generative.denoiser import Denoise, Denoiser, Prediction
from generative.nets.unet import UNet, UNetConfig
from generative.nets.vdm_unet import VDMUNet, VDMUNetConfig
from generative.noise import Source
from generative.pixels import nearest_level
from generative.samplers import SAMPLERS, Callback, levels
from generative.schedules import Schedule, ScheduleConfig

NetConfig = VDMUNetConfig | UNetConfig


def stated(config: Any) -> Any:
    """What a configuration says beyond the defaults of its class: an option that a later version adds changes nothing
    for those who do not use it."""
    if not is_dataclass(config):
        return config
    said = []
    for field in fields(config):
        value = getattr(config, field.name)
        default = field.default if field.default_factory is MISSING else field.default_factory()
        if default is MISSING or value != default:
            said.append((field.name, stated(value)))
    return type(config).__name__, tuple(said)


class PictureModel(nn.Module, ABC):
    """A diffusion model of pictures of one shape."""

    sampler: ClassVar[str] = "ancestral"
    """What `sample` takes if the caller does not say."""
    clips: ClassVar[bool] = False
    """Whether `sample` clips x0_hat to the range of pictures at every step."""
    config: Any
    """Has net (NetConfig) and schedule (ScheduleConfig)."""

    def __init__(
        self, config: Any, net: NetConfig, prediction: Prediction, shape: tuple[int, int, int], num_levels: int
    ) -> None:
        """net: as it is built (a paper may add to that of `config`); shape: (C, H, W) of the pictures; num_levels: how
        many values a pixel can take."""
        super().__init__()
        if not 2 <= num_levels <= 256:
            raise ValueError(f"num_levels must be from 2 to 256, got {num_levels:.4g}")
        self.config, self.shape, self.num_levels = config, tuple(shape), num_levels
        schedule: ScheduleConfig = config.schedule
        log_snrs = (schedule.log_snr_min, schedule.log_snr_max)
        made = VDMUNet(net, shape, log_snrs) if isinstance(net, VDMUNetConfig) else UNet(net, shape, log_snrs)
        self.denoise = Denoiser(made, prediction)
        self.schedule = schedules.make(schedule)
        self.meta: dict[str, Any] = {}

    @property
    def dims(self) -> int:
        return math.prod(self.shape)

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    @property
    def chunk(self) -> int:
        """Rows per call of the network in evaluations and samples, if the caller does not say."""
        return 16 if self.device.type == "cpu" else 128

    @property
    def taught_steps(self) -> int:
        """Steps of the sampler that the model was trained for, of one that was; 0 of any other."""
        return 0

    @property
    def steps(self) -> int:
        """Steps of `sample` if the caller does not say."""
        return self.taught_steps or 256

    @property
    def sampling_schedule(self) -> Schedule:
        """Where the steps of a sampler look best."""
        return schedules.cosine_like(self.schedule)

    def fingerprint(self) -> str:
        """A hash of what decides samples: the configuration and the weights."""
        digest = hashlib.sha256(repr((stated(self.config), self.shape, self.num_levels)).encode())
        for name, value in sorted(self.state_dict().items()):
            digest.update(name.encode() + value.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]

    def parameter_groups(self) -> list[tuple[str, list[nn.Parameter], str]]:
        """(name, parameters, "network" or "schedule") of what is trained."""
        groups = [("network", list(self.denoise.parameters()), "network")]
        if isinstance(self.schedule, nn.Module):
            groups.append(("schedule", [p for p in self.schedule.parameters() if p.requires_grad], "schedule"))
        return groups

    def ends(self) -> tuple[Tensor, Tensor]:
        """log_snr at t = 0 and at t = 1, float64 scalars."""
        return schedules.ends(self.schedule, self.device)

    def cond(self, batch: dict[str, Tensor]) -> dict[str, Tensor] | None:
        """What the denoiser is told beside z."""
        return {"label": batch["label"]} if self.config.net.classes else None

    def forward(self, batch: dict[str, Tensor], source: Source) -> dict[str, Tensor]:
        return self.losses(batch, source)

    @abstractmethod
    def losses(self, batch: dict[str, Tensor], source: Source) -> dict[str, Tensor]:
        """ "loss" [B], which is minimised, and what is reported beside it, [B] each, of a batch "x" (level indices
        [B, C, H, W]) and "label" [B]."""

    @torch.no_grad()
    def sample(
        self,
        n: int,
        *,
        steps: int | None = None,
        sampler: str | None = None,
        seed: int = 0,
        first: int = 0,
        label: Tensor | None = None,
        chunk: int | None = None,
        schedule: Schedule | None = None,
        callback: Callback | None = None,
        **options: Any,
    ) -> Tensor:
        """Pictures number first to first + n - 1 of this seed, as level indices [n, C, H, W], uint8, without dropout.

        Picture i depends on (seed, i), its label, steps, sampler and chunk alone: the same bits in any batch, on any
        worker. It starts from the same noise whatever the steps, the sampler and the model.

        Args:
            steps, sampler: `self.steps` and `self.sampler` if omitted; options: of the sampler (see samplers.py).
            label: [n] for a class-conditional model; chunk: rows per call of the network, `self.chunk` if omitted.
            schedule: where the steps lie, the model's own if omitted; `self.sampling_schedule` gives better pictures.
            callback: called after each step (see samplers.py).
        Raises: ValueError for a sampler that does not exist, and numbers that are not positive.
        """
        sampler, steps = sampler or self.sampler, self.steps if steps is None else steps
        if sampler not in SAMPLERS:
            raise ValueError(f"sampler {sampler!r} does not exist; allowed: {', '.join(SAMPLERS)}")
        if n < 1 or steps < 1:
            raise ValueError(f"n and steps must be positive, got {n} and {steps}")
        options |= {"cond": self.condition(label, n), "callback": callback}
        denoise = in_chunks(self.denoise, self.chunk if chunk is None else chunk, first)
        log_snrs = levels(schedule or self.schedule, steps, device=self.device)
        return self._drawn(sampler, denoise, (n, *self.shape), log_snrs, options, seed=seed, first=first)

    def _drawn(
        self,
        sampler: str,
        denoise: Denoise,
        shape: tuple[int, ...],
        log_snrs: Tensor,
        options: dict[str, Any],
        *,
        seed: int,
        first: int,
        purpose: int = noise.SAMPLES,
    ) -> Tensor:
        """Pictures number `first` and on of this seed, uint8 level indices of `shape` [n, C, H, W]."""
        sources = noise.per_example(noise.mix(seed, purpose), range(first, first + shape[0]), self.device)
        z = noise.normal(sources, shape, device=self.device, dtype=torch.float32)
        with evaluating(self):
            x = self._sampled(sampler, denoise, z, log_snrs, {**options, "generator": sources})
        return self.levels(check_finite(x))

    def _sampled(self, sampler: str, denoise: Denoise, z: Tensor, log_snrs: Tensor, options: dict[str, Any]) -> Tensor:
        """x0 [n, C, H, W] from noise. Here z of the cleanest level over its alpha: the most probable x0."""
        z_0 = SAMPLERS[sampler](denoise, z, log_snrs, **options)
        alpha, _ = process.alpha_sigma(log_snrs[-1])
        return z_0 / alpha.to(z_0)

    def levels(self, x: Tensor) -> Tensor:
        """The nearest level index of numbers in (-1, 1), uint8."""
        return nearest_level(x, self.num_levels).to(torch.uint8)

    def condition(self, label: Tensor | None, count: int) -> dict[str, Tensor] | None:
        """The condition for `count` pictures; a label -1 stands for no class. None for a model without classes."""
        if (classes := self.config.net.classes) == 0:
            return None
        if label is None or len(label) != count or not -1 <= int(label.min()) <= int(label.max()) < classes:
            got = None if label is None else label.tolist()[:8]
            raise ValueError(f"this model needs {count} labels in -1..{classes - 1}, got {got}")
        return {"label": label.to(self.device)}


def check_finite(x: Tensor) -> Tensor:
    """What was drawn. Raises ValueError where it is no number: weights may be numbers and yet those of no model."""
    if not bool(torch.isfinite(x).all()):
        raise ValueError(
            "what the model draws is no finite number: its weights, or the level it begins with, are of no use"
        )
    return x
