"""The network of Variational Diffusion Models. Kingma et al. 2021, arXiv 2107.00630, App B.

A U-Net that never changes resolution: likelihood is made of the finest detail. Where we differ: labels, if there are
any, are added to the embedding (the released code appends a number, always zero, to that of the noise level).
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from generative.nets.layers import Block, Cond, Embedding, check_common, fourier_features, group_norm, run, zeroed


@dataclass(frozen=True, kw_only=True)
class VDMUNetConfig:
    """The defaults are the paper's CIFAR-10 network without augmentation."""

    channels: int = 128
    """Channels everywhere; GroupNorm has 32 groups if they are a multiple of 32 from 128."""
    blocks: int = 32
    """Residual blocks L on the way down; one more on the way up."""
    dropout: float = 0.1
    """Dropped share of each block's activations, in training."""
    attention: Literal["mid", "all"] = "mid"
    """Self-attention in the middle only, or behind every block."""
    heads: int = 1
    """Heads of self-attention."""
    fourier: tuple[int, ...] = (6, 7)
    """Exponents n of the input features sin and cos of 2 pi 2^n z; () for none. For 256 levels in (-1, 1)."""
    classes: int = 0
    """Number of classes; 0 for none."""
    recompute: bool = False
    """Compute activations again in the backward pass: about a third slower, much less memory."""

    def __post_init__(self) -> None:
        check_common(self)
        if self.attention not in ("mid", "all"):
            raise ValueError(f"attention must be mid or all, got {self.attention!r}")


class VDMUNet(nn.Module):
    """eps_hat(z, log_snr): convolution, L blocks, a middle with attention, L + 1 blocks that see the first half."""

    def __init__(self, config: VDMUNetConfig, shape: tuple[int, int, int], log_snrs: tuple[float, float]) -> None:
        """shape: (C, H, W) of the pictures; log_snrs: (low, high), the range in which the noise level is embedded."""
        super().__init__()
        self.config = config
        channels, width, wide = shape[0], config.channels, 4 * config.channels
        everywhere = config.heads if config.attention == "all" else 0

        def block(in_channels: int, heads: int) -> Block:
            return Block(in_channels, width, wide, heads, dropout=config.dropout)

        self.embed = Embedding(width, log_snrs, config.classes)
        self.conv_in = nn.Conv2d(channels * (1 + 2 * len(config.fourier)), width, 3, padding=1)
        self.down = nn.ModuleList(block(width, everywhere) for _ in range(config.blocks))
        self.mid = nn.ModuleList([block(width, config.heads), block(width, 0)])
        self.up = nn.ModuleList(block(2 * width, everywhere) for _ in range(config.blocks + 1))
        self.norm_out, self.conv_out = group_norm(width), zeroed(nn.Conv2d(width, channels, 3, padding=1))

    def forward(self, z: Tensor, log_snr: Tensor, cond: Cond = None) -> Tensor:
        """eps_hat [B, C, H, W] of z [B, C, H, W], log_snr [B] and cond["label"] [B] if there are classes."""
        embedding, recompute = self.embed(log_snr, cond), self.config.recompute
        h = self.conv_in(fourier_features(z, self.config.fourier))
        skips = [h]
        for block in self.down:
            h = run(block, h, embedding, recompute)
            skips.append(h)
        for block in self.mid:
            h = run(block, h, embedding, recompute)
        for block in self.up:
            h = run(block, torch.cat([h, skips.pop()], 1), embedding, recompute)
        # The convolution starts at 0, so eps_hat starts as z: at most levels z is nearly eps, a good first guess.
        return z + self.conv_out(F.silu(self.norm_out(h))).to(z.dtype)
