"""Layers of the picture networks: the embedding of the noise level, residual blocks, attention, resampling.

Sources: Ho et al. 2020 (DDPM, arXiv 2006.11239), App B: sinusoidal embedding, residual blocks; Dhariwal & Nichol 2021
(ADM, arXiv 2105.05233), Sec 3: heads, up- and down-sampling inside a block (as BigGAN), scale and shift (AdaGN);
Kingma et al. 2021 (VDM, arXiv 2107.00630), App B and C: Fourier features, the position in [log_snr_min, log_snr_max].

Pictures are [B, C, H, W] in any memory format. Under autocast, what needs float32 (the embedding of the noise level,
Fourier features, the statistics of GroupNorm) is computed in float32; all else follows autocast.
"""

import math
from typing import Any, Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

Cond: TypeAlias = dict[str, Tensor] | None
Way: TypeAlias = Literal["up", "down"]


def sinusoid(position: Tensor, channels: int) -> Tensor:
    """[B, channels] float32: sines, then cosines, of position [B] at periods 2 pi to 20000 pi. DDPM, App B."""
    half = channels // 2
    steps = torch.arange(half, dtype=torch.float32, device=position.device)
    angle = position.float()[:, None] * torch.exp(steps * (-math.log(10_000) / max(half - 1, 1)))
    return torch.cat([angle.sin(), angle.cos()], 1)


def fourier_features(z: Tensor, exponents: tuple[int, ...]) -> Tensor:
    """z [B, C, H, W] with sin and cos of 2 pi 2^n z appended for each exponent n: [B, C (1 + 2 len), H, W]. VDM, App C.

    At data scaled to 2 (k + 0.5) / 256 - 1, n = 6 tells odd levels from even ones: the finest detail there is.
    """
    waves = [2 * math.pi * 2**n * z for n in exponents]
    return torch.cat([z, *(wave.sin() for wave in waves), *(wave.cos() for wave in waves)], 1) if waves else z


def group_norm(channels: int) -> "GroupNorm":
    """GroupNorm with the most groups, up to 32, that divide the channels and have 4 or more each; one group if none do.

    DDPM's narrowest layers have 4. Groups of one channel would take away an embedding that is added before the norm.
    """
    return GroupNorm(max(n for n in range(1, 33) if channels % n == 0 and (n == 1 or channels // n >= 4)), channels)


class GroupNorm(nn.GroupNorm):
    """torch's, in float32 at least; the result has the dtype of the input."""

    def forward(self, input: Tensor) -> Tensor:
        dtype = torch.promote_types(input.dtype, torch.float32)
        weight, bias = self.weight.to(dtype), self.bias.to(dtype)
        return F.group_norm(input.to(dtype), self.num_groups, weight, bias, self.eps).to(input.dtype)


def zeroed(module: Any) -> Any:
    """The module with all parameters zero: a block that ends in one starts as the identity."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module


SILU_SQUARED = 0.3556
"""Mean square of silu(u) for a standard normal u."""


def of_unit_variance(module: nn.Module, mean_square: float) -> None:
    """Draws a convolution's weights so that its output has variance 1 for inputs of that mean square."""
    if isinstance(module, nn.Conv2d):
        nn.init.normal_(module.weight, std=(module.weight[0].numel() * mean_square) ** -0.5)
        assert module.bias is not None
        nn.init.zeros_(module.bias)


class Embedding(nn.Module):
    """The noise level, and the class if there are any, as one vector of 4 channels.

    The level enters as its position in [low, high] from 1000 (low, noise) to 0 (high, clean), as a DDPM's time step.
    augmented: so does cond["level"], the log_snr of the picture that the network is told of (cascaded diffusion).
    """

    def __init__(
        self, channels: int, log_snrs: tuple[float, float], classes: int = 0, *, augmented: bool = False
    ) -> None:
        super().__init__()
        if not (all(map(math.isfinite, log_snrs)) and log_snrs[0] < log_snrs[1]):
            raise ValueError(f"log_snrs must be finite and rise, (low, high), got {tuple(log_snrs)}")
        self.channels, self.log_snrs, self.classes = channels, log_snrs, classes
        self.linear_1, self.linear_2 = nn.Linear(channels, 4 * channels), nn.Linear(4 * channels, 4 * channels)
        self.labels = nn.Embedding(classes, 4 * channels) if classes else None
        self.level = nn.Linear(channels, 4 * channels) if augmented else None

    def forward(self, log_snr: Tensor, cond: Cond = None) -> Tensor:
        """[B, 4 channels] of log_snr [B], cond["label"] [B], -1 for no class, and cond["level"] [B]. Raises ValueError
        if one of the last two is missing."""
        with torch.autocast(log_snr.device.type, enabled=False):
            embedding = self.linear_1(self._position(log_snr))
            if self.level is not None:
                level = entry(cond, "level", "the network is told how noisy cond['image'] is")
                embedding = embedding + self.level(self._position(level))
            embedding = self.linear_2(F.silu(embedding))
            if self.labels is not None:
                label = entry(cond, "label", f"the network has {self.classes} classes")
                embedding = embedding + self.labels(label.clamp_min(0)) * (label >= 0)[:, None]
            return F.silu(embedding)

    def _position(self, log_snr: Tensor) -> Tensor:
        """[B, channels] of a level."""
        low, high = self.log_snrs
        return sinusoid((high - log_snr) / (high - low) * 1000, self.channels).to(self.linear_1.weight.dtype)


def entry(cond: Cond, name: str, why: str) -> Tensor:
    """cond[name]. Raises ValueError if it is not there."""
    if not isinstance(cond, dict) or name not in cond:
        raise ValueError(f"{why}: cond must hold {name!r}, got {sorted(cond) if isinstance(cond, dict) else cond!r}")
    return cond[name]


def resampled(x: Tensor, way: Way | None) -> Tensor:
    """x at twice (nearest) or half (mean) the size."""
    if way == "up":
        return F.interpolate(x, scale_factor=2.0, mode="nearest")
    return F.avg_pool2d(x, 2) if way == "down" else x


class Resample(nn.Module):
    """Twice or half the size by a convolution: nearest then 3x3, or 3x3 with stride 2."""

    def __init__(self, channels: int, way: Way) -> None:
        super().__init__()
        self.way = way
        self.conv = nn.Conv2d(channels, channels, 3, stride=2 if way == "down" else 1, padding=1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        return self.conv(resampled(x, "up") if self.way == "up" else x)


class ResBlock(nn.Module):
    """GroupNorm, swish, convolution, the embedding, GroupNorm, swish, dropout, a convolution that starts at zero; + x.

    scale_shift: the embedding scales and shifts what the second GroupNorm gives (ADM). If not, it is added before the
    norm (DDPM, VDM); without a bias, since the convolution has one, and from zero. resample: both branches change size.
    rescale_skips: the sum is divided by sqrt(2), so that its variance does not grow (SR3); both branches then start
    with the variance of x, where that is 1.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        embedding_channels: int,
        *,
        dropout: float = 0.0,
        scale_shift: bool = False,
        resample: Way | None = None,
        rescale_skips: bool = False,
    ) -> None:
        super().__init__()
        self.scale_shift, self.rescale_skips = scale_shift, rescale_skips
        self.resample: Way | None = resample
        self.norm_1, self.norm_2 = group_norm(in_channels), group_norm(out_channels)
        self.conv_1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.conv_2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        if not rescale_skips:
            zeroed(self.conv_2)
        self.dropout = nn.Dropout(dropout)
        if scale_shift:
            self.condition = nn.Linear(embedding_channels, 2 * out_channels)
        else:
            self.condition = zeroed(nn.Linear(embedding_channels, out_channels, bias=False))
        same = in_channels == out_channels
        self.shortcut = nn.Identity() if same else nn.Conv2d(in_channels, out_channels, 1)
        if rescale_skips:
            of_unit_variance(self.conv_2, SILU_SQUARED)
            of_unit_variance(self.shortcut, 1.0)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """x: [B, C, H, W]; embedding: [B, E]."""
        h = self.conv_1(resampled(F.silu(self.norm_1(x)), self.resample))
        condition = self.condition(embedding)[:, :, None, None]
        if self.scale_shift:
            scale, shift = condition.chunk(2, 1)
            h = self.norm_2(h) * (1 + scale) + shift
        else:
            h = self.norm_2(h + condition)
        total = self.shortcut(resampled(x, self.resample)) + self.conv_2(self.dropout(F.silu(h)))
        return total * math.sqrt(0.5) if self.rescale_skips else total


class SelfAttention(nn.Module):
    """Attention of every pixel to every pixel, after GroupNorm; a projection that starts at zero; + x."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = group_norm(channels)
        self.qkv, self.out = nn.Linear(channels, 3 * channels), zeroed(nn.Linear(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        tokens = self.norm(x).flatten(2).transpose(1, 2)  # [B, pixels, C]: a view in channels_last
        q, k, v = self.qkv(tokens).view(batch, height * width, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, height * width, channels)
        return x + self.out(mixed).transpose(1, 2).unflatten(2, (height, width))


class Block(nn.Module):
    """A residual block, with self-attention behind it if there are heads."""

    def __init__(
        self, in_channels: int, out_channels: int, embedding_channels: int, heads: int, **options: Any
    ) -> None:
        super().__init__()
        self.res = ResBlock(in_channels, out_channels, embedding_channels, **options)
        self.attention = SelfAttention(out_channels, heads) if heads else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        return self.attention(self.res(x, embedding))


def run(module: nn.Module, x: Tensor, embedding: Tensor, recompute: bool) -> Tensor:
    """module(x, embedding); recompute: its activations are not kept for the backward pass, but computed again."""
    if recompute and torch.is_grad_enabled():
        return checkpoint(module, x, embedding, use_reentrant=False)  # pyright: ignore[reportReturnType]
    return module(x, embedding)


def require(good: bool, message: str) -> None:
    """Raises ValueError with the message unless good."""
    if not good:
        raise ValueError(message)


def whole(value: Any, least: int) -> bool:
    """Whether value is an integer, and at least so much."""
    return isinstance(value, int) and value >= least


def check_common(config: Any) -> None:
    """Raises ValueError for values that neither network can have; makes lists (from JSON) tuples."""
    object.__setattr__(config, "fourier", tuple(config.fourier))
    c = config
    require(whole(c.channels, 2) and c.channels % 2 == 0, f"channels must be positive and even, got {c.channels}")
    require(whole(c.blocks, 1), f"blocks must be a whole number from 1, got {c.blocks}")
    require(0 <= c.dropout < 1, f"dropout must be in [0, 1), got {c.dropout}")
    good = whole(c.heads, 1) and c.channels % c.heads == 0
    require(good, f"heads must divide channels ({c.channels}), got {c.heads}")
    require(whole(c.classes, 0), f"classes must be 0 (none) or a positive whole number, got {c.classes}")
    good = all(whole(n, 0) and n <= 20 for n in c.fourier)
    require(good, f"fourier exponents must be whole numbers from 0 to 20, got {c.fourier}")
