"""Bicubic resizing: Pillow's, antialiased, and the same wherever it is used."""

import numpy as np
import pytest
import torch
from PIL import Image

from generative.papers.sr3 import enlarged, reduced
from generative.resize import resize_levels


def noisy(*shape: int) -> torch.Tensor:
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(0)).to(torch.uint8)


@pytest.mark.parametrize("size", [(16, 16), (8, 8), (21, 13), (128, 96)])
def test_resizing_is_pillows(size: tuple[int, int]) -> None:
    k = noisy(2, 3, 64, 64) // 3 + 85  # Pillow clips overshoots between its two passes: here there are none
    ours = resize_levels(k, size, 256).int()
    for one, picture in zip(ours, k, strict=True):
        image = Image.fromarray(picture.permute(1, 2, 0).numpy())
        pillow = np.asarray(image.resize(size[::-1], Image.Resampling.BICUBIC)).astype(int)
        assert np.abs(one.permute(1, 2, 0).numpy() - pillow).max() <= 3


def test_reducing_does_not_alias() -> None:
    """A checkerboard of single pixels becomes grey; the nearest pixel would give black or white."""
    board = ((torch.arange(64)[:, None] + torch.arange(64)) % 2 * 255).to(torch.uint8).expand(1, 3, 64, 64)
    inside = reduced(board, 16, 256)[..., 2:-2, 2:-2].float()
    assert (inside - 127.5).abs().max() < 3


def test_a_flat_picture_stays_flat() -> None:
    flat = torch.full((1, 3, 64, 64), 200, dtype=torch.uint8)
    low = reduced(flat, 16, 256)
    assert bool((low == 200).all())
    assert enlarged(low, 4, 256).std() < 1e-6
