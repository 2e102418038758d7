"""Level indices and numbers, and the decoder's probabilities against sums over all levels and against quadrature."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from generative import process
from generative.pixels import check_levels, nearest_level, reconstruction_nats, scale, window_of

LN2 = math.log(2)


@pytest.mark.parametrize("num_levels", [2, 17, 256])
def test_levels_and_numbers_are_each_others_inverse(num_levels: int) -> None:
    k = torch.arange(num_levels, dtype=torch.uint8)
    x = scale(k, num_levels)
    assert x.dtype == torch.float32
    torch.testing.assert_close(x, -x.flip(0))
    torch.testing.assert_close(x.diff(), torch.full((num_levels - 1,), 2 / num_levels))
    assert (x.abs() < 1).all()
    assert torch.equal(nearest_level(x, num_levels), k.long())
    for part in (-0.49, 0.49):  # almost half a level away
        assert torch.equal(nearest_level(x + part * 2 / num_levels, num_levels), k.long())
    far = torch.tensor([-7.0, -1.0, 1.0, 7.0])
    assert nearest_level(far, num_levels).tolist() == [0, 0, num_levels - 1, num_levels - 1]


def test_eight_bit_pictures_span_255_of_256() -> None:
    assert scale(torch.tensor([0, 127, 128, 255]), 256).tolist() == [-255 / 256, -1 / 256, 1 / 256, 255 / 256]


def decoder_bits(log_snr: float, num_levels: int, k: int) -> float:
    """E[-log2 p(k | z_0)] of one number by the trapezoid rule over its noise, in numpy float64."""
    noise = np.linspace(-9, 9, 4001)
    density = np.exp(-0.5 * noise**2) / math.sqrt(2 * math.pi) * (noise[1] - noise[0])
    spacing = 2 / num_levels * math.exp(log_snr / 2)
    squares = (noise[:, None] + spacing * (k - np.arange(num_levels))) ** 2 / 2
    lowest = squares.min(1)
    log_sum = np.log(np.exp(lowest[:, None] - squares).sum(1)) - lowest
    return float((density * (log_sum + noise**2 / 2)).sum() / LN2)


def quadrature(log_snr: float, num_levels: int, k: int, window: int | None) -> float:
    """The same of `reconstruction_nats`."""
    noise = torch.linspace(-9, 9, 4001, dtype=torch.float64)
    density = torch.exp(-0.5 * noise**2) / math.sqrt(2 * math.pi) * (noise[1] - noise[0])
    level = torch.tensor(log_snr, dtype=torch.float64)
    x = torch.full((4001, 1), 2 * (k + 0.5) / num_levels - 1, dtype=torch.float64)
    z_0 = process.diffuse(x, level, noise[:, None])
    nats = reconstruction_nats(torch.full((4001, 1), k), z_0, level, num_levels, window)
    return ((nats * density).sum() / LN2).item()


@pytest.mark.parametrize("k", [0, 1, 100, 255])
@pytest.mark.parametrize("log_snr", [13.3, 12.3, 11.0, 5.0, 0.0])
def test_expected_bits_of_the_decoder(log_snr: float, k: int) -> None:
    expected = decoder_bits(log_snr, 256, k)
    # The levels' numbers are float32, which moves them by 6e-8.
    for window in (None, window_of(log_snr, 256)):
        assert quadrature(log_snr, 256, k, window) == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_what_the_ends_of_the_presets_cost() -> None:
    """About a hundredth of a bit at log_snr 13.3 with 256 levels; and at 7.9 with 17, where a level is as wide."""
    assert quadrature(13.3, 256, 100, 2) == pytest.approx(0.0105, abs=5e-4)
    assert quadrature(12.3, 256, 100, None) == pytest.approx(0.252, abs=5e-3)
    assert quadrature(11.0, 256, 100, None) == pytest.approx(1.112, abs=5e-3)
    mean = sum(quadrature(7.9, 17, k, None) for k in range(17)) / 17
    assert mean == pytest.approx(0.0087, abs=5e-4)


@pytest.mark.parametrize("log_snr", [-3.0, 2.0, 6.0, 9.0])
def test_probabilities_of_all_levels_sum_to_one(log_snr: float) -> None:
    level, num_levels = torch.tensor(log_snr, dtype=torch.float64), 17
    z_0 = torch.linspace(-3, 3, 201, dtype=torch.float64)[:, None]
    nats = torch.stack(
        [reconstruction_nats(torch.full((201, 1), k), z_0, level, num_levels) for k in range(num_levels)]
    )
    torch.testing.assert_close(torch.exp(-nats).sum(0), torch.ones(201, dtype=torch.float64), rtol=0, atol=1e-10)
    alpha, _ = process.alpha_sigma(level)
    assert torch.equal(nats.argmin(0), nearest_level(z_0 / alpha, num_levels)[:, 0])


def pictures(log_snr: float, num_levels: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    k = torch.randint(0, num_levels, (5, 3, 8, 8), generator=generator)
    k[0] = 0  # the edges, where half of the window is outside
    k[1] = num_levels - 1
    level = torch.tensor(log_snr, dtype=torch.float64)
    x = scale(k, num_levels)
    return k, process.diffuse(x, level, torch.randn(x.shape, generator=generator)), level


@pytest.mark.parametrize(("log_snr", "num_levels"), [(13.3, 256), (11.0, 256), (7.0, 256), (8.0, 17), (20.0, 256)])
def test_a_window_holds_the_whole_sum(log_snr: float, num_levels: int) -> None:
    window = window_of(log_snr, num_levels)
    assert window is not None
    k, z_0, level = pictures(log_snr, num_levels)
    z_0 = z_0.double()
    full = reconstruction_nats(k, z_0, level, num_levels)
    torch.testing.assert_close(reconstruction_nats(k, z_0, level, num_levels, window), full, rtol=1e-10, atol=1e-10)


def test_a_narrower_window_would_not_do() -> None:
    k, z_0, level = pictures(11.0, 256)
    wide, narrow = (reconstruction_nats(k, z_0.double(), level, 256, w) for w in (window_of(11.0, 256), 1))
    assert (wide - narrow > 1e-3).all()


def test_no_window_where_it_would_hold_most_levels() -> None:
    assert window_of(0.0, 256) is None
    assert window_of(4.0, 17) is None
    assert window_of(13.3, 256) == 2
    assert window_of(8.0, 17) == 2


def test_a_window_does_not_change_the_gradient_of_the_end() -> None:
    """With a learned end it flows into log_snr_0 directly and through z_0; against a finite difference."""
    k, _, level = pictures(11.0, 256)
    eps = torch.randn(k.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    x = scale(k, 256).double()

    def cost(level: Tensor, window: int | None) -> Tensor:
        return reconstruction_nats(k, process.diffuse(x, level, eps), level, 256, window).sum()

    for window in (None, window_of(11.0, 256)):
        needs = level.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(cost(needs, window), needs)
        difference = (cost(level + 1e-5, None) - cost(level - 1e-5, None)) / 2e-5
        torch.testing.assert_close(gradient, difference, rtol=1e-6, atol=1e-6)


def test_float32_is_close_to_float64() -> None:
    k, z_0, level = pictures(13.3, 256)
    narrow = reconstruction_nats(k, z_0, level, 256, 2)
    assert narrow.dtype == torch.float32
    torch.testing.assert_close(narrow.double(), reconstruction_nats(k, z_0.double(), level, 256), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("k", [torch.zeros(2, 1, 4, 5), torch.zeros(2, 1, 4, 4), torch.zeros(0, 1, 4, 5)])
def test_pictures_of_another_shape_or_type_are_refused(k: Tensor) -> None:
    right = tuple(k.shape) == (2, 1, 4, 5)  # then it is the type
    with pytest.raises(ValueError, match=r"pictures must be level indices \[B, 1, 4, 5\], got torch\.(float32|int64)"):
        check_levels(k if right else k.long(), (1, 4, 5), 17)


def test_levels_that_do_not_exist_are_refused() -> None:
    k = torch.full((1, 1, 2, 2), 16, dtype=torch.uint8)
    assert check_levels(k, (1, 2, 2), 17) is k
    with pytest.raises(ValueError, match=r"level indices must be in 0\.\.15, got 16 to 16"):
        check_levels(k, (1, 2, 2), 16)
    with pytest.raises(ValueError, match=r"level indices must be in 0\.\.15, got -1 to -1"):
        check_levels(torch.full((1, 1, 2, 2), -1), (1, 2, 2), 16)
