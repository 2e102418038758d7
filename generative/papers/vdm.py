"""Variational Diffusion Models. Kingma, Salimans, Poole & Ho 2021, arXiv 2107.00630.

Sec 3 and 4: the variational bound in three parts, in continuous (Eq 17) and discrete time (Eq 13); Sec 5: a schedule
that is trained with the model; App A: the process (generative/process.py); App I.1: low-discrepancy times.
The paper's gamma is our -log_snr.

Where we differ: the schedule keeps its ends exactly and is trained to lower the variance of the estimator (Sec 5.1.3 and
App I.2), as the paper says and its released code does not. `num_levels` generalises 256. Pixels are scaled to
2 (k + 0.5) / num_levels - 1, as in the released code. The network's embedding of log_snr uses the schedule's first ends.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from generative import noise, process, schedules
from generative.batching import in_chunks
from generative.denoiser import Denoiser
from generative.nets.unet import UNet, UNetConfig
from generative.nets.vdm_unet import VDMUNet, VDMUNetConfig
from generative.noise import Source
from generative.samplers import SAMPLERS
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
        if self.num_steps < 0:
            raise ValueError(f"num_steps must be 0 (continuous time) or positive, got {self.num_steps}")


@dataclass(frozen=True)
class Elbo:
    """The variational bound of each picture, in bits, in its three parts, each [B]."""

    prior: Tensor
    """KL(q(z_1 | x) || N(0, I)): what of the picture is left in the noisiest latent."""
    diffusion: Tensor
    """The cost of all denoising steps."""
    reconstruction: Tensor
    """-log2 p(x | z_0)."""

    @property
    def bits(self) -> Tensor:
        """The sum: an upper bound of -log2 p(x)."""
        return self.prior + self.diffusion + self.reconstruction


def scale(k: Tensor, num_levels: int) -> Tensor:
    """Level indices 0..num_levels-1 as numbers in (-1, 1)."""
    return 2 * (k.float() + 0.5) / num_levels - 1


def prior_nats(x: Tensor, log_snr_1: Tensor) -> Tensor:
    """KL(q(z_1 | x) || N(0, I)) [B], the prior loss of Eq 15: 0.5 sum(alpha^2 x^2 + sigma^2 - log sigma^2 - 1)."""
    alpha2 = torch.sigmoid(log_snr_1)
    per_dim = alpha2 * x.double() ** 2 - alpha2 - torch.nn.functional.logsigmoid(-log_snr_1)
    return 0.5 * per_dim.flatten(1).sum(1)


def reconstruction_nats(k: Tensor, z_0: Tensor, log_snr_0: Tensor, num_levels: int, window: int | None = None) -> Tensor:
    """-log p(x | z_0) [B] for level indices k [B, ...], with one sample z_0 ~ q(z_0 | x). Eq 10 and App B:

        p(level j | z_0) = softmax_j(-0.5 exp(log_snr_0) (z_0 / alpha_0 - v_j)^2),  over all levels v_j

    window: sum only over the levels up to this far from the nearest one (`window_of` says when that is enough).
    """
    alpha, _ = process.alpha_sigma(log_snr_0)
    x, snr = z_0 / process.expand(alpha, z_0), torch.exp(log_snr_0).to(z_0)
    if window is None:
        levels = torch.arange(num_levels, device=k.device)
    else:
        nearest = ((x + 1) * num_levels / 2).floor().clamp(0, num_levels - 1).long()
        levels = nearest.unsqueeze(-1) + torch.arange(-window, window + 1, device=k.device)
    logits = -0.5 * snr * (x.unsqueeze(-1) - scale(levels, num_levels)) ** 2
    logits = logits.masked_fill((levels < 0) | (levels >= num_levels), -math.inf)
    chosen = -0.5 * snr * (x - scale(k, num_levels)) ** 2
    return (torch.logsumexp(logits, -1) - chosen).flatten(1).sum(1)


def window_of(log_snr_0: float, num_levels: int) -> int | None:
    """How many levels on either side hold all of the softmax but 1e-13 of it; None if that is most of them."""
    spacing = 2 / num_levels * math.exp(log_snr_0 / 2)  # in standard deviations of z_0 / alpha_0
    window = math.ceil(0.5 + math.sqrt(2 * 30) / spacing)
    return window if 2 * window + 1 < num_levels else None


def diffusion_nats(denoise: Any, x: Tensor, eps: Tensor, log_snr: Tensor, weight: Tensor, cond: Any = None) -> Tensor:
    """0.5 weight ||eps - eps_hat(z_t)||^2 [B].

    Continuous time (Eq 17): weight = -d log_snr / dt. Discrete time (Eq 13): weight = T expm1(log_snr_s - log_snr_t).
    """
    z = process.diffuse(x, log_snr, eps)
    eps_hat = process.eps_from_x0(z, denoise(z, log_snr, cond), log_snr)
    return 0.5 * weight * (eps - eps_hat).square().flatten(1).sum(1)


def continuous_level(schedule: Schedule, t: Tensor) -> tuple[Tensor, Tensor]:
    """(log_snr, weight) of the continuous-time loss at t."""
    log_snr, slope = schedules.with_slope(schedule, t)
    return log_snr, -slope


def discrete_level(schedule: Schedule, t: Tensor, num_steps: int) -> tuple[Tensor, Tensor]:
    """(log_snr, weight) of the discrete-time loss at the end of the step that t falls into: t -> ceil(t T) / T."""
    t = (torch.floor(t * num_steps) + 1) / num_steps
    log_snr_t, log_snr_s = schedule(t), schedule(t - 1 / num_steps)
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
        """As `continuous_level`, with the hook in place."""
        place, speed = schedules.with_slope(schedule.interior, t)
        for value in (place, speed):
            if value.requires_grad:
                value.register_hook(lambda gradient: gradient * self.twice_loss)
        return schedule.between(place), (schedule.log_snr_max - schedule.log_snr_min) * speed

    def see(self, loss: Tensor) -> None:
        """loss: [B], the diffusion loss of this batch, in the unit that is minimised."""
        self.twice_loss = 2 * loss.detach()


class VDM(nn.Module):
    """A variational diffusion model of pictures of one shape."""

    def __init__(self, config: VDMConfig, shape: tuple[int, int, int], num_levels: int = 256) -> None:
        """shape: (C, H, W) of the pictures; num_levels: how many values a pixel can take."""
        super().__init__()
        self.config, self.shape, self.num_levels = config, tuple(shape), num_levels
        log_snrs = (config.schedule.log_snr_min, config.schedule.log_snr_max)
        build = VDMUNet if isinstance(config.net, VDMUNetConfig) else UNet
        self.denoise = Denoiser(build(config.net, self.shape, log_snrs), "eps")
        self.schedule = schedules.make(config.schedule)
        fixed = not config.schedule.learn_endpoints
        self.window = window_of(config.schedule.log_snr_max, num_levels) if fixed else None
        self.meta: dict[str, Any] = {}

    @property
    def dims(self) -> int:
        return math.prod(self.shape)

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def parameter_groups(self) -> list[tuple[str, list[nn.Parameter], str]]:
        """(name, parameters, "network" or "schedule") of what is trained."""
        groups = [("network", list(self.denoise.parameters()), "network")]
        if isinstance(self.schedule, nn.Module):
            learned = [parameter for parameter in self.schedule.parameters() if parameter.requires_grad]
            groups.append(("schedule", learned, "schedule"))
        return groups

    def ends(self) -> tuple[Tensor, Tensor]:
        """log_snr at t = 0 and at t = 1, float64 scalars."""
        high, low = self.schedule(torch.tensor([0.0, 1.0], dtype=torch.float64, device=self.device))
        return high, low

    def cond(self, batch: dict[str, Tensor]) -> dict[str, Tensor] | None:
        return {"label": batch["label"]} if self.config.net.classes else None

    def forward(self, batch: dict[str, Tensor], source: Source) -> dict[str, Tensor]:
        return self.losses(batch, source)

    def losses(self, batch: dict[str, Tensor], source: Source) -> dict[str, Tensor]:
        """The bound of each picture with one noise level each, in bits per dimension, "loss" being their sum; each [B]."""
        k = batch["x"]
        x, unit = scale(k, self.num_levels), self.dims * LN2
        t = noise.low_discrepancy_times(source, len(x), device=x.device)
        hook = VarianceGradient()
        if self.config.num_steps:
            log_snr, weight = discrete_level(self.schedule, t, self.config.num_steps)
        elif isinstance(self.schedule, LearnedSchedule):
            log_snr, weight = hook.level(self.schedule, t)
        else:
            log_snr, weight = continuous_level(self.schedule, t)
        eps = noise.normal_like(source, x)
        diffusion = diffusion_nats(self.denoise, x, eps, log_snr, weight, self.cond(batch)) / unit
        hook.see(diffusion)
        log_snr_0, log_snr_1 = self.ends()
        prior = prior_nats(x, log_snr_1) / unit
        z_0 = process.diffuse(x, log_snr_0, noise.normal_like(source, x))
        with torch.set_grad_enabled(log_snr_0.requires_grad):  # it knows only the end of the schedule
            reconstruction = reconstruction_nats(k, z_0, log_snr_0, self.num_levels, self.window) / unit
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
        chunk: int = 64,
    ) -> Elbo:
        """The bound of each picture, in bits.

        Args:
            k: [B, C, H, W] level indices; label: [B] for a class-conditional model.
            seed, first: picture i uses the random numbers of (seed, first + i) alone, however a set is cut up.
            times: noise levels per picture, evenly spread from a random offset.
            num_steps: T of the discrete-time bound L_T; None evaluates as trained, 0 in continuous time.
            chunk: rows per call of the network; part of what decides the last bits.
        """
        steps = self.config.num_steps if num_steps is None else num_steps
        if times < 1 or steps < 0:
            raise ValueError(f"times must be positive and num_steps not negative, got {times} and {steps}")
        k = k.to(self.device)
        x = scale(k, self.num_levels)
        cond = None if label is None else self.cond({"label": label.to(self.device)})
        sources = noise.per_example(seed, range(first, first + len(x)), self.device)
        log_snr_0, log_snr_1 = self.ends()
        z_0 = process.diffuse(x, log_snr_0, noise.normal_like(sources, x))
        reconstruction = reconstruction_nats(k, z_0, log_snr_0, self.num_levels, self.window).double()
        offset = noise.uniform(sources, (len(x),), device=self.device, dtype=torch.float64)
        denoise, diffusion = in_chunks(self.denoise, chunk), torch.zeros_like(offset)
        for i in range(times):
            t = (offset + i / times) % 1
            level = discrete_level(self.schedule, t, steps) if steps else continuous_level(self.schedule, t)
            diffusion += diffusion_nats(denoise, x, noise.normal_like(sources, x), *level, cond) / times
        return Elbo(prior_nats(x, log_snr_1) / LN2, diffusion / LN2, reconstruction / LN2)

    @torch.no_grad()
    def sample(
        self,
        n: int,
        *,
        steps: int = 256,
        sampler: str = "ancestral",
        seed: int = 0,
        first: int = 0,
        label: Tensor | None = None,
        chunk: int = 64,
        callback: Any = None,
    ) -> Tensor:
        """Pictures number first to first + n - 1 of this seed, as level indices [n, C, H, W], uint8.

        Picture i depends on (seed, i), steps, sampler and chunk alone: the same bits in any batch, on any worker.
        From z_0 the most probable level of each pixel is taken, as the paper does. Raises ValueError.
        """
        if sampler not in SAMPLERS:
            raise ValueError(f"sampler {sampler!r} does not exist; allowed: {', '.join(SAMPLERS)}")
        if n < 1 or steps < 1:
            raise ValueError(f"n and steps must be positive, got {n} and {steps}")
        sources = noise.per_example(seed, range(first, first + n), self.device)
        z = noise.normal(sources, (n, *self.shape), device=self.device, dtype=torch.float32)
        log_snrs = self.schedule(torch.linspace(1, 0, steps + 1, dtype=torch.float64, device=self.device))
        cond = None if label is None else self.cond({"label": label.to(self.device)})
        draw = SAMPLERS[sampler]
        z_0 = draw(in_chunks(self.denoise, chunk), z, log_snrs, cond=cond, generator=sources, callback=callback)
        alpha, _ = process.alpha_sigma(log_snrs[-1])
        return self.levels(z_0 / alpha.to(z_0))

    def levels(self, x: Tensor) -> Tensor:
        """The nearest level index of numbers in (-1, 1), uint8: the most probable one of Eq 10."""
        return ((x + 1) * self.num_levels / 2).floor().clamp(0, self.num_levels - 1).to(torch.uint8)
