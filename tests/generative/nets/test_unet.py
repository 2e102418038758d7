"""The U-Net against the answers of its authors' code, published sizes, and its options."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from generative.config import TrainConfig, from_json
from generative.nets.layers import ResBlock
from generative.nets.unet import UNet, UNetConfig

ENDS = (-5.0, 13.3)
ADM: dict[str, Any] = {"scale_shift": True, "resample_in_block": True, "attention_resolutions": (32, 16, 8)}
SMALL: dict[str, Any] = {"channels": 128, "multipliers": (1, 2), "blocks": 1, "dropout": 0.0, "classes": 5}
GOLDEN = {
    "adm": UNetConfig(**SMALL, **ADM, head_channels=32, out_channels=6),
    "ddpm": UNetConfig(**SMALL, attention_resolutions=(4,), cond_channels=3, heads=2),
}


def adm(channels: int, multipliers: tuple[int, ...], blocks: int = 2, **options: Any) -> UNetConfig:
    """The settings of Dhariwal & Nichol 2021: labels, and a mean and a variance as output."""
    options = {"classes": 1000, "out_channels": 6, "head_channels": 64} | options
    return UNetConfig(channels=channels, multipliers=multipliers, blocks=blocks, **ADM, **options)


PUBLISHED = [
    ("ADM, ImageNet 64", adm(192, (1, 2, 3, 4), 3), (3, 64, 64), 295_904_454),
    ("ADM, ImageNet 128", adm(256, (1, 1, 2, 3, 4), head_channels=None, heads=4), (3, 128, 128), 421_529_606),
    ("ADM, ImageNet 256", adm(256, (1, 1, 2, 2, 4, 4)), (3, 256, 256), 553_838_086),
    ("ADM, LSUN 256", adm(256, (1, 1, 2, 2, 4, 4), classes=0), (3, 256, 256), 552_814_086),
]


def filled(name: str) -> UNet:
    """A small network with weights that anybody can make again."""
    net, random = UNet(GOLDEN[name], (3, 8, 8), ENDS), np.random.RandomState(0)
    for parameter in net.parameters():
        values = random.standard_normal(parameter.shape) / math.sqrt(math.prod(parameter.shape[1:]))
        parameter.data = torch.tensor(values, dtype=torch.float32)
    return net


def problem() -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """z, log_snr, cond of two examples."""
    z, image = torch.tensor(np.random.RandomState(1).standard_normal((2, 2, 3, 8, 8)), dtype=torch.float32)
    log_snr = torch.tensor([-3.0, 9.5], dtype=torch.float64)
    return z, log_snr, {"label": torch.tensor([4, 1]), "image": image}


def count(config: UNetConfig, shape: tuple[int, int, int]) -> int:
    """Parameters of a network, which need not fit into memory."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in UNet(config, shape, ENDS).parameters())


@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_the_network_is_its_authors(name: str) -> None:
    """golden/make_unet.py made these numbers with the released code of ADM."""
    expected = np.load(Path(__file__).parent / "golden" / "unet.npz")[name]
    assert_close(filled(name)(*problem()), torch.tensor(expected), atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize(("name", "config", "shape", "parameters"), PUBLISHED)
def test_sizes_of_adm(name: str, config: UNetConfig, shape: tuple[int, int, int], parameters: int) -> None:
    """296M, 422M, 554M and 552M in Dhariwal & Nichol 2021; these counts are of the released code."""
    assert count(config, shape) == parameters


def test_size_of_ddpm() -> None:
    """35.7M in Ho et al. 2020, 35,746,307 in the released weights, with a bias that we have not in each embedding."""
    config, shape = UNetConfig(attention_resolutions=(16,)), (3, 32, 32)
    with torch.device("meta"):
        blocks = [module for module in UNet(config, shape, ENDS).modules() if isinstance(module, ResBlock)]
    biases = sum(block.conv_1.out_channels for block in blocks)
    assert count(config, shape) + biases == 35_746_307
    assert biases == 4_992


def test_size_of_palette() -> None:
    """552M in Saharia et al. 2021: ADM's network for 256 pixels without classes, with a second picture as input."""
    config = adm(256, (1, 1, 2, 2, 4, 4), classes=0, out_channels=None, cond_channels=3)
    assert count(config, (3, 256, 256)) == 552_814_083


def test_a_picture_as_condition() -> None:
    net, (z, log_snr, cond) = filled("ddpm"), problem()
    before = net(z, log_snr, cond)
    cond["image"] = cond["image"].clone()
    cond["image"][1, 0, 0, 0] += 1
    after = net(z, log_snr, cond)
    assert torch.equal(before[0], after[0])
    assert not torch.equal(before[1], after[1])
    with pytest.raises(ValueError, match=r"the network has 3 cond_channels: cond must hold 'image', got \['label'\]"):
        net(z, log_snr, {"label": cond["label"]})


def test_a_mask_is_one_more_channel_of_the_condition() -> None:
    """The same numbers as a network of four cond_channels with the same weights."""
    z, log_snr, cond = problem()
    told = {**cond, "mask": (cond["image"][:, :1] > 0.5).float()}
    one = UNetConfig(channels=8, multipliers=(1, 2), blocks=1, dropout=0.0, cond_channels=3, masked=True)
    four = replace(one, cond_channels=4, masked=False)
    nets = [UNet(config, (3, 8, 8), ENDS) for config in (one, four)]
    for parameter in nets[0].parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    nets[1].load_state_dict(nets[0].state_dict())
    joined = {"image": torch.cat([told["image"], told["mask"]], 1)}
    assert_close(nets[0](z, log_snr, told), nets[1](z, log_snr, joined))
    with pytest.raises(ValueError, match="the network is masked: cond must hold 'mask'"):
        nets[0](z, log_snr, cond)


@pytest.mark.parametrize(
    ("shape", "sides", "count"),
    [((3, 16, 16), (16,), 6), ((3, 16, 16), (8, 4), 11), ((1, 8, 16), (16,), 6), ((1, 8, 16), (2,), 1)],
)
def test_where_attention_is(shape: tuple[int, int, int], sides: tuple[int, ...], count: int) -> None:
    """2 blocks down and 3 up at a level, one in the middle; the longer side counts."""
    net = UNet(UNetConfig(channels=4, multipliers=(1, 2, 2), attention_resolutions=sides), shape, ENDS)
    assert sum("qkv.weight" in name for name, _ in net.named_parameters()) == count


def test_head_channels_hold_at_each_level() -> None:
    config = UNetConfig(channels=8, multipliers=(1, 3), attention_resolutions=(8, 4), head_channels=4)
    net = UNet(config, (3, 8, 8), ENDS)
    heads = {module.qkv.in_features: module.heads for module in net.modules() if hasattr(module, "qkv")}  # pyright: ignore
    assert heads == {8: 2, 24: 6}


@pytest.mark.parametrize("shape", [(3, 32, 30), (3, 12, 32), (3, 0, 32)])
def test_sides_that_cannot_be_halved(shape: tuple[int, int, int]) -> None:
    message = f"4 levels need sides that are multiples of 8, got {shape[1]}x{shape[2]}"
    with pytest.raises(ValueError, match=message):
        UNet(UNetConfig(), shape, ENDS)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"multipliers": ()}, r"multipliers must be positive whole numbers, one for each level, got \(\)"),
        ({"multipliers": (1, 0)}, r"multipliers must be positive whole numbers, one for each level, got \(1, 0\)"),
        ({"multipliers": (1, 1.5)}, r"multipliers must be positive whole numbers, one for each level, got \(1, 1.5\)"),
        ({"attention_resolutions": (0,)}, r"attention_resolutions must be positive whole numbers, got \(0,\)"),
        ({"cond_channels": -3}, "cond_channels must be 0 .none. or a positive whole number, got -3"),
        ({"out_channels": 0}, "out_channels must be a positive whole number, got 0"),
        ({"head_channels": 48}, "head_channels must divide the 256 channels of a level, got 48"),
        ({"head_channels": 0}, "head_channels must divide the 256 channels of a level, got 0"),
    ],
)
def test_impossible_values(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        UNetConfig(**fields)


def test_impossible_for_the_picture() -> None:
    with pytest.raises(ValueError, match=r"residual needs as many output channels as z has \(3\), got 6"):
        UNet(UNetConfig(residual=True, out_channels=6), (3, 32, 32), ENDS)
    config = UNetConfig(channels=12, multipliers=(1, 2), head_channels=8, attention_resolutions=(8,))
    with pytest.raises(ValueError, match=r"head_channels must divide the 12 channels of a level, got 8"):
        UNet(config, (3, 8, 8), ENDS)


def test_a_configuration_survives_json() -> None:
    read = from_json({"model": {"net": {"multipliers": [1, 2], "attention_resolutions": [8], "fourier": [6, 7]}}})
    net = UNetConfig(multipliers=(1, 2), attention_resolutions=(8,), fourier=(6, 7))
    assert isinstance(read, TrainConfig)
    assert read.model.net == net
