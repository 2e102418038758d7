"""The predictive objective: each agent guesses how every tracked entity moves next, from observations alone.

Shang et al. 2021 (arXiv 2104.09402) use "an unsupervised predictive objective" on agents that needs no action labels;
the form of the target is our choice: the displacement of each entity in the next step, in units of the environment's
`step_scale`, under a Huber loss. No number of it means anything alone, so it always comes beside two predictors that
know nothing: "nobody moves" and "everybody goes on as in the last step".

Axes: T time, N rows, A agents, E entities; positions and displacements have a last axis of 2.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from marl.losses.masked import masked_mean


class Targets(NamedTuple):
    """What the predictor is to say, and what the trivial predictors say. All [T, E, ...] along one chunk."""

    displacement: Tensor
    """[T, E, 2] from step t to t + 1, in units of step_scale."""
    mask: Tensor
    """[T, E] bool: the entity is there at t and t + 1."""
    velocity: Tensor
    """[T, E, 2] from step t - 1 to t, in the same units; 0 where unknown."""
    velocity_mask: Tensor
    """[T, E] bool: `mask`, and the entity was there at t - 1 in this chunk."""


def targets(positions: Tensor, entity_mask: Tensor, step_scale: Tensor) -> Targets:
    """Targets of one unbroken chunk of an episode.

    Args: positions: [T + 1, E, 2]; entity_mask: [T + 1, E] bool; step_scale: [2].
    Returns: Targets with T rows. An entity that is absent on either side of a step is masked, never guessed.
    """
    both = entity_mask[1:] & entity_mask[:-1]
    moved = ((positions[1:] - positions[:-1]) / step_scale).masked_fill(~both[..., None], 0)
    velocity, before = torch.zeros_like(moved), torch.zeros_like(both)
    velocity[1:], before[1:] = moved[:-1], both[:-1]
    return Targets(moved, both, velocity, both & before)


def huber(error: Tensor) -> Tensor:
    """Huber loss (delta 1) summed over x and y. [..., 2] -> [...]."""
    return F.huber_loss(error, torch.zeros_like(error), reduction="none").sum(-1)


def prediction_loss(predicted: Tensor, target: Targets, agent_mask: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Mean Huber loss over present agents and entities, beside the trivial predictors.

    Args: predicted: [N, A, E, 2]; target: Targets with leading axis N; agent_mask: [N, A] bool.
    Returns: scalar loss and statistics "prediction_error" beside "prediction_error_no_move", and
    "prediction_error_same_rows" beside "prediction_error_constant_velocity" (both where a velocity is known). The two
    of a pair weigh every row and entity alike.
    """
    mask = agent_mask[..., None] & target.mask[:, None]  # [N, A, E]
    known = agent_mask[..., None] & target.velocity_mask[:, None]
    difference = predicted - target.displacement[:, None]
    # Zero before the loss, or the gradient of what is masked is 0 * inf.
    error = huber(difference.masked_fill(~mask[..., None], 0))
    loss = masked_mean(error, mask)
    with torch.no_grad():
        still = huber(target.displacement)[:, None].expand_as(error)
        steady = huber(target.displacement - target.velocity)[:, None].expand_as(error)
        stats = {
            "prediction_error": loss.detach(),
            "prediction_error_no_move": masked_mean(still, mask),
            "prediction_error_same_rows": masked_mean(error, known),
            "prediction_error_constant_velocity": masked_mean(steady, known),
        }
    return loss, stats
