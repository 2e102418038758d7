"""KID of grouped pictures: slow loops, torchmetrics, and samples of which several belong together."""

from itertools import product

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close
from torchmetrics.image.kid import poly_mmd

from generative.metrics.kid import kid


def slow(a: Tensor, b: Tensor, groups_a: list[str], groups_b: list[str]) -> float:
    def mean(x: Tensor, y: Tensor, pairs: list[tuple[int, int]]) -> float:
        return sum(float((x[i] @ y[j] / x.shape[1] + 1) ** 3) for i, j in pairs) / len(pairs)

    def apart(groups: list[str]) -> list[tuple[int, int]]:
        return [(i, j) for i, j in product(range(len(groups)), repeat=2) if groups[i] != groups[j]]

    across = mean(a, b, list(product(range(len(a)), range(len(b)))))
    return mean(a, a, apart(groups_a)) + mean(b, b, apart(groups_b)) - 2 * across


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def names(*counts: int) -> list[str]:
    return [f"photo {number}" for number, count in enumerate(counts) for _ in range(count)]


def test_a_slow_loop_and_leaving_out_each_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("generative.metrics.kid.AT_ONCE", 3)
    a, b = torch.randn(8, 5, dtype=torch.float64), torch.randn(11, 5, dtype=torch.float64) + 0.3
    groups_a, groups_b = names(3, 1, 2, 2), names(4, 1, 3, 3)
    found = kid(a, b, groups_a, groups_b)
    assert found.value == pytest.approx(slow(a, b, groups_a, groups_b), rel=1e-12)
    for side, groups in enumerate((groups_a, groups_b)):
        for number, value in enumerate(found.without[side]):
            stay = [i for i, name in enumerate(groups) if name != f"photo {number}"]
            kept = [groups[i] for i in stay]
            one = (a[stay], b, kept, groups_b) if side == 0 else (a, b[stay], groups_a, kept)
            assert value == pytest.approx(slow(*one), rel=1e-12)


def test_pictures_that_are_groups_of_their_own() -> None:
    """Then it is the usual estimate, as torchmetrics has it for sets of one size."""
    a, b = torch.randn(20, 6, dtype=torch.float64), torch.randn(20, 6, dtype=torch.float64) * 1.1
    found = kid(a, b, names(*[1] * 20), names(*[1] * 20))
    assert_close(torch.tensor(found.value, dtype=torch.float64), poly_mmd(a, b))


@pytest.mark.parametrize(("many", "apart"), [(1, 0.7), (8, 0.7), (8, 0.0)])
def test_the_standard_error_is_the_spread(many: int, apart: float) -> None:
    """Of 300 draws of both sets, in groups of near-copies. Of populations that are alike the mean is 0, where only what
    is of second order moves the estimate: that the jackknife overrates."""

    def draw(groups: int, mean: float) -> Tensor:
        centres = mean + torch.randn(groups, 4, dtype=torch.float64).repeat_interleave(many, 0)
        return centres + 0.1 * torch.randn(groups * many, 4, dtype=torch.float64)

    estimates = [kid(draw(24, apart), draw(40, 0), names(*[many] * 24), names(*[many] * 40)) for _ in range(300)]
    values = torch.tensor([one.value for one in estimates])
    spread, told = float(values.std()), float(torch.tensor([one.se for one in estimates]).mean())
    if apart:
        assert told == pytest.approx(spread, rel=0.15)
    else:
        assert abs(float(values.mean())) < 3 * spread / len(values) ** 0.5
        assert spread < told < 2 * spread


def test_a_difference_knows_what_both_have_in_common() -> None:
    a, b = torch.randn(24, 4, dtype=torch.float64), torch.randn(40, 4, dtype=torch.float64)
    groups = names(*[2] * 12), names(*[1] * 40)
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
