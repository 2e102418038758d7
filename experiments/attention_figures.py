"""Figures of attention: who attends to whom in each phase, and where a teammate must stand to be attended to.

Colours are centred on the equal share, 1 over the number of agents: red is more than that, blue less.
"""

from typing import Any

import numpy as np

from experiments.media import Frame
from marl.attention_maps import RELATIONS, Look, Means, by_distance, by_offset, by_phase, by_place
from marl.phases import Scene

FEWEST, FEWEST_EPISODES = 4, 2
"""Cells of a map and points of a curve with fewer moments, or from fewer episodes (or a fifth of them), stay empty."""
CELL = {"football": 7.0, "grid": 2.0, "other": 0.2}
"""About the side of a cell on a map of the field [unit]."""
OFFSETS = (9, 11)
REACH = {"football": (27.5, 22.5), "grid": (11.0, 9.0), "other": (1.0, 1.0)}
"""How far from the one who asks the second map reaches [unit], along and across the field."""
BINS = 8
_LINES, _MISSING = "#5c6770", "#e9ecef"
_COLOURS = ("#c1272d", "#1f6fb4", "#5c6770")


def _plt() -> Any:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt


def _colours(agents: int, missing: str = _MISSING) -> dict[str, Any]:
    """How weights become colours. agents: A; missing: the colour of no weight."""
    from matplotlib import colormaps
    from matplotlib.colors import TwoSlopeNorm

    even = 1 / agents if agents > 1 else 0.5  # one agent alone attends to itself
    return {"cmap": colormaps["RdBu_r"].with_extremes(bad=missing), "norm": TwoSlopeNorm(even, 0, 1)}


def _pixels(figure: Any) -> np.ndarray:
    """uint8 [H, W, 3]"""
    figure.canvas.draw()
    picture = np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()
    _plt().close(figure)
    return picture


def overview(frames: list[Frame], title: str) -> np.ndarray:
    """Mean attention per head over an episode as a heat map, with its course over time below. uint8 [H, W, 3]."""
    weights = np.stack([frame.attention for frame in frames])  # [T, H, A, A]
    present = np.stack([frame.mask for frame in frames])  # [T, A]
    both = (present[:, None, :, None] & present[:, None, None, :]).astype(float)
    mean = (weights * both).sum(0) / np.maximum(both.sum(0), 1)
    heads, count = mean.shape[:2]
    figure, axes = _plt().subplots(
        2, heads, figsize=(4.2 * heads, 6.4), squeeze=False, height_ratios=(3, 2), layout="constrained"
    )
    drawn = None
    for head in range(heads):
        heat, course = axes[0, head], axes[1, head]
        drawn = heat.imshow(mean[head], **_colours(count))
        _write_values(heat, mean[head])
        heat.set(title=f"head {head}", xlabel="answers", ylabel="asks", xticks=range(count), yticks=range(count))
        own = weights[:, head, np.arange(count), np.arange(count)]
        for agent in range(count):
            course.plot(1 - own[:, agent], label=f"agent {agent}", linewidth=1)
        course.set(xlabel="step", ylabel="attention to others", ylim=(0, 1.02))
    axes[1, 0].legend(fontsize=7, ncols=2)
    figure.colorbar(drawn, ax=axes[0, :].tolist(), shrink=0.8)
    figure.suptitle(title)
    return _pixels(figure)


def _write_values(axes: Any, values: np.ndarray, low: np.ndarray | None = None, high: np.ndarray | None = None) -> None:
    """Each cell's value, and its interval under it."""
    for row, column in np.argwhere(~np.isnan(values)):
        value = values[row, column]
        colour = "w" if value > 0.75 or value < 0.08 else "k"
        known = low is not None and high is not None and not np.isnan(low[row, column])
        style = {"ha": "center", "va": "center", "color": colour}
        axes.text(column, row - 0.12 * known, f"{value:.2f}", fontsize=9, **style)
        if low is not None and high is not None and known:
            axes.text(column, row + 0.22, f"{low[row, column]:.2f} to {high[row, column]:.2f}", fontsize=5.5, **style)


def phase_tables(frames_looks: list[Look], scene: Scene) -> Means:
    """`by_phase` with the shape [F, P, P, H] (moments and episodes [F, P, P])."""
    phases, players = len(scene.phases), len(scene.players)
    means = by_phase(frames_looks, phases, players)
    shape = (phases, players, players)
    return Means(*(part.reshape(*shape, -1) for part in means[:3]), *(part.reshape(shape) for part in means[3:]))


def phases_figure(seen: list[Look], scene: Scene, title: str) -> np.ndarray:
    """A table per head (row) and phase that occurs (column): how much each player attends to each. uint8 [H, W, 3]."""
    means = phase_tables(seen, scene)
    rows = np.flatnonzero(means.moments.any((0, 1)))  # players whom an agent ever moves
    shown = np.flatnonzero(means.moments.any((1, 2)))
    heads, side = means.mean.shape[-1], max(0.6 * len(rows), 1.6)
    names = player_labels(seen, scene, rows)
    size = ((side + 0.3) * len(shown) + 3.2, side * heads + 2.2)
    figure, axes = _plt().subplots(heads, len(shown), figsize=size, squeeze=False, layout="constrained")
    drawn = None
    for head in range(heads):
        for column, phase in enumerate(shown):
            table = axes[head, column]
            mean, low, high = (part[phase][np.ix_(rows, rows)][..., head] for part in means[:3])
            drawn = table.imshow(mean, **_colours(seen[0].mask.shape[1]))
            if len(rows) <= 6:
                _write_values(table, mean, low, high)
            table.set_xticks(range(len(rows)), names if head == heads - 1 else [], rotation=45, ha="right", fontsize=8)
            table.set_yticks(range(len(rows)), names if column == 0 else [], fontsize=8)
            if head == 0:
                steps = sum(int((look.phase == phase).sum()) for look in seen)
                episodes = sum(int((look.phase == phase).any()) for look in seen)
                table.set_title(f"{scene.phases[phase]}\n{steps:,} steps, {episodes} episodes", fontsize=9)
        axes[head, 0].set_ylabel(f"head {head}: asks")
    figure.supxlabel("is attended to", fontsize=9)
    figure.colorbar(drawn, ax=axes.ravel().tolist(), shrink=0.8, label="attention (white: equal share)")
    figure.suptitle(title)
    return _pixels(figure)


def player_labels(seen: list[Look], scene: Scene, rows: np.ndarray) -> list[str]:
    """Names of the players in `rows`, after the number that they carry in a clip where it never changes."""
    labels = []
    for row in rows.tolist():
        numbers = np.unique(np.concatenate([np.nonzero(look.who == row)[1] for look in seen]))
        name = scene.players[row]
        labels.append(name if name.startswith("agent ") or len(numbers) != 1 else f"{numbers[0]}: {name}")
    return labels


def _known(means: Means, seen: int) -> np.ndarray:
    """[G] bool: groups with enough moments from enough of the `seen` episodes."""
    return (means.moments >= FEWEST) & (means.episodes >= min(max(FEWEST_EPISODES, seen // 5), seen))


def field_figure(seen: list[Look], scene: Scene, title: str, ground: np.ndarray | None = None) -> np.ndarray:
    """A row per head: attention by where the attended teammate stands on the field, and as seen from the one who asks;
    and by distance and who has the ball. uint8 [H, W, 3]. ground: a picture of the field to draw on."""
    half, reach = scene.half_size, REACH[scene.kind]
    shape = round(2 * half[1] / CELL[scene.kind]), round(2 * half[0] / CELL[scene.kind])
    place = by_place(seen, scene.scale, half, shape)
    offset = by_offset(seen, scene.scale, reach, OFFSETS)
    edges = np.linspace(0, np.hypot(*reach) * 0.9, BINS + 1)
    distance = by_distance(seen, scene.scale, edges)
    heads, agents = place.mean.shape[1], seen[0].mask.shape[1]
    tall = 4.9 * half[1] / half[0]
    figure, axes = _plt().subplots(
        heads, 3, figsize=(14, tall * heads + 1.4), squeeze=False, width_ratios=(5, 4, 4), layout="constrained"
    )
    for head in range(heads):
        on_field, around, course = axes[head]
        values = [np.where(_known(part, len(seen)), part.mean[:, head], np.nan) for part in (place, offset)]
        drawn = _map(on_field, values[0].reshape(shape), half, agents, ground)
        _field(on_field, scene)
        _map(around, values[1].reshape(OFFSETS), reach, agents)
        around.plot(0, 0, marker="^", color="k", markersize=9)
        _curves(course, distance, head, _known(distance, len(seen)), edges, scene)
        course.axhline(1 / agents, color="k", linewidth=0.8, linestyle=":", label="equal share")
        course.legend(fontsize=8)
        on_field.set_ylabel(f"head {head}", fontsize=12)
        figure.colorbar(drawn, ax=on_field, shrink=0.8)
    length = f" [{scene.unit}]" if scene.unit else ""
    attacks = ", attacking to the right" if scene.kind == "football" else ""
    axes[0, 0].set_title(f"by where the teammate stands{length}{attacks}", fontsize=10)
    axes[0, 1].set_title(f"by where it stands from the asker (triangle){length}", fontsize=10)
    axes[0, 2].set_title("by distance, with 95% intervals over episodes", fontsize=10)
    axes[-1, 2].set_xlabel(f"distance{length}")
    figure.suptitle(title)
    return _pixels(figure)


def _map(
    axes: Any, values: np.ndarray, half: tuple[float, float], agents: int, ground: np.ndarray | None = None
) -> Any:
    """One heat map; y grows downwards, as in the pictures."""
    extent = (-half[0], half[0], half[1], -half[1])
    if ground is not None:
        axes.imshow(ground.mean(-1) * 0.8 + 20, cmap="gray", vmin=0, vmax=255, extent=extent)
    colours = _colours(agents) if ground is None else _colours(agents, "#00000000") | {"alpha": 0.85}
    drawn = axes.imshow(values, extent=extent, **colours)
    axes.set(xlim=extent[:2], ylim=extent[2:])
    axes.tick_params(labelsize=8)
    return drawn


def _field(axes: Any, scene: Scene) -> None:
    """The lines of a football pitch, in metres."""
    if scene.kind != "football":
        return
    from matplotlib.patches import Circle, Rectangle

    length = scene.half_size[0]
    style = {"fill": False, "edgecolor": _LINES, "linewidth": 1}
    axes.add_patch(Circle((0, 0), 9.15, **style))
    axes.axvline(0, color=_LINES, linewidth=1)
    for side in (-1, 1):
        for depth, half in ((16.5, 20.15), (5.5, 9.16), (-1.2, 3.66)):
            axes.add_patch(Rectangle((side * length, -half), -side * depth, 2 * half, clip_on=False, **style))


def _curves(axes: Any, means: Means, head: int, known: np.ndarray, edges: np.ndarray, scene: Scene) -> None:
    middle = (edges[1:] + edges[:-1]) / 2
    for i, relation in enumerate(RELATIONS):
        rows = np.flatnonzero(known[i * BINS : (i + 1) * BINS])
        mean, low, high = (part[i * BINS + rows, head] for part in means[:3])
        label = relation if scene.kind == "football" else None
        if len(rows):
            axes.plot(middle[rows], mean, color=_COLOURS[i], marker="o", markersize=3, label=label)
            axes.fill_between(middle[rows], low, high, color=_COLOURS[i], alpha=0.18, linewidth=0)
    axes.set(xlim=(0, edges[-1]), ylim=(0, 1), ylabel="attention")
    axes.tick_params(labelsize=8)
