"""Metrics of restored pictures against loops and closed forms."""

import math

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from generative.metrics.restoration import (
    agreement,
    consistency,
    diversity,
    hidden_psnr,
    inception_score,
    perceptual_distance,
)
from generative.papers.sr3 import enlarged, reduced
from generative.pixels import nearest_level


def noisy(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(seed)).to(torch.uint8)


def test_consistency_is_what_reducing_the_answer_misses() -> None:
    made, given = noisy(3, 3, 16, 16), noisy(3, 3, 4, 4, seed=1)
    for value, one, low in zip(consistency(made, given), made, given, strict=True):
        small = np.asarray(Image.fromarray(one.permute(1, 2, 0).numpy()).resize((4, 4), Image.Resampling.BICUBIC))
        slow = np.mean(((small.astype(float) - low.permute(1, 2, 0).numpy()) / 255) ** 2)
        assert float(value) == pytest.approx(slow, rel=0.02)
    assert float(consistency(made, reduced(made, 4, 256)).max()) == 0
    flat = torch.full((1, 3, 4, 4), 90, dtype=torch.uint8)
    assert float(consistency(nearest_level(enlarged(flat, 4, 256), 256).to(torch.uint8), flat)) == 0


def test_psnr_of_the_hidden_pixels_alone() -> None:
    a, mask = torch.full((2, 3, 4, 4), 100, dtype=torch.uint8), torch.zeros(2, 1, 4, 4)
    b, mask[0, :, :2], mask[1, :, 0, 0] = a.clone(), 1, 1
    b[0, :, 2:] = 0  # known pixels do not count
    b[0, :, 0, 0] += 10  # 3 of 24 hidden numbers
    b[1, :, 0, 0] += 20
    expected = [10 * math.log10(255**2 / (100 * 3 / 24)), 10 * math.log10(255**2 / 400)]
    assert_close(hidden_psnr(a, b, mask), torch.tensor(expected, dtype=torch.float64))


def test_inception_score_of_even_certainty_is_the_number_of_classes() -> None:
    certain = torch.eye(7).repeat(3, 1) * 1000
    assert inception_score(certain) == pytest.approx(7)
    assert inception_score(torch.zeros(5, 7)) == pytest.approx(1)
    logits = torch.randn(50, 7, generator=torch.Generator().manual_seed(0)).double()
    p = logits.softmax(1)
    slow = math.exp(np.mean([(q * (q / p.mean(0)).log()).sum().item() for q in p]))
    assert inception_score(logits) == pytest.approx(slow)


def test_classes_and_distances_of_pairs() -> None:
    ours, theirs = torch.tensor([[0.0, 1], [2, 1], [0, 3]]), torch.tensor([[5.0, 1], [1, 0], [0, 1]])
    assert agreement(ours, theirs).tolist() == [0, 1, 1]
    assert_close(perceptual_distance(ours, theirs), torch.tensor([5, 2**0.5, 2.0]).double())


def test_answers_that_are_the_same_have_no_diversity() -> None:
    same = noisy(4, 1, 48, 48).expand(3, 4, 1, 48, 48)
    assert_close(diversity(same), torch.ones(4).double())
    other = torch.stack([same[0], noisy(4, 1, 48, 48, seed=2)])
    assert float(diversity(other).max()) < 0.3
    for side in (12, 41, 96, 170):  # as many scales as torchmetrics takes
        assert float(diversity(noisy(2, 1, 1, side, side))[0]) <= 1
    with pytest.raises(ValueError, match="sides of at least 12 pixels"):
        diversity(noisy(2, 4, 1, 11, 16))
