"""What the picture networks have in common."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from generative.nets.unet import UNet, UNetConfig
from generative.nets.vdm_unet import VDMUNet, VDMUNetConfig

ENDS = (-5.0, 13.3)
CONFIGS: dict[str, dict[str, Any]] = {
    "vdm": {"channels": 8, "blocks": 1, "dropout": 0.0},
    "vdm_all": {"channels": 8, "blocks": 1, "dropout": 0.0, "attention": "all", "heads": 2},
    "ddpm": {"channels": 8, "multipliers": (1, 2), "blocks": 1, "dropout": 0.0, "attention_resolutions": (4,)},
    "adm": {
        **{"channels": 8, "multipliers": (1, 2), "blocks": 1, "dropout": 0.0, "attention_resolutions": (8,)},
        **{"head_channels": 4, "scale_shift": True, "resample_in_block": True, "residual": True, "fourier": (1,)},
    },
}


def build(name: str, shape: tuple[int, int, int] = (3, 8, 8), **options: Any) -> VDMUNet | UNet:
    """A small network, seeded."""
    torch.manual_seed(0)
    fields = CONFIGS[name] | options
    return VDMUNet(VDMUNetConfig(**fields), shape, ENDS) if "vdm" in name else UNet(UNetConfig(**fields), shape, ENDS)


def stirred(net: nn.Module) -> Any:
    """The network after a small step from its start, where so much of it is zero."""
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += 0.1 * torch.randn(parameter.shape)
    return net


def problem(shape: tuple[int, int, int] = (3, 8, 8)) -> tuple[Tensor, Tensor]:
    """z [3, C, H, W] and log_snr [3], float64 as schedules give it."""
    z = torch.randn(3, *shape, generator=torch.Generator().manual_seed(1))
    return z, torch.tensor([-4.0, 1.5, 12.0], dtype=torch.float64)


each = pytest.mark.parametrize("name", sorted(CONFIGS))


@each
def test_at_the_start_the_output_is_z_or_zero(name: str) -> None:
    z, log_snr = problem()
    assert torch.equal(build(name)(z, log_snr), torch.zeros_like(z) if name == "ddpm" else z)


@each
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 16, 8), (2, 4, 12)])
def test_shapes_and_gradients(name: str, shape: tuple[int, int, int]) -> None:
    z, log_snr = problem(shape)
    net = stirred(build(name, shape))
    output = net(z, log_snr.requires_grad_())
    assert output.shape == z.shape
    assert output.dtype == torch.float32
    output.square().sum().backward()
    for parameter_name, parameter in net.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.abs().max() > 0, parameter_name
    assert log_snr.grad is not None  # a learned schedule is trained through the embedding too
    assert log_snr.grad.abs().min() > 0


@each
def test_the_noise_level_reaches_the_output(name: str) -> None:
    net, (z, log_snr) = stirred(build(name)), problem()
    moved = net(z, log_snr + torch.tensor([0.1, 0.0, -0.1])) - net(z, log_snr)
    assert moved[[0, 2]].abs().amax((1, 2, 3)).min() > 1e-4
    assert torch.equal(moved[1], torch.zeros_like(moved[1]))


@each
def test_float32_levels_give_nearly_the_same(name: str) -> None:
    net, (z, log_snr) = stirred(build(name)), problem()
    assert_close(net(z, log_snr.float()), net(z, log_snr), atol=2e-4, rtol=1e-4)


@each
def test_labels_matter_only_with_classes(name: str) -> None:
    (z, log_snr), a, b = problem(), {"label": torch.tensor([0, 1, 2])}, {"label": torch.tensor([0, 2, -1])}
    net = stirred(build(name))
    assert torch.equal(net(z, log_snr, a), net(z, log_snr))
    net = stirred(build(name, classes=3))
    changed = (net(z, log_snr, a) - net(z, log_snr, b)).abs().amax((1, 2, 3))
    assert changed[0] == 0
    assert changed[1:].min() > 1e-3


@each
def test_label_minus_one_is_no_class(name: str) -> None:
    (z, log_snr), net = problem(), stirred(build(name, classes=3))
    plain = build(name)
    plain.load_state_dict({key: value for key, value in net.state_dict().items() if "labels" not in key})
    assert torch.equal(net(z, log_snr, {"label": torch.full((3,), -1)}), plain(z, log_snr))


@each
@pytest.mark.parametrize("cond", [None, {}, {"image": torch.zeros(3, 3, 8, 8)}])
def test_a_missing_label_is_an_error(name: str, cond: Any) -> None:
    with pytest.raises(ValueError, match=r"the network has 3 classes: cond must hold 'label', got"):
        build(name, classes=3)(*problem(), cond)


@each
def test_rows_are_independent(name: str) -> None:
    net, (z, log_snr) = stirred(build(name)), problem()
    before = net(z, log_snr)
    z[1] += 1
    log_snr[1] += 1
    after = net(z, log_snr)
    assert torch.equal(before[[0, 2]], after[[0, 2]])
    assert not torch.equal(before[1], after[1])


@each
def test_bfloat16_is_close(name: str) -> None:
    net, (z, log_snr) = stirred(build(name)), problem()
    exact = net(z, log_snr)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = net(z, log_snr)
    assert output.dtype == torch.float32
    assert (output - exact).std() < 0.03 * exact.std()
    assert not torch.equal(output, exact)


@each
def test_channels_last_is_the_same(name: str) -> None:
    net, (z, log_snr) = stirred(build(name)), problem()
    expected = net(z, log_snr)
    inner: list[bool] = []
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(
                lambda _, __, out: inner.append(out.is_contiguous(memory_format=torch.channels_last))
            )
    output = net.to(memory_format=torch.channels_last)(z.to(memory_format=torch.channels_last), log_snr)
    assert_close(output, expected, atol=1e-4, rtol=1e-4)
    assert output.is_contiguous(memory_format=torch.channels_last)
    assert all(inner)


@each
def test_compiles_as_one_graph(name: str) -> None:
    net, (z, log_snr), cond = stirred(build(name, classes=3)), problem(), {"label": torch.tensor([0, -1, 2])}
    torch._dynamo.reset()
    compiled = torch.compile(net, fullgraph=True, backend="eager")
    assert_close(compiled(z, log_snr, cond), net(z, log_snr, cond))


@each
def test_recomputing_gives_the_same_gradients(name: str) -> None:
    gradients, calls = [], []
    for recompute in (False, True):
        net = stirred(build(name, recompute=recompute))
        net.up[0].register_forward_pre_hook(lambda *_, recompute=recompute: calls.append(recompute))
        net(*problem()).square().sum().backward()
        gradients.append([parameter.grad for parameter in net.parameters()])
    assert calls == [False, True, True]
    assert_close(gradients[0], gradients[1], atol=0, rtol=0)


@pytest.mark.parametrize("config", [VDMUNetConfig, UNetConfig])
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"channels": 0}, "channels must be positive and even, got 0"),
        ({"channels": 33}, "channels must be positive and even, got 33"),
        ({"channels": float("nan")}, "channels must be positive and even, got nan"),
        ({"blocks": 0}, "blocks must be a whole number from 1, got 0"),
        ({"blocks": 1.5}, "blocks must be a whole number from 1, got 1.5"),
        ({"dropout": -0.1}, r"dropout must be in \[0, 1\), got -0.1"),
        ({"dropout": 1.0}, r"dropout must be in \[0, 1\), got 1.0"),
        ({"dropout": float("nan")}, r"dropout must be in \[0, 1\), got nan"),
        ({"heads": 3}, r"heads must divide channels \(128\), got 3"),
        ({"heads": 0}, r"heads must divide channels \(128\), got 0"),
        ({"classes": -1}, "classes must be 0 .none. or a positive whole number, got -1"),
        ({"fourier": (6, -1)}, r"fourier exponents must be whole numbers from 0 to 20, got \(6, -1\)"),
    ],
)
def test_impossible_values(config: Any, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config(**fields)
