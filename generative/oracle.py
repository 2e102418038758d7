"""Denoisers in closed form, E[x0 | z], for data whose density is known: a Gaussian, or a mixture of Gaussians.

They have the call of every denoiser, `oracle(z, log_snr, cond=None) -> x0_hat`, so that samplers, guidance, losses and
codecs can be checked against exact answers with no network: the density at each noise level, the smallest possible
error, the diffusion loss, the probability-flow map. Computed in float64; x0_hat comes back in z's dtype.

With covariance U diag(lam) U^T and SNR = exp(log_snr), everything is a function of lam and SNR along each column of U.
Source: Gaussian conditioning; Kingma et al. 2021 (VDM, arXiv 2107.00630), Eqs 12 to 18, for the losses.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn.functional import softplus

from generative import noise, process
from generative.denoiser import Cond


@dataclass(frozen=True, eq=False)
class GaussianOracle:
    """x0 ~ N(mean, covariance). Raises ValueError for shapes that do not fit or a covariance with negative variance."""

    mean: Tensor
    """[*shape] of one example, with D numbers."""
    covariance: Tensor
    """[D, D], or [D] (or the shape of the mean) for a diagonal one. Zero variances are allowed."""

    def __post_init__(self) -> None:
        size = self.mean.numel()
        if self.covariance.shape not in ((size, size), (size,), self.mean.shape):
            got = tuple(self.covariance.shape)
            raise ValueError(f"covariance must be [{size}, {size}] or [{size}] for a mean of {size}, got {got}")
        lam, vectors = self._axes
        if not bool((lam >= -1e-12 * lam.abs().max()).all()):
            raise ValueError(f"covariance has a negative variance, {lam.min():.3g}")
        if vectors is not None and not torch.allclose(self.covariance, self.covariance.T):
            raise ValueError("covariance must be symmetric")

    @cached_property
    def _axes(self) -> tuple[Tensor, Tensor | None]:
        """Variances [D] and their directions [D, D] as columns; None where the covariance is diagonal."""
        covariance = self.covariance.double()
        if self.covariance.shape == (self.mean.numel(), self.mean.numel()):
            lam, vectors = torch.linalg.eigh(covariance)
            return lam, vectors
        return covariance.flatten(), None

    @property
    def variances(self) -> Tensor:
        """lam [D], float64: the eigenvalues of the covariance."""
        return self._axes[0].clamp(min=0)

    def __call__(self, z: Tensor, log_snr: Tensor, cond: Cond = None) -> Tensor:
        """x0_hat [B, *shape] = mean + alpha lam / (alpha^2 lam + sigma^2) (z - alpha mean), along each direction."""
        lam, alpha = self._lam(z), _column(process.alpha_sigma(log_snr.double())[0])
        along = self._to_axes(z, log_snr) * alpha * lam / _total(lam, log_snr)
        return self._from_axes(along, z, torch.ones_like(log_snr))

    def log_prob(self, z: Tensor, log_snr: Tensor | None = None) -> Tensor:
        """log q(z) [B] in nats at log_snr [B] or a scalar; of clean data x0 if it is None."""
        log_snr = _clean(z) if log_snr is None else log_snr
        variance = _total(self._lam(z), log_snr).expand(z.shape[0], -1)
        squares = self._to_axes(z, log_snr).square() / variance
        return -0.5 * (squares + variance.log() + math.log(2 * math.pi)).sum(1)

    def sample(self, n: int, generator: noise.Source) -> Tensor:
        """x0 [n, *shape], float64."""
        return self.spread(noise.normal(generator, (n, *self.mean.shape), device=self.mean.device, dtype=torch.float64))

    def spread(self, draw: Tensor) -> Tensor:
        """Standard normal numbers [n, *shape] (float64) turned into x0 [n, *shape]."""
        return self._from_axes(draw.flatten(1) * self.variances.sqrt(), draw, draw.new_ones(()))

    def entropy(self) -> Tensor:
        """-E[log p(x0)] in nats, a scalar."""
        return 0.5 * (self.variances.log() + math.log(2 * math.pi) + 1).sum()

    def expected_squared_error(self, log_snr: Tensor) -> Tensor:
        """E ||x0 - x0_hat||^2, summed over dimensions, = sum lam / (1 + lam SNR); the shape of log_snr."""
        lam = self.variances.to(log_snr.device)
        return (lam / (1 + lam * log_snr.double().exp().unsqueeze(-1))).sum(-1)

    def diffusion_loss(self, log_snr_max: float, log_snr_min: float) -> Tensor:
        """The continuous-time diffusion loss between two ends, 0.5 sum log((1 + lam SNR_max) / (1 + lam SNR_min)) nats.

        It is the integral of 0.5 E||x0 - x0_hat||^2 over the SNR, whatever the schedule. VDM Eqs 15 and 18.
        """
        log_lam = self.variances.log()
        return 0.5 * (softplus(log_lam + log_snr_max) - softplus(log_lam + log_snr_min)).sum()

    def discrete_diffusion_loss(self, log_snrs: Tensor) -> Tensor:
        """The same in T steps between levels [T + 1], in any order: sum 0.5 (SNR_s - SNR_t) E||x0 - x0_hat(z_t)||^2.

        Nats. VDM Eqs 12 and 13: each step pays for the error at its noisier end, so this is above `diffusion_loss`.
        """
        rising = log_snrs.double().sort().values
        return 0.5 * (rising.exp().diff() * self.expected_squared_error(rising[:-1])).sum()

    def flow(self, z: Tensor, log_snr_from: Tensor, log_snr_to: Tensor) -> Tensor:
        """z moved along the probability-flow ODE from one level to another: where DDIM ends with infinitely many steps.

        Along each direction the distance to the mean scales with the marginal's standard deviation.
        """
        lam = self._lam(z)
        scale = (_total(lam, log_snr_to) / _total(lam, log_snr_from)).sqrt()
        return self._from_axes(self._to_axes(z, log_snr_from) * scale, z, process.alpha_sigma(log_snr_to)[0])

    def _lam(self, z: Tensor) -> Tensor:
        return self.variances.to(z.device)

    def _to_axes(self, z: Tensor, log_snr: Tensor) -> Tensor:
        """z - alpha mean [B, D] along the directions, float64."""
        alpha = _column(process.alpha_sigma(log_snr.double())[0])
        centred = z.double().flatten(1) - alpha * self.mean.to(z.device, torch.float64).flatten()
        return centred if self._axes[1] is None else centred @ self._axes[1].to(z.device)

    def _from_axes(self, along: Tensor, like: Tensor, scale: Tensor) -> Tensor:
        """scale mean + [B, D] along the directions, in the shape and dtype of `like`."""
        moved = along if self._axes[1] is None else along @ self._axes[1].to(along.device).T
        mean = _column(scale.double()) * self.mean.to(along.device, torch.float64).flatten()
        return (moved + mean).reshape(like.shape).to(like.dtype)


@dataclass(frozen=True, eq=False)
class ObservedOracle:
    """x0 ~ N(mean, covariance), of which y = matrix x0 + noise is told, noise ~ N(0, variance I): what a model of
    pictures given pictures learns. Where nothing is told twice, variance may be 0."""

    mean: Tensor
    """[*shape] of one example, with D numbers."""
    covariance: Tensor
    """[D, D]."""
    matrix: Tensor
    """[M, D]: what is observed of x0, such as the means of blocks."""
    variance: float = 0.0

    @cached_property
    def gain(self) -> Tensor:
        """[D, M] covariance matrix^T (matrix covariance matrix^T + variance I)^-1, float64."""
        a, covariance = self.matrix.double(), self.covariance.double()
        seen = a @ covariance @ a.T + self.variance * torch.eye(len(a), dtype=torch.float64)
        return torch.linalg.solve(seen, a @ covariance).T

    @cached_property
    def residual(self) -> GaussianOracle:
        """x0 minus its mean given y: a Gaussian around 0 that does not depend on y."""
        covariance = self.covariance.double()
        left = covariance - self.gain @ self.matrix.double() @ covariance
        return GaussianOracle(torch.zeros_like(self.mean, dtype=torch.float64), (left + left.T) / 2)

    def mean_given(self, y: Tensor) -> Tensor:
        """E[x0 | y] [B, *shape] of y [B, M], float64."""
        apart = y.double() - self.matrix.double() @ self.mean.double().flatten()
        return self.mean.double() + (apart @ self.gain.T).reshape(len(y), *self.mean.shape)

    def __call__(self, z: Tensor, log_snr: Tensor, cond: Cond = None) -> Tensor:
        """x0_hat [B, *shape] given cond, y [B, M]."""
        if not isinstance(cond, Tensor):
            raise ValueError(f"cond must be what is observed, a tensor [B, M], got {type(cond).__name__}")
        mean = self.mean_given(cond)
        alpha, _ = process.alpha_sigma(log_snr.double())
        rest = self.residual(z.double() - process.expand(alpha, mean) * mean, log_snr)
        return (mean + rest).to(z.dtype)


@dataclass(frozen=True, eq=False)
class MixtureOracle:
    """x0 from component k with probability weights[k], then N(means[k], covariances[k])."""

    weights: Tensor
    """[K], positive; normalised to sum to one."""
    means: Tensor
    """[K, *shape]."""
    covariances: Tensor
    """[K, D, D], or [K, D] for diagonal ones."""

    def __post_init__(self) -> None:
        counts = len(self.weights), len(self.means), len(self.covariances)
        if len(set(counts)) != 1 or not bool((self.weights > 0).all()):
            raise ValueError(f"a mixture needs one positive weight, mean and covariance per component, got {counts}")
        assert self.components  # checks the shapes

    @cached_property
    def components(self) -> tuple[GaussianOracle, ...]:
        """The Gaussians."""
        return tuple(GaussianOracle(m, c) for m, c in zip(self.means, self.covariances, strict=True))

    def __call__(self, z: Tensor, log_snr: Tensor, cond: Cond = None) -> Tensor:
        """x0_hat [B, *shape]. cond, if given: int64 [B], the component each example is from, -1 where unknown."""
        share = self._joint(z, log_snr, cond).softmax(1)
        guesses = torch.stack([component(z.double(), log_snr) for component in self.components], 1)
        return (guesses * share.reshape(*share.shape, *[1] * (z.ndim - 1))).sum(1).to(z.dtype)

    def log_prob(self, z: Tensor, log_snr: Tensor | None = None, cond: Cond = None) -> Tensor:
        """log q(z) [B] in nats at log_snr [B] or a scalar; of clean data x0 if it is None. cond as in the call."""
        return self._joint(z, _clean(z) if log_snr is None else log_snr, cond).logsumexp(1)

    def sample(self, n: int, generator: noise.Source) -> tuple[Tensor, Tensor]:
        """x0 [n, *shape] in float64, and the component of each, int64 [n]."""
        place = noise.uniform(generator, (n,), device=self.means.device, dtype=torch.float64)
        shares = self.weights.double() / self.weights.double().sum()
        label = torch.searchsorted(shares.cumsum(0), place, right=True).clamp(max=len(shares) - 1)
        draw = noise.normal(generator, (n, *self.means.shape[1:]), device=self.means.device, dtype=torch.float64)
        spread = torch.stack([component.spread(draw) for component in self.components], 1)
        return spread[torch.arange(n, device=label.device), label], label

    def _joint(self, z: Tensor, log_snr: Tensor, cond: Cond) -> Tensor:
        """log(weight_k q(z | k)) [B, K]; with a known component, log q(z | k) there and -inf elsewhere."""
        log_weights = (self.weights.double() / self.weights.double().sum()).log().to(z.device)
        log_q = torch.stack([component.log_prob(z, log_snr) for component in self.components], 1)
        if cond is None:
            return log_q + log_weights
        if not isinstance(cond, Tensor):
            raise ValueError(f"a mixture's condition is the component's number, a tensor, got {type(cond).__name__}")
        own = torch.arange(len(log_weights), device=z.device) == cond[:, None]
        return torch.where((cond < 0)[:, None], log_q + log_weights, log_q.masked_fill(~own, -math.inf))


def _column(value: Tensor) -> Tensor:
    """[B] as [B, 1]; a scalar stays one."""
    return value if value.ndim == 0 else value[:, None]


def _total(lam: Tensor, log_snr: Tensor) -> Tensor:
    """The marginal's variances alpha^2 lam + sigma^2, [B, D] or [D]."""
    log_snr = _column(log_snr.double())
    return torch.sigmoid(log_snr) * lam + torch.sigmoid(-log_snr)


def _clean(z: Tensor) -> Tensor:
    return torch.tensor(math.inf, dtype=torch.float64, device=z.device)
