"""The Gaussian algebra against 50-digit arithmetic, matrix conditioning and autograd."""

from decimal import Decimal, localcontext

import pytest
import torch
from torch.testing import assert_close

from generative import process

LEVELS = (-20.0, -7.5, -1.0, 0.0, 2.5, 9.0, 20.0)


def exact(log_snr: float) -> tuple[Decimal, Decimal]:
    """alpha and sigma in 50 digits."""
    with localcontext() as context:
        context.prec = 50
        snr = Decimal(log_snr).exp()
        return (snr / (1 + snr)).sqrt(), (1 / (1 + snr)).sqrt()


def level(value: float) -> torch.Tensor:
    return torch.tensor(value, dtype=torch.float64)


@pytest.mark.parametrize("log_snr", LEVELS)
def test_alpha_and_sigma_keep_every_digit(log_snr: float) -> None:
    for ours, truth in zip(process.alpha_sigma(level(log_snr)), exact(log_snr), strict=True):
        assert ours.item() == pytest.approx(float(truth), rel=1e-14)


@pytest.mark.parametrize("log_snr", LEVELS)
def test_conversions_are_a_rotation_and_its_inverse(log_snr: float) -> None:
    x0, eps = torch.randn(2, 5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    alpha, sigma = map(float, exact(log_snr))
    rotation = torch.tensor([[alpha, sigma], [-sigma, alpha]], dtype=torch.float64)
    z, v = torch.einsum("ij,jbd->ibd", rotation, torch.stack([x0, eps]))
    lam = level(log_snr).expand(5)
    assert_close(process.diffuse(x0, lam, eps), z, rtol=1e-14, atol=1e-14)
    assert_close(process.v_from_x0_eps(x0, eps, lam), v, rtol=1e-14, atol=1e-14)
    assert_close(process.x0_from_v(z, v, lam), x0, rtol=1e-14, atol=1e-14)
    assert_close(process.eps_from_v(z, v, lam), eps, rtol=1e-14, atol=1e-14)
    # These divide by alpha or sigma: z's last digit is worth that much more.
    assert_close(process.x0_from_eps(z, eps, lam), x0, rtol=0, atol=3e-15 / alpha)
    assert_close(process.eps_from_x0(z, x0, lam), eps, rtol=0, atol=3e-15 / sigma)
    assert_close(process.v_from_x0(z, x0, lam), v, rtol=0, atol=3e-15 / sigma)


@pytest.mark.parametrize("log_snr", LEVELS)
def test_float32_conversions_stay_within_rounding(log_snr: float) -> None:
    x0, eps = torch.randn(2, 1000, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    lam = level(log_snr)
    alpha, sigma = process.alpha_sigma(lam)
    z = process.diffuse(x0, lam, eps).float().double()  # the rounding of z itself is not the conversion's
    v = process.v_from_x0(z, x0, lam).float().double()
    unit = torch.finfo(torch.float32).eps
    size = z.abs() + x0.abs() + eps.abs() + v.abs()
    for convert, other, divisor in (
        (process.x0_from_eps, eps.float().double(), alpha),
        (process.eps_from_x0, x0.float().double(), sigma),
        (process.x0_from_v, v, torch.ones(())),
        (process.eps_from_v, v, torch.ones(())),
    ):
        in_double = convert(z, other, lam)
        in_float = convert(z.float(), other.float(), lam)
        assert in_float.dtype == torch.float32
        assert ((in_float - in_double).abs() <= 2 * unit * size / divisor).all(), convert.__name__


def test_each_example_has_its_own_level() -> None:
    x0, eps = torch.randn(2, len(LEVELS), 2, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    together = process.diffuse(x0, torch.tensor(LEVELS, dtype=torch.float64), eps)
    for i, log_snr in enumerate(LEVELS):
        alpha, sigma = map(float, exact(log_snr))
        assert_close(together[i], alpha * x0[i] + sigma * eps[i])


def test_v_at_equal_parts_of_signal_and_noise() -> None:
    x0, eps = torch.randn(2, 4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    assert_close(process.v_from_x0_eps(x0, eps, level(0.0)), (eps - x0) / 2**0.5)


@pytest.mark.parametrize("log_snr", LEVELS[1:-1])
def test_an_error_of_x0_costs_snr_in_eps_and_snr_plus_one_in_v(log_snr: float) -> None:
    x0, wrong, eps = torch.randn(3, 6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    lam = level(log_snr)
    z = process.diffuse(x0, lam, eps)
    cost = (x0 - wrong).square().sum()
    snr = lam.exp()
    assert_close((eps - process.eps_from_x0(z, wrong, lam)).square().sum(), snr * cost, rtol=1e-10, atol=0)
    v_cost = (process.v_from_x0(z, x0, lam) - process.v_from_x0(z, wrong, lam)).square().sum()
    assert_close(v_cost, (snr + 1) * cost, rtol=1e-10, atol=0)


def test_score_is_the_gradient_of_the_log_density() -> None:
    x0, eps = torch.randn(2, 5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    lam = torch.tensor([-3.0, -1.0, 0.0, 2.0, 5.0], dtype=torch.float64)
    z = process.diffuse(x0, lam, eps).requires_grad_()
    alpha, sigma = process.alpha_sigma(lam[:, None])
    log_q = torch.distributions.Normal(alpha * x0, sigma).log_prob(z).sum()
    assert_close(process.score(z.detach(), x0, lam), torch.autograd.grad(log_q, z)[0])


PAIRS = [(20.0, 19.9), (13.3, -5.0), (1.0, 1.0 - 1e-6), (0.5, -0.5), (-19.0, -20.0), (20.0, -20.0)]


@pytest.mark.parametrize(("s", "t"), PAIRS)
def test_transition_continues_the_process(s: float, t: float) -> None:
    """q(z_t | z_s) after q(z_s | x0) is q(z_t | x0), in 50 digits."""
    (alpha_s, sigma_s), (alpha_t, sigma_t) = exact(s), exact(t)
    scale, variance = process.transition(level(s), level(t))
    with localcontext() as context:
        context.prec = 50
        truth = sigma_t**2 - (alpha_t / alpha_s) ** 2 * sigma_s**2
    assert scale.item() == pytest.approx(float(alpha_t / alpha_s), rel=1e-13)
    assert variance.item() == pytest.approx(float(truth), rel=1e-12)


@pytest.mark.parametrize(("s", "t"), PAIRS)
def test_posterior_is_gaussian_conditioning(s: float, t: float) -> None:
    """(z_s, z_t) given x0 is a joint Gaussian; its conditional on z_t by the textbook formula, in 50 digits."""
    (alpha_s, sigma_s), (alpha_t, sigma_t) = exact(s), exact(t)
    with localcontext() as context:
        context.prec = 50
        covariance = alpha_t / alpha_s * sigma_s**2  # of z_s and z_t
        gain = covariance / sigma_t**2
        from_x0 = alpha_s - gain * alpha_t
        variance = sigma_s**2 - gain * covariance
    x0, z_t = torch.randn(2, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(6))
    mean, ours = process.posterior(z_t, x0, level(s), level(t))
    assert_close(mean, float(gain) * z_t + float(from_x0) * x0, rtol=1e-11, atol=1e-13)
    only_x0, _ = process.posterior(torch.zeros_like(x0), x0, level(s), level(t))
    assert_close(only_x0, float(from_x0) * x0, rtol=1e-12, atol=0)
    assert ours.item() == pytest.approx(float(variance), rel=1e-12)


def test_posterior_in_matrix_form_with_a_level_per_example() -> None:
    """The same by torch.linalg on the joint of (z_s, z_t), one level pair per example."""
    s = torch.tensor([3.0, 0.5, -1.0], dtype=torch.float64)
    t = torch.tensor([1.0, 0.0, -4.0], dtype=torch.float64)
    x0, z_t = torch.randn(2, 3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(7))
    mean, variance = process.posterior(z_t, x0, s, t)
    for i in range(3):
        (alpha_s, sigma_s), (alpha_t, sigma_t) = (tuple(map(float, exact(level[i].item()))) for level in (s, t))
        step = torch.tensor([[1.0, 0.0], [alpha_t / alpha_s, 1.0]], dtype=torch.float64)
        added = sigma_t**2 - (alpha_t / alpha_s * sigma_s) ** 2
        joint = step @ torch.diag(torch.tensor([sigma_s**2, added], dtype=torch.float64)) @ step.T
        gain = joint[0, 1] / joint[1, 1]
        assert_close(mean[i], alpha_s * x0[i] + gain * (z_t[i] - alpha_t * x0[i]))
        assert_close(variance[i], torch.linalg.inv(torch.linalg.inv(joint))[0, 0] - gain * joint[1, 0])


def test_ddim_step_with_the_true_x0_keeps_the_noise() -> None:
    x0, eps = torch.randn(2, 4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(8))
    for s, t in PAIRS:
        z_t = process.diffuse(x0, level(t), eps)
        expected = process.diffuse(x0, level(s), eps)
        assert_close(process.ddim_step(z_t, x0, level(s), level(t)), expected, rtol=0, atol=1e-13)
