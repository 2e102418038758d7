"""KID against a double loop, FID against a closed form, and both beside their floors."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from generative.metrics import fid as module
from generative.metrics.features import extract, random_features
from generative.metrics.fid import compare, fid, kid


def normal(num: int, dims: int, seed: int, shift: float = 0.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(num, dims, generator=generator, dtype=torch.float64) + shift


def slow_mmd(a: np.ndarray, b: np.ndarray) -> float:
    def k(x: np.ndarray, y: np.ndarray) -> float:
        return float((x @ y / len(x) + 1) ** 3)

    n = len(a)
    own = sum(k(x[i], x[j]) for x in (a, b) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    return own - 2 * sum(k(x, y) for x in a for y in b) / n**2


@pytest.mark.parametrize(("num", "blocks"), [(60, 10), (9, 4), (4, 2)])
def test_kid_is_the_mean_of_a_double_loop_over_disjoint_blocks(num: int, blocks: int):
    a, b = normal(num, 5, 1), normal(num + 7, 5, 2, 0.5)
    generator = torch.Generator().manual_seed(3)
    size = num // blocks
    orders = [torch.randperm(len(x), generator=generator) for x in (a, b)]
    values = [
        slow_mmd(*(x[order[i * size : (i + 1) * size]].numpy() for x, order in zip((a, b), orders, strict=True)))
        for i in range(blocks)
    ]
    mean, se = kid(a, b, seed=3)
    assert mean == pytest.approx(np.mean(values))
    assert se == pytest.approx(np.std(values, ddof=1) / math.sqrt(blocks))


def test_kid_is_unbiased_where_fid_is_not():
    pairs = [(normal(40, 8, 2 * i), normal(40, 8, 2 * i + 1)) for i in range(60)]
    values, errors = np.array([kid(a, b) for a, b in pairs]).T
    assert abs(values.mean()) < 3 * values.std() / math.sqrt(60)
    assert np.mean(errors) == pytest.approx(values.std(), rel=0.25)  # the standard error is what it says
    assert min(fid(a, b) for a, b in pairs) > 0.3


def test_kid_of_large_sets_keeps_blocks_small(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "MAX_BLOCK", 20)
    a, b = normal(450, 4, 1), normal(450, 4, 2)
    sizes = []
    from torchmetrics.image import kid as peer

    real = peer.poly_mmd
    monkeypatch.setattr(peer, "poly_mmd", lambda x, y: sizes.append(len(x)) or real(x, y))
    kid(a, b)
    assert sizes == [19] * 23


def test_fid_of_gaussians_comes_near_the_closed_form():
    a, b = normal(20000, 3, 1), 2 * normal(20000, 3, 2, 0.5)  # means 0 and 1, standard deviations 1 and 2
    assert fid(a, b) == pytest.approx(3 * (1 + 1), rel=0.03)


@pytest.mark.parametrize(("n", "m"), [(12, 60), (60, 12), (9, 14), (40, 60)])
def test_fid_is_torchmetrics_in_all_directions(n: int, m: int):
    from torchmetrics.image.fid import FrechetInceptionDistance

    a, b = normal(n, 24, 1).double(), (normal(m, 24, 2) @ normal(24, 24, 3) + 0.3).double()

    class Given(torch.nn.Identity):
        num_features = 24

    metric = FrechetInceptionDistance(feature=Given()).set_dtype(torch.float64)
    for features, real in ((a, False), (b, True)):
        metric.update(features, real=real)
    assert fid(a, b) == pytest.approx(float(metric.compute()), rel=1e-6)


def pictures(num: int, high: int, seed: int) -> Tensor:
    return torch.randint(0, high, (num, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def test_compare_finds_worse_samples_and_says_how():
    net = random_features()
    real, other = pictures(80, 256, 1), pictures(70, 256, 2)
    good, bad = (compare(pictures(60, high, 3), real, other, net) for high in (256, 150))
    assert bad.kid > 10 * bad.kid_se
    assert abs(good.kid) < 4 * good.kid_se
    assert bad.fid > 3 * bad.fid_floor
    assert (bad.n, bad.n_reference) == (60, 80)
    assert (bad.kid_floor, bad.fid_floor) == (good.kid_floor, good.fid_floor)
    assert bad.features == net.describe()
    assert str(bad).index("KID") < str(bad).index("FID")
    assert net.describe() in str(bad)
    assert f"real against real {bad.fid_floor:.2f}" in str(bad)


def test_compare_is_the_metrics_of_the_features_and_the_floor_has_as_many_pictures():
    net, x, real, other = random_features(8), pictures(30, 200, 1), pictures(40, 256, 2), pictures(50, 256, 3)
    result = compare(x, real, other, net, seed=5)
    a, b, c = (extract(net, part) for part in (x, real, other[:30]))
    assert (result.kid, result.kid_se) == kid(a, b, seed=5)
    assert (result.kid_floor, result.kid_floor_se) == kid(c, b, seed=5)
    assert (result.fid, result.fid_floor) == (fid(a, b), fid(c, b))


def test_compare_takes_few_levels_and_any_module():
    class Means(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.float().mean((2, 3))

    digits = [torch.randint(0, 17, (20, 1, 8, 8), dtype=torch.uint8) for _ in range(3)]
    assert compare(digits[0], digits[1], digits[2], Means(), num_levels=17).features == "Means"


def test_nothing_touches_the_global_generator():
    before = torch.get_rng_state()
    compare(pictures(20, 256, 1), pictures(20, 256, 2), pictures(20, 256, 3), random_features(8))
    assert torch.get_rng_state().equal(before)


def test_the_feature_module_fits_torchmetrics():
    from torchmetrics.image.fid import FrechetInceptionDistance

    net, a, b = random_features(8), pictures(30, 200, 1), pictures(40, 256, 2)
    metric = FrechetInceptionDistance(feature=net).set_dtype(torch.float64)
    metric.update(a, real=False)
    metric.update(b, real=True)
    assert float(metric.compute()) == pytest.approx(fid(extract(net, a), extract(net, b)), rel=1e-5)


def test_bad_input():
    x, net = pictures(10, 256, 1), random_features(8)
    with pytest.raises(ValueError, match="at least 4 pictures in each set, got 3 real_other"):
        compare(x, x, x[:3], net)
    with pytest.raises(ValueError, match=r"samples are \[3, 8, 16\] and the reference \[3, 16, 16\]"):
        compare(x[:, :, :8], x, x, net)
    with pytest.raises(ValueError, match="KID needs at least 4 pictures of each, got 3 and 9"):
        kid(torch.zeros(3, 2), torch.zeros(9, 2))
