"""What a predictor is worth: its errors on held-out episodes beside "nobody moves" and "everybody goes on as before".

Every number is of the same moments, those with a known velocity, and an agent that is present counts once for every
entity. The intervals come from resampling whole episodes, since the moments of one episode are alike.

Axes: N rows, A agents, E entities, K horizons, C kinds of entities.
"""

from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from agents import ObservationSpec, TeamNetwork
from envs.football.frame import METRES, TO_UNIT
from marl.losses.prediction import Sums, Targets, prediction_sums, surprise
from marl.pretrain_data import Rows

ROWS_AT_ONCE = 2048
RESAMPLES = 2000
MODEL, NO_MOVE, CONSTANT_VELOCITY = "model", "no_move", "constant_velocity"
MEASURES = {"huber": "error", "nats": "nats", "wrong_cell": "accuracy", "distance": "distance"}
"""Measure -> what it is called among the sums."""


@dataclass(frozen=True, kw_only=True)
class ErrorRow:
    """One kind of entity at one horizon."""

    kind: str
    """"teammate", "opponent" or "ball"."""
    horizon: int
    """Steps ahead."""
    measure: str
    """"huber" (summed over x and y, in units of horizon x step_scale), "nats" (cross-entropy of the cells; of the
    trivial predictors with the best constant confidence, `losses.prediction.surprise`), "wrong_cell" (share of wrong
    cells) or "distance" (mean distance between guess and truth, in `unit`)."""
    unit: str
    """Of the numbers below."""
    model: float
    no_move: float
    constant_velocity: float
    difference: tuple[float, float]
    """95% interval of model minus constant velocity."""
    share: float
    """model / constant velocity."""
    share_interval: tuple[float, float]
    """Its 95% interval."""
    episodes: int
    """Held-out episodes that it comes from."""

    @property
    def better(self) -> bool:
        """Whether the model's error is below constant velocity's beyond chance."""
        return self.difference[1] < 0

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "better": self.better}


def unit_of(spec: ObservationSpec) -> tuple[str, np.ndarray]:
    """A readable unit of distance, and how many of it a `step_scale` is along x and y."""
    if spec.env.startswith("football/"):
        return "m", METRES / TO_UNIT * np.array(spec.step_scale)
    return "cells" if spec.env.startswith("lab2d/") else "step_scale", np.ones(2)


def errors(network: TeamNetwork, parts: Iterable[Rows], *, kinds: Collection[str], seed: int = 0) -> list[ErrorRow]:
    """Errors per measure, kind and horizon on `parts`, which hold whole episodes.

    Args: kinds: those to report; seed: of the resampling. Returns: rows, by measure, kind and horizon; none where
    there was nothing to predict.
    """
    device = next(network.parameters()).device
    unit, length = unit_of(network.spec)
    scale = torch.tensor(length, dtype=torch.float32, device=device)
    sums: dict[int, Sums] = {}
    for part in parts:
        for chosen in torch.arange(len(part)).split(ROWS_AT_ONCE):
            _add(sums, network, part.take(chosen, device), scale)
    totals = list(sums.values())
    measures = [one for one in MEASURES if totals and MEASURES[one] in totals[0]]
    cells = (2 * network.config.cell_radius + 1) ** 2
    return [row for measure in measures for row in _table(totals, measure, unit, network.spec, kinds, cells, seed)]


@torch.inference_mode()
def _add(sums: dict[int, Sums], network: TeamNetwork, rows: Rows, scale: Tensor) -> None:
    """Adds the sums of `rows` to those of their episodes."""
    predicted, mask = network.predict(network.encode(rows.obs)[0]), rows.obs["mask"]
    # Where a velocity is known, so that all three predictors are asked the same.
    target = rows.targets._replace(mask=rows.targets.velocity_mask)
    for episode in rows.episode.unique().tolist():
        mine = rows.episode == episode
        one = Targets(*(field[mine] for field in target))
        guess = type(predicted)(*(None if part is None else part[mine] for part in predicted))
        new = prediction_sums(guess, one, mask[mine])
        if guess.displacement is not None:
            new |= _distances(guess.displacement, one, mask[mine], scale)
        new = {name: value.double().cpu() for name, value in new.items()}
        before = sums.get(episode)
        sums[episode] = new if before is None else {name: before[name] + value for name, value in new.items()}


def _distances(guess: Tensor, target: Targets, mask: Tensor, scale: Tensor) -> Sums:
    """Sums of distances between guess and truth. scale: [2], length of a step_scale."""
    counted = (mask[:, :, None, None] & target.mask[:, None]).float()  # [N, A, E, K]
    lengths = torch.arange(1, guess.shape[3] + 1, device=guess.device)[:, None] * scale  # [K, 2]
    truth, steady = target.displacement, target.velocity
    guesses = {"": guess, "_no_move": torch.zeros_like(truth)[:, None], "_constant_velocity": steady[:, None]}
    return {
        f"distance{name}": (((one - truth[:, None]) * lengths).norm(dim=-1) * counted).sum((0, 1))
        for name, one in guesses.items()
    }


def _table(
    sums: list[Sums], measure: str, unit: str, spec: ObservationSpec, kinds: Collection[str], cells: int, seed: int
) -> list[ErrorRow]:
    """The rows of one measure from the sums of every episode."""
    found = [kind for kind in dict.fromkeys(spec.entity_kinds) if kind in kinds]
    member = np.array([[kind == one for one in found] for kind in spec.entity_kinds], float)  # [E, C]
    suffixes = {MODEL: "", NO_MOVE: "_no_move", CONSTANT_VELOCITY: "_constant_velocity"}
    names = {predictor: MEASURES[measure] + suffix for predictor, suffix in suffixes.items()}
    if measure == "nats":  # the trivial predictors say no probabilities; theirs follow from how often they are right
        names |= {predictor: f"accuracy{suffixes[predictor]}" for predictor in (NO_MOVE, CONSTANT_VELOCITY)}

    def totals(key: str) -> np.ndarray:  # [episodes, C, K]
        return np.einsum("nek,ec->nck", np.stack([one[key].numpy() for one in sums]), member)

    count = totals("rows")
    who = {predictor: totals(name) for predictor, name in names.items()}
    if measure == "wrong_cell":  # from hits
        who = {predictor: count - hits for predictor, hits in who.items()}
    draws = np.random.default_rng(seed).multinomial(len(sums), np.full(len(sums), 1 / len(sums)), RESAMPLES)
    return [
        _row({p: total[:, c, k] for p, total in who.items()}, count[:, c, k], draws,
             kind=kind, horizon=k + 1, measure=measure,
             unit=unit if measure == "distance" else "", cells=cells)
        for c, kind in enumerate(found)
        for k in range(count.shape[2])
        if count[:, c, k].any()
    ]  # fmt: skip


def _row(who: dict[str, np.ndarray], count: np.ndarray, draws: np.ndarray, cells: int, **names: Any) -> ErrorRow:
    """who, count: [episodes]; draws: [resamples, episodes] times each episode is drawn."""

    def value(predictor: str, weights: np.ndarray) -> np.ndarray:  # [..., episodes] -> [...]
        mean = weights @ who[predictor] / np.maximum(weights @ count, 1e-12)
        if names["measure"] != "nats" or predictor == MODEL:
            return mean
        return surprise(torch.as_tensor(mean.clip(0, 1)), cells).numpy()

    means: dict[str, Any] = {predictor: float(value(predictor, np.ones(len(count)))) for predictor in who}
    model, steady = value(MODEL, draws), value(CONSTANT_VELOCITY, draws)
    low, high = np.percentile(model - steady, (2.5, 97.5)).tolist()
    shares = np.percentile(model / np.maximum(steady, 1e-12), (2.5, 97.5)).tolist()
    share = means[MODEL] / max(means[CONSTANT_VELOCITY], 1e-12)
    return ErrorRow(
        **names, **means, difference=(low, high), share=share, share_interval=(shares[0], shares[1]),
        episodes=int((count > 0).sum()),
    )  # fmt: skip
