"""Recordings as rows to learn from: what was seen at a moment, and how everybody moved after it.

Batch number n of a run is a function of (seed, n) alone, so a run that was killed goes on as if nothing had happened.
Every epoch shuffles the parts of the recording, packs them into windows that fit into memory, and shuffles the rows of
each window. Whole episodes are held out, the same ones whatever the seed.

Axes: N rows, T time, A agents, E entities, K horizons.
"""

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from agents import ObservationSpec
from marl.losses.prediction import Targets, targets

if TYPE_CHECKING:
    from marl.recording import Recording

Episode = dict[str, np.ndarray]
"""Observations of an episode, the final one included: arrays [T + 1, ...]."""


@dataclass(frozen=True)
class Rows:
    """Moments with a known future, on the CPU in native dtypes."""

    obs: dict[str, Tensor]
    """Arrays [N, ...] of the observations."""
    targets: Targets
    """[N, E, K, ...]."""
    episode: Tensor
    """int64 [N], number of the episode in the recording."""

    def take(self, index: Tensor, device: torch.device | str = "cpu") -> "Rows":
        """The rows of `index`, on `device`."""
        obs = {key: value[index].to(device) for key, value in self.obs.items()}
        return Rows(obs, Targets(*(field[index].to(device) for field in self.targets)), self.episode[index])

    def __len__(self) -> int:
        return len(self.episode)


def tensor(array: np.ndarray) -> Tensor:
    """`array` without a copy, unless it is read-only, as columns of a file are: torch has no such tensors."""
    return torch.from_numpy(np.require(array, requirements="W"))


def is_held_out(episode: int, share: float, players: int = 1) -> bool:
    """Whether an episode is kept for the test: one of every 1 / share, and by turns one of each player's (episode n of
    a recording is played by player n % players)."""
    part = Fraction(share).limit_denominator(1000)
    if not part:
        return False
    turn = math.floor(episode * part)  # which held-out episode is looked for here
    first, last = math.ceil(turn / part), math.ceil((turn + 1) / part) - 1
    chosen = last - (last - turn) % players
    return episode == (chosen if chosen >= first else last)


def pieces(episode: Episode, step_scale: Tensor, restart: float) -> Iterator[slice]:
    """The stretches between the restarts of an episode, as slices of its observations.

    When a game is interrupted the referee puts players and ball elsewhere. That is no motion to be predicted, so an
    episode is cut wherever an entity moves by more than `restart` times `step_scale` (along x or y) in one step;
    0 cuts nowhere.
    """
    positions, there = tensor(episode["positions"]), tensor(episode["entity_mask"])
    far = ((positions[1:] - positions[:-1]).abs() > restart * step_scale).any(-1) & there[1:] & there[:-1]
    cuts = (far.any(-1).nonzero().flatten() + 1).tolist() if restart else []
    for start, end in zip([0, *cuts], [*cuts, len(positions)], strict=True):
        yield slice(start, end)


class Reader:
    """Turns parts of a recording into rows: which targets, which episodes."""

    def __init__(
        self, recording: "Recording", spec: ObservationSpec, *,
        horizon: int, kinds: Collection[str], holdout: float, restart: float,
    ) -> None:  # fmt: skip
        self.recording, self.spec, self.horizon = recording, spec, horizon
        self.holdout, self.restart = holdout, restart
        self.counted = torch.tensor([kind in kinds for kind in spec.entity_kinds])
        self.scale = torch.tensor(spec.step_scale)
        counts = [part["episodes"] for part in recording.parts]
        self.players = max(1, len(recording.manifest["policy"]))
        self.first = np.cumsum([0, *counts])[:-1].tolist()
        """Number of each part's first episode."""

    def __len__(self) -> int:
        return len(self.first)

    def read(self, part: int, *, held_out: bool) -> Rows | None:
        """The rows of a part's held-out or other episodes; None if there is none."""
        found = [
            rows
            for number, episode in enumerate(self.recording.episodes(part), start=self.first[part])
            if is_held_out(number, self.holdout, self.players) == held_out
            for piece in pieces(episode, self.scale, self.restart)
            if (rows := self._rows(number, {key: value[piece] for key, value in episode.items()}))
        ]
        return join(found) if found else None

    def _rows(self, number: int, episode: Episode) -> Rows | None:
        """The rows of one unbroken stretch that somebody sees and something counted is known about."""
        positions, there = tensor(episode["positions"]), tensor(episode["entity_mask"])
        if len(positions) < 2:
            return None
        known = targets(positions, there, self.scale, self.horizon)
        seen = tensor(episode["mask"][:-1]).any(-1) & known.mask[:, self.counted].flatten(1).any(-1)
        if not seen.any():
            return None
        obs = {key: tensor(episode[key][:-1])[seen] for key in self.spec.shapes}
        return Rows(obs, Targets(*(field[seen] for field in known)), torch.full((int(seen.sum()),), number))

    @property
    def row_bytes(self) -> int:
        """Memory of one row."""
        obs = sum(
            math.prod(shape) * np.dtype(self.spec.dtypes[key]).itemsize for key, shape in self.spec.shapes.items()
        )
        return obs + self.spec.num_entities * self.horizon * (2 * 2 * 4 + 2) + 8


def join(rows: list[Rows]) -> Rows:
    """Rows one after another."""
    obs = {key: torch.cat([one.obs[key] for one in rows]) for key in rows[0].obs}
    fields = (torch.cat([one.targets[i] for one in rows]) for i in range(len(Targets._fields)))
    return Rows(obs, Targets(*fields), torch.cat([one.episode for one in rows]))


def held_out(reader: Reader, most: int | None = None) -> Iterator[Rows]:
    """The held-out rows part by part; `most`: rows after which to stop."""
    left = math.inf if most is None else most
    for part in range(len(reader)):
        rows = reader.read(part, held_out=True) if left > 0 else None
        if rows is not None:
            yield rows if len(rows) <= left else rows.take(torch.arange(int(left)))
            left -= len(rows)


class Batches:
    """The batches to learn from, by number; holds one window of the recording."""

    def __init__(self, reader: Reader, *, batch: int, seed: int, memory: int) -> None:
        """Reads every part once, to count its rows.

        Args: memory: bytes of rows to hold at once; a window has at least one part, whatever its size.
        Raises: ValueError if there is no row to learn from, and as `Recording.episodes`.
        """
        self.reader, self.batch, self.seed = reader, batch, seed
        self.limit = memory // reader.row_bytes
        self.counts = [len(rows) if (rows := reader.read(part, held_out=False)) else 0 for part in range(len(reader))]
        if not any(self.counts):
            raise ValueError("the recording holds no moment to learn from outside the held-out episodes")
        self._epoch, self._start = 0, 0
        self._window: list[int] = []
        self._rows: Rows | None = None
        self._order: tuple[tuple[int, int], np.ndarray] = ((-1, -1), np.zeros(0))

    def windows(self, epoch: int) -> list[list[int]]:
        """The parts in the order of an epoch, packed into windows."""
        order = np.random.default_rng((self.seed, 0, epoch)).permutation(np.flatnonzero(self.counts))
        packed: list[list[int]] = []
        room = 0
        for part in order.tolist():
            if self.counts[part] > room:
                packed.append([])
                room = self.limit
            packed[-1].append(part)
            room -= self.counts[part]
        return [sorted(window) for window in packed]

    def _size(self, window: list[int]) -> int:
        return sum(self.counts[part] for part in window)

    def _locate(self, number: int) -> tuple[int, int, list[int], int]:
        """Epoch, window (its number and parts), and the batch's number in it."""
        if number < self._start:
            self._epoch, self._start = 0, 0
        while True:
            start = self._start
            for index, window in enumerate(self.windows(self._epoch)):
                count = max(1, self._size(window) // self.batch)
                if number < start + count:
                    return self._epoch, index, window, number - start
                start += count
            self._epoch, self._start = self._epoch + 1, start

    def get(self, number: int, device: torch.device | str = "cpu") -> Rows:
        """Batch `number` (from 0): `batch` rows, or fewer where a whole window has fewer."""
        epoch, index, window, at = self._locate(number)
        if self._rows is None or window != self._window:
            self._rows = None  # frees the window before the next is read
            parts = (self.reader.read(part, held_out=False) for part in window)
            self._window, self._rows = window, join([rows for rows in parts if rows is not None])
        if self._order[0] != (epoch, index):
            permutation = np.random.default_rng((self.seed, 1, epoch, index)).permutation(len(self._rows))
            self._order = ((epoch, index), permutation)
        chosen = self._order[1][at * self.batch : (at + 1) * self.batch]
        return self._rows.take(torch.from_numpy(chosen), device)
