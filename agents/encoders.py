"""Encoders: one observation of the team -> one token per agent.

One class per view of the environments; `build` picks it by name. Every encoder maps a dictionary of tensors with
leading axes [B] to tokens [B, A, D]. Axes: B batch, A agents, E entities, F features, D width, C H W as usual.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from agents.spec import ObservationSpec

Obs = dict[str, Tensor]


class FeaturesEncoder(nn.Module):
    """`features`: one float vector per agent -> two-layer perceptron."""

    def __init__(self, spec: ObservationSpec, width: int, hidden: int) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(spec.shapes["view"][-1], hidden), nn.ReLU(), nn.Linear(hidden, width))

    def forward(self, obs: Obs) -> Tensor:
        return self.net(obs["view"].float())


class EntitiesEncoder(nn.Module):
    """`entities`: the table of all entities, seen relative to each agent, pooled by mean and maximum.

    The order of the entities does not matter; their kind is a feature of the table.
    """

    def __init__(self, spec: ObservationSpec, width: int, hidden: int) -> None:
        super().__init__()
        features, own = spec.shapes["shared"][-1], spec.shapes["view"][-1]
        self.entity = nn.Sequential(nn.Linear(features + 2, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU())
        self.token = nn.Linear(2 * hidden + features + own, width)

    def forward(self, obs: Obs) -> Tensor:
        # Zeros for the absent, whatever the environment left there: see `network.without_absent`.
        table = obs["shared"].float().masked_fill(~obs["entity_mask"][..., None], 0)  # [B, E, F]
        rows = obs["who"].long().clamp(min=0)  # [B, A]
        own = table.gather(1, rows[..., None].expand(-1, -1, table.shape[-1]))  # [B, A, F]
        position = obs["positions"]  # [B, E, 2]
        relative = position[:, None] - position.gather(1, rows[..., None].expand(-1, -1, 2))[:, :, None]  # [B, A, E, 2]
        each = self.entity(torch.cat([table[:, None].expand(*relative.shape[:3], -1), relative], -1))
        present = obs["entity_mask"][:, None, :, None]  # ReLU outputs are >= 0, so 0 is neutral for the maximum
        each = each * present
        mean = each.sum(2) / present.sum(2).clamp(min=1)
        return self.token(torch.cat([mean, each.amax(2), own, obs["view"].float()], -1))


class _SumEmbedding(torch.autograd.Function):
    """`embedding_bag(ids, table, mode="sum")` with a backward pass for a small table and very many ids on a CPU.

    PyTorch's own sorts all ids, which took 70% of a training step here; counting per row is ten times as fast.
    """

    @staticmethod
    def forward(ctx: Any, ids: Tensor, table: Tensor) -> Tensor:
        ctx.save_for_backward(ids)
        ctx.rows = len(table)
        return F.embedding_bag(ids, table, mode="sum")

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, Tensor]:
        (ids,), grad = ctx.saved_tensors, grads[0]
        flat = ids.flatten()
        columns = [
            torch.bincount(flat, grad[:, d].repeat_interleave(ids.shape[1]), ctx.rows) for d in range(grad.shape[1])
        ]
        return None, torch.stack(columns, 1).to(grad.dtype)


def sum_embedding(ids: Tensor, table: Tensor) -> Tensor:
    """Sum of the table's rows named by each row of `ids`. ids: [M, L] integers; table: [V, D]. Returns [M, D]."""
    if table.device.type == "cpu" and torch.is_grad_enabled():
        return _SumEmbedding.apply(ids, table)  # type: ignore[no-any-return]
    return F.embedding_bag(ids, table, mode="sum")


class LayerEncoder(nn.Module):
    """`layer`: a window of categorical ids [H, W, L] -> summed embeddings per cell -> perceptron.

    The ids are categories (sprite and facing), so they are embedded, never scaled. Each of the L layers has its own
    part of one table, and a cell is the sum over its layers: that is one `embedding_bag`, four times as fast on a CPU
    as an embedding followed by a sum.
    """

    def __init__(self, spec: ObservationSpec, width: int, hidden: int, embed: int = 8) -> None:
        super().__init__()
        _, height, breadth, layers = spec.shapes["view"]
        if spec.view_vocab is None:
            raise ValueError(f"view {spec.view!r} holds ids to be embedded, but view_vocab says not how many")
        self.table = nn.Parameter(torch.randn(spec.view_vocab * layers, embed) / layers**0.5)
        self.offset: Tensor
        self.register_buffer("offset", torch.arange(layers, dtype=torch.int32) * spec.view_vocab, persistent=False)
        self.net = nn.Sequential(nn.Linear(height * breadth * embed, hidden), nn.ReLU(), nn.Linear(hidden, width))

    def forward(self, obs: Obs) -> Tensor:
        view = obs["view"]  # [B, A, H, W, L]
        ids = (view.int() + self.offset).reshape(-1, view.shape[-1])
        cells = sum_embedding(ids, self.table)
        return self.net(cells.view(*view.shape[:2], -1))


class RgbEncoder(nn.Module):
    """`rgb`: a small picture per agent -> patches of one grid cell -> one strided convolution -> perceptron."""

    CELLS = 11  # DMLab2D's windows are about 11 cells wide; a patch is one cell

    def __init__(self, spec: ObservationSpec, width: int, hidden: int, channels: int = 32) -> None:
        super().__init__()
        _, height, breadth, _ = spec.shapes["view"]
        patch = max(1, min(height, breadth) // self.CELLS)
        self.conv = nn.Sequential(
            nn.Conv2d(3, channels, patch, patch), nn.ReLU(), nn.Conv2d(channels, channels, 3, 2, 1), nn.ReLU()
        )
        with torch.no_grad():
            flat = self.conv(torch.zeros(1, 3, height, breadth)).numel()
        self.net = nn.Sequential(nn.Linear(flat, hidden), nn.ReLU(), nn.Linear(hidden, width))

    def forward(self, obs: Obs) -> Tensor:
        view = obs["view"]  # [B, A, H, W, 3] uint8
        pictures = view.flatten(0, 1).permute(0, 3, 1, 2).float() / 255
        return self.net(self.conv(pictures).flatten(1)).view(*view.shape[:2], -1)


class ResidualStack(nn.Module):
    """3x3 convolution, 3x3 max-pool of stride 2, two residual blocks (Espeholt et al. 2018, Fig. 3)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.ReLU(),
                nn.Conv2d(outputs, outputs, 3, padding=1),
                nn.ReLU(),
                nn.Conv2d(outputs, outputs, 3, padding=1),
            )
            for _ in range(2)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.conv(x), 3, 2, 1)
        for block in self.blocks:
            x = x + block(x)
        return x


class SmmEncoder(nn.Module):
    """`smm`: the minimap planes, convolved once per team, then read off at each agent's cell.

    The trunk is SEED RL's football network (Espeholt et al. 2020: four residual stacks of 16, 32, 32, 32 channels and
    a dense layer of 256). Where SEED RL gives every player its own plane, and so its own pass, we sample each stack's
    map at the player's cell: A agents cost one pass, and teammates differ in what is sampled.
    """

    CHANNELS = (16, 32, 32, 32)

    def __init__(self, spec: ObservationSpec, width: int, hidden: int = 256) -> None:
        super().__init__()
        height, breadth, planes = spec.shapes["shared"]
        self.size = (height, breadth)
        self.stacks = nn.ModuleList(
            ResidualStack(a, b) for a, b in zip((planes, *self.CHANNELS), self.CHANNELS, strict=False)
        )
        for _ in self.CHANNELS:
            height, breadth = (height + 1) // 2, (breadth + 1) // 2
        self.dense = nn.Linear(self.CHANNELS[-1] * height * breadth, hidden)
        self.token = nn.Linear(hidden + sum(self.CHANNELS) + 2, width)

    def forward(self, obs: Obs) -> Tensor:
        x = obs["shared"].permute(0, 3, 1, 2).float() / 255
        cells = obs["view"].long()  # [B, A, 2] row, column
        local, rows = [], torch.arange(len(x), device=x.device)[:, None]
        for level, stack in enumerate(self.stacks, start=1):
            x = stack(x)
            at = cells >> level
            local.append(x[rows, :, at[..., 0].clamp(0, x.shape[2] - 1), at[..., 1].clamp(0, x.shape[3] - 1)])
        whole = F.relu(self.dense(F.relu(x).flatten(1)))[:, None].expand(-1, cells.shape[1], -1)
        place = 2 * cells / torch.tensor(self.size, device=x.device) - 1
        return self.token(torch.cat([whole, *local, place], -1))


ENCODERS: dict[str, Callable[[ObservationSpec, int, int], nn.Module]] = {
    "features": FeaturesEncoder,
    "entities": EntitiesEncoder,
    "layer": LayerEncoder,
    "rgb": RgbEncoder,
    "smm": SmmEncoder,
}


def build(spec: ObservationSpec, width: int, hidden: int) -> nn.Module:
    """The encoder of `spec.view`. Raises ValueError where no encoder knows that view."""
    if spec.view not in ENCODERS:
        raise ValueError(f"no encoder for view {spec.view!r}; allowed: {', '.join(ENCODERS)}")
    return ENCODERS[spec.view](spec, width, hidden)
