"""The processes that train together, and what they add up without making a GPU wait."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn


@dataclass
class Team:
    """The processes that train together; this one alone by default."""

    rank: int = 0
    world: int = 1
    device: str = "cpu"

    def wrap(self, model: nn.Module) -> nn.Module:
        """The model, with gradients averaged over the team."""
        if self.world == 1:
            return model
        ids = [torch.device(self.device).index or 0] if self.device.startswith("cuda") else None
        return nn.parallel.DistributedDataParallel(model, device_ids=ids)

    def agree(self, decisions: list[bool]) -> list[bool]:
        """What the first process decided. On the CPU, so that no GPU waits for it."""
        if self.world == 1:
            return decisions
        said = torch.tensor(decisions)
        torch.distributed.broadcast(said, 0)
        return said.tolist()

    def sum(self, values: Tensor) -> Tensor:
        """values (any shape, on the team's device), summed over the team."""
        if self.world > 1:
            torch.distributed.all_reduce(values)
        return values


@dataclass
class Meter:
    """Sums of what the updates returned, kept on the device: reading a number there would make the GPU wait."""

    team: Team
    sums: dict[str, Tensor] = field(default_factory=dict)
    updates: int = 0
    first_bad: Tensor | None = None
    """The first step whose loss or gradient was not finite, -1 if none."""

    def add(self, step: int, terms: dict[str, Tensor]) -> None:
        if self.first_bad is None:
            self.first_bad = torch.full((), -1, device=self.team.device)
        fine = torch.isfinite(terms["loss"]).all() & torch.isfinite(terms["grad_norm"])
        self.first_bad = torch.where(fine | (self.first_bad >= 0), self.first_bad, step)
        for name, value in terms.items():
            self.sums[name] = self.sums.get(name, 0) + value.double().mean()
        self.updates += 1

    def read(self) -> tuple[dict[str, float], int]:
        """(means since the last reading, first step that was not finite in any process or -1), and starts anew."""
        names = list(self.sums)
        bad = self.first_bad if self.first_bad is not None else torch.full((), -1, device=self.team.device)
        seen = torch.where(bad >= 0, 1.0, 0.0).double()
        totals = self.team.sum(torch.stack([*(self.sums[name] for name in names), seen, bad.double() * seen]))
        *values, count, where = totals.tolist()
        means = {n: v / (self.team.world * self.updates) for n, v in zip(names, values, strict=True)}
        self.sums, self.updates = {}, 0
        return means, int(where / count) if count else -1
