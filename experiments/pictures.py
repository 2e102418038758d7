"""Pictures of a diffusion model: grids of samples, denoising strips, its schedule and its loss by noise level."""

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from PIL import ImageFont

    from experiments.tracking import Tracker
    from generative.watch import View

TILE = 64
"""Pixels that a small picture is enlarged to, by repeating its own, so that a person can see it."""
GAP = 2
"""White pixels between pictures."""


def draw(tracker: "Tracker", step: int, view: "View") -> None:
    """A look at a model, into TensorBoard and media/."""
    if view.given is None or view.truth is None:
        tracker.image("samples", step, grid(view.samples, view.num_levels))
    else:
        tracker.image("samples", step, contact_sheet(view.given, [view.samples], view.truth, view.num_levels))
    tracker.image("denoising", step, strips(view.strips, view.num_levels))
    tracker.image("schedule", step, schedule_figure(*view.schedule, title=f"noise schedule after {step:,} steps"))
    tracker.image("levels", step, levels_figure(*view.levels, title=f"loss by noise level after {step:,} steps"))


def to_rgb(pictures: Any, num_levels: int) -> np.ndarray:
    """Level indices [..., C, H, W] of 0 to num_levels - 1 as uint8 [..., H, W, 3]; grey becomes grey."""
    levels = np.moveaxis(np.asarray(pictures), -3, -1)
    bright = np.round(levels * (255 / (num_levels - 1))).astype(np.uint8)
    return np.broadcast_to(bright, (*bright.shape[:-1], 3))


def grid(pictures: Any, num_levels: int, columns: int | None = None) -> np.ndarray:
    """Pictures [n, C, H, W] row by row: uint8 [height, width, 3]; about as many columns as rows if columns is None."""
    rgb = to_rgb(pictures, num_levels)
    columns = columns or int(np.ceil(np.sqrt(len(rgb))))
    rows = -(-len(rgb) // columns)
    return _tiled([rgb[row * columns : (row + 1) * columns] for row in range(rows)], columns)


def contact_sheet(given: Any, samples: list[Any], truth: Any | None, num_levels: int) -> np.ndarray:
    """A row for each picture: what was given, one or more samples, the original. uint8 [H, W, 3].

    Args: given, truth: [n, C, H, W]; samples: each [n, C, H, W]. Many pictures stand in two blocks side by side.
    """
    columns = [to_rgb(part, num_levels) for part in (given, *samples, *(() if truth is None else (truth,)))]
    rows = [np.stack(row) for row in zip(*columns, strict=True)]
    if len(rows) > 4:
        half = -(-len(rows) // 2)
        space = np.full_like(rows[0][:1], 255)
        right = [*rows[half:], *[np.full_like(rows[0], 255)] * (2 * half - len(rows))]
        rows = [np.concatenate([left, space, other]) for left, other in zip(rows[:half], right, strict=True)]
    return _tiled(rows, len(rows[0]))


def strips(pictures: Any, num_levels: int) -> np.ndarray:
    """Pictures [rows, columns, C, H, W] as they stand: uint8 [height, width, 3]."""
    rgb = to_rgb(pictures, num_levels)
    return _tiled(list(rgb), rgb.shape[1])


def font(size: int) -> "ImageFont.FreeTypeFont":
    """DejaVu Sans, which comes with matplotlib and has most alphabets."""
    from matplotlib import get_data_path
    from PIL import ImageFont

    return ImageFont.truetype(f"{get_data_path()}/fonts/ttf/DejaVuSans.ttf", size)


def with_names(grid: np.ndarray, names: list[str]) -> np.ndarray:
    """A grid uint8 [H, W, 3] with the name of each of its rows at the left."""
    from PIL import Image, ImageDraw

    letters, high = font(12), (len(grid) - GAP) / len(names)
    margin = 12 + max(int(letters.getlength(name)) for name in names)
    canvas = Image.new("RGB", (margin + grid.shape[1], len(grid)), "white")
    canvas.paste(Image.fromarray(grid), (margin, 0))
    pen = ImageDraw.Draw(canvas)
    for row, name in enumerate(names):
        pen.text((margin - 6, GAP + (row + 0.5) * high), name, font=letters, fill="black", anchor="rm")
    return np.asarray(canvas)


def _tiled(rows: list[np.ndarray], columns: int) -> np.ndarray:
    """Rows of at most `columns` pictures uint8 [k, H, W, 3], enlarged, with white between them."""
    height, width = rows[0].shape[1:3]
    times = max(1, round(TILE / max(height, width)))
    height, width = height * times + GAP, width * times + GAP
    canvas = np.full((len(rows) * height + GAP, columns * width + GAP, 3), 255, np.uint8)
    for i, row in enumerate(rows):
        for j, picture in enumerate(row):
            enlarged = picture.repeat(times, 0).repeat(times, 1)
            top, left = GAP + i * height, GAP + j * width
            canvas[top : top + enlarged.shape[0], left : left + enlarged.shape[1]] = enlarged
    return canvas


def schedule_figure(t: Any, log_snr: Any, title: str) -> np.ndarray:
    """log_snr [m] over t [m] beside the straight line between its ends. uint8 [H, W, 3]."""
    t, log_snr = np.asarray(t), np.asarray(log_snr)

    def plot(axes: Any) -> None:
        axes.plot(t, log_snr, label="this model")
        axes.plot(t[[0, -1]], log_snr[[0, -1]], "--", color="grey", label="linear between the same ends")
        axes.set(xlabel="t (0 data, 1 noise)", ylabel="log_snr", title=title)
        axes.legend()

    return _figure(plot)


def levels_figure(log_snr: Any, density: Any, title: str) -> np.ndarray:
    """Bits per dimension per unit of log_snr [m] over log_snr [m]; the area is the diffusion part. uint8 [H, W, 3]."""
    log_snr, density = np.asarray(log_snr), np.asarray(density)

    def plot(axes: Any) -> None:
        axes.plot(log_snr, density)
        axes.fill_between(log_snr, density, alpha=0.2)
        axes.invert_xaxis()
        axes.set(xlabel="log_snr (left data, right noise)", ylabel="bits/dimension per unit of log_snr", title=title)
        axes.set_ylim(bottom=0)

    return _figure(plot)


def _figure(plot: Any) -> np.ndarray:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
    plot(axes)
    figure.canvas.draw()
    picture = np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()  # type: ignore[attr-defined]
    plt.close(figure)
    return picture
