"""LPIPS v0.1: the learned perceptual distance of two pictures, with AlexNet or VGG-16.

Source: Zhang et al. 2018 (arXiv 1801.03924), Sec 3.2 and App C. Features of five layers are scaled to unit length along
channels; their squared differences are weighted per channel, averaged over positions, and summed over layers.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from generative.data import pickles
from generative.data.networks import NETWORKS, network_file
from generative.metrics.features import to_bytes

Net = Literal["alexnet", "vgg16"]

# (stride, padding, pooling before: kernel size or 0, tapped) of each convolution
_LAYERS = {
    "alexnet": [(4, 2, 0, True), (1, 2, 3, True), (1, 1, 3, True), (1, 1, 0, True), (1, 1, 0, True)],
    "vgg16": [
        (1, 1, 2 if i in (2, 4, 7, 10) else 0, i in (1, 3, 6, 9, 12))  # taps end the five blocks
        for i in range(13)
    ],
}
_TRUNK = {"alexnet": "AlexNet_0", "vgg16": "VGG16_0"}
_SMALLEST = {"alexnet": 31, "vgg16": 16}


class LPIPS(nn.Module):
    """lpips(a, b): float [N, 3, H, W] in -1 to 1 -> [N]. Differentiable in both; the weights are frozen."""

    shift: Tensor
    scale: Tensor

    def __init__(self, net: Net, weights: Mapping[str, Any], name: str) -> None:
        """weights: arrays as in the file (convolutions [H, W, in, out]). Raises: ValueError if they do not fit."""
        super().__init__()
        self.net: Net = net
        self.name = name
        try:
            trunk, count = weights[_TRUNK[net]], len(_LAYERS[net])
            kernels = [_kernel(trunk[f"Conv_{i}"]["kernel"]) for i in range(count)]
            biases = [torch.tensor(np.asarray(trunk[f"Conv_{i}"]["bias"])) for i in range(count)]
            heads = [_kernel(weights[f"NetLinLayer_{i}"]["Conv_0"]["kernel"]) for i in range(5)]
        except (KeyError, TypeError, IndexError, ValueError, RuntimeError) as error:
            raise ValueError(f"{name} does not hold the weights of LPIPS with {net}") from error
        self.kernels, self.biases, self.heads = (_frozen(group) for group in (kernels, biases, heads))
        self.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188]).reshape(1, 3, 1, 1))
        self.register_buffer("scale", torch.tensor([0.458, 0.448, 0.450]).reshape(1, 3, 1, 1))

    def describe(self) -> str:
        """The network and its weights' hash."""
        return f"LPIPS v0.1, {self.name}, pictures not resized"

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        total = torch.zeros(len(a), device=a.device)
        for x, y, head in zip(self._taps(a), self._taps(b), self.heads, strict=True):
            total = total + F.conv2d((_unit(x) - _unit(y)).square(), head).mean((1, 2, 3))
        return total

    def _taps(self, x: Tensor) -> list[Tensor]:
        x, taps = (x - self.shift) / self.scale, []
        for (stride, padding, pool, tapped), kernel, bias in zip(
            _LAYERS[self.net], self.kernels, self.biases, strict=True
        ):
            if pool:
                x = F.max_pool2d(x, pool, 2)
            x = F.relu(F.conv2d(x, kernel, bias, stride, padding))
            if tapped:
                taps.append(x)
        return taps


def lpips(net: Net = "alexnet", cache: Path | None = None, *, device: str = "cpu") -> LPIPS:
    """LPIPS with published weights, fetched at first use and verified.

    Raises: ValueError if the net is unknown or the weights cannot be had.
    """
    if net not in _LAYERS:
        raise ValueError(f"net must be alexnet or vgg16, got {net!r}")
    file = network_file(f"lpips-{net}", cache)
    name = f"{net} (sha256 {NETWORKS[f'lpips-{net}'].sha256[:16]})"
    return LPIPS(net, pickles.loads(file.read_bytes(), file), name).to(device)


@torch.no_grad()
def distance(net: LPIPS, a: Tensor, b: Tensor, *, num_levels: int = 256, batch: int = 64) -> Tensor:
    """LPIPS of each pair, float64 [N] on the CPU.

    Args: a, b: level indices uint8 [N, 1 or 3, H, W]; grey is repeated to RGB.
    Raises: ValueError if they differ in shape or are smaller than the network's windows.
    """
    if a.shape != b.shape:
        raise ValueError(f"pairs of pictures must have the same shape, got {list(a.shape)} and {list(b.shape)}")
    a, b = to_bytes(a, num_levels), to_bytes(b, num_levels)
    if min(a.shape[2:]) < _SMALLEST[net.net]:
        smallest = _SMALLEST[net.net]
        raise ValueError(f"LPIPS with {net.net} needs sides of at least {smallest} pixels, got {list(a.shape[2:])}")
    found = []
    for pair in zip(a.split(batch), b.split(batch), strict=True):
        x, y = (part.to(net.shift).expand(-1, 3, -1, -1) / 127.5 - 1 for part in pair)
        found.append(net(x, y).double().cpu())
    return torch.cat(found)


def _unit(x: Tensor) -> Tensor:
    """Unit length along channels; a zero vector stays zero, with a finite gradient."""
    return x / (torch.linalg.vector_norm(x, dim=1, keepdim=True) + 1e-10)


def _kernel(array: np.ndarray) -> Tensor:
    """[H, W, in, out] -> [out, in, H, W]."""
    return torch.tensor(np.asarray(array)).permute(3, 2, 0, 1).contiguous()


def _frozen(tensors: list[Tensor]) -> nn.ParameterList:
    return nn.ParameterList([nn.Parameter(t, requires_grad=False) for t in tensors])
