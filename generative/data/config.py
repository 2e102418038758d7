"""Which pictures a run trains on, as data."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which pictures, and how they are cut."""

    name: str = "digits"
    """A set of `tandem data list`."""
    path: str | None = None
    """Where the files lie, for sets that you place yourself (folder, shards, cifar10, imagenet32, imagenet64)."""
    size: int | None = None
    """Side of the pictures in pixels; as stored if omitted."""
    channels: Literal[1, 3] | None = None
    """1 grey, 3 RGB; as stored if omitted."""
    downscale: int = 1
    """Photographs are reduced by this factor (box filter) before they are cut: that removes traces of compression."""
    reduced: tuple[int, ...] = ()
    """Then reduce the pictures to this side, bicubically and rounded to levels, as a model that enlarges them expects
    it; several sides one after the other, as in a cascade."""
    holdout: float = 0.1
    """Share of the groups (photographs, concepts, files) in each of the test and validation splits, by a hash of the
    group's name; for sets without an official split."""
    flip: bool = False
    """Mirror training pictures left to right, half of the time."""
    rotate: bool = False
    """Rotate training pictures by a random multiple of 90 degrees."""
    smaller: Literal["enlarge", "skip"] = "enlarge"
    """What becomes of pictures of a folder or of shards whose shorter side is below `size`. Enlarged they are blurred,
    and a model that enlarges learns that; skipped, as SR3 does, they are named like those that cannot be read."""
    on_corrupt: Literal["skip", "fail"] = "skip"
    """What a picture that cannot be read does: it is counted, named and left out, or ends the run."""
    loader: Literal["map", "ray"] = "map"
    """map: indexed access, the same order for any number of workers. ray: streamed by Ray Data, for shards."""

    def __post_init__(self) -> None:
        if not 1 <= self.downscale <= 64:
            raise ValueError(f"downscale must be from 1 to 64, got {self.downscale}")
        object.__setattr__(self, "reduced", tuple(self.reduced))
        if any(side < 1 for side in self.reduced) or list(self.reduced) != sorted(set(self.reduced), reverse=True):
            raise ValueError(f"reduced must be falling positive sides, got {self.reduced}")
        if self.size is not None and not 1 <= self.size <= 2**14:
            raise ValueError(f"size must be from 1 to 16,384, got {self.size}")
        if not 0 < self.holdout < 0.5:
            raise ValueError(f"holdout must be between 0 and 0.5, got {self.holdout}")
