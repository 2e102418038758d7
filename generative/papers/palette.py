"""Palette: Image-to-Image Diffusion Models. Saharia et al. 2022, arXiv 2111.05826.

Sec 3: SR3's objective and conditioning with |.|^2 (generative/image_to_image.py); Sec 5.1 to 5.4: four tasks
(generative/degradations.py), holes filled with noise, the loss on hidden pixels only; Sec 5.6: L1 beside L2; Sec 5.7:
a generalist on several tasks. Training's schedule has 2,000 linear betas from 1e-6 to 0.01, inference's 1,000 from 1e-4
to 0.09, whose last levels no training ever saw: there the network is told the noisiest level that it knows.

The paper says that the known part is fixed at inference, not how. Here z carries noise on all pixels, in training and
in sampling, and in sampling x0_hat's known pixels are replaced by the known ones, so both see the same. The noise that
fills a hole in the condition is drawn apart from the noise of z. In the paper that noise alone tells the network where
the hole is; a network of a few channels learns sooner with `mask_channel`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from generative import noise
from generative.degradations import TASKS, Degradation, grey
from generative.image_to_image import ImageToImage, ImageToImageConfig
from generative.noise import Source
from generative.pixels import scale
from generative.schedules import ScheduleConfig, linear_betas

Task = Literal["colorize", "inpaint", "uncrop", "jpeg"]
Side = Literal["left", "right", "top", "bottom", "all"]
MASKED = ("inpaint", "uncrop")
SIDES: tuple[Side, ...] = ("left", "right", "top", "bottom")


@dataclass(frozen=True, kw_only=True)
class PaletteConfig(ImageToImageConfig):
    """A model that restores pictures."""

    tasks: tuple[Task, ...] = ("inpaint",)
    """What is restored; of several, each training picture meets one, as likely each (a generalist)."""
    power: Literal[1, 2] = 2
    inference: ScheduleConfig | None = field(default_factory=lambda: linear_betas(1e-4, 0.09, 1000))
    inference_steps: int = 1000
    mask_channel: bool = False
    """Tell the network which pixels are hidden, as one more channel of its input. Not in the paper."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "tasks", tuple(self.tasks))
        super().__post_init__()
        if odd := [task for task in self.tasks if task not in TASKS]:
            raise ValueError(f"task {odd[0]!r} does not exist; allowed: {', '.join(TASKS)}")
        if self.crop:
            raise ValueError("crop is for models that enlarge: a square of a picture may hold none of its hole")
        if not self.tasks or len(set(self.tasks)) < len(self.tasks):
            raise ValueError(f"tasks must be one or more different ones, got {', '.join(self.tasks) or 'none'}")
        if self.mask_channel and not set(self.tasks) & set(MASKED):
            raise ValueError(f"mask_channel is for {' and '.join(MASKED)}: {', '.join(self.tasks)} hides every pixel")

    def degrade(self, k: Tensor, source: Source) -> dict[str, Tensor]:
        """ "image" and "mask" of a batch of pictures: see `degrade`. A batch is read on the CPU, ahead of its step."""
        return degrade(k, self.tasks, source)


def degrade(
    k: Tensor, tasks: Sequence[str], source: Source, degradations: Mapping[str, Degradation] = TASKS
) -> dict[str, Tensor]:
    """ "image" [B, C, H, W] in (-1, 1), with noise in holes, and "mask" [B, 1, H, W], 1 where pixels are hidden (all of
    them in tasks without a hole), of pictures k uint8 [B, C, H, W] of 256 levels. Picture i depends on its own row of
    random numbers."""
    draws = noise.uniform(source, (len(k), 2), device="cpu", dtype=torch.float64)
    fill = noise.normal(source, tuple(k.shape), device="cpu", dtype=torch.float32)
    images, masks = [], []
    for picture, (which, seed), noisy in zip(k.cpu().numpy(), draws.tolist(), fill, strict=True):
        rng = np.random.Generator(np.random.PCG64(int(seed * 2**53)))
        spoiled, mask = degradations[tasks[int(which * len(tasks))]](picture, rng)
        hole = torch.ones(1, *k.shape[2:]) if mask is None else torch.from_numpy(mask)[None].float()
        images.append(filled(scale(torch.from_numpy(spoiled), 256), hole if mask is not None else None, noisy))
        masks.append(hole)
    return {"image": torch.stack(images).to(k.device), "mask": torch.stack(masks).to(k.device)}


def filled(image: Tensor, mask: Tensor | None, fill: Tensor) -> Tensor:
    """The picture with standard normal numbers where the mask is 1. Sec 5.2."""
    return image if mask is None else torch.where(mask > 0, fill, image)


class Palette(ImageToImage):
    """A model of pictures given spoiled ones: `restore(pictures, task="colorize")`."""

    config: PaletteConfig

    def __init__(self, config: PaletteConfig, shape: tuple[int, int, int], num_levels: int = 256) -> None:
        """shape: (3, H, W): colours are what one of the tasks is about, and all take the same pictures."""
        if shape[0] != 3 or num_levels != 256:
            raise ValueError(f"Palette needs RGB pictures of 256 levels, got {shape[0]} channels of {num_levels}")
        super().__init__(config, shape, num_levels, masked=config.mask_channel)

    def given(self, batch: dict[str, Tensor], source: Source) -> dict[str, Tensor]:
        """What the batch was read with; a batch that was not is degraded now."""
        if "image" not in batch:
            batch = self.config.degrade(batch["x"], source)
        return {"image": batch["image"], "mask": batch["mask"]}

    def asked(
        self, pictures: Tensor, sources: Source, task: str | None = None, mask: Tensor | None = None
    ) -> dict[str, Tensor]:
        """task: one of the model's own (if omitted, its only one); mask, for inpaint and uncrop: to `restore`, bool
        [n, h, w] or [h, w], True where pixels are to be made; here [n, 1, H, W], of pictures that are continued."""
        known = self.config.tasks
        if task is None:
            task, *others = known
            if others:
                raise ValueError(f"this model knows several tasks, name one of {', '.join(known)}")
        if task not in known:
            raise ValueError(f"this model was trained to {', '.join(known)}, not to {task}")
        if (mask is None) == (task in MASKED):
            raise ValueError(f"{task} {'needs a' if mask is None else 'takes no'} mask")
        image = scale(pictures, self.num_levels)
        if task == "colorize":
            greys = np.stack([grey(picture) for picture in pictures.cpu().numpy()])
            image = scale(torch.from_numpy(greys).to(pictures.device), self.num_levels)
        if mask is None:
            return {"image": image, "mask": torch.ones_like(image[:, :1])}
        return {"image": filled(image, mask, noise.normal_like(sources, image)), "mask": mask}

    def restore(
        self, pictures: Tensor | np.ndarray, *, mask: Tensor | np.ndarray | None = None, **options: Any
    ) -> Tensor:
        """See `ImageToImage.restore`, and `asked` for task ("colorize", "inpaint", "uncrop", "jpeg"; needed by a
        generalist) and mask (bool [h, w] or [n, h, w], True where pixels are to be made; of inpaint and uncrop)."""
        if mask is None:
            return super().restore(pictures, **options)
        mask = torch.as_tensor(mask)
        n, (height, width) = len(pictures), pictures.shape[-2:]
        if mask.ndim not in (2, 3) or (mask.ndim == 3 and len(mask) not in (1, n)):
            raise ValueError(f"a mask must be [h, w] or [{n}, h, w], got {list(mask.shape)}")
        if tuple(mask.shape[-2:]) != (height, width):
            raise ValueError(
                f"the mask is {mask.shape[-1]} x {mask.shape[-2]}, the picture {width} x {height}: they must agree"
            )
        mask = mask.to(self.device).bool().expand(n, height, width)
        if not bool(mask.flatten(1).any(1).all()):
            raise ValueError("the mask is empty: it marks no pixel that is to be made")
        return super().restore(pictures, mask=self.continued(mask[:, None].float()), **options)


def extended(k: Tensor, side: Side, amount: int) -> tuple[Tensor, Tensor]:
    """Pictures k [n, C, h, w] with `amount` empty rows or columns on one side, or on all four, and the mask [H, W] of
    what is empty. Sec 5.3."""
    left, right, top, bottom = (amount if side in (name, "all") else 0 for name in SIDES)
    canvas = torch.nn.functional.pad(k, (left, right, top, bottom))
    mask = torch.ones(canvas.shape[-2:], dtype=torch.bool, device=k.device)
    mask[top : top + k.shape[-2], left : left + k.shape[-1]] = False
    return canvas, mask


def panorama(model: Palette, k: Tensor, side: Side, times: int, *, seed: int = 0, **options: Any) -> Tensor:
    """Pictures k [n, 3, h, w] uncropped `times` times in a row, by half the trained side each time. Sec 5.3.

    Each time the model sees what lies next to the new part: half of its tile is known, as in training, and where a side
    is no multiple of half a tile more of some tiles. "all" does the four sides one after the other.
    """
    sides: tuple[Side, ...] = SIDES if side == "all" else (side,)
    for number, one in enumerate(sides * times):
        amount = model.shape[2 if one in ("left", "right") else 1] // 2
        canvas, mask = extended(k, one, amount)
        k = model.restore(canvas, task="uncrop", mask=mask, seed=noise.mix(seed, number), **options)
    return k
