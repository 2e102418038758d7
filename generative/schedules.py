"""Noise schedules: callables t [B] -> log_snr [B], in float64, t in [0, 1], log_snr falling from data to noise.

Fixed schedules are frozen dataclasses; a learned one is an nn.Module. Sources: Kingma et al. 2021 (VDM, arXiv
2107.00630), Sec 3.2 and App H; Ho et al. 2020, Sec 4 (betas); Nichol & Dhariwal 2021 (cosine), in the continuous form
with a range of Ho et al. 2022 (Video Diffusion Models); Hoogeboom et al. 2023 (simple diffusion), Sec 3.1 (shift).

Between two ends a schedule mixes them, max (1 - place) + min place, which gives both ends back exactly.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

Schedule: TypeAlias = Callable[[Tensor], Tensor]


def _check_ends(log_snr_max: float, log_snr_min: float) -> None:
    if not -math.inf < log_snr_min < log_snr_max < math.inf:
        raise ValueError(f"log_snr_min must be below log_snr_max, got {log_snr_min} and {log_snr_max}")


@dataclass(frozen=True, kw_only=True)
class Linear:
    """log_snr falls linearly from log_snr_max at t = 0 to log_snr_min at t = 1 (VDM's fixed schedule, App H)."""

    log_snr_max: float = 13.3
    log_snr_min: float = -5.0

    def __post_init__(self) -> None:
        _check_ends(self.log_snr_max, self.log_snr_min)

    def __call__(self, t: Tensor) -> Tensor:
        return _mix(self.log_snr_max, self.log_snr_min, t.double())


@dataclass(frozen=True, kw_only=True)
class Cosine:
    """log_snr = -2 log tan(a t + b): alpha = cos, sigma = sin of an angle that grows linearly between the two ends."""

    log_snr_max: float = 20.0
    log_snr_min: float = -20.0

    def __post_init__(self) -> None:
        _check_ends(self.log_snr_max, self.log_snr_min)

    def __call__(self, t: Tensor) -> Tensor:
        low, high = math.atan(math.exp(-self.log_snr_max / 2)), math.atan(math.exp(-self.log_snr_min / 2))
        # The angle from the nearer end: pi/2 minus a small number keeps no digits of the small number.
        from_noise = math.atan(math.exp(self.log_snr_min / 2)) + (high - low) * (1 - t.double())
        from_data = low + (high - low) * t.double()
        return torch.where(t < 0.5, -2 * torch.log(torch.tan(from_data)), 2 * torch.log(torch.tan(from_noise)))


@dataclass(frozen=True, kw_only=True)
class Betas:
    """DDPM's linear betas, made continuous: log_snr after step 1 at t = 0, after the last step at t = 1, and straight
    lines between the steps. From 9.21 to -10.12 with the paper's betas."""

    num_steps: int = 1000
    beta_start: float = 1e-4
    beta_end: float = 0.02

    def __post_init__(self) -> None:
        if self.num_steps < 2 or not 0 < self.beta_start <= self.beta_end < 1:
            raise ValueError(
                "betas need num_steps >= 2 and 0 < beta_start <= beta_end < 1, "
                f"got {self.num_steps}, {self.beta_start}, {self.beta_end}"
            )

    def __call__(self, t: Tensor) -> Tensor:
        betas = torch.linspace(self.beta_start, self.beta_end, self.num_steps, dtype=torch.float64, device=t.device)
        log_alpha2 = torch.cumsum(torch.log1p(-betas), 0)
        table = log_alpha2 - torch.log(-torch.expm1(log_alpha2))
        place = t.double() * (self.num_steps - 1)
        left = place.detach().long().clamp(0, self.num_steps - 2)
        return table[left] + (table[left + 1] - table[left]) * (place - left)


@dataclass(frozen=True, kw_only=True)
class Shifted:
    """A schedule moved by 2 log(reference / size): neighbouring pixels of larger pictures say the same thing, so the
    same noise destroys less of them. Hoogeboom et al. 2023, Eq 4."""

    schedule: Schedule
    size: int
    reference: int = 64

    def __post_init__(self) -> None:
        if self.size < 1 or self.reference < 1:
            raise ValueError(f"size and reference must be positive, got {self.size} and {self.reference}")

    def __call__(self, t: Tensor) -> Tensor:
        return self.schedule(t) + 2 * math.log(self.reference / self.size)


@dataclass(frozen=True, kw_only=True)
class Rescaled:
    """Any schedule, stretched affinely in log_snr so that it has these ends."""

    schedule: Schedule
    log_snr_max: float
    log_snr_min: float

    def __post_init__(self) -> None:
        _check_ends(self.log_snr_max, self.log_snr_min)

    def __call__(self, t: Tensor) -> Tensor:
        high, low = ends(self.schedule, t.device)
        place = (high - self.schedule(t)) / (high - low)
        return _mix(self.log_snr_max, self.log_snr_min, place)


class MonotoneNet(nn.Module):
    """A strictly increasing function n with n(0) = 0 and n(1) = 1. VDM App H, with positive weights by softplus:

        g(t) = l1(t) + l3(sigmoid(l2(l1(t)))),   n(t) = (g(t) - g(0)) / (g(1) - g(0))

    It starts close to n(t) = t. The steps of the sigmoids are spread over [0, 1] in place and width, so that the net
    can be steep anywhere; the paper's own initial values are not published.
    """

    def __init__(self, hidden: int = 1024) -> None:
        super().__init__()
        place = (torch.arange(hidden, dtype=torch.float64) + 0.5) / hidden
        slope = 4 * 16 ** torch.linspace(0, 1, hidden, dtype=torch.float64)[torch.arange(hidden) * 389 % hidden]
        self.w1 = nn.Parameter(_inverse_softplus(torch.ones((), dtype=torch.float64)))
        self.w2 = nn.Parameter(_inverse_softplus(slope))
        self.b2 = nn.Parameter(-slope * place)
        self.w3 = nn.Parameter(_inverse_softplus(torch.full((hidden,), 0.1 / hidden, dtype=torch.float64)))

    def forward(self, t: Tensor) -> Tensor:
        """t: [B] in [0, 1]. Returns [B] in [0, 1], float64."""
        ends = torch.stack([torch.zeros_like(t[0]), torch.ones_like(t[0])]).double()
        g = self._grow(torch.cat([ends, t.double()]))
        return (g[2:] - g[0]) / (g[1] - g[0])

    def _grow(self, t: Tensor) -> Tensor:
        line = softplus(self.w1) * t
        steps = torch.sigmoid(line[:, None] * softplus(self.w2) + self.b2)
        return line + steps @ softplus(self.w3)


class LearnedSchedule(nn.Module):
    """log_snr(t) = max + (min - max) n(t), with a monotone n, and ends that are exact and can be learned too.

    Without a net (learn_interior=False) n(t) = t: with learned ends this is the "learnable scalar" schedule of VDM's
    released configurations. The released neural schedule is not normalised, so it does not keep its ends; ours does, as
    the paper describes.
    """

    def __init__(
        self,
        log_snr_max: float = 13.3,
        log_snr_min: float = -5.0,
        *,
        learn_interior: bool = True,
        learn_endpoints: bool = False,
        hidden: int = 1024,
    ) -> None:
        super().__init__()
        _check_ends(log_snr_max, log_snr_min)
        top = torch.tensor(log_snr_max, dtype=torch.float64)
        span = _inverse_softplus(torch.tensor(log_snr_max - log_snr_min, dtype=torch.float64))
        self.log_snr_max = nn.Parameter(top, requires_grad=learn_endpoints)
        self.raw_span = nn.Parameter(span, requires_grad=learn_endpoints)
        self.interior: nn.Module = MonotoneNet(hidden) if learn_interior else nn.Identity()

    @property
    def log_snr_min(self) -> Tensor:
        return self.log_snr_max - softplus(self.raw_span)

    def between(self, place: Tensor) -> Tensor:
        """The log_snr at n(t) = place: 0 gives log_snr_max, 1 log_snr_min."""
        return _mix(self.log_snr_max, self.log_snr_min, place)

    def forward(self, t: Tensor) -> Tensor:
        return self.between(self.interior(t.double()))


def ends(schedule: Schedule, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """log_snr at t = 0 and at t = 1, scalars in float64; of a learned schedule, without a detour through its net."""
    if isinstance(schedule, LearnedSchedule):
        return schedule.log_snr_max, schedule.log_snr_min
    high, low = schedule(torch.arange(2, dtype=torch.float64, device=device))
    return high, low


def cosine_like(schedule: Schedule) -> Cosine:
    """The cosine between the ends of another schedule. A schedule that was trained on the bound goes to where the bits
    are, the last ones of pixels; the steps of a cosine go to what the eye sees."""
    high, low = ends(schedule)
    return Cosine(log_snr_max=high.item(), log_snr_min=low.item())


def with_slope(function: Schedule, t: Tensor) -> tuple[Tensor, Tensor]:
    """(function(t), its derivative at t), both [B] and differentiable in the function's own parameters.

    Forward-mode differentiation: it also works under torch.no_grad, where an evaluation runs.
    """
    value, slope = torch.func.jvp(function, (t,), (torch.ones_like(t),))[:2]
    return value, slope


def _mix(high: Tensor | float, low: Tensor | float, place: Tensor) -> Tensor:
    """high at place 0, low at place 1, both exactly."""
    return high * (1 - place) + low * place


def _inverse_softplus(value: Tensor) -> Tensor:
    return value + torch.log(-torch.expm1(-value))


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """Which schedule, as data."""

    kind: Literal["linear", "cosine", "betas", "learned"] = "learned"
    """learned: a monotone net between the ends; the others are fixed curves, stretched to the ends."""
    log_snr_max: float = 13.3
    """log_snr at t = 0 (VDM's -gamma_0): what is left of the noise is below half a grey level."""
    log_snr_min: float = -5.0
    """log_snr at t = 1 (VDM's -gamma_1): what is left of the picture costs nearly nothing in the prior."""
    learn_endpoints: bool = False
    """Train both ends on the bound; for kinds linear (the "learnable scalar" of VDM's released rows) and learned."""
    beta_start: float = 1e-4
    """Of kind betas: the first of `beta_steps` betas at equal distances."""
    beta_end: float = 0.02
    """Of kind betas: the last one."""
    beta_steps: int = 1000
    """Of kind betas: how many."""

    def __post_init__(self) -> None:
        _check_ends(self.log_snr_max, self.log_snr_min)
        if self.beta_steps > 1_000_000:
            raise ValueError(f"beta_steps must be at most 1,000,000, got {self.beta_steps}")
        Betas(num_steps=self.beta_steps, beta_start=self.beta_start, beta_end=self.beta_end)
        if max(self.log_snr_max, -self.log_snr_min) > 100:
            ends = f"{self.log_snr_min} and {self.log_snr_max}"
            raise ValueError(f"log_snr_min and log_snr_max must be within -100 and 100, got {ends}")
        if self.learn_endpoints and self.kind not in ("linear", "learned"):
            raise ValueError(f"learn_endpoints needs kind linear or learned, got {self.kind}")


def make(config: ScheduleConfig) -> Schedule:
    """The schedule that a configuration describes."""
    high, low = config.log_snr_max, config.log_snr_min
    if config.kind == "learned" or config.learn_endpoints:
        learn_interior = config.kind == "learned"
        return LearnedSchedule(high, low, learn_interior=learn_interior, learn_endpoints=config.learn_endpoints)
    if config.kind == "betas":
        betas = Betas(num_steps=config.beta_steps, beta_start=config.beta_start, beta_end=config.beta_end)
        return Rescaled(schedule=betas, log_snr_max=high, log_snr_min=low)
    return (Cosine if config.kind == "cosine" else Linear)(log_snr_max=high, log_snr_min=low)


def linear_betas(beta_start: float, beta_end: float, num_steps: int) -> ScheduleConfig:
    """So many betas at equal distances, with the ends that they lead to: nothing is stretched."""
    high, low = ends(Betas(num_steps=num_steps, beta_start=beta_start, beta_end=beta_end))
    return ScheduleConfig(
        kind="betas", log_snr_max=high.item(), log_snr_min=low.item(),
        beta_start=beta_start, beta_end=beta_end, beta_steps=num_steps,
    )  # fmt: skip
