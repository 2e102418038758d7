"""A picture of predictions: where everybody goes, and where the team thinks they will go."""

import numpy as np
import torch

from agents import TeamNetwork
from marl.pretrain_data import Rows
from marl.pretrain_errors import unit_of

COLOURS = {"teammate": "#e0b000", "opponent": "#3e76e2", "ball": "#222222"}
COLUMNS = 3
REACH = 6
"""Half the side of what is shown, in steps of ordinary large size per step ahead."""
THIN = {"color": "black", "width": 0.004}


@torch.inference_mode()
def guesses(network: TeamNetwork, rows: Rows) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The mean guess of the present agents, the truth, and where it is known, at the farthest horizon.

    Returns: [N, E, 2] twice, in units of `positions`, and bool [N, E].
    """
    obs = {key: value.to(next(network.parameters()).device) for key, value in rows.obs.items()}
    said = network.predict(network.encode(obs)[0]).displacement
    if said is None:
        raise ValueError("this network predicts cells, which are no arrows")
    horizon = network.config.horizon
    weight = rows.obs["mask"].float()[..., None, None]
    mean = (said[:, :, :, -1].cpu() * weight).sum(1) / weight.sum(1).clamp(min=1)
    scale = torch.tensor(network.spec.step_scale) * horizon
    truth, known = rows.targets.displacement[:, :, -1], rows.targets.mask[:, :, -1]
    return (mean * scale).numpy(), (truth * scale).numpy(), known.numpy()


def draw(network: TeamNetwork, rows: Rows) -> np.ndarray:
    """The surroundings of whoever moves most, one picture per moment: a dot per entity, a broad arrow to where it went,
    a thin one to where the team thought; y grows downwards, as on the pitch. uint8 [H, W, 3]."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    guess, truth, known = guesses(network, rows)
    unit, length = unit_of(network.spec)
    scale = length / np.array(network.spec.step_scale)  # of that unit in a unit of positions
    places, there = rows.obs["positions"].numpy() * scale, rows.obs["entity_mask"].numpy()
    lines = -(-len(places) // COLUMNS)
    figure, axes = plt.subplots(
        lines, COLUMNS, figsize=(4.6 * COLUMNS, 3.4 * lines), squeeze=False, layout="constrained"
    )
    for moment, axis in enumerate(axes.flat):
        if moment >= len(places):
            axis.set_visible(False)
            continue
        for kind, colour in COLOURS.items():
            mine = there[moment] & np.array([one == kind for one in network.spec.entity_kinds])
            axis.scatter(*places[moment, mine].T, s=26, color=colour, label=kind if mine.any() else None, zorder=3)
            mine &= known[moment]
            for arrows, style in ((truth, {"color": colour, "alpha": 0.35, "width": 0.012}), (guess, THIN)):
                ends = arrows[moment, mine] * scale
                axis.quiver(*places[moment, mine].T, *ends.T, angles="xy", scale_units="xy", scale=1, zorder=2, **style)
        centre = places[moment, _busiest(truth[moment], there[moment])]
        reach = REACH * network.config.horizon * float(length.max())
        axis.set(xlim=(centre[0] - reach, centre[0] + reach), ylim=(centre[1] + reach, centre[1] - reach))
        axis.set(aspect="equal", xlabel=f"x [{unit}]", ylabel=f"y [{unit}]")
    axes[0, 0].legend(fontsize=7, loc="upper left")
    figure.suptitle(f"{network.config.horizon} steps ahead: broad arrows the truth, thin ones the team's mean guess")
    figure.canvas.draw()
    picture = np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()  # type: ignore[attr-defined]
    plt.close(figure)
    return picture


def _busiest(truth: np.ndarray, there: np.ndarray) -> int:
    """The present entity that moves farthest, to be shown in the middle. truth: [E, 2]; there: [E]."""
    return int(np.where(there, np.linalg.norm(truth, axis=-1), -1).argmax())
