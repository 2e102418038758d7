"""Bicubic reduction and enlargement: one function for training, sampling and evaluation.

A model that enlarges pictures learns to undo the filter that made its inputs; with another filter, or without
antialiasing, it meets pictures that it has never seen. Source: Saharia et al. 2021 (SR3, arXiv 2104.07636), Sec 4
(bicubic, with antialiasing); Keys 1981 for the kernel (a = -0.5, as in Pillow).
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    """x [B, C, H, W] (floating point) at another size (height, width). Reducing, the kernel widens with the factor."""
    if tuple(x.shape[-2:]) == tuple(size):
        return x
    return F.interpolate(x, tuple(size), mode="bicubic", antialias=True, align_corners=False)


def resize_levels(k: Tensor, size: tuple[int, int], num_levels: int) -> Tensor:
    """Level indices uint8 [B, C, H, W] at another size, rounded to levels again: what a file would hold."""
    return resize(k.float(), size).round().clamp(0, num_levels - 1).to(torch.uint8)
