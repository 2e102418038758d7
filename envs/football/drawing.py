"""A picture of the pitch from above, drawn with Pillow: no GPU, no display, no engine."""

from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from envs.football.frame import FIELD_HALF_WIDTH, GAME_MODES, GOAL_HALF_WIDTH, METRES, Frame

SIZE = (640, 420)
"""Width and height of the picture in pixels."""
_OVER = 2
"""Drawn this many times larger, then scaled down: that is the anti-aliasing."""
_LEFT, _TOP, _LENGTH = 34, 42, 572
_METRE = _LENGTH / (2 * float(METRES[0]))
_WIDTH = 2 * FIELD_HALF_WIDTH * float(METRES[1]) * _METRE
_GRASS = ((56, 128, 66), (62, 137, 72))
_BORDER, _PANEL, _LINE = (44, 104, 54), (24, 30, 38), (232, 240, 232)
_HOME, _AWAY, _BALL = (250, 206, 52), (62, 118, 226), (252, 252, 252)
_DARK = (18, 22, 28)
_ATTENTION = (255, 255, 255)
_DOT, _RING, _BALL_DOT = 6.5, 9.5, 3.6


def _at(x: float, y: float) -> tuple[float, float]:
    """Pixel (of the large picture) of a point in engine units."""
    return (
        _OVER * (_LEFT + (x + 1) * _LENGTH / 2),
        _OVER * (_TOP + (y / FIELD_HALF_WIDTH + 1) * _WIDTH / 2),
    )


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size * _OVER)


def _circle(draw: ImageDraw.ImageDraw, centre: tuple[float, float], radius: float, **style) -> None:
    x, y, r = *centre, radius * _OVER
    draw.ellipse((x - r, y - r, x + r, y + r), **style)


def _box(draw: ImageDraw.ImageDraw, x0: float, x1: float, half_width_m: float) -> None:
    """A marked rectangle across the middle line from x0 to x1 metres (from the centre)."""
    half = half_width_m / float(METRES[1])
    a, b = _at(min(x0, x1) / float(METRES[0]), -half), _at(max(x0, x1) / float(METRES[0]), half)
    draw.rectangle((*a, *b), outline=_LINE, width=2 * _OVER)


@cache
def _pitch() -> Image.Image:
    """The empty pitch with its lines and goals."""
    image = Image.new("RGB", (SIZE[0] * _OVER, SIZE[1] * _OVER), _BORDER)
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, SIZE[0] * _OVER, 30 * _OVER), fill=_PANEL)
    for band in range(12):
        a, b = _at(band / 6 - 1, -FIELD_HALF_WIDTH), _at((band + 1) / 6 - 1, FIELD_HALF_WIDTH)
        draw.rectangle((*a, *b), fill=_GRASS[band % 2])
    half = float(METRES[0])
    for side in (-1, 1):
        _box(draw, side * half, side * (half - 16.5), 20.15)
        _box(draw, side * half, side * (half - 5.5), 9.16)
        _circle(draw, _at(side * (half - 11) / half, 0), 1.5, fill=_LINE)
        goal = GOAL_HALF_WIDTH * float(METRES[1])
        a = _at(side, -goal / float(METRES[1]))
        b = _at(side * (1 + 2.4 / half), goal / float(METRES[1]))
        draw.rectangle(
            (min(a[0], b[0]), a[1], max(a[0], b[0]), b[1]), fill=(206, 214, 206), outline=_LINE, width=2 * _OVER
        )
    _circle(draw, _at(0, 0), 9.15 * _METRE, outline=_LINE, width=2 * _OVER)
    _circle(draw, _at(0, 0), 1.5, fill=_LINE)
    draw.line((_at(0, -FIELD_HALF_WIDTH), _at(0, FIELD_HALF_WIDTH)), fill=_LINE, width=2 * _OVER)
    draw.rectangle((*_at(-1, -FIELD_HALF_WIDTH), *_at(1, FIELD_HALF_WIDTH)), outline=_LINE, width=2 * _OVER)
    return image


def _header(draw: ImageDraw.ImageDraw, frame: Frame, level: str) -> None:
    middle = 15 * _OVER
    draw.text((14 * _OVER, middle), level, font=_font(12), fill=(190, 200, 210), anchor="lm")
    mode = "" if frame.mode == 0 else GAME_MODES[frame.mode].replace("_", " ") + "   "
    step = f"{mode}step {max(frame.step + 1, 0)}"
    draw.text(((SIZE[0] - 14) * _OVER, middle), step, font=_font(12), fill=(190, 200, 210), anchor="rm")
    centre = SIZE[0] * _OVER / 2
    draw.text((centre, middle), f"{frame.goals_for} : {frame.goals_against}", font=_font(18), fill=_LINE, anchor="mm")
    for offset, colour in ((-34, _HOME), (34, _AWAY)):
        _circle(draw, (centre + offset * _OVER, middle), 6, fill=colour)


def _players(draw: ImageDraw.ImageDraw, frame: Frame) -> None:
    agents = {player: agent for agent, player in enumerate(frame.controlled)}
    agents |= {frame.num_own + player: agent for agent, player in enumerate(frame.other_controlled) if player >= 0}
    for row, (x, y, dx, dy, _, active, _) in enumerate(frame.table()[:-1].tolist()):
        if not active:
            continue
        centre, away = _at(x, y), row >= frame.num_own
        _circle(draw, (centre[0] + 2 * _OVER, centre[1] + 2 * _OVER), _DOT, fill=(38, 88, 46))
        draw.line((centre, _at(x + 9 * dx, y + 9 * dy)), fill=_DARK, width=2 * _OVER)
        if row in agents:
            _circle(draw, centre, _RING, outline=_LINE, width=2 * _OVER)
        _circle(draw, centre, _DOT, fill=_AWAY if away else _HOME, outline=_DARK, width=_OVER)
        if row in agents:
            draw.text(centre, str(agents[row]), font=_font(9), fill=_LINE if away else _DARK, anchor="mm")


def _ball(draw: ImageDraw.ImageDraw, frame: Frame) -> None:
    x, y = _at(*frame.table()[-1, :2].tolist())
    lift = max(frame.ball_z - 0.11, 0) * 3 * _OVER
    _circle(draw, (x + _OVER, y + 2 * _OVER), _BALL_DOT, fill=(34, 78, 42))
    _circle(draw, (x, y - lift), _BALL_DOT, fill=_BALL, outline=_DARK, width=_OVER)


def _attention(image: Image.Image, frame: Frame, weights: np.ndarray) -> Image.Image:
    """Wedges from each controlled player to the others, widening: the more agent a attends to b, the broader at b's end
    and the brighter."""
    overlay = Image.new("RGBA", image.size, (*_ATTENTION, 0))
    draw = ImageDraw.Draw(overlay)
    table = frame.table()
    spots = [np.array(_at(*table[player, :2].tolist())) for player in frame.controlled]
    pairs = sorted((float(weights[a, b]), a, b) for a in range(len(spots)) for b in range(len(spots)) if a != b)
    for weight, a, b in pairs:
        way = spots[b] - spots[a]
        length = float(np.hypot(*way))
        if weight < 0.02 or length < 1 or min(frame.controlled[a], frame.controlled[b]) < 0:
            continue
        along = way / length
        across = np.array((-along[1], along[0]))
        share = min(weight, 1.0)
        asks = spots[a] + across * 2 * _OVER  # so that a to b and b to a lie side by side
        answers = spots[b] + across * 2 * _OVER - along * min(_RING * _OVER, length / 2)
        broad = across * (1 + 6 * share) * _OVER
        wedge = [tuple(asks), tuple(asks + across * _OVER), tuple(answers + broad), tuple(answers)]
        draw.polygon(wedge, fill=(*_ATTENTION, round(40 + 200 * share)))
    return Image.alpha_composite(image.convert("RGBA"), overlay).convert("RGB")


def draw_pitch(frame: Frame, *, level: str, attention: np.ndarray | None = None) -> np.ndarray:
    """The moment `frame` from above: own team yellow, the other blue, controlled players ringed and numbered by agent.

    Args: level: name for the header; attention: [A, A], weight of agent b (column) for agent a (row), 0 to 1.
    Returns: uint8 [420, 640, 3]. Raises: ValueError for attention of another shape.
    """
    agents = len(frame.controlled)
    if attention is not None and np.shape(attention) != (agents, agents):
        raise ValueError(f"attention of shape {np.shape(attention)} does not fit; allowed: ({agents}, {agents})")
    image = _pitch().copy()
    if attention is not None:
        image = _attention(image, frame, np.asarray(attention))
    draw = ImageDraw.Draw(image)
    _header(draw, frame, level)
    _players(draw, frame)
    _ball(draw, frame)
    return np.asarray(image.resize(SIZE, Image.Resampling.BOX))
