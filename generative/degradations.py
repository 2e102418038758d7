"""Palette's four ways to spoil a picture, as objects: each draws from the distributions that the paper trains with.

    spoiled, mask = degradation(k, rng)      k: uint8 [C, H, W]; rng: a NumPy generator

What comes out depends on (k, state of rng) alone. mask [H, W] is True where the picture is not known (then `spoiled` is
0 there, and whoever uses it fills the hole with noise), or None where every pixel has to be made anew.

Source: Saharia et al. 2022 (Palette, arXiv 2111.05826), Sec 5 and App B. The free-form masks are those of Yu et al.
2019 (DeepFill v2, arXiv 1806.03589), Algorithm 1, with the numbers of its widespread implementations, in proportion to
the side: they are for 256 pixels. How rectangles are placed is not in the paper: see `Rectangles`.
"""

import io
import math
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
from PIL import Image, ImageDraw

Spoiled: TypeAlias = tuple[np.ndarray, np.ndarray | None]
TRIES = 1000
"""At a hole that covers as much as it should; pictures of a few pixels have none."""


class Degradation(Protocol):
    """What they have in common."""

    def __call__(self, k: np.ndarray, rng: np.random.Generator) -> Spoiled: ...


def grey(k: np.ndarray) -> np.ndarray:
    """Luma of ITU-R 601 of uint8 [3, H, W], in all three channels."""
    luma = np.asarray(Image.fromarray(np.ascontiguousarray(k.transpose(1, 2, 0))).convert("L"))
    return np.broadcast_to(luma, k.shape).copy()


@dataclass(frozen=True)
class Colorize:
    """The colours are taken away: grey in three channels."""

    def __call__(self, k: np.ndarray, rng: np.random.Generator) -> Spoiled:
        return grey(k), None


@dataclass(frozen=True, kw_only=True)
class Jpeg:
    """Compressed with quality Q, p(Q) proportional to exp(-Q / 10) over whole numbers from `low` to `high`."""

    low: int = 5
    high: int = 30

    def probabilities(self) -> np.ndarray:
        """Of low, low + 1, ..., high."""
        weights = np.exp(-np.arange(self.low, self.high + 1) / 10)
        return weights / weights.sum()

    def __call__(self, k: np.ndarray, rng: np.random.Generator) -> Spoiled:
        return compressed(k, int(rng.choice(np.arange(self.low, self.high + 1), p=self.probabilities()))), None


def compressed(k: np.ndarray, quality: int) -> np.ndarray:
    """uint8 [C, H, W] through Pillow's JPEG (4:2:0), and back."""
    file = io.BytesIO()
    pixels = np.ascontiguousarray(k.transpose(1, 2, 0))
    Image.fromarray(pixels[..., 0] if len(k) == 1 else pixels).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file)).reshape(pixels.shape).transpose(2, 0, 1).copy()


@dataclass(frozen=True)
class Rectangles:
    """One to five rectangles, as likely each, that hide 10 to 40% of the picture together.

    Ours: the sum of their areas is drawn uniformly from that range, shared by a uniform split, with aspect ratios from
    1:2 to 2:1 and places uniform inside the picture. They may overlap, and all is drawn again if less than 10% is
    hidden: one rectangle hides a quarter on average, five together a little less.
    """

    least: float = 0.1
    most: float = 0.4
    count: int = 5

    def mask(self, height: int, width: int, rng: np.random.Generator) -> np.ndarray:
        """bool [height, width]. Raises ValueError for so few pixels that no rectangles hide such a share of them."""
        count = int(rng.integers(1, self.count + 1))
        for _ in range(TRIES):
            mask = np.zeros((height, width), bool)
            area = rng.uniform(self.least, self.most)
            for share in rng.dirichlet(np.ones(count)):
                self._cut(mask, area * share * height * width, rng)
            if self.least <= mask.mean() <= self.most:
                return mask
        raise _too_small(height, width, self.least, self.most)

    def _cut(self, mask: np.ndarray, area: float, rng: np.random.Generator) -> None:
        aspect = 2.0 ** rng.uniform(-1, 1)
        tall = int(np.clip(round(math.sqrt(area * aspect)), 1, mask.shape[0]))
        wide = int(np.clip(round(area / tall), 1, mask.shape[1]))
        top, left = (int(rng.integers(0, n - side + 1)) for n, side in zip(mask.shape, (tall, wide), strict=True))
        mask[top : top + tall, left : left + wide] = True


@dataclass(frozen=True)
class Strokes:
    """Free-form masks: one to three strokes of a brush, each of 4 to 11 straight pieces that turn back and forth."""

    strokes: tuple[int, int] = (1, 3)
    vertices: tuple[int, int] = (4, 11)
    width: tuple[int, int] = (12, 39)
    """Of the brush, in whole pixels at a side of 256, as likely each."""

    def mask(self, height: int, width: int, rng: np.random.Generator) -> np.ndarray:
        """bool [height, width]."""
        canvas = Image.new("1", (width, height))
        pen, length = ImageDraw.Draw(canvas), math.hypot(height, width) / 8
        for _ in range(int(rng.integers(self.strokes[0], self.strokes[1] + 1))):
            brush = int(rng.integers(self.width[0], self.width[1] + 1))
            brush = max(1, round(brush * min(height, width) / 256))
            turn, spread = 2 * math.pi / 5, 2 * math.pi / 15
            low, high = turn - rng.uniform(0, spread), turn + rng.uniform(0, spread)
            points = [(rng.uniform(0, width), rng.uniform(0, height))]
            for vertex in range(int(rng.integers(self.vertices[0], self.vertices[1] + 1))):
                angle = rng.uniform(low, high)
                angle = 2 * math.pi - angle if vertex % 2 == 0 else angle
                step = float(np.clip(rng.normal(length, length / 2), 0, 2 * length))
                x, y = points[-1]
                points.append((
                    float(np.clip(x + step * math.cos(angle), 0, width)),
                    float(np.clip(y + step * math.sin(angle), 0, height)),
                ))  # fmt: skip
            pen.line(points, fill=1, width=brush)
            for x, y in points:  # round joints
                pen.ellipse((x - brush // 2, y - brush // 2, x + brush // 2, y + brush // 2), fill=1)
        mask = np.array(canvas, dtype=bool)
        for axis in (0, 1):
            if rng.random() < 0.5:
                mask = np.flip(mask, axis)
        return mask.copy()  # without a step backwards, which torch does not take


@dataclass(frozen=True, kw_only=True)
class FreeForm:
    """A free-form hole that covers a share of the picture: strokes are drawn anew until one does."""

    least: float = 0.2
    most: float = 0.3

    def __call__(self, k: np.ndarray, rng: np.random.Generator) -> Spoiled:
        """Raises ValueError for pictures of so few pixels that no strokes cover that much of them."""
        for _ in range(TRIES):
            mask = Strokes().mask(k.shape[1], k.shape[2], rng)
            if self.least <= mask.mean() <= self.most:
                return hidden(k, mask)
        raise _too_small(k.shape[1], k.shape[2], self.least, self.most)


@dataclass(frozen=True)
class Centre:
    """A hole of half the sides in the middle."""

    def __call__(self, k: np.ndarray, rng: np.random.Generator) -> Spoiled:
        mask = np.zeros(k.shape[1:], bool)
        top, left = ((n - n // 2) // 2 for n in mask.shape)
        mask[top : top + k.shape[1] // 2, left : left + k.shape[2] // 2] = True
        return hidden(k, mask)


@dataclass(frozen=True)
class RightHalf:
    """The right half is hidden."""

    def __call__(self, k: np.ndarray, rng: np.random.Generator) -> Spoiled:
        mask = np.zeros(k.shape[1:], bool)
        mask[:, k.shape[2] - k.shape[2] // 2 :] = True
        return hidden(k, mask)


@dataclass(frozen=True)
class Inpaint:
    """A hole: free-form six times in ten, else rectangles. Never both."""

    freeform: float = 0.6

    def __call__(self, k: np.ndarray, rng: np.random.Generator) -> Spoiled:
        shape = Strokes() if rng.random() < self.freeform else Rectangles()
        return hidden(k, shape.mask(k.shape[1], k.shape[2], rng))


@dataclass(frozen=True)
class Uncrop:
    """Half of the picture is hidden: one side of it, or all four borders, as likely each."""

    def __call__(self, k: np.ndarray, rng: np.random.Generator) -> Spoiled:
        _, height, width = k.shape
        if rng.random() < 0.5:
            mask, side = np.zeros((height, width), bool), int(rng.integers(4))
            turned = mask.T if side % 2 else mask  # a view: one of its first or last rows is one of the picture's sides
            half = len(turned) // 2
            turned[slice(0, half) if side < 2 else slice(-half, None)] = True
            return hidden(k, mask)
        tall, wide = (round(n * math.sqrt(0.5)) for n in (height, width))
        top, left = (height - tall) // 2, (width - wide) // 2
        mask = np.ones((height, width), bool)
        mask[top : top + tall, left : left + wide] = False
        return hidden(k, mask)


def _too_small(height: int, width: int, least: float, most: float) -> ValueError:
    return ValueError(f"a picture of {width} x {height} is too small for holes of {least:.0%} to {most:.0%}")


def hidden(k: np.ndarray, mask: np.ndarray) -> Spoiled:
    """The picture with 0 where the mask is True."""
    return np.where(mask, 0, k).astype(np.uint8), mask


TASKS: dict[str, Degradation] = {
    "colorize": Colorize(),
    "inpaint": Inpaint(),
    "uncrop": Uncrop(),
    "jpeg": Jpeg(),
}
"""Palette's tasks by name, as it trains them."""
EVALUATED: dict[str, dict[str, Degradation]] = {
    "inpaint": {"freeform": FreeForm(), "centre": Centre()},
    "uncrop": {"right": RightHalf()},
    "jpeg": {f"q{quality}": Jpeg(low=quality, high=quality) for quality in (5, 10, 20)},
}
"""Those that its tables are measured on (Tables 3 to 6), by task."""
