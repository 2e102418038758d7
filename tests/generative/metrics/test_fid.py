"""FID against a closed form and torchmetrics, and KID and FID beside their floors."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from generative.metrics.features import extract, random_features
from generative.metrics.fid import compare, fid
from generative.metrics.kid import kid

OURS, REAL = ([f"{name} {i}" for i in range(80)] for name in ("ours", "real"))


def normal(num: int, dims: int, seed: int, shift: float = 0.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(num, dims, generator=generator, dtype=torch.float64) + shift


def test_kid_is_unbiased_where_fid_is_not():
    pairs = [(normal(40, 8, 2 * i), normal(40, 8, 2 * i + 1)) for i in range(60)]
    values = np.array([kid(a, b, OURS[:40], REAL[:40]).value for a, b in pairs])
    assert abs(values.mean()) < 3 * values.std() / math.sqrt(60)
    assert min(fid(a, b) for a, b in pairs) > 0.3


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
    result = compare(x, real, other, net)
    a, b, c = (extract(net, part) for part in (x, real, other[:30]))
    for found, part in (((result.kid, result.kid_se), a), ((result.kid_floor, result.kid_floor_se), c)):
        expected = kid(part, b, OURS[:30], REAL[:40])
        assert found == pytest.approx((expected.value, expected.se))
    photos = [f"photo {i // 4}" for i in range(50)]  # the floor's crops are of photographs of the reference
    result = compare(x, real, other, net, groups=(photos[:40], photos))
    expected = kid(c, b, photos[:30], photos[:40])
    assert (result.kid_floor, result.kid_floor_se) == pytest.approx((expected.value, expected.se))
    expected = kid(a, b, OURS[:30], photos[:40])
    assert (result.kid, result.kid_se) == pytest.approx((expected.value, expected.se))
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
    with pytest.raises(ValueError, match="KID needs pictures of at least 3 groups on each side, got 1"):
        compare(x, x, x, net, groups=(["photo"] * 10, ["other"] * 10))
