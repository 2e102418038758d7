"""The classification accuracy score: high where samples look like their classes, chance where they do not."""

import pytest
import torch

from generative.metrics.accuracy_score import accuracy_score


def pictures(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A bright quarter, by class."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(4, (n,), generator=generator)
    x = torch.randint(0, 90, (n, 1, 16, 16), generator=generator)
    for i, label in enumerate(labels.tolist()):
        x[i, :, 8 * (label // 2) : 8 * (label // 2) + 8, 8 * (label % 2) : 8 * (label % 2) + 8] += 100
    return x.to(torch.uint8), labels


class Quarters(torch.nn.Module):
    """The mean of each quarter."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = torch.nn.Parameter(torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.adaptive_avg_pool2d(x, 2).flatten(1) + self.unused


def test_samples_that_show_their_class_score_and_others_do_not() -> None:
    train, test = pictures(200, 0), pictures(200, 1)
    before = torch.get_rng_state()
    good, *others = accuracy_score(*train, *test, steps=80, top=(1, 3, 4))
    assert torch.get_rng_state().equal(before)
    assert good > 0.95
    assert good <= others[0] <= others[1] == 1
    assert [good] == accuracy_score(*train, *test, steps=80)
    wrong = train[1][torch.randperm(200, generator=torch.Generator().manual_seed(2))]
    assert accuracy_score(train[0], wrong, *test, steps=80)[0] < 0.6
    brightest = accuracy_score(*train, *test, steps=1, make=lambda channels, classes: Quarters(), top=(1, 2))
    assert brightest == [1, 1]
    with pytest.raises(ValueError, match="pictures and labels do not fit"):
        accuracy_score(train[0], train[1][:5], *test)
