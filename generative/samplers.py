"""Samplers: flat functions of a denoiser, a noisy z and the noise levels to visit.

    sample_xxx(denoise, z, log_snrs, *, cond=None, generator=None, callback=None) -> z at log_snrs[-1]

log_snrs [N + 1] (float64) rises from the noisiest level, where z [B, ...] lives, to the cleanest; `levels` makes it
from a schedule. A sampler stops at z of the last level and leaves the last word to the caller: a decoder p(x | z), one
more denoise(z, log_snrs[-1]), or z / alpha. Two levels make one step, so a loop over log_snrs[i : i + 2] can do
anything between steps (replace known pixels, correct with `langevin`). The dtype of z is the dtype of the sampling;
coefficients are computed in float64 first. Nothing is differentiated.

The deterministic ones solve the probability-flow ODE in the form of Lu et al. 2022, Proposition 4.1:

    d(z / sigma) / d(alpha / sigma) = x0_hat(z, log_snr)

A step of it with x0_hat held constant is exact and is DDIM's step. Heun and DPM-Solver++(2M) are the same step with a
better constant: the mean over both ends, or a straight line through the last two answers.

Sources: Kingma et al. 2021 (VDM, arXiv 2107.00630) Sec 3.2; Ho et al. 2022 (Video Diffusion Models, arXiv 2204.03458)
Sec 2; Song et al. 2021a (DDIM, arXiv 2010.02502); Lu et al. 2022 (DPM-Solver++, arXiv 2211.01095); Song et al.
2021b (score SDE, arXiv 2011.13456) App D.2.
"""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any, TypeAlias

import torch
from torch import Tensor

from generative import noise, process
from generative.denoiser import Cond, Denoise

Callback: TypeAlias = Callable[[dict[str, Any]], None]
"""Called after each step with step (from 0), z (new), log_snr (of the new z, a scalar) and x0_hat (that led to it)."""


def levels(schedule: Callable[[Tensor], Tensor], num_steps: int, *, device: torch.device | str = "cpu") -> Tensor:
    """log_snrs [num_steps + 1] of a schedule at equal steps of time from t = 1 (noise) to t = 0 (data), float64."""
    if num_steps < 1:
        raise ValueError(f"sampling needs at least one step, got {num_steps}")
    return schedule(torch.linspace(1, 0, num_steps + 1, dtype=torch.float64, device=device)).detach()


@torch.no_grad()
def sample_ancestral(
    denoise: Denoise,
    z: Tensor,
    log_snrs: Tensor,
    *,
    cond: Cond = None,
    generator: noise.Source | None = None,
    callback: Callback | None = None,
    variance: float | Tensor = 0.0,
    corrector_delta: float = 0.0,
) -> Tensor:
    """Draws z_s from q(z_s | z_t, x0 = x0_hat) at each step. Source: Kingma et al. 2021, Sec 3.2 and App A.

    Args:
        variance: g in [0, 1] of Ho et al. 2022, Sec 2: the step's variance is (posterior)^(1-g) (sigma_{t|s}^2)^g. 0 is
            VDM's (samples a little too narrow at few steps), 1 the largest sensible one (a little too wide). A tensor
            that broadcasts with z: of each number, 0 being exact where x0_hat is the truth.
        corrector_delta: if positive, `langevin` with this step follows each step at its new level, for one more call.
    """
    if not isinstance(variance, Tensor):
        check_variance(variance)
    generator = _needed(generator)
    for step, log_snr_t, log_snr_s in _steps(log_snrs, z):
        x0_hat = _call(denoise, z, log_snr_t, cond)
        mean, smallest = process.posterior(z, x0_hat, log_snr_s, log_snr_t)
        _, largest = process.transition(log_snr_s, log_snr_t)
        scale = (smallest ** (1 - variance) * largest**variance).sqrt()
        scale = scale.to(z) if isinstance(variance, Tensor) else process.expand(scale, z)
        z = mean + scale * noise.normal_like(generator, z)
        if corrector_delta > 0:
            z = langevin(denoise, z, log_snr_s, delta=corrector_delta, cond=cond, generator=generator)
        _tell(callback, step, z, log_snr_s, x0_hat)
    return z


def check_variance(variance: float) -> None:
    """Raises ValueError for what is not between the smallest and the largest variance of a step."""
    if not 0 <= variance <= 1:
        raise ValueError(f"variance interpolates and must be in [0, 1], got {variance}")


@torch.no_grad()
def sample_ddim(
    denoise: Denoise,
    z: Tensor,
    log_snrs: Tensor,
    *,
    cond: Cond = None,
    generator: noise.Source | None = None,
    callback: Callback | None = None,
) -> Tensor:
    """z_s = alpha_s x0_hat + sigma_s eps_hat: first order, no noise. Source: Song et al. 2021a, Eq 12 with eta = 0."""
    for step, log_snr_t, log_snr_s in _steps(log_snrs, z):
        x0_hat = _call(denoise, z, log_snr_t, cond)
        z = process.ddim_step(z, x0_hat, log_snr_s, log_snr_t)
        _tell(callback, step, z, log_snr_s, x0_hat)
    return z


@torch.no_grad()
def sample_heun(
    denoise: Denoise,
    z: Tensor,
    log_snrs: Tensor,
    *,
    cond: Cond = None,
    generator: noise.Source | None = None,
    callback: Callback | None = None,
) -> Tensor:
    """A DDIM step to look ahead, then a DDIM step with the mean of both x0_hat: second order, two calls per step.

    This is the trapezoid rule on d(z / sigma) / d(alpha / sigma) = x0_hat (Lu et al. 2022, Proposition 4.1). Karras et
    al. 2022, Algorithm 1, apply it to d(z / alpha) / d(sigma / alpha) = eps_hat, which multiplies an error of x0_hat by
    the step's growth of alpha / sigma; here it is never multiplied by more than 1.
    """
    for step, log_snr_t, log_snr_s in _steps(log_snrs, z):
        here = _call(denoise, z, log_snr_t, cond)
        ahead = _call(denoise, process.ddim_step(z, here, log_snr_s, log_snr_t), log_snr_s, cond)
        x0_hat = (here + ahead) / 2
        z = process.ddim_step(z, x0_hat, log_snr_s, log_snr_t)
        _tell(callback, step, z, log_snr_s, x0_hat)
    return z


@torch.no_grad()
def sample_dpm_solver_pp(
    denoise: Denoise,
    z: Tensor,
    log_snrs: Tensor,
    *,
    cond: Cond = None,
    generator: noise.Source | None = None,
    callback: Callback | None = None,
) -> Tensor:
    """DPM-Solver++(2M): second order, one call per step. Source: Lu et al. 2022, Algorithm 2.

    The line through the last two x0_hat, taken half a step ahead in log_snr / 2: with r = (last step) / (this step),
    D = (1 + 1 / (2 r)) x0_hat - 1 / (2 r) last, and z_s = (sigma_s / sigma_t) z_t - alpha_s expm1(-h) D, a DDIM step.
    At its best where steps are equal in log_snr: a schedule that stretches them at its ends makes the line overshoot.
    """
    last: tuple[Tensor, Tensor] | None = None
    for step, log_snr_t, log_snr_s in _steps(log_snrs, z):
        x0_hat = _call(denoise, z, log_snr_t, cond)
        ahead = x0_hat
        if last is not None:
            half_over_r = 0.5 * (log_snr_s - log_snr_t) / (log_snr_t - last[1])
            ahead = x0_hat + process.expand(half_over_r, z) * (x0_hat - last[0])
        z = process.ddim_step(z, ahead, log_snr_s, log_snr_t)
        last = x0_hat, log_snr_t
        _tell(callback, step, z, log_snr_s, x0_hat)
    return z


@torch.no_grad()
def sample_x0(
    sampler: Callable[..., Tensor],
    denoise: Denoise,
    z: Tensor,
    log_snrs: Tensor,
    *,
    cond: Cond = None,
    callback: Callback | None = None,
    **options: Any,
) -> Tensor:
    """x0 [B, ...]: all steps of `sampler` but the last one, which is the denoiser's answer itself (so log_snrs[-1] does
    not matter). Sources: Salimans & Ho 2022, App D; Saharia et al. 2021 (SR3), Algorithm 2: no noise in the last step.
    """
    if len(log_snrs) > 2:
        z = sampler(denoise, z, log_snrs[:-1], cond=cond, callback=callback, **options)
    x0_hat = _call(denoise, z, log_snrs[-2], cond)
    _tell(callback, len(log_snrs) - 2, x0_hat, log_snrs[-1], x0_hat)
    return x0_hat


@torch.no_grad()
def langevin(
    denoise: Denoise,
    z: Tensor,
    log_snr: Tensor,
    *,
    delta: float,
    cond: Cond = None,
    generator: noise.Source | None = None,
) -> Tensor:
    """One Langevin step at a fixed level: z - (delta / 2) sigma eps_hat + sqrt(delta) sigma n, n standard normal.

    Source: Ho et al. 2022, Sec 2 (delta = 0.1). It pulls z towards the marginal at log_snr (a scalar) and leaves the
    marginal itself as it is up to O(delta^2).
    """
    if not delta > 0:
        raise ValueError(f"delta must be positive, got {delta}")
    log_snr = log_snr.to(z.device)
    _, sigma = process.alpha_sigma(log_snr)
    eps = process.eps_from_x0(z, _call(denoise, z, log_snr, cond), log_snr)
    fresh = noise.normal_like(_needed(generator), z)
    return z + process.expand(sigma, z) * (math.sqrt(delta) * fresh - 0.5 * delta * eps)


def log_likelihood(
    denoise: Denoise,
    z: Tensor,
    log_snrs: Tensor,
    *,
    cond: Cond = None,
    generator: noise.Source | None = None,
    probes: int | None = None,
) -> Tensor:
    """log p(z) [B] in nats of z at the CLEANEST level log_snrs[-1], under the probability-flow ODE.

    Source: Song et al. 2021b, App D.2, Eq 39, with log_snr as the time: dz / d log_snr = (alpha / 2)(x0_hat - alpha z),
    solved to the noisiest level by the classic fourth-order Runge-Kutta rule on the given levels (four calls a step),
    and p = N(0, I) there. For the density of x0 = z / alpha, add D log(alpha) with D numbers per example.

    Args:
        probes: None takes the exact trace (one backward pass per number of an example: small shapes); a number takes
            Hutchinson's estimate with that many random signs per example, drawn once from `generator`.
    """
    if probes is not None and probes < 1:
        raise ValueError(f"probes must be at least 1, or None for the exact trace, got {probes}")
    num_dims = z[0].numel()
    if probes is None:
        signs = list(torch.eye(num_dims, dtype=z.dtype, device=z.device).reshape(num_dims, 1, *z.shape[1:]))
    else:
        drawn = [noise.uniform(_needed(generator), z.shape, device=z.device, dtype=z.dtype) for _ in range(probes)]
        signs = [torch.where(u < 0.5, -1.0, 1.0).to(z) for u in drawn]

    def slope(z: Tensor, log_snr: Tensor) -> tuple[Tensor, Tensor]:
        alpha, _ = process.alpha_sigma(log_snr)
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            x0_hat = _call(denoise, z, log_snr, cond)
            grads = [torch.autograd.grad((x0_hat * e).sum(), z, retain_graph=True)[0] * e for e in signs]
        trace = torch.stack([g.double().flatten(1).sum(1) for g in grads]).sum(0) / (probes or 1)
        velocity = process.expand(alpha / 2, z) * (x0_hat - process.expand(alpha, z) * z)
        return velocity.detach(), 0.5 * alpha * (trace - alpha * num_dims)

    change = torch.zeros(z.shape[0], dtype=torch.float64, device=z.device)
    for _, log_snr_t, log_snr_s in reversed(list(_steps(log_snrs, z))):
        z, gained = _runge_kutta(slope, z, log_snr_s, log_snr_t)
        change = change + gained
    return change - 0.5 * (z.double().flatten(1).square().sum(1) + num_dims * math.log(2 * math.pi))


SAMPLERS: dict[str, Callable[..., Tensor]] = {
    "ancestral": sample_ancestral,
    "ddim": sample_ddim,
    "heun": sample_heun,
    "dpm++": sample_dpm_solver_pp,
}
"""By name, all with the signature at the top of this file. Only "ancestral" draws random numbers on the way."""


def _steps(log_snrs: Tensor, z: Tensor) -> list[tuple[int, Tensor, Tensor]]:
    """(step, log_snr_t, log_snr_s) of each step, scalars in float64 on z's device."""
    if log_snrs.ndim != 1 or len(log_snrs) < 2 or not bool((log_snrs.diff() > 0).all()):
        raise ValueError(f"log_snrs must be a list of two or more rising levels, got shape {tuple(log_snrs.shape)}")
    device_levels = log_snrs.detach().to(z.device, torch.float64).unbind()
    return [(i, t, s) for i, (t, s) in enumerate(pairwise(device_levels))]


def _call(denoise: Denoise, z: Tensor, log_snr: Tensor, cond: Cond) -> Tensor:
    return denoise(z, log_snr.expand(z.shape[0]), cond)


def _needed(generator: noise.Source | None) -> noise.Source:
    if generator is None:
        raise ValueError("this needs random numbers: pass generator")
    return generator


def _tell(callback: Callback | None, step: int, z: Tensor, log_snr: Tensor, x0_hat: Tensor) -> None:
    if callback is not None:
        callback({"step": step, "z": z, "log_snr": log_snr, "x0_hat": x0_hat})


def _runge_kutta(slope: Callable, z: Tensor, start: Tensor, stop: Tensor) -> tuple[Tensor, Tensor]:
    """z at `stop`, and the integral of the second thing that `slope` returns."""
    middle, step = (start + stop) / 2, stop - start
    h = step.to(z.dtype)
    v1, d1 = slope(z, start)
    v2, d2 = slope(z + 0.5 * h * v1, middle)
    v3, d3 = slope(z + 0.5 * h * v2, middle)
    v4, d4 = slope(z + h * v3, stop)
    return z + h / 6 * (v1 + 2 * v2 + 2 * v3 + v4), step / 6 * (d1 + 2 * d2 + 2 * d3 + d4)
