"""Pictures of a policy at work: a clip of an episode and its attention maps."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

import agents
import envs
from agents.policy import gumbel
from marl.seeds import eval_seed


class Frame(NamedTuple):
    """One moment of an episode."""

    picture: np.ndarray
    """uint8 [H, W, 3]"""
    attention: np.ndarray
    """[H, A, A] mixing weights, query agent by key agent."""
    mask: np.ndarray
    """[A] bool, agents that are present."""
    ended: bool
    """The last moment of its episode."""
    numbers: dict[str, float]
    """The environment's own, where an episode ended."""


def play(
    policy: agents.Policy,
    env: envs.EnvConfig,
    *,
    first: int = 0,
    episodes: int = 1,
    steps: int,
    deterministic: bool = False,
    draw_attention: bool = True,
) -> Iterator[Frame]:
    """Plays held-out episodes `first`, `first` + 1, ... (the same as in an evaluation) and draws every step.

    Args: steps: stop after so many over all episodes; draw_attention: lines between agents, mean over heads.
    """
    instance = envs.make_team(envs.for_evaluation(env))
    left = steps
    try:
        for number in range(first, first + episodes):
            for frame in _episode(policy, instance, number, deterministic, draw_attention):
                yield frame
                left -= 1
                if left < 0:
                    return
    finally:
        instance.close()


def _episode(
    policy: agents.Policy, env: envs.TeamEnv, number: int, deterministic: bool, draw_attention: bool
) -> Iterator[Frame]:
    seed = eval_seed(0, number)
    rng = np.random.default_rng((seed, 2))
    obs, ended, info = env.reset(seed), False, {}
    while True:
        out = policy.output({key: value[None] for key, value in obs.items()})
        attention = out.attention[0].cpu().numpy()
        yield Frame(
            picture=env.draw(attention.mean(0) if draw_attention else None),
            attention=attention,
            mask=obs["mask"],
            ended=ended,
            numbers=dict(info.get("episode", {})),
        )
        if ended:
            return
        logits = out.logits[0].cpu().numpy()
        if not deterministic:
            logits = logits + gumbel(rng.random(logits.shape, dtype=np.float32))
        obs, _, terminated, truncated, info = env.step(logits.argmax(-1))
        ended = terminated or truncated


def attention_figure(frames: list[Frame], title: str) -> np.ndarray:
    """Mean attention per head over an episode as a heat map, with its course over time below. uint8 [H, W, 3]."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    weights = np.stack([frame.attention for frame in frames])  # [T, H, A, A]
    present = np.stack([frame.mask for frame in frames])  # [T, A]
    both = (present[:, None, :, None] & present[:, None, None, :]).astype(float)
    mean = (weights * both).sum(0) / np.maximum(both.sum(0), 1)
    heads, count = mean.shape[:2]
    figure, axes = plt.subplots(
        2, heads, figsize=(4.2 * heads, 6.4), squeeze=False, height_ratios=(3, 2), layout="constrained"
    )
    for head in range(heads):
        heat, course = axes[0, head], axes[1, head]
        drawn = heat.imshow(mean[head], vmin=0, vmax=1, cmap="viridis")
        for asks in range(count):
            for answers in range(count):
                value = mean[head, asks, answers]
                heat.text(answers, asks, f"{value:.2f}", ha="center", va="center", color="k" if value > 0.6 else "w")
        heat.set(title=f"head {head}", xlabel="answers", ylabel="asks", xticks=range(count), yticks=range(count))
        own = weights[:, head, np.arange(count), np.arange(count)]
        for agent in range(count):
            course.plot(1 - own[:, agent], label=f"agent {agent}", linewidth=1)
        course.set(xlabel="step", ylabel="attention to others", ylim=(0, 1.02))
    axes[1, 0].legend(fontsize=7, ncols=2)
    figure.colorbar(drawn, ax=axes[0, :].tolist(), shrink=0.8)
    figure.suptitle(title)
    figure.canvas.draw()
    picture = np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()  # type: ignore[attr-defined]
    plt.close(figure)
    return picture
