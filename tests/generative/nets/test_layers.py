"""Layers against closed forms and slow loops."""

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from generative.nets import layers
from generative.nets.layers import Embedding, GroupNorm, ResBlock, SelfAttention, group_norm
from generative.papers.vdm import scale


def test_sinusoid_is_the_closed_form() -> None:
    position = np.array([0.0, 0.5, 123.4, 1000.0])
    period = 2 * np.pi * 10_000 ** (np.arange(4) / 3)  # from 2 pi to 20000 pi in equal ratios
    angle = 2 * np.pi * position[:, None] / period
    expected = np.concatenate([np.sin(angle), np.cos(angle)], 1)
    result = layers.sinusoid(torch.tensor(position), 8)
    assert result.dtype == torch.float32
    assert_close(result.double(), torch.tensor(expected), atol=2e-4, rtol=0)


def test_embedding_sees_the_position_between_the_ends() -> None:
    embed = Embedding(8, (-5.0, 15.0))
    seen: list[torch.Tensor] = []
    embed.linear_1.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    embed(torch.tensor([15.0, -5.0, 10.0, 10.002], dtype=torch.float64))
    # A quarter of the way from the clean end is position 250; 0.002 of log_snr is 0.1 of it.
    assert_close(seen[0], layers.sinusoid(torch.tensor([0.0, 1000.0, 250.0, 249.9]), 8))
    assert (seen[0][2] - seen[0][3]).abs().max() > 0.05


def test_embedding_is_float32_under_autocast() -> None:
    embed, level = Embedding(8, (-5.0, 15.0)), torch.tensor([3.0], dtype=torch.float64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = embed(level)
    assert torch.equal(low, embed(level))


@pytest.mark.parametrize("ends", [(3.0, 3.0), (5.0, -5.0), (-math.inf, 1.0), (math.nan, 1.0)])
def test_ends_that_cannot_be(ends: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match=r"log_snrs must be finite and rise"):
        Embedding(8, ends)


def test_fourier_features_of_clean_pixels() -> None:
    """n = 6 is the parity of the level, n = 7 is constant: the finest that 256 levels can show."""
    k = torch.arange(256).view(1, 1, 16, 16)
    z, sin_6, sin_7, cos_6, cos_7 = layers.fourier_features(scale(k, 256), (6, 7)).unbind(1)
    assert_close(z, scale(k, 256)[:, 0])
    assert_close(sin_6, (1.0 - 2 * (k % 2))[:, 0], atol=1e-3, rtol=0)
    assert_close(cos_7, torch.full_like(z, -1.0), atol=1e-3, rtol=0)
    assert max(sin_7.abs().max(), cos_6.abs().max()) < 1e-3


def test_fourier_features_keep_the_colours_apart_and_can_be_off() -> None:
    z = torch.rand(2, 3, 4, 5)
    result = layers.fourier_features(z, (0, 2))
    assert_close(result[:, 3:6], (2 * math.pi * z).sin())
    assert_close(result[:, 12:], (8 * math.pi * z).cos())
    assert result.shape == (2, 15, 4, 5)
    assert layers.fourier_features(z, ()) is z


@pytest.mark.parametrize(
    ("channels", "groups"),
    [(128, 32), (256, 32), (96, 24), (64, 16), (48, 12), (150, 30), (20, 5), (8, 2), (7, 1), (37, 1)],
)
def test_groups_divide_the_channels_and_hold_four(channels: int, groups: int) -> None:
    assert group_norm(channels).num_groups == groups


def test_group_norm_of_bfloat16_is_computed_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.dtype] = []
    original = F.group_norm

    def spy(x: torch.Tensor, *rest: Any) -> torch.Tensor:
        seen.append(x.dtype)
        return original(x, *rest)

    monkeypatch.setattr(layers.F, "group_norm", spy)
    x = (100 + torch.randn(2, 8, 6, 6)).bfloat16()  # the mean is large: bfloat16 statistics would be far off
    norm = GroupNorm(4, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = norm(x)
    groups = x.double().view(2, 4, -1)
    expected = (groups - groups.mean(-1, keepdim=True)) / groups.std(-1, correction=0, keepdim=True)
    assert (result.dtype, seen) == (torch.bfloat16, [torch.float32])
    assert_close(result.double(), expected.view_as(x), atol=0.02, rtol=0.01)


@pytest.mark.parametrize("heads", [1, 3])
def test_attention_is_the_slow_one(heads: int) -> None:
    torch.manual_seed(0)
    attention = SelfAttention(6, heads).double()
    for parameter in attention.parameters():
        torch.nn.init.normal_(parameter)
    x = torch.randn(2, 6, 2, 3, dtype=torch.float64)
    result, size = attention(x), 6 // heads
    for b in range(2):
        tokens = [
            F.group_norm(x, 1, attention.norm.weight, attention.norm.bias)[b, :, i, j] for i, j in np.ndindex(2, 3)
        ]
        q, k, v = zip(*[(attention.qkv.weight @ token + attention.qkv.bias).split(6) for token in tokens], strict=True)
        for n, (i, j) in enumerate(np.ndindex(2, 3)):
            mixed = torch.zeros(6, dtype=torch.float64)
            for part in (slice(size * h, size * (h + 1)) for h in range(heads)):
                scores = torch.stack([q[n][part] @ k[m][part] / math.sqrt(size) for m in range(6)]).exp()
                mixed[part] = sum(scores[m] / scores.sum() * v[m][part] for m in range(6))
            assert_close(result[b, :, i, j], x[b, :, i, j] + attention.out.weight @ mixed + attention.out.bias)


def test_attention_starts_as_the_identity() -> None:
    x = torch.randn(2, 6, 2, 3)
    assert torch.equal(SelfAttention(6, 2)(x), x)


@pytest.mark.parametrize("scale_shift", [False, True])
def test_residual_block_starts_as_its_shortcut(scale_shift: bool) -> None:
    x, embedding = torch.randn(2, 8, 4, 4), torch.randn(2, 16)
    assert torch.equal(ResBlock(8, 8, 16, scale_shift=scale_shift)(x, embedding), x)
    block = ResBlock(8, 4, 16, scale_shift=scale_shift)
    assert torch.equal(block(x, embedding), block.shortcut(x))


@pytest.mark.parametrize("scale_shift", [True, False])
def test_rescaled_sums_keep_the_variance(scale_shift: bool) -> None:
    """Eight residual blocks, every other one with a new number of channels, at the start of training."""
    torch.manual_seed(0)
    x = torch.randn(4, 64, 16, 16)
    for out_channels in (64, 96, 96, 64, 64, 96, 96, 64):
        block = ResBlock(x.shape[1], out_channels, 512, scale_shift=scale_shift, rescale_skips=True)
        with torch.no_grad():
            x = block(x, torch.zeros(4, 512))
        assert 0.85 < float(x.var()) < 1.15


def test_resampling_inside_a_block() -> None:
    x, embedding = torch.arange(16.0).view(1, 1, 4, 4).repeat(1, 2, 1, 1), torch.zeros(1, 4)
    down = ResBlock(2, 2, 4, resample="down")(x, embedding)
    assert_close(down[0, 0], torch.tensor([[2.5, 4.5], [10.5, 12.5]]))
    up = ResBlock(2, 2, 4, resample="up")(x, embedding)
    assert_close(up[0, 1], x[0, 1].repeat_interleave(2, 0).repeat_interleave(2, 1))


def test_dropout_is_inside_the_block_and_off_in_evaluation() -> None:
    block, x, embedding = ResBlock(8, 8, 16, dropout=0.5), torch.randn(2, 8, 4, 4), torch.randn(2, 16)
    torch.nn.init.normal_(block.conv_2.weight)
    assert not torch.equal(block(x, embedding), block(x, embedding))
    block.eval()
    assert torch.equal(block(x, embedding), block(x, embedding))
