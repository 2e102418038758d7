"""KID of grouped pictures: slow loops, torchmetrics, and samples of which several belong together."""

from itertools import product

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close
from torchmetrics.image.kid import poly_mmd

from generative.metrics.kid import kid


def slow(a: Tensor, b: Tensor, groups_a: list[str], groups_b: list[str]) -> float:
    def mean(x: Tensor, y: Tensor, names_x: list[str], names_y: list[str]) -> float:
        pairs = [(i, j) for i, j in product(range(len(x)), range(len(y))) if names_x[i] != names_y[j]]
        return sum(float((x[i] @ y[j] / x.shape[1] + 1) ** 3) for i, j in pairs) / len(pairs)

    inside = mean(a, a, groups_a, groups_a) + mean(b, b, groups_b, groups_b)
    return inside - 2 * mean(a, b, groups_a, groups_b)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def names(*counts: int, first: int = 0) -> list[str]:
    return [f"photo {number}" for number, count in enumerate(counts, first) for _ in range(count)]


@pytest.mark.parametrize("first", [0, 2, 9])
def test_a_slow_loop_and_leaving_out_each_group(first: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four photographs on each side: the same, of which two are the same, others."""
    monkeypatch.setattr("generative.metrics.kid.AT_ONCE", 3)
    a, b = torch.randn(8, 5, dtype=torch.float64), torch.randn(11, 5, dtype=torch.float64) + 0.3
    groups_a, groups_b = names(3, 1, 2, 2), names(4, 1, 3, 3, first=first)
    found = kid(a, b, groups_a, groups_b)
    assert found.value == pytest.approx(slow(a, b, groups_a, groups_b), rel=1e-12)
    every = sorted({*groups_a, *groups_b})
    assert len(found.without) == len(every)
    for name, value in zip(every, found.without, strict=True):
        stay_a, stay_b = ([i for i, other in enumerate(groups) if other != name] for groups in (groups_a, groups_b))
        kept = [groups_a[i] for i in stay_a], [groups_b[i] for i in stay_b]
        assert value == pytest.approx(slow(a[stay_a], b[stay_b], *kept), rel=1e-12)


def test_pictures_that_are_groups_of_their_own() -> None:
    """Then it is the usual estimate, as torchmetrics has it for sets of one size."""
    a, b = torch.randn(20, 6, dtype=torch.float64), torch.randn(20, 6, dtype=torch.float64) * 1.1
    found = kid(a, b, names(*[1] * 20), names(*[1] * 20, first=20))
    assert_close(torch.tensor(found.value, dtype=torch.float64), poly_mmd(a, b))


@pytest.mark.parametrize(("many", "apart", "first"), [(1, 0.7, 24), (8, 0.7, 24), (8, 0.0, 24), (8, 0.7, 4)])
def test_the_standard_error_is_the_spread(many: int, apart: float, first: int) -> None:
    """Of 300 draws of both sets, in groups of near-copies, of which twenty may be on both sides. Of populations that
    are alike the mean is 0, where only what is of second order moves the estimate: that the jackknife overrates."""

    def draw(centres: Tensor) -> Tensor:
        return centres.repeat_interleave(many, 0) + 0.1 * torch.randn(len(centres) * many, 4, dtype=torch.float64)

    estimates = []
    for _ in range(300):
        every = torch.randn(first + 40, 4, dtype=torch.float64)  # in place of photographs
        a, b = draw(every[:24]) + apart, draw(every[first:])
        estimates.append(kid(a, b, names(*[many] * 24), names(*[many] * 40, first=first)))
    values = torch.tensor([one.value for one in estimates])
    spread, told = float(values.std()), float(torch.tensor([one.se for one in estimates]).mean())
    if apart:
        assert told == pytest.approx(spread, rel=0.15)
    else:
        assert abs(float(values.mean())) < 3 * spread / len(values) ** 0.5
        assert spread < told < 2 * spread


def test_a_difference_knows_what_both_have_in_common() -> None:
    a, b = torch.randn(24, 4, dtype=torch.float64), torch.randn(40, 4, dtype=torch.float64)
    groups = names(*[2] * 12), names(*[1] * 40, first=12)
    one, other = kid(a, b, *groups), kid(a + 0.05, b, *groups)
    gap = other.minus(one)
    assert gap.value == pytest.approx(other.value - one.value)
    assert gap.se < 0.5 * min(one.se, other.se)
    assert one.minus(one).se == 0


def test_too_few_groups() -> None:
    x = torch.randn(6, 4)
    with pytest.raises(ValueError, match="at least 3 groups on each side, got 2"):
        kid(x, x, names(3, 3), names(*[1] * 6))
    with pytest.raises(ValueError, match="6 pictures need as many names of groups, got 5"):
        kid(x, x, names(*[1] * 5), names(*[1] * 6))
