"""Small models of VDM, pictures for them, and a denoiser that remembers what it was asked."""

from typing import Any

import torch
from torch import Tensor, nn

from generative.nets.unet import UNetConfig
from generative.nets.vdm_unet import VDMUNetConfig
from generative.papers.vdm import VDM, VDMConfig
from generative.schedules import ScheduleConfig

SHAPE, LEVELS = (2, 4, 4), 17
SMALL = VDMUNetConfig(channels=8, blocks=1, dropout=0.3, fourier=())
U_NET = UNetConfig(channels=8, multipliers=(1, 2), blocks=1, attention_resolutions=(2,), dropout=0.3, classes=3)


def vdm(net: VDMUNetConfig | UNetConfig = SMALL, num_steps: int = 0, **schedule: Any) -> VDM:
    """With random weights everywhere: a fresh network answers z."""
    torch.manual_seed(0)
    options = {"log_snr_max": 8.0, "log_snr_min": -5.0} | schedule
    model = VDM(VDMConfig(net=net, num_steps=num_steps, schedule=ScheduleConfig(**options)), SHAPE, LEVELS)
    for parameter in model.denoise.parameters():
        nn.init.normal_(parameter, std=0.2)
    return model.eval()


def pictures(count: int) -> Tensor:
    return torch.randint(0, LEVELS, (count, *SHAPE), generator=torch.Generator().manual_seed(1)).to(torch.uint8)


def batch(count: int) -> dict[str, Tensor]:
    return {"x": pictures(count), "label": torch.arange(count) % 3}


class Stub(nn.Module):
    """A denoiser with one parameter that remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.part = nn.Parameter(torch.tensor(0.3, dtype=torch.float64))
        self.asked: list[Tensor] = []

    def forward(self, z: Tensor, log_snr: Tensor, cond: Any = None) -> Tensor:
        self.asked.append(log_snr.detach())
        return (self.part * z.double() * torch.sigmoid(log_snr / 4)[:, None, None, None]).to(z.dtype)


def stubbed(num_steps: int = 0, **schedule: Any) -> VDM:
    model = vdm(num_steps=num_steps, **schedule)
    model.denoise = Stub()  # pyright: ignore[reportAttributeAccessIssue]
    return model
