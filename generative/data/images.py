"""A set of pictures in memory or mapped from a file."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageSet:
    """One split of a set: level indices 0..num_levels - 1, one array for all pictures.

    `pixels` may be mapped from a file, so that sets larger than memory work.
    """

    name: str
    """Name of the set."""
    split: str
    """train, validation or test."""
    pixels: np.ndarray
    """uint8 [N, C, H, W]; with `rows`, also pictures of other splits."""
    names: Sequence[str]
    """N names, for example mate-backgrounds/aqua.jpg#17."""
    group_names: Sequence[str]
    """N names of what each picture is from (photograph, concept, file): splits and standard errors go by group."""
    rows: np.ndarray | None = None
    """int64 [N]: where in `pixels` the pictures are; all of them in order if None."""
    labels: np.ndarray | None = None
    """int64 [N] in 0..len(classes) - 1, or None."""
    classes: tuple[str, ...] = ()
    """Names of the classes; empty if unlabelled."""
    num_levels: int = 256
    """Levels per channel value."""
    skipped: tuple[str, ...] = field(default=())
    """Names of the pictures that could not be read and were left out."""

    def __post_init__(self) -> None:
        if self.pixels.dtype != np.uint8 or self.pixels.ndim != 4:
            raise ValueError(f"pixels must be uint8 [N, C, H, W], got {self.pixels.dtype} {list(self.pixels.shape)}")
        if not len(self) == len(self.names) == len(self.group_names):
            raise ValueError(f"{len(self)} pictures have {len(self.names)} names, {len(self.group_names)} group names")
        if self.labels is not None and len(self.labels) != len(self):
            raise ValueError(f"{len(self)} pictures have {len(self.labels)} labels")

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of every picture."""
        _, channels, height, width = self.pixels.shape
        return channels, height, width

    def __len__(self) -> int:
        return len(self.pixels if self.rows is None else self.rows)

    def batch(self, indices: Sequence[int] | Tensor) -> dict[str, Tensor]:
        """{"x": uint8 [B, C, H, W], "label": int64 [B]}; a copy, label 0 if the set has none.

        Raises:
            IndexError: an index is not in 0..len - 1.
        """
        index = self._checked(indices)
        x = torch.from_numpy(np.asarray(self.pixels[index if self.rows is None else self.rows[index]]))  # a copy
        label = np.zeros(len(index), np.int64) if self.labels is None else self.labels[index].astype(np.int64)
        return {"x": x, "label": torch.from_numpy(label)}

    def keys(self, indices: Sequence[int] | Tensor) -> list[str]:
        """Name of each of the pictures."""
        return [self.names[int(i)] for i in self._checked(indices)]

    def groups(self) -> list[str]:
        """For every picture in order, what it is from; len(self) names."""
        return list(self.group_names)

    def _checked(self, indices: Sequence[int] | Tensor) -> np.ndarray:
        index = np.asarray(indices, dtype=np.int64).reshape(-1)
        if len(index) and not 0 <= index.min() <= index.max() < len(self):
            raise IndexError(
                f"{self.name} {self.split} has pictures 0 to {len(self) - 1}, asked for {index.tolist()[:8]}"
            )
        return index
