"""The Gaussian algebra that all papers share, in one scalar: log_snr, the natural logarithm of alpha^2 / sigma^2.

    q(z_t | x0) = N(alpha_t x0, sigma_t^2 I),  alpha = sqrt(sigmoid(log_snr)),  sigma = sqrt(sigmoid(-log_snr))

Time runs from 0 (clean) to 1 (noise), so s < t means log_snr_s > log_snr_t. Differences of exponentials are taken with
expm1 and logarithms of alpha and sigma with logsigmoid; nothing is computed as 1 - alpha^2, which loses every digit at
the ends. Source: Kingma et al. 2021 (VDM, arXiv 2107.00630), Sec 3 and App A; Salimans & Ho 2022, App D for v.

Shapes: z, x0, eps, v are [B, ...]; log_snr is [B] or a scalar, in any floating dtype (schedules give float64).
Coefficients are computed in log_snr's dtype and then cast to the dtype of the data.
"""

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid


def expand(coefficient: Tensor, like: Tensor) -> Tensor:
    """A coefficient [B] (or a scalar) as [B, 1, ..., 1], in the dtype and on the device of `like` [B, ...]."""
    if coefficient.ndim == 0:
        return coefficient.to(like)
    return coefficient.to(like).reshape(-1, *[1] * (like.ndim - 1))


def alpha_sigma(log_snr: Tensor) -> tuple[Tensor, Tensor]:
    """(alpha, sigma) of log_snr, same shape. alpha^2 + sigma^2 = 1 (variance preserving)."""
    return torch.exp(0.5 * logsigmoid(log_snr)), torch.exp(0.5 * logsigmoid(-log_snr))


def diffuse(x0: Tensor, log_snr: Tensor, eps: Tensor) -> Tensor:
    """z = alpha x0 + sigma eps. VDM Eq 1."""
    alpha, sigma = alpha_sigma(log_snr)
    return expand(alpha, x0) * x0 + expand(sigma, x0) * eps


def eps_from_x0(z: Tensor, x0: Tensor, log_snr: Tensor) -> Tensor:
    """eps = (z - alpha x0) / sigma."""
    alpha, sigma = alpha_sigma(log_snr)
    return (z - expand(alpha, z) * x0) / expand(sigma, z)


def x0_from_eps(z: Tensor, eps: Tensor, log_snr: Tensor) -> Tensor:
    """x0 = (z - sigma eps) / alpha."""
    alpha, sigma = alpha_sigma(log_snr)
    return (z - expand(sigma, z) * eps) / expand(alpha, z)


def v_from_x0_eps(x0: Tensor, eps: Tensor, log_snr: Tensor) -> Tensor:
    """v = alpha eps - sigma x0. Salimans & Ho 2022, App D."""
    alpha, sigma = alpha_sigma(log_snr)
    return expand(alpha, x0) * eps - expand(sigma, x0) * x0


def x0_from_v(z: Tensor, v: Tensor, log_snr: Tensor) -> Tensor:
    """x0 = alpha z - sigma v."""
    alpha, sigma = alpha_sigma(log_snr)
    return expand(alpha, z) * z - expand(sigma, z) * v


def eps_from_v(z: Tensor, v: Tensor, log_snr: Tensor) -> Tensor:
    """eps = sigma z + alpha v."""
    alpha, sigma = alpha_sigma(log_snr)
    return expand(sigma, z) * z + expand(alpha, z) * v


def v_from_x0(z: Tensor, x0: Tensor, log_snr: Tensor) -> Tensor:
    """v = (alpha z - x0) / sigma: the v that belongs to a denoised x0."""
    alpha, sigma = alpha_sigma(log_snr)
    return (expand(alpha, z) * z - x0) / expand(sigma, z)


def score(z: Tensor, x0: Tensor, log_snr: Tensor) -> Tensor:
    """The gradient of log q(z) that belongs to a denoised x0: -eps / sigma."""
    _, sigma = alpha_sigma(log_snr)
    return -eps_from_x0(z, x0, log_snr) / expand(sigma, z)


def step_fraction(log_snr_s: Tensor, log_snr_t: Tensor) -> Tensor:
    """c = 1 - SNR(t) / SNR(s), in [0, 1]: how much of z_t's noise was added between s and t."""
    return -torch.expm1(log_snr_t - log_snr_s)


def transition(log_snr_s: Tensor, log_snr_t: Tensor) -> tuple[Tensor, Tensor]:
    """q(z_t | z_s) = N(scale z_s, variance I) for s < t: (alpha_t / alpha_s, c sigma_t^2). VDM App A.1."""
    scale = torch.exp(0.5 * (logsigmoid(log_snr_t) - logsigmoid(log_snr_s)))
    return scale, step_fraction(log_snr_s, log_snr_t) * torch.sigmoid(-log_snr_t)


def posterior(z_t: Tensor, x0: Tensor, log_snr_s: Tensor, log_snr_t: Tensor) -> tuple[Tensor, Tensor]:
    """q(z_s | z_t, x0) for s < t: mean [B, ...] and variance (shape of log_snr), VDM App A.2, Eqs 25 to 27.

    mean = (1 - c) (alpha_s / alpha_t) z_t + c alpha_s x0,  variance = c sigma_s^2
    """
    c = step_fraction(log_snr_s, log_snr_t)
    back = torch.exp(log_snr_t - log_snr_s + 0.5 * (logsigmoid(log_snr_s) - logsigmoid(log_snr_t)))
    alpha_s, _ = alpha_sigma(log_snr_s)
    mean = expand(back, z_t) * z_t + expand(c * alpha_s, z_t) * x0
    return mean, c * torch.sigmoid(-log_snr_s)


def ddim_step(z_t: Tensor, x0: Tensor, log_snr_s: Tensor, log_snr_t: Tensor) -> Tensor:
    """z_s = alpha_s x0 + sigma_s eps with the eps of (z_t, x0): no new noise. Song et al. 2021, Eq 12 with eta = 0."""
    return diffuse(x0, log_snr_s, eps_from_x0(z_t, x0, log_snr_t))
