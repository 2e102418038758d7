"""The predictive objective: each agent guesses how every tracked entity moves next, from observations alone.

Shang et al. 2021 (arXiv 2104.09402) use "an unsupervised predictive objective" on agents that needs no action labels;
the form of the target is our choice, at horizons h = 1..K steps ahead:
- displacement: a Huber loss. The unit is h times the environment's `step_scale`, that is, a mean step: so all horizons
  weigh alike, and "everybody goes on as in the last step" says the same number at every h.
- cells: cross-entropy in nats over the square of cells around the entity (`cell_of`).
- both: the sum of the two.
No number of it means anything alone, so each comes beside two predictors that know nothing: "nobody moves" and
"everybody goes on as in the last step" (constant velocity). Of the cells these get accuracies, and the nats of the best
constant confidence p in their answer with the rest spread evenly: at p = accuracy, H_b(p) + (1 - p) log(C - 1).

Axes: T time, N rows, A agents, E entities, K horizons, C cells; positions and displacements have a last axis of 2.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from agents.network import Predicted, TeamNetwork

TIE = 1e-3
"""A displacement this close to the border of two cells counts as on it, so that rounding errors decide nothing."""

RESTART = 6.0
"""No entity moves this many step_scale in one step by itself: whoever does was put there for a restart of the game."""

Sums = dict[str, Tensor]
"""Name -> [E, K], a sum over rows and agents. Those of several batches may be added."""


class Targets(NamedTuple):
    """What the predictor is to say, and what constant velocity says. All [T, E, K, ...] along one chunk."""

    displacement: Tensor
    """[T, E, K, 2] from step t to t + h, in units of h step_scale; 0 where unknown."""
    mask: Tensor
    """[T, E, K] bool: the chunk reaches t + h, and the entity is there at all of t, ..., t + h."""
    velocity: Tensor
    """[T, E, K, 2] constant velocity's displacement from t to t + h, in the same units: the step from t - 1 to t in
    units of step_scale, the same for every h; 0 where unknown."""
    velocity_mask: Tensor
    """[T, E, K] bool: `mask`, and the entity was there at t - 1 in this chunk."""


def targets(
    positions: Tensor, entity_mask: Tensor, step_scale: Tensor, horizon: int, *, restart: float = 0.0
) -> Targets:
    """Targets of one unbroken chunk of an episode.

    Args: positions: [T + 1, E, 2]; entity_mask: [T + 1, E] bool; step_scale: [2]; horizon: K; restart: a step in which
    any entity moves further than so many step_scale (along x or y) is no motion but a restart of the game, and hides
    everything that goes across it; 0 takes every step as it is.
    Returns: Targets with T rows. What is beyond the chunk, and an entity that is away in between (it may come back
    anywhere), is masked, never guessed.
    """
    last = len(positions) - 1
    h = torch.arange(1, horizon + 1, device=positions.device)
    ahead = torch.arange(last, device=positions.device)[:, None] + h  # [T, K]
    inside, ahead = (ahead <= last)[..., None], ahead.clamp(max=last)
    usual = (~_restarts(positions, entity_mask, step_scale, restart))[ahead - 1][..., None]  # [T, K, 1]
    unbroken = (entity_mask[ahead] & inside & usual).cumprod(1).bool()
    mask = (unbroken & entity_mask[:-1, None]).transpose(1, 2)
    moved = ((positions[ahead] - positions[:-1, None]) / (step_scale * h[:, None, None])).transpose(1, 2)
    displacement = moved.masked_fill(~mask[..., None], 0)
    velocity, before = torch.zeros_like(displacement), torch.zeros_like(mask)
    velocity[1:], before[1:] = displacement[:-1, :, :1], mask[:-1, :, :1]
    return Targets(displacement, mask, velocity, mask & before)


def _restarts(positions: Tensor, entity_mask: Tensor, step_scale: Tensor, restart: float) -> Tensor:
    """[T] bool: the step from t to t + 1 is a restart (see `targets`)."""
    if not restart:
        return torch.zeros(len(positions) - 1, dtype=torch.bool, device=positions.device)
    there = (entity_mask[1:] & entity_mask[:-1])[..., None]
    moved = ((positions[1:] - positions[:-1]) / step_scale).masked_fill(~there, 0)
    return (moved.abs() > restart).any(-1).any(-1)


def cell_of(displacement: Tensor, radius: int) -> Tensor:
    """The cell in which a displacement ends: cells have the width max(1, h / radius) step_scale at horizon h, so that
    who moves one step_scale per step stays inside; what is beyond the outermost cells counts as in them.

    Args: displacement: [..., K, 2] in units of h step_scale; finite. Returns: [..., K] int64, radius + x + (2 radius +
    1) (radius + y) for the cell x to the right and y down (in the direction of the axes); halves belong to the inner.
    """
    h = torch.arange(1, displacement.shape[-2] + 1, device=displacement.device)
    cells = displacement * h.clamp(max=radius)[:, None]  # h step_scale / width
    away = (cells.abs() - 0.5 - TIE).ceil().clamp(0, radius)
    x, y = (cells.sign() * away).long().unbind(-1)
    return radius + x + (2 * radius + 1) * (radius + y)


def _displacement_sums(guess: Tensor, truth: Tensor, steady: Tensor, mask: Tensor, known: Tensor) -> Sums:
    """guess: [N, A, E, K, 2]; truth, steady: [N, E, K, 2]; mask: [N, A, E, K]; known: [N, E, K]."""

    def huber(error: Tensor) -> Tensor:
        return F.huber_loss(error, error.new_zeros(()).expand_as(error), reduction="none").sum(-1)

    # Zero before the loss, or the gradient of what is masked is 0 * inf.
    error = huber((guess - truth[:, None]).masked_fill(~mask[..., None], 0)).sum(1)
    with torch.no_grad():
        agents = mask.sum(1)
        sums = {
            "error_no_move": (huber(truth) * agents).sum(0),
            "error_same_rows": (error * known).sum(0),
            "error_constant_velocity": (huber(truth - steady) * agents * known).sum(0),
        }
    return sums | {"error": error.sum(0)}


def _cell_sums(logits: Tensor, truth: Tensor, steady: Tensor, mask: Tensor, known: Tensor) -> Sums:
    """logits: [N, A, E, K, C]; the rest as in `_displacement_sums`."""
    radius = math.isqrt(logits.shape[-1]) // 2
    cell = cell_of(truth, radius)
    logp = logits.masked_fill(~mask[..., None], 0).log_softmax(-1)
    answer = cell[:, None, ..., None].expand(*mask.shape, 1)
    nats = (-logp.gather(-1, answer).squeeze(-1) * mask).sum(1)
    with torch.no_grad():
        agents = mask.sum(1)
        right = ((logp.argmax(-1) == cell[:, None]) & mask).sum(1)
        sums = {
            "nats_same_rows": (nats * known).sum(0),
            "accuracy": right.sum(0),
            "accuracy_no_move": ((cell == logits.shape[-1] // 2) * agents).sum(0),
            "accuracy_same_rows": (right * known).sum(0),
            "accuracy_constant_velocity": ((cell == cell_of(steady, radius)) * agents * known).sum(0),
        }
    return {name: value.to(nats.dtype) for name, value in sums.items()} | {"nats": nats.sum(0)}


def prediction_sums(predicted: Predicted, target: Targets, agent_mask: Tensor) -> Sums:
    """Sums over present agents and entities of the losses and of what stands beside them; with gradient.

    Args: predicted: with leading axes [N, A]; target: with leading axis N; agent_mask: [N, A] bool.
    Returns: "rows" (number of guesses) and "known" (of those with a known velocity); "error" if displacements are
    predicted, "nats" and "accuracy" (hits) if cells are; each also, over `known`, with "_same_rows", and all but nats
    for the trivial predictors, with "_no_move" and, over `known`, "_constant_velocity".
    """
    mask = agent_mask[..., None, None] & target.mask[:, None]
    known = target.velocity_mask
    truth = target.displacement.masked_fill(~target.mask[..., None], 0)
    steady = target.velocity.masked_fill(~known[..., None], 0)
    agents = mask.sum(1)
    sums = {"rows": agents.sum(0).to(truth.dtype), "known": (agents * known).sum(0).to(truth.dtype)}
    if predicted.displacement is not None:
        sums |= _displacement_sums(predicted.displacement, truth, steady, mask, known)
    if predicted.cells is not None:
        sums |= _cell_sums(predicted.cells, truth, steady, mask, known)
    return sums


def kinds_that_count(entity_kinds: Sequence[str], kinds: Collection[str]) -> list[str]:
    """Those of `kinds` that the E entities of an environment have, in their order. Raises: ValueError if none."""
    present = list(dict.fromkeys(entity_kinds))
    found = [kind for kind in present if kind in kinds]
    if not found:
        raise ValueError(f"prediction kinds must name one of {', '.join(present)} here, got {', '.join(kinds)}")
    return found


@cache
def _groups(entity_kinds: tuple[str, ...], kinds: tuple[str, ...], device: torch.device) -> tuple[list[str], Tensor]:
    """Names, and [1 + kinds, E] membership (0 or 1), of all entities that count and of each kind among them."""
    found = kinds_that_count(entity_kinds, kinds)
    rows = [[kind in found for kind in entity_kinds], *[[kind == one for kind in entity_kinds] for one in found]]
    return ["", *[f"/{kind}" for kind in found]], torch.tensor(rows, dtype=torch.float32, device=device)


def surprise(accuracy: Tensor, num_cells: int) -> Tensor:
    """Nats per cell of a guess with the best constant confidence in it, H_b(p) + (1 - p) log(C - 1) at p = accuracy;
    never more than log C, of no confidence. Any shape."""
    wrong = 1 - accuracy
    return torch.special.entr(accuracy) + torch.special.entr(wrong) + wrong * math.log(num_cells - 1)


def summarise(
    sums: Sums, entity_kinds: Sequence[str], kinds: Collection[str], num_cells: int | None = None
) -> dict[str, Tensor]:
    """Means over the entities that count, "prediction_<measure><suffix>", and of each kind among them,
    "prediction_<measure>/<kind><suffix>"; the names are those of `prediction_sums`.

    Args: sums: from `prediction_sums`, of one or several batches; for one horizon alone pass its column, [E, 1];
    entity_kinds: E names; kinds: those that count; num_cells: C, if cells are predicted.
    Returns: scalars; 0 where nobody was there. To "_no_move" and "_constant_velocity" compare the value without a
    suffix and "_same_rows" respectively. Raises: ValueError if no entity counts.
    """
    names, members = _groups(tuple(entity_kinds), tuple(kinds), sums["rows"].device)
    totals = torch.stack([value.detach().sum(-1) for value in sums.values()]) @ members.T.to(sums["rows"].dtype)
    total = dict(zip(sums, totals, strict=True))
    stats = {}
    for name in sums.keys() - {"rows", "known"}:
        count = total["known" if name.endswith(("_same_rows", "_constant_velocity")) else "rows"]
        stats[name] = total[name] / count.clamp(min=1)
        if num_cells is not None and name in ("accuracy_no_move", "accuracy_constant_velocity"):
            stats[name.replace("accuracy", "nats")] = surprise(stats[name], num_cells) * (count > 0)
    result = {}
    for name in sorted(stats):
        measure, _, suffix = name.partition("_")
        for group, value in zip(names, stats[name].unbind(), strict=True):
            result[f"prediction_{measure}{group}{'_' * bool(suffix)}{suffix}"] = value
    return result


def prediction_loss(
    predicted: Predicted,
    target: Targets,
    agent_mask: Tensor,
    *,
    entity_kinds: Sequence[str],
    kinds: Collection[str] | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Mean Huber loss, cross-entropy, or their sum, over present agents, entities that count, and horizons.

    Args: predicted: with leading axes [N, A]; target: Targets with leading axis N; agent_mask: [N, A] bool;
    entity_kinds: E names; kinds: those that count (None: all). Returns: scalar loss and the statistics of `summarise`.
    Raises: ValueError if no entity counts.
    """
    kinds = entity_kinds if kinds is None else kinds
    sums = prediction_sums(predicted, target, agent_mask)
    counted = _groups(tuple(entity_kinds), tuple(kinds), agent_mask.device)[1][0]
    each = [sums[name] for name in ("error", "nats") if name in sums]
    rows = (sums["rows"].sum(-1) * counted).sum().clamp(min=1)
    loss = (torch.stack(each).sum((0, -1)) * counted).sum() / rows
    num_cells = None if predicted.cells is None else predicted.cells.shape[-1]
    return loss, summarise(sums, entity_kinds, kinds, num_cells)


def prediction_term(
    network: TeamNetwork,
    tokens: Tensor,
    batch: Mapping[str, Tensor],
    agent_mask: Tensor,
    *,
    coeff: float,
    kinds: Collection[str] | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """What the objective adds to a learner's loss.

    At coeff 0 the head is a probe: it learns, at weight 1, to predict from tokens that it does not shape.

    Args: network: its head predicts; tokens: [N, A, D]; batch: holds the fields of Targets by name, with leading axis
    N; agent_mask: [N, A] bool; kinds: that count (None: all). Returns: weighted scalar loss, and statistics.
    """
    predicted = network.predict(tokens if coeff else tokens.detach())
    target = Targets(*(batch[name] for name in Targets._fields))
    loss, stats = prediction_loss(predicted, target, agent_mask, entity_kinds=network.spec.entity_kinds, kinds=kinds)
    return (coeff or 1.0) * loss, stats
