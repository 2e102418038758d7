"""Networks that turn pictures into the features of FID and KID, each with a description to print beside its numbers.

Numbers of two feature networks, or of two resize filters, cannot be compared (Parmar et al. 2022, arXiv 2104.11222), so
the description names the weights by hash and the filter.
"""

import hashlib
import warnings
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from generative.data.networks import network_file

Resize = Literal["bilinear", "bicubic"]


class Features(nn.Module):
    """Pictures uint8 [N, 1 or 3, H, W] in 0 to 255 to features [N, num_features] of a frozen network.

    Grey is repeated to RGB, the sides are resized by torch's filter (with antialias, which matters only when making
    smaller; kept within 0 to 255 and not rounded), and the network sees (x - 128) / 128.
    """

    num_features: int
    """What torchmetrics reads."""

    def __init__(
        self, net: nn.Module, name: str, *, size: int | None = None, resize: Resize = "bilinear", scale: bool = True
    ) -> None:
        """net: float [N, 3, size, size] -> [N, D]; size: None to leave sides as they are; scale: False for 0 to 255.

        Raises: ValueError if the network does not take such pictures or gives no [N, D].
        """
        super().__init__()
        if resize not in ("bilinear", "bicubic"):
            raise ValueError(f"resize must be bilinear or bicubic, got {resize!r}")
        self.net, self.name, self.size, self.resize, self.scale = net.eval(), name, size, resize, scale
        self.requires_grad_(False)
        side = size or 64
        try:
            out = self(torch.zeros(2, 3, side, side, dtype=torch.uint8))
        except Exception as error:  # a network from outside may raise anything
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise ValueError(f"{name} takes no [N, 3, {side}, {side}] pictures: {reason[-1]}") from error
        if not isinstance(out, Tensor) or out.ndim != 2 or len(out) != 2:
            raise ValueError(f"{name} must give features [N, D], got {list(getattr(out, 'shape', []))} for 2 pictures")
        self.num_features = out.shape[1]

    def describe(self) -> str:
        """The network, its weights' hash, and the resize filter, in one line."""
        resized = f"resized to {self.size} px by torch {self.resize} with antialias" if self.size else "not resized"
        return f"{self.name}, {self.num_features} features, pictures {resized}"

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        weight = next(self.net.parameters(), torch.zeros(0, device=x.device))
        x = x.to(weight).expand(-1, 3, -1, -1)
        if self.size and x.shape[-2:] != (self.size, self.size):
            x = F.interpolate(x, (self.size, self.size), mode=self.resize, antialias=True).clamp(0, 255)
        x = (x - 128) / 128 if self.scale else x
        return self.net(x.contiguous(memory_format=torch.channels_last))  # a fifth faster on CPUs


def inception(cache: Path | None = None, *, resize: Resize = "bilinear", device: str = "cpu") -> Features:
    """The Inception-v3 of FID (2015 weights), fetched at first use and verified. Its last pooling, 2,048 features.

    Raises: ValueError if the weights cannot be had.
    """
    return from_file(network_file("inception", cache), name="Inception-v3", size=299, resize=resize, device=device)


def from_file(
    path: str | Path,
    *,
    name: str = "TorchScript",
    size: int | None = 299,
    resize: Resize = "bilinear",
    scale: bool = True,
    device: str = "cpu",
) -> Features:
    """A TorchScript file as features; see `Features`. Raises: ValueError if it cannot be read or does not fit."""
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path} is no TorchScript file that can be read")
    try:
        content = path.read_bytes()
        with (
            warnings.catch_warnings()
        ):  # deprecated in favour of torch.export, but the published weights are TorchScript
            warnings.simplefilter("ignore", DeprecationWarning)
            net = torch.jit.load(str(path), map_location="cpu")
    except (OSError, RuntimeError) as error:
        raise ValueError(f"{path} is no TorchScript file that can be read") from error
    digest = hashlib.sha256(content).hexdigest()
    return Features(net, f"{name} (sha256 {digest[:16]})", size=size, resize=resize, scale=scale).to(device)


def random_features(num_features: int = 64, seed: int = 0) -> Features:
    """A small convolutional network with fixed random weights, for tests and machines without the real weights.

    It tells sets of pictures apart; its numbers mean nothing beside those of Inception.
    """
    generator = torch.Generator().manual_seed(seed)
    layers: list[nn.Module] = []
    width, digest = 3, hashlib.sha256()
    for out in (16, 32, num_features):
        weight = torch.randn(out, width, 3, 3, generator=generator) * (2 / (9 * width)) ** 0.5
        bias = torch.randn(out, generator=generator) * 0.1
        conv = nn.utils.skip_init(nn.Conv2d, width, out, 3, stride=2, padding=1)  # which draws nothing itself
        conv.load_state_dict({"weight": weight, "bias": bias})
        digest.update(weight.numpy().tobytes())
        layers += [conv, nn.ReLU()]
        width = out
    net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return Features(net, f"random convolutions (sha256 {digest.hexdigest()[:16]})")


def extract(features: nn.Module, x: Tensor, *, num_levels: int = 256, batch: int = 32) -> Tensor:
    """Features, float64 [N, D] on the CPU, of level indices uint8 [N, C, H, W], spread over 0 to 255.

    Raises: ValueError if the pictures do not fit, or what comes out is no finite number.
    """
    x = to_bytes(x, num_levels)
    found = torch.cat([features(part).double().cpu() for part in x.split(batch)])
    if not bool(found.isfinite().all()):
        raise ValueError("the network of --features gives features that are no finite numbers")
    return found


def to_bytes(x: Tensor, num_levels: int) -> Tensor:
    """Level indices uint8 [N, 1 or 3, H, W] as the nearest of 0 to 255. Raises: ValueError if they do not fit."""
    if x.dtype != torch.uint8 or x.ndim != 4 or x.shape[1] not in (1, 3) or not x.numel():
        raise ValueError(f"pictures must be uint8 [N, 1 or 3, H, W], got {x.dtype} {list(x.shape)}")
    if num_levels == 256:
        return x
    if not 2 <= num_levels < 256 or int(x.max()) >= num_levels:
        raise ValueError(f"levels must be below num_levels ({num_levels}, 2 to 256), got {int(x.max())}")
    table = torch.arange(num_levels, device=x.device) * 255 / (num_levels - 1)
    return table.round().to(torch.uint8)[x.long()]
