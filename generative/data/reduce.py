"""A set of pictures at a smaller size, made as the models that enlarge pictures make their inputs."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from generative.data import arrays
from generative.data.images import ImageSet
from generative.resize import resize_levels

AT_ONCE = 256


def reduce(images: ImageSet, sides: tuple[int, ...], cache: Path | None = None) -> ImageSet:
    """The set with square pictures of the last of `sides`, reduced to each of them in turn; kept in the cache if the
    pictures as they are lie there.

    Raises: ValueError for pictures that are not square, or not larger than the first of `sides`.
    """
    channels, height, width = images.shape
    if height != width or height <= sides[0]:
        raise ValueError(
            f"data.reduced makes square pictures smaller: {images.name} has {width} x {height}, asked for {sides[0]}"
        )
    shape = channels, sides[-1], sides[-1]
    stored = getattr(images.pixels, "filename", None)
    if stored is None or images.rows is None:
        everything = [_smaller(images, range(i, min(i + AT_ONCE, len(images))), sides) for i in _starts(images)]
        return replace(images, pixels=np.concatenate(everything), rows=None)

    def build(part: Path) -> dict[str, Any]:
        writer = arrays.ArrayWriter(part / "images.npy", shape)
        for i in _starts(images):
            writer.append(_smaller(images, range(i, min(i + AT_ONCE, len(images))), sides))
        writer.close()
        return {}

    decides = {"of": str(Path(stored).parent.name), "rows": images.rows.tolist(), "sides": list(sides)}
    folder, _ = arrays.cached(cache, f"{images.name}{sides[-1]}", decides, build)
    return replace(images, pixels=np.load(folder / "images.npy", mmap_mode="r"), rows=None)


def _starts(images: ImageSet) -> range:
    return range(0, len(images), AT_ONCE)


def _smaller(images: ImageSet, which: range, sides: tuple[int, ...]) -> np.ndarray:
    k: torch.Tensor = images.batch(list(which))["x"]
    for side in sides:
        k = resize_levels(k, (side, side), images.num_levels)
    return k.numpy()
