"""Picture metrics against SciPy, closed forms and slow loops."""

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from generative.metrics.pictures import memorisation, nearest, psnr, sliced_wasserstein, ssim, wasserstein_1d


def levels(num: int, *shape: int, high: int = 256, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, high, (num, *shape), dtype=torch.uint8, generator=generator)


def test_psnr_is_its_formula_per_picture():
    a, b = levels(300, 1, 4, 4, high=17), levels(300, 1, 4, 4, high=17, seed=1)
    error = (a.double() - b.double()).square().mean((1, 2, 3))
    torch.testing.assert_close(psnr(a, b, 17), 10 * torch.log10(16**2 / error))
    assert psnr(a[:1], a[:1]).tolist() == [math.inf]


def test_ssim_is_that_of_a_gaussian_window():
    a = levels(3, 2, 20, 16)
    b = (a.float() * 0.7 + levels(3, 2, 20, 16, seed=1).float() * 0.3).to(torch.uint8)

    def smooth(x: np.ndarray) -> np.ndarray:
        return gaussian_filter(x, 1.5, truncate=5 / 1.5)[5:-5, 5:-5]

    expected = []
    for pair in zip(a.double().numpy(), b.double().numpy(), strict=True):
        channels = []
        for x, y in zip(*pair, strict=True):
            mx, my = smooth(x), smooth(y)
            vx, vy, cov = smooth(x * x) - mx**2, smooth(y * y) - my**2, smooth(x * y) - mx * my
            c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
            channels.append(((2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))).mean())
        expected.append(np.mean(channels))
    np.testing.assert_allclose(ssim(a, b), expected, rtol=1e-9)
    torch.testing.assert_close(ssim(a, a), torch.ones(3, dtype=torch.float64))
    assert ssim(a[:1], b[:1]).shape == (1,)


def test_wasserstein_of_one_dimension_is_the_best_matching():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 7)), rng.normal(1, 2, (2, 7))
    for found, x, y in zip(wasserstein_1d(torch.tensor(a), torch.tensor(b)), a, b, strict=True):
        cost = (x[:, None] - y) ** 2
        assert float(found) == pytest.approx(cost[linear_sum_assignment(cost)].mean())


@pytest.mark.parametrize(("n", "m"), [(4, 6), (1, 5), (7, 3)])
def test_wasserstein_of_unequal_sizes_is_that_of_repeated_samples(n: int, m: int):
    a, b = torch.randn(3, n).double(), torch.randn(3, m).double()
    expected = wasserstein_1d(a.repeat_interleave(m, 1), b.repeat_interleave(n, 1))
    torch.testing.assert_close(wasserstein_1d(a, b), expected)


def test_sliced_wasserstein_in_one_dimension_is_exact():
    a, b = levels(50, 1, 1, 1), levels(50, 1, 1, 1, seed=1)
    expected = (a.double().flatten().sort().values - b.double().flatten().sort().values).square().mean().sqrt()
    assert sliced_wasserstein(a, b, directions=3) == pytest.approx(float(expected))


def test_sliced_wasserstein_of_a_shift_is_its_share_in_one_dimension():
    a = torch.randn(40, 1, 3, 5, dtype=torch.float64)
    shift = torch.randn(1, 3, 5, dtype=torch.float64)
    expected = float(shift.norm()) / math.sqrt(15)  # the root mean square of a projection on random directions
    assert sliced_wasserstein(a, a + shift, directions=20000) == pytest.approx(expected, rel=0.02)
    assert sliced_wasserstein(a, a) == 0
    assert sliced_wasserstein(a, a[:30], directions=100) == sliced_wasserstein(a, a[:30], directions=100)


def test_nearest_is_that_of_a_double_loop():
    queries, train = levels(23, 3, 4, 5, high=9), levels(31, 3, 4, 5, high=9, seed=1)
    distance, index = nearest(queries, train, chunk=7)
    table = (queries[:, None].double() - train[None].double()).square().mean((2, 3, 4)).sqrt()
    torch.testing.assert_close(distance, table.min(1).values)
    assert index.tolist() == table.min(1).indices.tolist()


def test_nearest_finds_copies_exactly_and_the_first_of_equals():
    train = levels(40, 3, 32, 32)
    train[30] = train[5]
    distance, index = nearest(train[[39, 30, 5]], train, chunk=16)
    assert distance.tolist() == [0, 0, 0]
    assert index.tolist() == [39, 5, 5]


def test_memorisation_tells_copies_from_new_pictures():
    train, held_out = levels(200, 1, 6, 6), levels(100, 1, 6, 6, seed=1)
    new = memorisation(levels(100, 1, 6, 6, seed=2), train, held_out)
    assert new.ratio == pytest.approx(1, abs=0.1)
    assert new.share_closer <= 0.05
    copies = (train[:100].int() + levels(100, 1, 6, 6, high=3, seed=3)).clamp(max=255).to(torch.uint8)
    copied = memorisation(copies, train, held_out)
    assert copied.ratio < 0.1
    assert copied.share_closer == 1
    assert copied.index.tolist() == list(range(100))
    assert copied.held_out_distance.shape == (100,)


def test_bad_input():
    x = levels(2, 3, 8, 8)
    with pytest.raises(ValueError, match=r"\[N, C, H, W\] twice, got \[2, 3, 8, 8\] and \[1, 3, 8, 8\]"):
        psnr(x, x[:1])
    with pytest.raises(ValueError, match=r"SSIM needs sides of at least 11 pixels, got \[8, 8\]"):
        ssim(x, x)
    with pytest.raises(ValueError, match="same shape"):
        sliced_wasserstein(x, x[:, :1])
    with pytest.raises(ValueError, match="same shape"):
        nearest(x, x[:0])
