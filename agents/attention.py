"""Agent-centric attention: each agent asks, its teammates answer.

A re-implementation from the abstract of Shang, Espeholt, Raichuk and Salimans 2021 (arXiv 2104.09402), "an attention
module with explicit connections across agents". The published text we could read fixes neither the number of layers nor
the residual and normalisation, so each is a switch. The arms of an ablation differ in nothing but the weights with
which teammates' values are mixed, so they live in one class.

Axes: B batch, A agents, H heads, D width.
"""

import math
from typing import Literal

import torch
from torch import Tensor, nn

Exchange = Literal["attention", "mean", "none"]


def team_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Softmax over present teammates.

    Args: scores: [B, H, A, A], query agent by key agent; mask: [B, A] bool, True where an agent is present.
    Returns: [B, H, A, A]; rows sum to 1 over present agents, and are all 0 in a team with nobody present.
    """
    absent = ~mask[:, None, None, :]
    # A finite fill keeps a row with nobody present free of NaN, in the gradient too.
    weights = scores.masked_fill(absent, torch.finfo(scores.dtype).min).softmax(-1)
    return weights.masked_fill(absent, 0.0)


class TeamExchange(nn.Module):
    """One layer in which agents exchange what they know.

    `mode` decides the mixing weights: "attention" (agent-centric attention, ACAM), "mean" (every present agent
    equally), "none" (each agent keeps to itself). The value and output maps are the same in all three.
    """

    def __init__(self, width: int, *, heads: int, mode: Exchange, residual: bool, pre_norm: bool) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is not a multiple of heads {heads}")
        self.heads, self.mode, self.residual = heads, mode, residual
        self.norm = nn.LayerNorm(width) if pre_norm else nn.Identity()
        self.query_key = nn.Linear(width, 2 * width) if mode == "attention" else None
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, width)

    def weights(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Mixing weights [B, H, A, A] for normalised `tokens` [B, A, D] and `mask` [B, A]."""
        batch, agents, width = tokens.shape
        if self.query_key is not None:
            q, k = self.query_key(tokens).view(batch, agents, 2, self.heads, -1).permute(2, 0, 3, 1, 4)
            return team_softmax(q @ k.transpose(-1, -2) / math.sqrt(width // self.heads), mask)
        if self.mode == "mean":
            return team_softmax(tokens.new_zeros(batch, self.heads, agents, agents), mask)
        return torch.eye(agents, device=tokens.device, dtype=tokens.dtype).expand(batch, self.heads, -1, -1)

    def forward(self, tokens: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """tokens: [B, A, D]; mask: [B, A] bool. Returns new tokens [B, A, D] and the weights [B, H, A, A]."""
        batch, agents, width = tokens.shape
        normed = self.norm(tokens)
        weights = self.weights(normed, mask)
        values = self.value(normed).view(batch, agents, self.heads, -1).transpose(1, 2)
        mixed = self.output((weights @ values).transpose(1, 2).reshape(batch, agents, width))
        return (tokens + mixed if self.residual else mixed), weights
