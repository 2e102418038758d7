"""The U-Net of DDPM and ADM, which SR3, Palette, cascades and the base of Imagen share.

Sources: Ho et al. 2020 (DDPM, arXiv 2006.11239), App B; Dhariwal & Nichol 2021 (ADM, arXiv 2105.05233), Sec 3 and
App I. Where we differ: the noise level enters as its position in [log_snr_min, log_snr_max] (as VDM), not as a time
step; an embedding that is added has no bias (the convolution before it has one).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from generative.nets.layers import (
    Block,
    Cond,
    Embedding,
    Resample,
    ResBlock,
    Way,
    check_common,
    entry,
    fourier_features,
    group_norm,
    require,
    run,
    whole,
    zeroed,
)


@dataclass(frozen=True, kw_only=True)
class UNetConfig:
    """The defaults are DDPM's CIFAR-10 network, with attention at 8 pixels as well as at 16."""

    channels: int = 128
    """Channels at full resolution, before `multipliers`."""
    multipliers: tuple[int, ...] = (1, 2, 2, 2)
    """Channels of each level as a multiple of `channels`; each level has half the resolution of the one before."""
    blocks: int = 2
    """Residual blocks per level on the way down; one more on the way up."""
    attention_resolutions: tuple[int, ...] = (16, 8)
    """Self-attention where the longer side has so many pixels, and always in the middle."""
    heads: int = 1
    """Heads of self-attention, unless `head_channels` is given."""
    head_channels: int | None = None
    """Channels per head, in place of `heads`."""
    dropout: float = 0.1
    """Dropped share of each block's activations, in training."""
    scale_shift: bool = False
    """The embedding scales and shifts the normalised activations (ADM); if not, it is added (DDPM)."""
    resample_in_block: bool = False
    """Change resolution inside residual blocks (BigGAN, ADM); if not, by convolutions (DDPM)."""
    fourier: tuple[int, ...] = ()
    """Exponents n of the input features sin and cos of 2 pi 2^n z; () for none."""
    classes: int = 0
    """Number of classes; 0 for none."""
    cond_channels: int = 0
    """Channels of a picture cond["image"] that is concatenated to z (SR3, Palette, cascades); 0 for none."""
    masked: bool = False
    """cond["mask"] [B, 1, H, W], 1 where a pixel has to be made, is concatenated too."""
    augmented: bool = False
    """cond["level"] [B], the log_snr of the picture cond["image"], is embedded beside the noise level (cascades)."""
    rescale_skips: bool = False
    """Divide the sum of each residual block's branches by sqrt(2) (SR3)."""
    out_channels: int | None = None
    """Channels of the output; those of the picture if omitted."""
    residual: bool = False
    """Add z to the output, as VDM does."""
    recompute: bool = False
    """Compute activations again in the backward pass: about a third slower, much less memory."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "multipliers", tuple(self.multipliers))
        object.__setattr__(self, "attention_resolutions", tuple(self.attention_resolutions))
        check_common(self)
        levels, sides = self.multipliers, self.attention_resolutions
        good = all(whole(multiplier, 1) for multiplier in levels) and bool(levels)
        require(good, f"multipliers must be positive whole numbers, one for each level, got {levels}")
        good = all(whole(side, 1) for side in sides)
        require(good, f"attention_resolutions must be positive whole numbers, got {sides}")
        good = whole(self.cond_channels, 0)
        require(good, f"cond_channels must be 0 (none) or a positive whole number, got {self.cond_channels}")
        if self.head_channels is not None:
            self.heads_of(self.channels * self.multipliers[-1])
        good = self.out_channels is None or whole(self.out_channels, 1)
        require(good, f"out_channels must be a positive whole number, got {self.out_channels}")

    def heads_of(self, channels: int) -> int:
        """Heads at a level with so many channels. Raises ValueError."""
        if self.head_channels is None:
            return self.heads
        good = whole(self.head_channels, 1) and channels % self.head_channels == 0
        require(good, f"head_channels must divide the {channels} channels of a level, got {self.head_channels}")
        return channels // self.head_channels


class UNet(nn.Module):
    """Down through the levels, a middle with attention, and up again with what each step down gave."""

    def __init__(self, config: UNetConfig, shape: tuple[int, int, int], log_snrs: tuple[float, float]) -> None:
        """shape: (C, H, W) of z; log_snrs: (low, high), the range in which the noise level is embedded.

        Raises ValueError if the sides cannot be halved once per level, or z cannot be added to the output.
        """
        super().__init__()
        self.config, self.wide = config, 4 * config.channels
        channels, *sides = shape
        factor = 2 ** (len(config.multipliers) - 1)
        if sides[0] % factor or sides[1] % factor or min(sides) < 1:
            levels = len(config.multipliers)
            raise ValueError(f"{levels} levels need sides that are multiples of {factor}, got {sides[0]}x{sides[1]}")
        out_channels = config.out_channels or channels
        if config.residual and out_channels != channels:
            raise ValueError(f"residual needs as many output channels as z has ({channels}), got {out_channels}")
        self.embed = Embedding(config.channels, log_snrs, config.classes, augmented=config.augmented)
        seen = channels * (1 + 2 * len(config.fourier)) + config.cond_channels + config.masked
        self.conv_in = nn.Conv2d(seen, config.channels, 3, padding=1)
        skips = [config.channels]
        self.down = self._down(max(sides), skips)
        width = skips[-1]
        self.mid = nn.ModuleList([self._block(width, width, config.heads_of(width)), self._block(width, width, 0)])
        self.up = self._up(max(sides), skips)
        width = config.channels * config.multipliers[0]
        self.norm_out, self.conv_out = group_norm(width), zeroed(nn.Conv2d(width, out_channels, 3, padding=1))

    def _block(self, in_channels: int, out_channels: int, heads: int) -> Block:
        config = self.config
        options = {"dropout": config.dropout, "scale_shift": config.scale_shift, "rescale_skips": config.rescale_skips}
        return Block(in_channels, out_channels, self.wide, heads, **options)

    def _resample(self, channels: int, way: Way) -> ResBlock | Resample:
        config = self.config
        if not config.resample_in_block:
            return Resample(channels, way)
        options = {"dropout": config.dropout, "scale_shift": config.scale_shift, "rescale_skips": config.rescale_skips}
        return ResBlock(channels, channels, self.wide, resample=way, **options)

    def _heads(self, side: int, channels: int) -> int:
        return self.config.heads_of(channels) if side in self.config.attention_resolutions else 0

    def _down(self, side: int, skips: list[int]) -> nn.ModuleList:
        """The way down. Appends the channels of each step's output to skips."""
        steps = nn.ModuleList()
        for level, multiplier in enumerate(self.config.multipliers):
            if level:
                steps.append(self._resample(skips[-1], "down"))
                skips.append(skips[-1])
            width = self.config.channels * multiplier
            for _ in range(self.config.blocks):
                steps.append(self._block(skips[-1], width, self._heads(side >> level, width)))
                skips.append(width)
        return steps

    def _up(self, side: int, skips: list[int]) -> nn.ModuleList:
        """The way up: a Block takes a skip connection, a resampling step takes none."""
        steps, before = nn.ModuleList(), skips[-1]
        skips = list(skips)
        for level, multiplier in reversed(list(enumerate(self.config.multipliers))):
            width = self.config.channels * multiplier
            for _ in range(self.config.blocks + 1):
                steps.append(self._block(before + skips.pop(), width, self._heads(side >> level, width)))
                before = width
            if level:
                steps.append(self._resample(width, "up"))
        return steps

    def forward(self, z: Tensor, log_snr: Tensor, cond: Cond = None) -> Tensor:
        """[B, out_channels, H, W] of z [B, C, H, W] and log_snr [B].

        cond: "label" [B] if there are classes, "image" [B, cond_channels, H, W] if there are cond_channels, "mask"
        [B, 1, H, W] if it is masked, "level" [B] if it is augmented.
        Raises ValueError if one of them is missing.
        """
        config, embedding = self.config, self.embed(log_snr, cond)
        h = fourier_features(z, config.fourier)
        if config.cond_channels:
            image = entry(cond, "image", f"the network has {config.cond_channels} cond_channels")
            h = torch.cat([h, image.to(h.dtype)], 1)
        if config.masked:
            h = torch.cat([h, entry(cond, "mask", "the network is masked").to(h.dtype)], 1)
        h = self.conv_in(h)
        skips = [h]
        for step in self.down:
            h = run(step, h, embedding, config.recompute)
            skips.append(h)
        for step in self.mid:
            h = run(step, h, embedding, config.recompute)
        for step in self.up:
            h = torch.cat([h, skips.pop()], 1) if isinstance(step, Block) else h
            h = run(step, h, embedding, config.recompute)
        output = self.conv_out(F.silu(self.norm_out(h))).to(z.dtype)
        return z + output if config.residual else output
