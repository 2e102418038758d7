"""Pictures as level indices k = 0..num_levels-1 and as numbers in (-1, 1), and the probability of k given a noisy z_0.

Source: Kingma et al. 2021 (VDM, arXiv 2107.00630), Sec 3.3, with `num_levels` in place of 256; the scaling is that of
its released code.
"""

import math

import torch
from torch import Tensor

from generative import process


def scale(k: Tensor, num_levels: int) -> Tensor:
    """Level indices (any shape) as numbers in (-1, 1), float32: 2 (k + 0.5) / num_levels - 1."""
    return 2 * (k.float() + 0.5) / num_levels - 1


def nearest_level(x: Tensor, num_levels: int) -> Tensor:
    """The level index whose number is nearest to x (any shape), int64: the inverse of `scale`, and the most probable
    level of `reconstruction_nats` for x = z_0 / alpha_0."""
    return ((x + 1) * num_levels / 2).floor().clamp(0, num_levels - 1).long()


def reconstruction_nats(
    k: Tensor, z_0: Tensor, log_snr_0: Tensor, num_levels: int, window: int | None = None
) -> Tensor:
    """-log p(k | z_0) [B] of level indices k [B, ...] and z_0 [B, ...] at log_snr_0, a scalar:

        p(level j | z_0) = softmax_j(-0.5 exp(log_snr_0) (z_0 / alpha_0 - v_j)^2),  over the numbers v_j of all levels

    window: sum only over the levels up to this far from the nearest one (`window_of` says when that is enough).
    """
    alpha, _ = process.alpha_sigma(log_snr_0)
    x, snr = z_0 / process.expand(alpha, z_0), torch.exp(log_snr_0).to(z_0)
    if window is None:
        levels = torch.arange(num_levels, device=k.device)
    else:
        around = torch.arange(-window, window + 1, device=k.device)
        levels = nearest_level(x.detach(), num_levels).unsqueeze(-1) + around
    logits = -0.5 * snr * (x.unsqueeze(-1) - scale(levels, num_levels)) ** 2
    logits = logits.masked_fill((levels < 0) | (levels >= num_levels), -math.inf)
    chosen = -0.5 * snr * (x - scale(k, num_levels)) ** 2
    return (torch.logsumexp(logits, -1) - chosen).flatten(1).sum(1)


def window_of(log_snr_0: float, num_levels: int) -> int | None:
    """How many levels on either side hold all of the softmax but 1e-13 of it; None if that is most of them."""
    spacing = 2 / num_levels * math.exp(log_snr_0 / 2)  # in standard deviations of z_0 / alpha_0
    window = math.ceil(0.5 + math.sqrt(2 * 30) / spacing)
    return window if 2 * window + 1 < num_levels else None


def check_levels(k: Tensor, shape: tuple[int, ...], num_levels: int) -> Tensor:
    """k. Raises ValueError if it is not [B, *shape] of level indices 0..num_levels-1."""
    if tuple(k.shape[1:]) != tuple(shape) or len(k) < 1 or k.is_floating_point():
        want = ", ".join(map(str, shape))
        raise ValueError(f"pictures must be level indices [B, {want}], got {k.dtype} {list(k.shape)}")
    if not 0 <= int(k.min()) <= int(k.max()) < num_levels:
        raise ValueError(f"level indices must be in 0..{num_levels - 1}, got {int(k.min())} to {int(k.max())}")
    return k
