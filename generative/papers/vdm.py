"""Variational Diffusion Models. Kingma, Salimans, Poole & Ho 2021, arXiv 2107.00630.

Sec 3.5: the variational bound in three parts; Sec 4 and 5: its diffusion part in discrete and continuous time; Sec 5.3
and App I: low-discrepancy times, and a schedule that is trained with the model; App A: the process
(generative/process.py); Sec 3.3: the decoder (generative/pixels.py). The paper's gamma is our -log_snr.

Where we differ: the schedule keeps its ends exactly and is trained to lower the variance of the estimator, as the paper
says and its released code does not. `num_levels` generalises 256. Pixels are scaled as in the released code. The
network's embedding of log_snr uses the schedule's first ends.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from generative import noise, process, schedules
from generative.batching import evaluating, rows_of, take
from generative.denoiser import Denoise
from generative.model import PictureModel
from generative.nets.unet import UNetConfig
from generative.nets.vdm_unet import VDMUNetConfig
from generative.noise import Source
from generative.pixels import check_levels, reconstruction_nats, scale, window_of
from generative.schedules import LearnedSchedule, Schedule, ScheduleConfig

LN2 = math.log(2)


@dataclass(frozen=True, kw_only=True)
class VDMConfig:
    """A VDM."""

    net: VDMUNetConfig | UNetConfig = field(default_factory=VDMUNetConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    num_steps: int = 0
    """Steps T of the discrete-time bound that is trained; 0 trains the continuous-time bound."""

    def __post_init__(self) -> None:
        if not 0 <= self.num_steps <= 1_000_000:
            raise ValueError(f"num_steps must be 0 (continuous time) to 1,000,000, got {self.num_steps}")


@dataclass(frozen=True)
class Elbo:
    """The variational bound of each picture, in bits, in its three parts, each [B]."""

    prior: Tensor
    """KL(q(z_1 | x) || N(0, I)): what of the picture is left in the noisiest latent."""
    diffusion: Tensor
    """The cost of all denoising steps."""
    reconstruction: Tensor
    """-log2 p(x | z_0)."""
    draws: Tensor
    """[B, times]: what each single noise level says of `diffusion`, which is their mean."""

    @property
    def bits(self) -> Tensor:
        """The sum: an upper bound of -log2 p(x)."""
        return self.prior + self.diffusion + self.reconstruction


def prior_nats(x: Tensor, log_snr_1: Tensor) -> Tensor:
    """KL(q(z_1 | x) || N(0, I)) [B], float64: 0.5 sum(alpha^2 x^2 + sigma^2 - log sigma^2 - 1). Sec 3.5."""
    alpha2 = torch.sigmoid(log_snr_1)
    per_dim = alpha2 * x.double() ** 2 - alpha2 - torch.nn.functional.logsigmoid(-log_snr_1)
    return 0.5 * per_dim.flatten(1).sum(1)


def diffusion_nats(
    denoise: Denoise, x: Tensor, eps: Tensor, log_snr: Tensor, weight: Tensor, cond: Any = None
) -> Tensor:
    """0.5 weight ||eps - eps_hat(z_t)||^2 [B], float64: one term of the diffusion loss, at log_snr [B].

    Discrete time (Sec 4): weight [B] = T expm1(log_snr_s - log_snr_t). Continuous time (Sec 5): -d log_snr / dt.
    """
    z = process.diffuse(x, log_snr, eps)
    eps_hat = process.eps_from_x0(z, denoise(z, log_snr, cond), log_snr)
    return 0.5 * weight * (eps - eps_hat).square().flatten(1).sum(1)


def level(schedule: Schedule, t: Tensor, num_steps: int = 0) -> tuple[Tensor, Tensor]:
    """(log_snr, weight) of `diffusion_nats` at t [B] in [0, 1): in discrete time, those of the end of t's step."""
    if num_steps == 0:
        log_snr, slope = schedules.with_slope(schedule, t)
        return log_snr, -slope
    step = torch.floor(t.double() * num_steps)
    log_snr_s, log_snr_t = schedule(step / num_steps), schedule((step + 1) / num_steps)
    return log_snr_t, num_steps * torch.expm1(log_snr_s - log_snr_t)


class VarianceGradient:
    """Trains the interior of a learned schedule on E[L^2] while everything else is trained on E[L]. App I.2.

    In continuous time E[L] does not depend on the interior, so the gradient of the estimator's variance is that of its
    second moment: d E[L^2] = E[2 L dL]. The same backward pass serves both: a hook multiplies what flows into the
    interior by 2 L, example by example.
    """

    def __init__(self) -> None:
        self.twice_loss: Tensor | None = None

    def level(self, schedule: LearnedSchedule, t: Tensor) -> tuple[Tensor, Tensor]:
        """As the function `level` in continuous time, with the hook in place."""
        place, speed = schedules.with_slope(schedule.interior, t)
        for value in (place, speed):
            if value.requires_grad:
                value.register_hook(lambda gradient: gradient * self.twice_loss)
        return schedule.between(place), (schedule.log_snr_max - schedule.log_snr_min) * speed

    def see(self, loss: Tensor) -> None:
        """loss: [B], the diffusion loss of this batch, in the unit that is minimised."""
        self.twice_loss = 2 * loss.detach()


class VDM(PictureModel):
    """A variational diffusion model of pictures of one shape.

    From z_0 `sample` takes the most probable level of each pixel, as the released code does.
    """

    config: VDMConfig

    def __init__(self, config: VDMConfig, shape: tuple[int, int, int], num_levels: int = 256) -> None:
        """shape: (C, H, W) of the pictures; num_levels: how many values a pixel can take."""
        super().__init__(config, config.net, "eps", shape, num_levels)

    def losses(self, batch: dict[str, Tensor], source: Source) -> dict[str, Tensor]:
        """The bound of each picture from one noise level, in bits per dimension: its parts and their sum, each [B]."""
        k = batch["x"]
        x, unit = scale(k, self.num_levels), self.dims * LN2
        t = noise.low_discrepancy_times(source, len(x), device=x.device)
        hook = VarianceGradient()
        if self.config.num_steps == 0 and isinstance(self.schedule, LearnedSchedule):
            log_snr, weight = hook.level(self.schedule, t)
        else:
            log_snr, weight = level(self.schedule, t, self.config.num_steps)
        eps = noise.normal_like(source, x)
        diffusion = diffusion_nats(self.denoise, x, eps, log_snr, weight, self.cond(batch)) / unit
        hook.see(diffusion)
        log_snr_0, log_snr_1 = self.ends()
        prior = prior_nats(x, log_snr_1) / unit
        z_0 = process.diffuse(x, log_snr_0, noise.normal_like(source, x))
        reconstruction = reconstruction_nats(k, z_0, log_snr_0, self.num_levels, self._window(log_snr_0)) / unit
        terms = {"prior_bpd": prior, "diffusion_bpd": diffusion, "reconstruction_bpd": reconstruction}
        loss = prior + diffusion + reconstruction
        return {"loss": loss, "bpd": loss.detach(), **{name: value.detach() for name, value in terms.items()}}

    @torch.no_grad()
    def elbo(
        self,
        k: Tensor,
        *,
        label: Tensor | None = None,
        seed: int = 0,
        first: int = 0,
        times: int = 16,
        num_steps: int | None = None,
        chunk: int | None = None,
        schedule: Schedule | None = None,
    ) -> Elbo:
        """The bound of each picture, in bits, without dropout.

        Args:
            k: [B, C, H, W] level indices; label: [B] for a class-conditional model.
            seed, first: picture i uses the random numbers of (seed, first + i) alone, however a set is cut up.
            times: noise levels per picture, evenly spread from a random offset.
            num_steps: T of the discrete-time bound L_T; None evaluates as trained, 0 in continuous time.
            chunk: rows per call of the network, `self.chunk` if omitted; part of what decides the last bits.
            schedule: evaluate with another schedule than the model's own.
        Raises: ValueError for pictures that are not the model's, and numbers that are not positive.
        """
        steps = self.config.num_steps if num_steps is None else num_steps
        if times < 1 or steps < 0:
            raise ValueError(f"times must be positive and num_steps not negative, got {times} and {steps}")
        k = check_levels(k, self.shape, self.num_levels).to(self.device)
        cond = self.condition(label, len(k))
        chunk = self.chunk if chunk is None else chunk
        pieces = []
        with evaluating(self):
            for rows in rows_of(len(k), first, chunk).split(chunk):
                sources = noise.per_example(noise.mix(seed, noise.EVALUATION), (first + rows).tolist(), self.device)
                rows = rows.to(self.device)
                pieces.append(self._elbo(k[rows], take(cond, rows), sources, times, steps, schedule or self.schedule))
        start = first % chunk
        return Elbo(*(torch.cat(values)[start : start + len(k)] for values in zip(*pieces, strict=True)))

    def _elbo(
        self, k: Tensor, cond: Any, sources: Source, times: int, steps: int, schedule: Schedule
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        x = scale(k, self.num_levels)
        log_snr_0, log_snr_1 = schedules.ends(schedule, self.device)
        z_0 = process.diffuse(x, log_snr_0, noise.normal_like(sources, x))
        window = window_of(log_snr_0.item(), self.num_levels)
        reconstruction = reconstruction_nats(k, z_0, log_snr_0, self.num_levels, window).double()
        offset = noise.uniform(sources, (len(x),), device=self.device, dtype=torch.float64)
        draws = []
        for i in range(times):
            t = (offset + i / times) % 1
            eps = noise.normal_like(sources, x)
            draws.append(diffusion_nats(self.denoise, x, eps, *level(schedule, t, steps), cond) / LN2)
        diffusion = torch.stack(draws, 1)
        return prior_nats(x, log_snr_1) / LN2, diffusion.mean(1), reconstruction / LN2, diffusion

    def _window(self, log_snr_0: Tensor) -> int | None:
        """Of the decoder. To read a learned end from a GPU would make it wait: there, the sum goes over all levels."""
        schedule = self.config.schedule
        if not schedule.learn_endpoints:
            return window_of(schedule.log_snr_max, self.num_levels)
        return window_of(log_snr_0.item(), self.num_levels) if log_snr_0.device.type == "cpu" else None
