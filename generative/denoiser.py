"""A network as a denoiser, and wrappers that change what a denoiser says.

Everything here has one call, `denoise(z, log_snr, cond=None) -> x0_hat`, with z and x0_hat [B, ...] and log_snr [B].
Samplers see only that call, so each net, prediction type, guidance and threshold works with each sampler. Wrappers are
functions that return such a function; the order that Imagen uses is dynamic_threshold(guided(denoise, weight)).

Sources: Salimans & Ho 2022 (arXiv 2202.00512), App D, for v, and Sec 4, for both at once; Ho & Salimans 2022
(classifier-free guidance, arXiv 2207.12598), Eq 6; Saharia et al. 2022 (Imagen, arXiv 2205.11487), Sec 2.3, for
thresholds.
"""

import math
from collections.abc import Callable
from typing import Literal, Protocol, TypeAlias, get_args

import torch
from torch import Tensor, nn

from generative import process

Cond: TypeAlias = Tensor | dict[str, Tensor] | None
Prediction: TypeAlias = Literal["eps", "x0", "v", "both"]


class Denoise(Protocol):
    """The call that samplers make: z [B, ...], log_snr [B], cond (tensors [B, ...]) -> x0_hat [B, ...]."""

    def __call__(self, z: Tensor, log_snr: Tensor, cond: Cond = None) -> Tensor: ...


class Denoiser(nn.Module):
    """A net whose raw output is read as `prediction` and turned into x0_hat. Raises ValueError for another prediction.

    "both" is two answers behind each other along the channels, one for x0 and one for eps, mixed by the noise level:
    x0_hat = sigma^2 x0 + alpha (z - sigma eps): each counts where it is the better known.

    The net is called net(z, log_snr, cond=cond) and answers with z's shape. Its answer is cast to z's dtype before
    the conversion: under bfloat16 autocast the conversion still runs in float32. At the noisy end (log_snr = -20) an
    error of eps is divided by alpha = 4.5e-5; "v" and "x0" have no such factor there.
    """

    def __init__(self, net: nn.Module, prediction: Prediction, trained: tuple[float, float] | None = None) -> None:
        """trained: least and largest log_snr that the net is told; at levels beyond, it is told the nearer of them."""
        super().__init__()
        if prediction not in get_args(Prediction):
            raise ValueError(f"prediction must be one of {', '.join(get_args(Prediction))}, got {prediction!r}")
        self.net = net
        self.prediction = prediction
        self.trained = trained

    def forward(self, z: Tensor, log_snr: Tensor, cond: Cond = None) -> Tensor:
        """x0_hat [B, ...] of z [B, ...] at log_snr [B], in z's dtype."""
        told = log_snr if self.trained is None else log_snr.clamp(*self.trained)
        output = self.net(z, told, cond=cond).to(z.dtype)
        if self.prediction == "eps":
            return process.x0_from_eps(z, output, log_snr)
        if self.prediction == "v":
            return process.x0_from_v(z, output, log_snr)
        if self.prediction == "both":
            x0, eps = output.chunk(2, 1)
            alpha, sigma = (process.expand(coefficient, z) for coefficient in process.alpha_sigma(log_snr))
            return sigma**2 * x0 + alpha * (z - sigma * eps)
        return output


def guided(
    denoise: Denoise, weight: float, null_cond: Cond | Callable[[Cond], Cond] = None, *, two_passes: bool = False
) -> Denoise:
    """Classifier-free guidance: x0_hat = uncond + weight (cond - uncond). Source: Ho & Salimans 2022, Eq 6.

    weight = 1 is off (the conditional denoiser itself, no second call), 0 is unconditional, above 1 strengthens the
    condition. This is Imagen's convention (Eq 4). The guidance paper and the video paper write (1 + w) cond - w uncond:
    their w is our weight - 1. Mixing x0_hat, eps or v is the same, since each is affine in the others at a fixed z.
    Thresholds come after it. The result is a sharper distribution, but not p(x|c)^weight p(x)^(1-weight) renormalised.

    Args:
        null_cond: what stands for "no condition". A tensor is broadcast to the shape of cond; a dict replaces the
            entries it names (a low-resolution picture stays, the text goes); a function is called with cond; None
            calls the denoiser without a condition.
        two_passes: call twice with B examples, in place of once with 2 B: slower, half the memory. Always so where
            the null condition is None.
    """
    if not math.isfinite(weight):
        raise ValueError(f"the guidance weight must be finite (1 is off), got {weight}")
    if weight == 1:
        return denoise

    def call(z: Tensor, log_snr: Tensor, cond: Cond = None) -> Tensor:
        if cond is None:
            raise ValueError("guidance needs a condition, got None; use weight 1 to sample without one")
        null = null_cond(cond) if callable(null_cond) else _replaced(cond, null_cond)
        if weight == 0:
            return denoise(z, log_snr, null)
        if two_passes or null is None:
            with_cond, without = denoise(z, log_snr, cond), denoise(z, log_snr, null)
        else:
            both = denoise(torch.cat([z, z]), torch.cat([log_snr, log_snr]), _joined(cond, null))
            with_cond, without = both.chunk(2)
        return without + weight * (with_cond - without)

    return call


def static_threshold(denoise: Denoise, low: float = -1.0, high: float = 1.0) -> Denoise:
    """x0_hat clipped to [low, high], the range of the data. Source: Saharia et al. 2022 (Imagen), Sec 2.3."""
    if not low < high:
        raise ValueError(f"a threshold needs low < high, got {low} and {high}")

    def call(z: Tensor, log_snr: Tensor, cond: Cond = None) -> Tensor:
        return denoise(z, log_snr, cond).clamp(low, high)

    return call


def dynamic_threshold(denoise: Denoise, percentile: float = 99.5, cap: float | None = None) -> Denoise:
    """Each example clipped to [-s, s] and divided by s, s = max(1, percentile of |x0_hat|), for data in [-1, 1].

    Source: Saharia et al. 2022 (Imagen), Sec 2.3 and Fig A.10. The percentile (in percent) is the smallest element at
    or above that rank, not an interpolation: selecting one element has no size limit, where torch.quantile refuses
    more than 2^24 numbers. `cap` bounds s from above (1.5 in DeepFloyd IF; 1 is the static threshold).
    """
    if not 50 <= percentile <= 100:
        raise ValueError(f"percentile is in percent, from 50 to 100 (99.5 in Imagen), got {percentile}")
    if cap is not None and not cap >= 1:
        raise ValueError(f"cap must be at least 1, got {cap}")

    def call(z: Tensor, log_snr: Tensor, cond: Cond = None) -> Tensor:
        x0_hat = denoise(z, log_snr, cond)
        size = x0_hat.flatten(1).abs()
        rank = math.ceil(percentile / 100 * (size.shape[1] - 1)) + 1  # kthvalue counts from 1
        s = process.expand(size.kthvalue(rank, dim=1).values.clamp(1, cap), x0_hat)
        return x0_hat.clamp(-s, s) / s

    return call


def _replaced(cond: Cond, null: Cond) -> Cond:
    """cond with its content taken away; the same shapes as cond, or None."""
    if null is None or cond is None:
        return None
    if isinstance(cond, Tensor) and isinstance(null, Tensor):
        return null.to(cond).expand_as(cond)
    if isinstance(cond, dict) and isinstance(null, dict):
        if odd := sorted(set(null) - set(cond)):
            raise ValueError(f"null_cond names {odd[0]!r}, cond has {sorted(cond)}")
        return {name: null[name].to(entry).expand_as(entry) if name in null else entry for name, entry in cond.items()}
    raise ValueError(f"null_cond must be of cond's kind, got {type(null).__name__} for {type(cond).__name__}")


def _joined(cond: Cond, null: Cond) -> Cond:
    """Two batches of conditions as one."""
    if isinstance(cond, dict) and isinstance(null, dict):
        return {name: torch.cat([entry, null[name]]) for name, entry in cond.items()}
    assert isinstance(cond, Tensor)
    assert isinstance(null, Tensor)
    return torch.cat([cond, null])
