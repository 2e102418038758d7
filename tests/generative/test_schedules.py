"""Schedules: exact ends, closed forms, and a learned one that stays monotone and keeps its ends."""

import math
from fractions import Fraction

import pytest
import torch
from torch import Tensor

from generative import schedules
from generative.schedules import Betas, Cosine, LearnedSchedule, Linear, Rescaled, Schedule, ScheduleConfig, Shifted

ENDS = {"log_snr_max": 13.3, "log_snr_min": -5.0}
FIXED: dict[str, Schedule] = {
    "linear": Linear(),
    "cosine": Cosine(),
    "betas": Betas(),
    "shifted": Shifted(schedule=Cosine(), size=256),
    "rescaled": Rescaled(schedule=Betas(), **ENDS),
}


def grid(points: int = 10_000) -> Tensor:
    return torch.linspace(0, 1, points, dtype=torch.float64)


def perturbed(scale: float, seed: int = 0, **options: bool) -> LearnedSchedule:
    schedule = LearnedSchedule(**ENDS, **options)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in schedule.interior.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter += scale * noise * (1 + parameter.abs() / 4)
    return schedule


def ends_of(schedule: Schedule) -> list[float]:
    return schedule(torch.tensor([0.0, 1.0], dtype=torch.float64)).tolist()


@pytest.mark.parametrize("schedule", FIXED.values(), ids=FIXED)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_float64_falling_and_of_the_given_shape(schedule: Schedule, dtype: torch.dtype) -> None:
    log_snr = schedule(grid(1001).to(dtype))
    assert log_snr.dtype == torch.float64
    assert log_snr.shape == (1001,)
    assert (log_snr.diff() < 0).all()


@pytest.mark.parametrize("ends", [(13.3, -5.0), (20.0, -20.0), (8.1, -4.7), (0.3, 0.1)])
def test_ends_are_given_back_to_the_last_bit(ends: tuple[float, float]) -> None:
    high, low = ends
    assert ends_of(Linear(log_snr_max=high, log_snr_min=low)) == [high, low]
    assert ends_of(Rescaled(schedule=Betas(), log_snr_max=high, log_snr_min=low)) == [high, low]
    assert ends_of(Cosine(log_snr_max=high, log_snr_min=low)) == pytest.approx([high, low], abs=1e-13)


def test_linear_is_the_straight_line() -> None:
    t = grid(11)
    torch.testing.assert_close(Linear(**ENDS)(t), 13.3 - 18.3 * t, rtol=0, atol=1e-14)


def exact_arctan(x: Fraction) -> Fraction:
    """The power series of arctan for |x| < 0.1, to 40 digits."""
    return sum(((-1) ** k * x ** (2 * k + 1) / (2 * k + 1) for k in range(25)), start=Fraction(0))


def test_cosine_has_a_linear_angle() -> None:
    """tan^2(angle) = exp(-log_snr), with an angle that grows linearly from one end to the other."""
    cosine, t = Cosine(), grid(501)
    angle = torch.atan(torch.exp(-cosine(t) / 2))
    low = math.atan(math.exp(-10))
    torch.testing.assert_close(angle, low + (math.pi / 2 - 2 * low) * t, rtol=0, atol=1e-14)
    assert cosine(torch.tensor([0.5], dtype=torch.float64)).item() == pytest.approx(0, abs=1e-14)


@pytest.mark.parametrize("t", [1e-12, 1e-9, 1e-6, 1e-3, 0.02])
def test_cosine_keeps_its_digits_at_both_ends(t: float) -> None:
    """Against rational arithmetic: tan(angle) with angle = low + (pi/2 - 2 low) t."""
    pi = Fraction(math.pi) + Fraction(1.2246467991473532e-16)  # what float64 leaves out, to 32 digits
    low = exact_arctan(Fraction(math.exp(-10)))
    angle = low + (pi / 2 - 2 * low) * Fraction(t)
    sine = sum(((-1) ** k * angle ** (2 * k + 1) / math.factorial(2 * k + 1) for k in range(12)), start=Fraction(0))
    cosine = sum(((-1) ** k * angle ** (2 * k) / math.factorial(2 * k) for k in range(12)), start=Fraction(0))
    expected = -2 * math.log(float(sine / cosine))
    assert Cosine()(torch.tensor([t], dtype=torch.float64)).item() == pytest.approx(expected, abs=4e-15)


def test_cosine_is_odd_around_the_middle_where_its_ends_are() -> None:
    """Powers of two, so that 1 - t is exact: no digits are lost at the noisy end."""
    t = 2.0 ** -torch.arange(1, 50, dtype=torch.float64)
    torch.testing.assert_close(Cosine()(1 - t), -Cosine()(t), rtol=1e-14, atol=1e-14)


def test_betas_are_the_products_of_ddpm() -> None:
    for count, start, end in ((1000, 1e-4, 0.02), (30, 1e-3, 0.4)):
        product, expected = 1.0, []
        for step in range(count):
            product *= 1 - (start + (end - start) * step / (count - 1))
            expected.append(math.log(product / (1 - product)))
        log_snr = Betas(num_steps=count, beta_start=start, beta_end=end)(grid(count))
        torch.testing.assert_close(log_snr, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-10)


def test_betas_between_two_steps_are_a_straight_line() -> None:
    betas = Betas()
    left, right = betas(torch.tensor([7 / 999, 8 / 999], dtype=torch.float64)).tolist()
    between = betas(torch.tensor([7.25 / 999], dtype=torch.float64)).item()
    assert between == pytest.approx(0.75 * left + 0.25 * right, abs=1e-12)
    assert ends_of(betas) == pytest.approx([9.21024, -10.11767], abs=1e-5)


def test_shift_takes_log_snr_away_from_larger_pictures() -> None:
    t = grid(11)
    moved = Shifted(schedule=Cosine(), size=256, reference=64)
    torch.testing.assert_close(moved(t), Cosine()(t) - math.log(16), rtol=0, atol=1e-13)
    same = Shifted(schedule=Cosine(), size=64)
    torch.testing.assert_close(same(t), Cosine()(t), rtol=0, atol=0)


def test_rescaling_is_affine() -> None:
    t, inner = grid(101), Betas()
    new, old = Rescaled(schedule=inner, **ENDS)(t), inner(t)
    torch.testing.assert_close(new.diff() / old.diff(), torch.full((100,), 18.3 / (old[0] - old[-1]).item()).double())


@pytest.mark.parametrize("scale", [0.0, 0.5, 2.0, 5.0])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_learned_schedule_keeps_its_ends_and_falls(scale: float, seed: int) -> None:
    schedule = perturbed(scale, seed)
    log_snr = schedule(grid()).detach()
    assert ends_of(schedule) == pytest.approx([13.3, -5.0], abs=1e-12)
    assert [end.item() for end in schedules.ends(schedule)] == pytest.approx([13.3, -5.0], abs=1e-12)
    assert (log_snr.diff() < 0).all()
    if scale == 0:
        torch.testing.assert_close(log_snr, Linear(**ENDS)(grid()), rtol=0, atol=0.05)
    else:
        assert (log_snr - Linear(**ENDS)(grid())).abs().max() > 0.05  # the perturbation does something


@pytest.mark.parametrize("name", [*FIXED, "learned", "learned ends"])
def test_slope_is_that_of_finite_differences_and_of_autograd(name: str) -> None:
    options = {"learn_interior": False, "learn_endpoints": True} if name == "learned ends" else {}
    schedule = FIXED.get(name) or perturbed(2.0, **options)
    t = torch.tensor([0.013, 0.2111, 0.4999, 0.61, 0.987], dtype=torch.float64)
    value, slope = schedules.with_slope(schedule, t)
    torch.testing.assert_close(value, schedule(t), rtol=0, atol=0)
    difference = (schedule(t + 1e-6) - schedule(t - 1e-6)) / 2e-6
    torch.testing.assert_close(slope, difference, rtol=1e-6, atol=1e-6)
    needs = t.clone().requires_grad_()
    (slow,) = torch.autograd.grad(schedule(needs).sum(), needs)
    torch.testing.assert_close(slope.detach(), slow, rtol=1e-12, atol=1e-12)
    assert (slope < 0).all()


def test_slope_without_gradients_is_the_same() -> None:
    schedule, t = perturbed(1.0), grid(7)
    value, slope = schedules.with_slope(schedule, t)
    for context in (torch.no_grad(), torch.inference_mode()):
        with context:
            again = schedules.with_slope(schedule, t)
        assert torch.equal(value, again[0])
        assert torch.equal(slope, again[1])
        assert not again[1].requires_grad


def test_slope_can_be_differentiated_by_the_parameters() -> None:
    """d/dw of the slope, against a finite difference in one parameter of each kind."""
    schedule, t = perturbed(1.0, learn_endpoints=True), torch.tensor([0.3, 0.8], dtype=torch.float64)

    def total() -> Tensor:
        value, slope = schedules.with_slope(schedule, t)
        return (slope.square() + value).sum()

    names, parameters = zip(*schedule.named_parameters(), strict=True)
    gradients = torch.autograd.grad(total(), parameters)
    for name, parameter, gradient in zip(names, parameters, gradients, strict=True):
        place = gradient.abs().argmax()
        with torch.no_grad():
            parameter.view(-1)[place] += 1e-5
            up = total()
            parameter.view(-1)[place] -= 2e-5
            down = total()
            parameter.view(-1)[place] += 1e-5
        assert gradient.view(-1)[place].item() == pytest.approx((up - down).item() / 2e-5, rel=1e-5), name


def test_learned_ends_move_and_stay_in_order() -> None:
    schedule = LearnedSchedule(8.0, -4.0, learn_interior=False, learn_endpoints=True)
    assert {name for name, p in schedule.named_parameters() if p.requires_grad} == {"log_snr_max", "raw_span"}
    optimizer = torch.optim.SGD(schedule.parameters(), lr=1.0)
    (schedule.log_snr_max - schedule.log_snr_min).backward()  # asks for a span as small as it gets
    for _ in range(20):
        optimizer.step()
    high, low = ends_of(schedule)
    assert high == pytest.approx(8.0)  # the span does not depend on it
    assert low < high
    assert ends_of(schedule) == pytest.approx([end.item() for end in schedules.ends(schedule)], abs=1e-12)
    torch.testing.assert_close(schedule(grid(5)).detach(), high + (low - high) * grid(5))


def test_fixed_ends_have_no_gradient() -> None:
    schedule = LearnedSchedule(**ENDS)
    assert not any(end.requires_grad for end in schedules.ends(schedule))
    assert schedule(grid(3)).requires_grad


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        ({"kind": "linear"}, Linear),
        ({"kind": "cosine"}, Cosine),
        ({"kind": "betas"}, Rescaled),
        ({"kind": "learned"}, LearnedSchedule),
        ({"kind": "linear", "learn_endpoints": True}, LearnedSchedule),
        ({"kind": "learned", "learn_endpoints": True}, LearnedSchedule),
    ],
)
def test_make_keeps_the_ends_of_its_configuration(config: dict, kind: type) -> None:
    schedule = schedules.make(ScheduleConfig(**config, log_snr_max=8.5, log_snr_min=-4.5))
    assert isinstance(schedule, kind)
    assert ends_of(schedule) == pytest.approx([8.5, -4.5], abs=1e-12)
    if isinstance(schedule, LearnedSchedule):
        assert isinstance(schedule.interior, schedules.MonotoneNet) == (config["kind"] == "learned")
        assert schedule.log_snr_max.requires_grad == config.get("learn_endpoints", False)


@pytest.mark.parametrize("ends", [(1.0, 1.0), (-1.0, 1.0), (math.nan, 0.0), (math.inf, 0.0), (1.0, -math.inf)])
def test_ends_that_are_no_range_are_refused(ends: tuple[float, float]) -> None:
    high, low = ends
    for build in (Linear, Cosine, LearnedSchedule, ScheduleConfig):
        with pytest.raises(ValueError, match="log_snr_min must be below log_snr_max"):
            build(log_snr_max=high, log_snr_min=low)
    with pytest.raises(ValueError, match="log_snr_min must be below log_snr_max"):
        Rescaled(schedule=Betas(), log_snr_max=high, log_snr_min=low)


@pytest.mark.parametrize("bad", [{"num_steps": 1}, {"beta_start": 0.0}, {"beta_end": 1.0}, {"beta_start": 0.5}])
def test_betas_that_are_none_are_refused(bad: dict) -> None:
    with pytest.raises(ValueError, match="betas need num_steps >= 2 and 0 < beta_start <= beta_end < 1"):
        Betas(**bad)


@pytest.mark.parametrize("bad", [{"size": 0}, {"size": 8, "reference": 0}])
def test_sizes_that_are_none_are_refused(bad: dict) -> None:
    with pytest.raises(ValueError, match="size and reference must be positive"):
        Shifted(schedule=Linear(), **bad)


@pytest.mark.parametrize("kind", ["cosine", "betas"])
def test_ends_of_a_fixed_curve_cannot_be_learned(kind: str) -> None:
    with pytest.raises(ValueError, match=f"learn_endpoints needs kind linear or learned, got {kind}"):
        ScheduleConfig(kind=kind, learn_endpoints=True)  # pyright: ignore[reportArgumentType]


def test_a_cosine_like_another_has_its_ends() -> None:
    other = schedules.LearnedSchedule(9.0, -4.0)
    cosine = schedules.cosine_like(other)
    t = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)
    low, high = (math.atan(math.exp(-end / 2)) for end in (9.0, -4.0))
    middle = -2 * math.log(math.tan((low + high) / 2))
    assert cosine(t).tolist() == pytest.approx([9.0, middle, -4.0], abs=1e-9)
