"""What SR3 claims, in miniature: where a small picture may come from two large ones, samples are of either, a
regression answers with their mean; |error| and error^2 lead to samples that take sides as clearly.

One quarter of an 8 x 8 picture holds a checkerboard, of one of its two phases. Reduced to 2 x 2, one pixel is grey: it
says which quarter, not which phase. The best answer of a regression is grey too.
"""

from typing import Any

import pytest
import torch
from torch import Tensor

from generative.nets.unet import UNetConfig
from generative.papers.sr3 import SR3, SR3Config, reduced
from generative.schedules import ScheduleConfig

LEVELS, DARK, BRIGHT = 16, 2, 13
NET = UNetConfig(channels=16, multipliers=(1, 2), blocks=1, attention_resolutions=(), dropout=0.0)
SCHEDULE = ScheduleConfig(kind="cosine", log_snr_max=12.0, log_snr_min=-12.0)


def boards(quarter: Tensor, phase: Tensor) -> Tensor:
    """Level indices uint8 [n, 1, 8, 8]."""
    x = torch.full((len(quarter), 1, 8, 8), DARK, dtype=torch.uint8)
    squares = torch.arange(4)[:, None] + torch.arange(4)
    for i, (q, p) in enumerate(zip(quarter.tolist(), phase.tolist(), strict=True)):
        top, left = 4 * (q // 2), 4 * (q % 2)
        x[i, 0, top : top + 4, left : left + 4] = torch.where(squares % 2 == p, BRIGHT, DARK)
    return x


def drawn(n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Pictures, and which quarter of each holds the board."""
    quarter, phase = (torch.randint(high, (n,), generator=generator) for high in (4, 2))
    return boards(quarter, phase), quarter


def trained(steps: int, **fields: Any) -> SR3:
    torch.manual_seed(0)
    model = SR3(
        SR3Config(net=NET, low=2, schedule=SCHEDULE, prediction="v", inference_steps=20, variance=0.0, **fields),
        (1, 8, 8),
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        loss = model.losses({"x": drawn(64, generator)[0]}, generator)["loss"].mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model.eval()


def sides(made: Tensor, quarter: Tensor) -> Tensor:
    """1 where the answer is the board of phase 0, -1 of phase 1, 0 half-way: [n]."""
    ones = torch.zeros(len(made), dtype=torch.long)
    first, second = (boards(quarter, ones + phase).float() for phase in (0, 1))
    apart = first - second
    return ((2 * made.float() - first - second) * apart).flatten(1).sum(1) / apart.square().flatten(1).sum(1)


def test_a_small_picture_does_not_tell_the_phase() -> None:
    quarter = torch.arange(4)
    first, second = (reduced(boards(quarter, torch.full((4,), phase)), 2, LEVELS) for phase in (0, 1))
    assert first.equal(second)
    assert len(first.unique(dim=0)) == 4


@pytest.mark.slow
def test_samples_take_sides_and_regression_does_not() -> None:
    x, quarter = drawn(400, torch.Generator().manual_seed(9))
    given, errors = reduced(x, 2, LEVELS), {}
    for name, fields in {
        "l1": {"power": 1}, "l2": {"power": 2}, "regression": {"regression": True, "power": 2},
    }.items():  # fmt: skip
        made = trained(800 if name == "regression" else 2500, **fields).restore(given, seed=4)
        side = sides(made, quarter)
        errors[name] = float((made.float() - x.float()).square().mean())
        if name == "regression":
            assert float(side.abs().max()) < 0.3
        else:
            assert float((side.abs() > 0.6).float().mean()) > 0.8, name
            assert 0.35 < float((side > 0).float().mean()) < 0.65, name
    assert errors["regression"] < 0.8 * min(errors["l1"], errors["l2"])  # the better PSNR, and no picture at all
