"""The network of VDM against a plain rewriting, and its size."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.testing import assert_close

from generative.nets.layers import sinusoid
from generative.nets.vdm_unet import VDMUNet, VDMUNetConfig


def parameters_by_hand(channels: int, blocks: int, attention: str = "mid") -> int:
    """The sum over the layers of the paper's network for RGB pictures with Fourier features at two frequencies."""

    def conv(i: int, o: int, k: int = 3) -> int:
        return i * o * k * k + o

    def block(
        i: int,
    ) -> int:  # two norms, two convolutions, the embedding without a bias, a shortcut if the width changes
        shortcut = conv(i, channels, 1) if i != channels else 0
        return 2 * i + conv(i, channels) + 4 * channels * channels + 2 * channels + conv(channels, channels) + shortcut

    attend = 2 * channels + 4 * conv(channels, channels, 1)
    embedding = conv(channels, 4 * channels, 1) + conv(4 * channels, 4 * channels, 1)
    ways = blocks * block(channels) + (blocks + 1) * block(2 * channels)
    attends = 1 if attention == "mid" else 1 + blocks + blocks + 1
    ends = conv(15, channels) + 2 * channels + conv(channels, 3)
    return embedding + ends + ways + 2 * block(channels) + attends * attend


@pytest.mark.parametrize(
    ("what", "config", "millions"),
    [
        ("CIFAR-10", VDMUNetConfig(), 30.6),
        ("CIFAR-10, augmented, released", VDMUNetConfig(channels=256, dropout=0.05), 122.1),
        ("CIFAR-10, augmented, paper", VDMUNetConfig(channels=256, dropout=0.05, attention="all"), 139.3),
        ("ImageNet 32", VDMUNetConfig(channels=256), 122.1),
        ("ImageNet 64", VDMUNetConfig(channels=256, blocks=64), 237.6),
    ],
)
def test_parameters_of_the_papers_networks(what: str, config: VDMUNetConfig, millions: float) -> None:
    """No counts are published: these are sums by hand. The released code has 4 channels more (a label that is zero)."""
    side = 64 if what == "ImageNet 64" else 32
    with torch.device("meta"):
        net = VDMUNet(config, (3, side, side), (-5.0, 13.3))
    count = sum(parameter.numel() for parameter in net.parameters())
    assert count == parameters_by_hand(config.channels, config.blocks, config.attention)
    assert round(count / 1e6, 1) == millions


def by_hand(w: dict[str, Tensor], z: Tensor, log_snr: Tensor, blocks: int) -> Tensor:
    """The paper's network with 8 channels in all, one head, attention in the middle, ends (-5, 15)."""

    def norm_swish(h: Tensor, name: str) -> Tensor:
        return F.silu(F.group_norm(h, h.shape[1] // 4, w[f"{name}.weight"], w[f"{name}.bias"]))

    def conv(h: Tensor, name: str) -> Tensor:
        weight = w[f"{name}.weight"]
        return F.conv2d(h, weight, w[f"{name}.bias"], padding=weight.shape[2] // 2)

    def linear(h: Tensor, name: str) -> Tensor:
        return F.linear(h, w[f"{name}.weight"], w.get(f"{name}.bias"))

    def res(h: Tensor, name: str) -> Tensor:
        x = conv(norm_swish(h, f"{name}.norm_1"), f"{name}.conv_1")
        x = x + linear(embedding, f"{name}.condition")[:, :, None, None]
        x = conv(norm_swish(x, f"{name}.norm_2"), f"{name}.conv_2")
        return x + (conv(h, f"{name}.shortcut") if f"{name}.shortcut.weight" in w else h)

    def attend(h: Tensor, name: str) -> Tensor:
        x = F.group_norm(h, 2, w[f"{name}.norm.weight"], w[f"{name}.norm.bias"]).flatten(2).mT
        q, k, v = linear(x, f"{name}.qkv").chunk(3, -1)
        return h + linear(torch.softmax(q @ k.mT / 8**0.5, -1) @ v, f"{name}.out").mT.reshape(h.shape)

    embedding = linear(sinusoid((15 - log_snr) / 20 * 1000, 8).double(), "embed.linear_1")
    embedding = F.silu(linear(F.silu(embedding), "embed.linear_2"))
    wave = [2 * torch.pi * z, 4 * torch.pi * z]
    skips = [conv(torch.cat([z, wave[0].sin(), wave[1].sin(), wave[0].cos(), wave[1].cos()], 1), "conv_in")]
    for i in range(blocks):
        skips.append(res(skips[-1], f"down.{i}.res"))
    h = res(attend(res(skips[-1], "mid.0.res"), "mid.0.attention"), "mid.1.res")
    for i in range(blocks + 1):
        h = res(torch.cat([h, skips[blocks - i]], 1), f"up.{i}.res")
    return z + conv(norm_swish(h, "norm_out"), "conv_out")


def test_the_network_is_the_papers() -> None:
    torch.manual_seed(0)
    config = VDMUNetConfig(channels=8, blocks=2, dropout=0.0, fourier=(0, 1))
    net = VDMUNet(config, (3, 4, 6), (-5.0, 15.0)).double()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    z, log_snr = torch.randn(2, 3, 4, 6, dtype=torch.float64), torch.tensor([-4.0, 11.0], dtype=torch.float64)
    assert_close(net(z, log_snr), by_hand(net.state_dict(), z, log_snr, 2))


def test_attention_everywhere_or_in_the_middle() -> None:
    for attention, count in (("mid", 1), ("all", 6)):
        net = VDMUNet(VDMUNetConfig(channels=4, blocks=2, attention=attention), (1, 4, 4), (-5.0, 15.0))  # pyright: ignore
        assert sum("qkv.weight" in name for name, _ in net.named_parameters()) == count


def test_attention_has_two_places() -> None:
    with pytest.raises(ValueError, match=r"attention must be mid or all, got 'none'"):
        VDMUNetConfig(attention="none")  # pyright: ignore[reportArgumentType]
