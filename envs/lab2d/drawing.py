"""The picture of a DMLab2D map: the engine's own sprites, enlarged, with a caption and attention lines."""

import numpy as np
from PIL import Image, ImageDraw

_SHORT_SIDE = 416
"""Pictures are enlarged by a whole factor to about this length of their shorter side [px]."""
CAPTION = 20
"""Height of the caption [px]."""
_LINE = (255, 210, 0)
_FAINTEST = 0.05
"""Attention below this is not drawn."""


def draw_world(
    rgb: np.ndarray,
    map_size: tuple[int, int],
    caption: str,
    cells: np.ndarray | None = None,
    attention: np.ndarray | None = None,
) -> np.ndarray:
    """rgb: [h, w, 3] from the engine; map_size: (columns, rows) in cells; cells: [A, 2] as (x, y), None where unknown;
    attention: [A, A] in [0, 1], row looks at column. The half of a line next to agent i shows how much i looks at the
    other one. Returns: uint8 [H, W, 3]. Raises: ValueError for attention of a wrong shape."""
    factor = max(1, round(_SHORT_SIDE / min(rgb.shape[:2])))
    height, width = rgb.shape[0] * factor, rgb.shape[1] * factor
    canvas = Image.new("RGB", (width, height + CAPTION))
    canvas.paste(Image.fromarray(rgb).resize((width, height), Image.Resampling.NEAREST), (0, 0))
    if attention is not None and cells is not None:
        if np.shape(attention) != (len(cells), len(cells)):
            raise ValueError(f"attention must be [{len(cells)}, {len(cells)}]; got shape {np.shape(attention)}")
        canvas = _with_lines(canvas, (cells + 0.5) * (width / map_size[0]), np.asarray(attention))
    ImageDraw.Draw(canvas).text((4, height + 4), caption, fill=(255, 255, 255))
    return np.asarray(canvas)


def _with_lines(canvas: Image.Image, points: np.ndarray, attention: np.ndarray) -> Image.Image:
    layer = Image.new("RGBA", canvas.size)
    pen = ImageDraw.Draw(layer)
    for i, j in zip(*np.nonzero(attention > _FAINTEST), strict=True):
        if i == j:
            continue
        weight = min(1.0, float(attention[i, j]))
        middle = (points[i] + points[j]) / 2
        ends = [tuple(points[i]), tuple(middle)]
        pen.line(ends, fill=(*_LINE, int(40 + 215 * weight)), width=1 + round(5 * weight))
    for agent, (x, y) in enumerate(points if len(points) > 1 else []):  # the numbers of the attention maps
        pen.text((x + 7, y - 16), str(agent), fill=(255, 255, 255, 255), stroke_width=1, stroke_fill=(0, 0, 0, 255))
    return Image.alpha_composite(canvas.convert("RGBA"), layer).convert("RGB")
