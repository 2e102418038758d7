"""Baselines against enumeration, SciPy's Gaussian and entropies known beforehand."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal, norm
from torch import Tensor

from generative.metrics.baselines import RIDGES, factorised, gaussian


def drawn(num: int, dims: int, num_levels: int, seed: int) -> tuple[Tensor, np.ndarray, np.ndarray]:
    """Rounded draws [num, 1, 1, dims] of a Gaussian well inside the levels, its mean and covariance."""
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(dims, dims)) * num_levels / 25
    mean, covariance = np.full(dims, num_levels / 2), root @ root.T + np.eye(dims) * (num_levels / 40) ** 2
    x = rng.multivariate_normal(mean, covariance, num).round().clip(0, num_levels - 1)
    return torch.tensor(x.astype(np.uint8)).reshape(num, 1, 1, dims), mean, covariance


@pytest.mark.parametrize("baseline", [factorised, gaussian])
@pytest.mark.parametrize("num_levels", [2, 9, 17])
def test_probabilities_of_all_pictures_sum_to_one(baseline, num_levels: int):
    train = drawn(30, 2, num_levels, 0)[0]
    level = torch.arange(num_levels, dtype=torch.uint8)
    every = torch.cartesian_prod(level, level).reshape(-1, 1, 1, 2)
    assert np.exp2(-baseline(train, every, num_levels)).sum() == pytest.approx(1, abs=1e-12)


def test_factorised_reaches_the_entropy_of_independent_pixels():
    rng = np.random.default_rng(0)
    odds = np.array([[0.5, 0.25, 0.125, 0.125], [1, 0, 0, 0], [0.25] * 4])  # 1.75, 0 and 2 bits
    x = np.stack([rng.choice(4, 20000, p=p) for p in odds], 1).astype(np.uint8).reshape(-1, 3, 1, 1)
    bits = factorised(torch.tensor(x[:10000]), torch.tensor(x[10000:]), 4)
    assert bits.mean() == pytest.approx(3.75, abs=0.03)


def test_factorised_chooses_the_pseudo_count_of_a_leave_one_out_loop():
    x = drawn(12, 3, 17, 1)[0]
    rows = x.flatten(1).numpy()

    def one_out(pseudo: float) -> float:
        total = 0.0
        for i, row in enumerate(rows):
            rest = np.delete(rows, i, 0)
            total += sum(math.log(((rest[:, d] == row[d]).sum() + pseudo) / (11 + 17 * pseudo)) for d in range(3))
        return total

    pseudo = max((10.0**k for k in np.arange(-4, 2.01, 0.5)), key=one_out)
    expected = [
        -sum(math.log2(((rows[:, d] == row[d]).sum() + pseudo) / (12 + 17 * pseudo)) for d in range(3)) for row in rows
    ]
    np.testing.assert_allclose(factorised(x, x, 17), expected)


def test_gaussian_is_the_density_times_the_cell_where_cells_are_small():
    train, mean, covariance = drawn(20000, 3, 256, 2)
    test = drawn(500, 3, 256, 2)[0]
    density = multivariate_normal.logpdf(test.flatten(1).numpy(), mean, covariance)  # type: ignore[arg-type]
    np.testing.assert_allclose(gaussian(train, test, 256).mean(), -density.mean() / math.log(2), atol=0.01)


def test_gaussian_of_one_pixel_is_the_mass_of_its_cell():
    train = drawn(400, 1, 9, 3)[0]
    x = train.double().flatten().numpy()
    level = torch.arange(9, dtype=torch.uint8).reshape(9, 1, 1, 1)
    got, fits = np.exp2(-gaussian(train, level, 9)), []
    for ridge in RIDGES:
        edges = norm(x.mean(), math.sqrt(x.var() * (1 + ridge) + 1 / 12)).cdf(np.arange(10) - 0.5)
        edges[[0, -1]] = 0, 1
        fits += [np.abs((1 - b) * np.diff(edges) + b / 9 - got).max() for b in (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)]
    assert min(fits) < 1e-12


def test_gaussian_uses_what_pixels_have_in_common_and_factorised_cannot():
    rng = np.random.default_rng(4)
    first = rng.integers(20, 230, (3000, 1))
    x = torch.tensor(np.concatenate([first, first + rng.integers(-2, 3, (3000, 1))], 1).astype(np.uint8))
    x = x.reshape(-1, 1, 1, 2)
    assert gaussian(x[:2000], x[2000:], 256).mean() < factorised(x[:2000], x[2000:], 256).mean() - 4


def test_fewer_pictures_than_pixels_and_constant_pixels_are_regularised():
    train, test = drawn(10, 40, 256, 5)[0], drawn(50, 40, 256, 6)[0]
    train[..., 0] = 0
    bits = gaussian(train, test, 256)
    assert np.isfinite(bits).all()
    assert bits.mean() < 40 * 10
    assert np.isfinite(factorised(train, test, 256)).all()


def test_test_pictures_choose_nothing():
    train, test = drawn(60, 4, 17, 7)[0], drawn(20, 4, 17, 8)[0]
    for baseline in (factorised, gaussian):
        whole = baseline(train, test, 17)
        np.testing.assert_allclose(baseline(train, test[3:5], 17), whole[3:5], rtol=1e-12)


def test_whole_groups_are_held_out():
    base, test = drawn(30, 20, 256, 9)[0], drawn(200, 20, 256, 9)[0]
    rng = np.random.default_rng(0)
    crops = base.repeat_interleave(20, 0)
    crops = (crops + torch.tensor(rng.integers(0, 3, crops.shape).astype(np.uint8))).to(torch.uint8)
    groups = [f"photo {i // 20}" for i in range(600)]
    assert gaussian(crops, test, 256, groups=groups).mean() < gaussian(crops, test, 256).mean()


@pytest.mark.parametrize("baseline", [factorised, gaussian])
def test_bad_input(baseline):
    x = torch.zeros(4, 1, 2, 2, dtype=torch.uint8)
    with pytest.raises(ValueError, match=r"test must be uint8 \[N, 1, 2, 2\], got \[4, 1, 2, 3\]"):
        baseline(x, torch.zeros(4, 1, 2, 3, dtype=torch.uint8), 4)
    with pytest.raises(ValueError, match=r"below num_levels \(4\), got 7 in test"):
        baseline(x, x + 7, 4)
    with pytest.raises(ValueError, match="at least 2 training pictures"):
        baseline(x[:1], x, 4)


def test_groups_must_name_every_training_picture():
    x = torch.zeros(4, 1, 2, 2, dtype=torch.uint8)
    with pytest.raises(ValueError, match=r"one group per training picture \(4\), got 2"):
        gaussian(x, x, 4, groups=["a", "b"])
