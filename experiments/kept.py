"""Pictures that took long to draw are kept without loss, so that whatever stops the work, they are not drawn again."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from agents.reading import reading
from experiments import files


def kept(path: Path, shape: tuple[int, ...], make: Callable[[], Tensor], kind: type = np.uint8) -> Tensor:
    """What an earlier call left in the .npz `path`, or `make()` [n, ...], which is left there.

    Of a file with more pictures the first n are taken, one with fewer is made anew. shape: of what is made, n first.
    Raises: ValueError for a file that is damaged or holds other pictures, and as `files.whole`.
    """
    if path.exists():
        with reading(path, "pictures (remove it to have them drawn anew)"):
            with np.load(path, allow_pickle=False) as file:
                found = file["pictures"]
            if found.dtype != kind or found.shape[1:] != shape[1:]:
                raise ValueError(f"it holds other pictures than {shape[1:]}")
            if not np.isfinite(found).all():
                raise ValueError("it holds numbers that are not finite")
        if len(found) >= shape[0]:
            return torch.from_numpy(found[: shape[0]])
    made = make().cpu()
    with files.whole(path) as temporary:
        np.savez_compressed(temporary, pictures=made.numpy())
    return made
