"""A classifier of pictures: what it says of a restored picture, beside what it says of the original.

EfficientNet-Lite0 with published ImageNet weights (Tan & Le 2019, arXiv 1905.11946, Table 1, without squeeze and
excitation and with ReLU6, as TensorFlow's "lite" models). Any callable from pictures uint8 [N, 3, H, W] to logits
[N, K] can stand in its place, such as SR3's and Palette's ResNet-50.
"""

import hashlib
import warnings
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from generative.data.networks import NETWORKS, network_file

_STAGES = (  # expansion, kernel, stride, channels, blocks
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
_SIDE = 224


class _Same(nn.Conv2d):
    """A convolution padded as TensorFlow does: with a stride, more behind than in front."""

    def forward(self, input: Tensor) -> Tensor:
        pads: list[int] = []
        for size, kernel, stride in zip(
            reversed(input.shape[2:]), reversed(self.kernel_size), reversed(self.stride), strict=True
        ):
            total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            pads += [total // 2, total - total // 2]
        return F.conv2d(F.pad(input, pads), self.weight, None, self.stride, 0, 1, self.groups)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


class _Block(nn.Module):
    """An inverted residual block."""

    def __init__(self, width: int, expansion: int, kernel: int, stride: int, out: int) -> None:
        super().__init__()
        inner = width * expansion
        self.skip = stride == 1 and width == out
        if expansion > 1:
            self._expand_conv, self._bn0 = _Same(width, inner, 1, bias=False), _norm(inner)
        self.expands = expansion > 1
        self._depthwise_conv = _Same(inner, inner, kernel, stride, groups=inner, bias=False)
        self._bn1, self._project_conv, self._bn2 = _norm(inner), _Same(inner, out, 1, bias=False), _norm(out)

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        h = self._bn2(self._project_conv(F.relu6(self._bn1(self._depthwise_conv(h)))))
        return x + h if self.skip else h


class EfficientNetLite0(nn.Module):
    """Pictures uint8 [N, 1 or 3, H, W] to logits [N, 1000] of ImageNet's classes; resized to 224 pixels a side."""

    def __init__(self) -> None:
        super().__init__()
        blocks, width = [], 32
        for expansion, kernel, stride, out, count in _STAGES:
            for number in range(count):
                blocks.append(_Block(width, expansion, kernel, stride if number == 0 else 1, out))
                width = out
        self._conv_stem, self._bn0 = _Same(3, 32, 3, 2, bias=False), _norm(32)
        self._blocks = nn.ModuleList(blocks)
        self._conv_head, self._bn1 = _Same(width, 1280, 1, bias=False), _norm(1280)
        self._fc = nn.Linear(1280, 1000)

    def describe(self) -> str:
        """The network and its weights' hash."""
        return f"EfficientNet-Lite0 (sha256 {NETWORKS['efficientnet-lite0'].sha256[:16]})"

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(self._fc.weight).expand(-1, 3, -1, -1)
        if x.shape[-2:] != (_SIDE, _SIDE):
            x = F.interpolate(x, (_SIDE, _SIDE), mode="bicubic", antialias=True).clamp(0, 255)
        h = F.relu6(self._bn0(self._conv_stem((x - 127) / 128)))
        for block in self._blocks:
            h = block(h)
        return self._fc(F.relu6(self._bn1(self._conv_head(h))).mean((2, 3)))


class FromFile(nn.Module):
    """A TorchScript file as a classifier: pictures uint8 [N, 1 or 3, H, W] as floats of 0 to 255, three channels, to
    logits [N, K]. Raises ValueError if it cannot be read or gives no logits."""

    def __init__(self, path: str | Path) -> None:
        super().__init__()
        path = Path(path)
        if not path.is_file():
            raise ValueError(f"{path} is no TorchScript file that can be read")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                self.net = torch.jit.load(str(path), map_location="cpu").eval()
            answer = self(torch.zeros(2, 3, 64, 64, dtype=torch.uint8))
        except Exception as error:  # a network from outside may raise anything
            raise ValueError(f"{path} cannot be read as a TorchScript classifier") from error
        fits = isinstance(answer, Tensor) and answer.ndim == 2 and len(answer) == 2 and answer.shape[1] > 0
        if not fits or not answer.is_floating_point():
            raise ValueError(f"{path} must give logits [N, K], got {list(getattr(answer, 'shape', []))} for 2 pictures")
        self.name = f"{path.name} (sha256 {hashlib.sha256(path.read_bytes()).hexdigest()[:16]})"

    def describe(self) -> str:
        """The file and its hash."""
        return self.name

    def forward(self, x: Tensor) -> Tensor:
        try:
            with torch.no_grad():
                return self.net(x.float().expand(-1, 3, -1, -1))
        except Exception as error:
            raise ValueError(f"the classifier fails on pictures {list(x.shape)}: {type(error).__name__}") from error


def efficientnet_lite0(cache: Path | None = None, *, device: str = "cpu") -> EfficientNetLite0:
    """With its published weights, fetched at first use and verified. Raises: ValueError if they cannot be had."""
    file, net = network_file("efficientnet-lite0", cache), EfficientNetLite0()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net.load_state_dict(torch.load(file, weights_only=True, map_location="cpu"))  # nothing else is unpickled
    return net.eval().requires_grad_(False).to(device)
