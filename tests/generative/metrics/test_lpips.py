"""LPIPS against the published layouts of its networks, torchmetrics' heads, and sums by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchmetrics
from torch import Tensor, nn

from generative.data import networks
from generative.data.fetch import cache_dir
from generative.metrics import lpips as module
from generative.metrics.lpips import LPIPS, Net, distance

# Krizhevsky's and Simonyan's layouts, as torchvision numbers them: a number of channels is a 3 x 3 convolution.
VGG = [4, 4, "M", 5, 5, "M", 6, 6, 6, "M", 7, 7, 7, "M", 7, 7, 7]


def layout(net: Net) -> tuple[nn.Sequential, tuple[int, ...]]:
    """The network with few channels, and the rectifiers that LPIPS reads."""
    if net == "alexnet":
        return nn.Sequential(
            *[nn.Conv2d(3, 4, 11, stride=4, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)],
            *[nn.Conv2d(4, 5, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)],
            *[nn.Conv2d(5, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 7, 3, padding=1), nn.ReLU()],
            *[nn.Conv2d(7, 7, 3, padding=1), nn.ReLU()],
        ), (1, 4, 7, 9, 11)
    layers, width = [], 3
    for item in VGG:
        if isinstance(item, str):
            layers.append(nn.MaxPool2d(2, 2))
        else:
            layers += [nn.Conv2d(width, item, 3, padding=1), nn.ReLU()]
            width = item
    return nn.Sequential(*layers), (3, 8, 15, 22, 29)


def weights(net: Net, trunk: nn.Sequential, taps: tuple[int, ...]) -> dict[str, Any]:
    """The network's weights as the file holds them, with random heads."""
    convs = [layer for layer in trunk if isinstance(layer, nn.Conv2d)]
    for conv in convs:  # so that differences reach the last layer
        nn.init.kaiming_normal_(conv.weight)
    arrays = {
        f"Conv_{i}": {"kernel": c.weight.detach().permute(2, 3, 1, 0).numpy(), "bias": c.bias.detach().numpy()}
        for i, c in enumerate(convs)
        if c.bias is not None
    }
    widths = [int(trunk[tap - 1].weight.shape[0]) for tap in taps]  # type: ignore[union-attr, arg-type]
    heads = {f"NetLinLayer_{i}": {"Conv_0": {"kernel": np.float32(rand(1, 1, n, 1))}} for i, n in enumerate(widths)}
    return {("AlexNet_0" if net == "alexnet" else "VGG16_0"): arrays, **heads}


def rand(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(sum(shape)))


@pytest.mark.parametrize("net", ["alexnet", "vgg16"])
def test_the_distance_is_the_sum_over_the_published_layers(net: Net):
    torch.manual_seed(0)
    trunk, taps = layout(net)
    held = weights(net, trunk, taps)
    model = LPIPS(net, held, "test")
    a, b = rand(3, 3, 48, 40) * 2 - 1, rand(2, 3, 48, 40)[[0, 1, 0]]
    mean = torch.tensor([-0.030, -0.088, -0.188]).reshape(3, 1, 1)
    deviation = torch.tensor([0.458, 0.448, 0.450]).reshape(3, 1, 1)
    parts = []
    with torch.no_grad():
        x, y = (a - mean) / deviation, (b - mean) / deviation
        for i, layer in enumerate(trunk):
            x, y = layer(x), layer(y)
            if i in taps:
                head = held[f"NetLinLayer_{taps.index(i)}"]["Conv_0"]["kernel"].reshape(-1)
                u, v = (f.numpy() / (np.linalg.norm(f.numpy(), axis=1, keepdims=True) + 1e-10) for f in (x, y))
                parts.append(np.einsum("nchw,c->n", (u - v) ** 2, head) / u.shape[2] / u.shape[3])
    assert len(parts) == 5
    assert np.min(parts) > 0.01
    np.testing.assert_allclose(model(a, b), np.sum(parts, 0), rtol=1e-4)


def small() -> LPIPS:
    torch.manual_seed(0)
    return LPIPS("alexnet", weights("alexnet", *layout("alexnet")), "test")


def test_equal_pictures_have_no_distance_and_order_does_not_matter():
    a, b = (torch.randint(0, 256, (5, 3, 32, 32), dtype=torch.uint8) for _ in range(2))
    model = small()
    assert distance(model, a, a).tolist() == [0] * 5
    torch.testing.assert_close(distance(model, a, b), distance(model, b, a))
    torch.testing.assert_close(distance(model, a, b, batch=2), distance(model, a, b), rtol=1e-5, atol=1e-6)


def test_levels_run_from_minus_one_to_one_and_grey_is_repeated():
    a, b = (torch.randint(0, 17, (2, 1, 32, 32), dtype=torch.uint8) for _ in range(2))
    model = small()
    as_floats = [((x * 255.0 / 16).round() / 127.5 - 1).expand(-1, 3, -1, -1) for x in (a, b)]
    torch.testing.assert_close(distance(model, a, b, num_levels=17), model(*as_floats).double())


def test_gradients_are_finite_where_all_features_are_zero():
    model = small()
    for bias in model.biases:
        bias.data.fill_(-100)
    x = rand(1, 3, 32, 32).requires_grad_()
    model(x, torch.zeros(1, 3, 32, 32)).sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_bad_input():
    x = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
    with pytest.raises(ValueError, match=r"same shape, got \[2, 3, 32, 32\] and \[1, 3, 32, 32\]"):
        distance(small(), x, x[:1])
    with pytest.raises(ValueError, match=r"alexnet needs sides of at least 31 pixels, got \[30, 32\]"):
        distance(small(), x[:, :, :30], x[:, :, :30])
    with pytest.raises(ValueError, match="net must be alexnet or vgg16, got 'squeeze'"):
        module.lpips("squeeze")  # type: ignore[arg-type]


@pytest.mark.parametrize("change", [{"AlexNet_0": {}}, {"NetLinLayer_4": {"Conv_0": {"kernel": np.zeros(3)}}}])
def test_weights_that_do_not_fit_are_one_sentence(change: dict):
    with pytest.raises(ValueError, match="test does not hold the weights of LPIPS with alexnet"):
        LPIPS("alexnet", weights("alexnet", *layout("alexnet")) | change, "test")


@pytest.mark.parametrize("net", ["alexnet", "vgg16"])
def test_published_heads_are_those_of_torchmetrics(net: Net):
    row = networks.NETWORKS[f"lpips-{net}"]
    if not (cache_dir() / "members" / row.package.sha256[:16] / row.path).is_file():
        pytest.skip(f"the weights of LPIPS with {net} are not in the cache")
    folder = Path(torchmetrics.__file__).parent / "functional" / "image" / "lpips_models"
    heads = torch.load(folder / f"{net[:4].rstrip('1')}.pth", map_location="cpu", weights_only=True)
    model = module.lpips(net)
    for i, head in enumerate(model.heads):
        assert head.equal(heads[f"lin{i}.model.1.weight"])
    assert row.sha256[:16] in model.describe()
    noise = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    clean = (rand(1, 3, 1, 1) * 255).expand(1, 3, 32, 32)
    noisy = [(clean + scale * noise).clamp(0, 255).to(torch.uint8) for scale in (5, 20, 60)]
    found = [float(distance(model, clean.to(torch.uint8), x)) for x in noisy]
    assert 0 < found[0] < found[1] < found[2]
