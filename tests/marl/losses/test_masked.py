"""The one masked mean."""

import pytest
import torch

from marl.losses.masked import masked_mean


def test_it_is_the_mean_of_what_is_selected():
    x = torch.tensor([[1.0, 2.0, 4.0], [8.0, 16.0, 32.0]])
    mask = torch.tensor([[True, False, True], [False, False, True]])
    assert float(masked_mean(x, mask)) == pytest.approx((1 + 4 + 32) / 3)
    assert float(masked_mean(x, torch.tensor([True, False, False]))) == pytest.approx((1 + 8) / 2)


@pytest.mark.parametrize("garbage", [torch.inf, -torch.inf, torch.nan, 1e38])
def test_garbage_under_the_mask_changes_neither_mean_nor_gradient(garbage):
    mask = torch.tensor([True, False, True])
    x = torch.tensor([1.0, garbage, 4.0], requires_grad=True)
    mean = masked_mean(x, mask)
    mean.backward()
    assert mean.item() == 2.5
    assert x.grad.tolist() == [0.5, 0.0, 0.5]


def test_nothing_selected_is_0_with_gradient_0():
    x = torch.tensor([1.0, torch.inf], requires_grad=True)
    mean = masked_mean(x, torch.zeros(2, dtype=torch.bool))
    mean.backward()
    assert mean.item() == 0
    assert x.grad.tolist() == [0, 0]
