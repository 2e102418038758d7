"""What restores a picture without a network, to stand beside one that has it."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from generative.resize import resize_levels


def simple(task: str, given: Tensor, mask: Tensor | None, factor: int, num_levels: int = 256) -> dict[str, Tensor]:
    """Name -> answers uint8 [N, C, H, W] of the simple methods of a task.

    upscale: bicubic; jpeg: the picture as it was decoded; colorize: grey; inpaint: OpenCV's two (Telea 2004; Bertalmio
    et al. 2001), if OpenCV is installed, else the mean of what is known; uncrop: the nearest known pixel.

    Args: given: uint8 [N, C, h, w], 0 in holes; mask: [N, 1, h, w], 1 in holes, or None.
    """
    if task == "upscale":
        size = given.shape[-2] * factor, given.shape[-1] * factor
        return {"bicubic": resize_levels(given, size, num_levels)}
    if mask is None:
        return {"grey" if task == "colorize" else "as decoded": given}
    if task == "uncrop":
        return {"nearest known pixel": _each(nearest_known, given, mask)}
    try:
        import cv2
    except ImportError:
        return {"mean of what is known": _each(mean_known, given, mask)}

    def filled(method: int) -> Tensor:
        radius = max(3, round(given.shape[-1] * 5 / 256))
        return _each(lambda k, hole: cv2.inpaint(k, hole.astype(np.uint8), radius, method), given, mask)

    return {"OpenCV, Telea": filled(cv2.INPAINT_TELEA), "OpenCV, Navier-Stokes": filled(cv2.INPAINT_NS)}


def nearest_known(k: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """uint8 [H, W, C], with the nearest pixel that is known in place of each that is not; hole: bool [H, W]."""
    from scipy.ndimage import distance_transform_edt

    where: np.ndarray = distance_transform_edt(hole, return_distances=False, return_indices=True)  # type: ignore
    return k[where[0], where[1]]


def mean_known(k: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """uint8 [H, W, C], with the mean of the known pixels in the hole."""
    return np.where(hole[..., None], k[~hole].mean(0).round(), k).astype(np.uint8)


def _each(method: Callable[[np.ndarray, np.ndarray], np.ndarray], given: Tensor, mask: Tensor) -> Tensor:
    found = [
        method(np.ascontiguousarray(k.permute(1, 2, 0).numpy()), hole[0].numpy() > 0)
        for k, hole in zip(given, mask, strict=True)
    ]
    return (
        torch.from_numpy(np.stack(found).reshape(*mask.shape[:1], *mask.shape[2:], -1)).permute(0, 3, 1, 2).contiguous()
    )
