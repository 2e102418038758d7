"""The network of every arm: encoder -> tokens -> exchange across agents -> heads.

The same module runs in runners, learner, pre-training, evaluation and the user's Python. All agents share all weights;
nothing in it depends on the order of the agents. Axes: B batch, A agents, E entities, D width, N actions.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from agents import encoders
from agents.attention import Exchange, TeamExchange
from agents.spec import ObservationSpec

Arm = Literal["independent", "meanpool", "acam"]
Prediction = Literal["displacement", "cells", "both"]
_MODES: dict[str, Exchange] = {"independent": "none", "meanpool": "mean", "acam": "attention"}

_MOST = {"width": 8192, "hidden": 65536, "layers": 64, "heads": 256, "horizon": 100, "cell_radius": 16}
"""Largest sizes: a typing error should not ask the machine for terabytes."""


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """An arm and its sizes. What 2104.09402 leaves open is a switch."""

    arm: Arm = "acam"
    """How agents exchange: "acam" (agent-centric attention), "meanpool" (equal weights), "independent" (not at all)."""
    width: int = 64
    """D, the size of a token."""
    hidden: int = 128
    """Hidden units of the encoder and the heads."""
    layers: int = 1
    """Exchange layers."""
    heads: int = 2
    """Attention heads (the paper's project page shows two)."""
    residual: bool = True
    """Add each exchange to its input."""
    pre_norm: bool = True
    """LayerNorm before each exchange."""
    position: bool = True
    """Add the agent's own absolute position to its token."""
    prediction: Prediction = "displacement"
    """What the predictor says of every entity: its "displacement" (regression), the one of the `cells` around it that
    it will be in (classification), or "both"."""
    horizon: int = 1
    """The predictor looks 1, 2, ... `horizon` steps ahead."""
    cell_radius: int = 1
    """Cells to either side of the entity's own; there are (2 cell_radius + 1) squared."""

    def __post_init__(self) -> None:
        if self.arm not in _MODES:
            raise ValueError(f"arm {self.arm!r} does not exist; allowed: {', '.join(_MODES)}")
        if self.prediction not in get_args(Prediction):
            raise ValueError(
                f"prediction {self.prediction!r} does not exist; allowed: {', '.join(get_args(Prediction))}"
            )
        for name, most in _MOST.items():
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
            if getattr(self, name) > most:
                raise ValueError(f"{name} must be at most {most}, got {getattr(self, name)}")
        if self.width % self.heads:
            raise ValueError(f"width must be a multiple of heads, got width {self.width} and heads {self.heads}")


class TeamOutput(NamedTuple):
    """What the network says about one batch of team observations."""

    logits: Tensor
    """[B, A, N] unnormalised log-probabilities of the actions."""
    values: Tensor
    """[B, A] value of the state to each agent, in units of the (scaled) reward."""
    tokens: Tensor
    """[B, A, D] tokens after the exchange; the predictor reads them."""
    attention: Tensor
    """[B, H, A, A] mixing weights of the last exchange, query agent by key agent."""


class Predicted(NamedTuple):
    """What each agent says of every entity at each of the K = `horizon` steps ahead; None where it says nothing."""

    displacement: Tensor | None
    """[B, A, E, K, 2] displacement after h = 1..K steps, in units of h times `spec.step_scale`."""
    cells: Tensor | None
    """[B, A, E, K, C] unnormalised log-probabilities of the C = (2 `cell_radius` + 1)^2 cells around the entity."""


def _head(width: int, hidden: int, outputs: int, gain: float) -> nn.Sequential:
    last = nn.Linear(hidden, outputs)
    nn.init.orthogonal_(last.weight, gain)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), last)


def without_absent(obs: dict[str, Tensor]) -> dict[str, Tensor]:
    """`obs` with 0 wherever an absent agent or entity has a float: an environment may leave anything there, and an
    infinity would come through any mask as 0 * inf, at the latest in a gradient."""
    mask, view = obs["mask"], obs["view"]
    cleaned = {"positions": obs["positions"].masked_fill(~obs["entity_mask"][..., None], 0)}
    if view.is_floating_point():
        cleaned["view"] = view.masked_fill(~mask.view(*mask.shape, *[1] * (view.dim() - 2)), 0)
    return obs | cleaned


class TeamNetwork(nn.Module):
    """Encoder, exchange layers, and per-agent policy, value and predictor heads."""

    def __init__(self, spec: ObservationSpec, config: NetworkConfig) -> None:
        super().__init__()
        self.spec, self.config = spec, config
        width, hidden = config.width, config.hidden
        self.encoder = encoders.build(spec, width, hidden)
        self.place = nn.Linear(2, width, bias=False) if config.position else None
        self.exchange = nn.ModuleList(
            TeamExchange(
                width, heads=config.heads, mode=_MODES[config.arm], residual=config.residual, pre_norm=config.pre_norm
            )
            for _ in range(config.layers)
        )
        # A nearly uniform first policy and small first values: the usual start of PPO (Andrychowicz et al. 2021).
        self.policy = _head(width, hidden, spec.num_actions, gain=0.01)
        self.value = _head(width, hidden, 1, gain=0.1)
        # Numbers that the predictor says per entity and horizon.
        self.predicted = {
            "displacement": 2 if config.prediction != "cells" else 0,
            "cells": (2 * config.cell_radius + 1) ** 2 if config.prediction != "displacement" else 0,
        }
        outputs = sum(self.predicted.values())
        self.predictor = _head(width, hidden, outputs * config.horizon * spec.num_entities, gain=0.01)

    def encode(self, obs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Tokens [B, A, D] after the exchange, and the mixing weights [B, H, A, A] of its last layer.

        obs: the arrays of one team observation with a leading batch axis, in their native dtypes.
        """
        obs, mask = without_absent(obs), obs["mask"]
        tokens = self.encoder(obs)
        if self.place is not None:
            rows = obs["who"].long().clamp(min=0)[..., None].expand(-1, -1, 2)
            tokens = tokens + self.place(obs["positions"].gather(1, rows))
        attention = tokens.new_zeros(len(tokens), self.config.heads, mask.shape[1], mask.shape[1])
        for layer in self.exchange:
            tokens, attention = layer(tokens, mask)
        return torch.relu(tokens), attention

    def forward(self, obs: dict[str, Tensor]) -> TeamOutput:
        """Policy, values, tokens and attention for a batch of team observations (as `encode`)."""
        tokens, attention = self.encode(obs)
        return TeamOutput(self.policy(tokens), self.value(tokens).squeeze(-1), tokens, attention)

    def logits(self, obs: dict[str, Tensor]) -> Tensor:
        """The policy alone, [B, A, N]: all that collecting data needs."""
        return self.policy(self.encode(obs)[0])

    def predict(self, tokens: Tensor) -> Predicted:
        """Each agent's guess of where every entity is 1..`horizon` steps later, relative to where it is now.

        Args: tokens: [B, A, D], as `encode` returns them. Cells are numbered as in `marl.losses.prediction.cell_of`.
        """
        said = self.predictor(tokens).view(*tokens.shape[:2], self.spec.num_entities, self.config.horizon, -1)
        parts = dict(zip(self.predicted, said.split(list(self.predicted.values()), dim=-1), strict=True))
        return Predicted(**{name: part if part.shape[-1] else None for name, part in parts.items()})
