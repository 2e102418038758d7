"""Pictures of a policy at work: what it sees, does and attends to in held-out episodes, drawn or not."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby
from typing import Literal, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import agents
import envs
from agents.policy import gumbel
from marl import phases
from marl.attention_maps import Look
from marl.seeds import eval_seed

Draw = Literal["mean", "heads", "plain", "nothing"]
"""Attention as lines between the agents: the mean over heads, a panel for each head, none; or no picture at all."""
_STRIP = 26
"""Height of the line of text over each panel [px]."""
_DARK, _LIGHT = (24, 30, 38), (226, 232, 238)
_NO_PICTURE = np.zeros((0, 0, 3), np.uint8)


class Frame(NamedTuple):
    """One moment of an episode."""

    picture: np.ndarray
    """uint8 [H, W, 3]; empty where nothing is drawn."""
    attention: np.ndarray
    """[H, A, A] mixing weights, query agent by key agent."""
    mask: np.ndarray
    """[A] bool, agents that are present."""
    ended: bool
    """The last moment of its episode."""
    numbers: dict[str, float]
    """The environment's own, where an episode ended."""
    episode: int
    who: np.ndarray
    """[A] row of `positions` that each agent moves."""
    positions: np.ndarray
    """[E, 2]"""
    phase: int
    holder: int
    """Row of the teammate who has the ball, or -1."""
    scene: phases.Scene


def play(
    policy: agents.Policy,
    env: envs.EnvConfig,
    *,
    first: int = 0,
    episodes: int = 1,
    steps: int | None = None,
    deterministic: bool = False,
    draw: Draw = "mean",
) -> Iterator[Frame]:
    """Plays held-out episodes `first`, `first` + 1, ... (as in an evaluation), moment by moment. Opponents that
    a caller would have to play are left to the engine.

    Args: steps: stop after so many over all episodes; None: play them all to their ends.
    Raises: ValueError where the policy was made for other observations.
    """
    instance = envs.make_team(_against_the_engine(envs.for_evaluation(env)))
    left = float("inf") if steps is None else steps
    try:
        differences = policy.spec.differences(agents.ObservationSpec.from_team(instance.spec))
        if differences:
            raise ValueError(f"the policy does not fit {instance.spec.env}: {differences[0]}")
        for number in range(first, first + episodes):
            for frame in _episode(policy, instance, number, deterministic, draw):
                yield frame
                left -= 1
                if left < 0:
                    return
    finally:
        instance.close()


def _against_the_engine(env: envs.EnvConfig) -> envs.EnvConfig:
    return replace(env, opponents=0) if isinstance(env, envs.FootballConfig) else env


def _episode(policy: agents.Policy, env: envs.TeamEnv, number: int, deterministic: bool, draw: Draw) -> Iterator[Frame]:
    seed = eval_seed(0, number)
    rng = np.random.default_rng((seed, 2))
    obs, ended, info, step = env.reset(seed), False, {}, 0
    scene = phases.scene(env)
    while True:
        out = policy.output({key: value[None] for key, value in obs.items()})
        attention, phase = out.attention[0].cpu().numpy(), phases.phase(env, obs, step)
        yield Frame(
            picture=_drawn(env, attention, draw, scene.phases[phase]),
            attention=attention,
            mask=obs["mask"],
            ended=ended,
            numbers=dict(info.get("episode", {})),
            episode=number,
            who=obs["who"],
            positions=obs["positions"],
            phase=phase,
            holder=phases.holder(env),
            scene=scene,
        )
        if ended:
            return
        logits = out.logits[0].cpu().numpy()
        if not deterministic:
            logits = logits + gumbel(rng.random(logits.shape, dtype=np.float32))
        obs, _, terminated, truncated, info = env.step(logits.argmax(-1))
        ended, step = terminated or truncated, step + 1


def _drawn(env: envs.TeamEnv, attention: np.ndarray, draw: Draw, phase: str) -> np.ndarray:
    if draw == "nothing":
        return _NO_PICTURE
    if draw == "heads":
        return panels([env.draw(head) for head in attention], [f"head {i}" for i in range(len(attention))], phase)
    return env.draw(attention.mean(0) if draw == "mean" else None)


def panels(pictures: list[np.ndarray], titles: list[str], note: str) -> np.ndarray:
    """Pictures of one size side by side in at most two rows, each under its title and the note. uint8 [H, W, 3]."""
    rows = 1 if len(pictures) <= 3 else 2
    columns = -(-len(pictures) // rows)
    height, width = pictures[0].shape[:2]
    canvas = Image.new("RGB", (columns * width, rows * (height + _STRIP)), _DARK)
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(15)
    for i, (picture, title) in enumerate(zip(pictures, titles, strict=True)):
        left, top = i % columns * width, i // columns * (height + _STRIP)
        canvas.paste(Image.fromarray(picture), (left, top + _STRIP))
        pen.text((left + 14, top + _STRIP // 2), title, font=font, fill=_LIGHT, anchor="lm")
        pen.text((left + width - 14, top + _STRIP // 2), note, font=font, fill=_LIGHT, anchor="rm")
    return np.asarray(canvas)


def attends(policy: agents.Policy) -> bool:
    """Whether agents of this policy can attend to one another: there are several, and they exchange what they see."""
    return policy.spec.num_agents > 1 and policy.network.config.arm != "independent"


def looks(frames: list[Frame]) -> list[Look]:
    """The frames as arrays, one `Look` per episode."""
    columns = ("attention", "mask", "who", "positions", "phase", "holder")
    return [
        Look(**{name: np.stack([getattr(frame, name) for frame in group]) for name in columns})
        for group in (list(part) for _, part in groupby(frames, key=lambda frame: frame.episode))
    ]


def ground(env: envs.EnvConfig) -> np.ndarray | None:
    """A picture of the empty field of an environment, to draw maps on: DMLab2D's world with its first apples."""
    if not isinstance(env, envs.Lab2dConfig):
        return None
    from envs.lab2d.drawing import CAPTION

    instance = envs.make_team(env)
    instance.reset(eval_seed(0, 0))
    picture = instance.draw()[:-CAPTION]
    instance.close()
    return picture
