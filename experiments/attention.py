"""`tandem attention`: whom the agents of a trained team attend to, in each phase of the game and from where."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

import agents
import envs
from experiments import attention_figures, files, flags, media, runs
from experiments.evaluate_marl import chosen_mode
from experiments.flags import say
from experiments.progress import Steps
from experiments.video import Watched, clip
from marl.attention_maps import Look
from marl.phases import Scene


@dataclass(frozen=True, kw_only=True)
class AttentionCommand(Watched):
    """Flags of `tandem attention`."""

    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("attention")
    """Folder for phases.png, pitch.png, attention.json and clip.mp4."""
    episodes: int = 20
    """How many episodes the figures are of."""
    clip_steps: int = 150
    """Steps in the clip, which has a panel for each head; 0 makes no clip."""


def attention_command(args: list[str]) -> int:
    """Shows which teammate attends to whom in each phase of the game, and where on the field attention goes."""
    command = flags.parse(
        AttentionCommand,
        args,
        prog="tandem attention",
        example="tandem attention runs/football-3v1-acam/20260101-120000-0 --episodes 20 -o attention",
        about=attention_command.__doc__ or "",
    )
    command.check(clip_steps=0)
    env, policy = runs.environment_of(command.run), agents.load(command.run)
    check(policy)
    flags.check_writable(command.output / "attention.json")
    options = {"first": command.episode, "deterministic": chosen_mode(command.run, command.deterministic)}
    frames = _play(policy, env, command.episodes, options)
    _write(command, media.looks(frames), frames[0].scene, media.ground(env))
    if command.clip_steps:
        _write_clip(command, policy, env, options)
    return 0


def check(policy: agents.Policy) -> None:
    """Raises ValueError where nobody can attend to anybody."""
    if media.attends(policy):
        return
    if policy.spec.num_agents < 2:
        raise ValueError(f"the policy for {policy.spec.env} plays a single agent, which has nobody to attend to")
    raise ValueError('the policy is of the arm "independent", whose agents attend to nobody; allowed: acam, meanpool')


def _play(policy: agents.Policy, env: envs.EnvConfig, episodes: int, options: dict[str, Any]) -> list[media.Frame]:
    frames = []
    with Steps("playing", episodes) as progress:
        for frame in media.play(policy, env, episodes=episodes, draw="nothing", **options):
            frames.append(frame)
            progress.update(frame.episode - options["first"] + frame.ended)
    return frames


def _write(command: AttentionCommand, seen: list[Look], scene: Scene, ground: np.ndarray | None) -> None:
    from experiments.tracking import write_png  # imports TensorBoard

    folder, of = command.output, f"{command.run.name}, {len(seen)} held-out episodes"
    figures: dict[str, Callable[[], np.ndarray]] = {
        "phases.png": lambda: attention_figures.phases_figure(seen, scene, f"who attends to whom: {of}"),
        "pitch.png": lambda: attention_figures.field_figure(seen, scene, f"where attention goes: {of}", ground),
    }
    for name, draw in figures.items():
        say(str(write_png(folder / name, draw())))
    rows = table(seen, scene)
    record = {
        "run": str(command.run),
        "first_episode": command.episode,
        "episodes": len(seen),
        "equal_share": 1 / seen[0].mask.shape[1],
        "phases": list(scene.phases),
        "players": list(scene.players),
        "rows": rows,
    }
    files.write_text(folder / "attention.json", json.dumps(record, indent=1))
    say(f"{folder / 'attention.json'} ({len(rows)} rows)")


def table(seen: list[Look], scene: Scene) -> list[dict[str, Any]]:
    """A row per phase, head, asking and answering player that occurs: mean attention, its 95% interval over episodes
    (None where there was one episode), moments and episodes."""
    means = attention_figures.phase_tables(seen, scene)
    rows = []
    for phase, asks, answers in np.argwhere(means.moments > 0).tolist():
        for head in range(means.mean.shape[-1]):
            at = phase, asks, answers, head
            low, high = (None if np.isnan(end[at]) else round(float(end[at]), 6) for end in (means.low, means.high))
            rows.append(
                {
                    "phase": scene.phases[phase],
                    "head": head,
                    "asks": scene.players[asks],
                    "answers": scene.players[answers],
                    "mean": round(float(means.mean[at]), 6),
                    "low": low,
                    "high": high,
                    "moments": int(means.moments[at[:3]]),
                    "episodes": int(means.episodes[at[:3]]),
                }
            )
    return rows


def _write_clip(command: AttentionCommand, policy: agents.Policy, env: envs.EnvConfig, options: dict[str, Any]) -> None:
    from experiments.tracking import write_video  # imports TensorBoard

    frames = []
    with Steps("drawing", command.clip_steps) as progress:
        steps = command.clip_steps
        for frame in media.play(policy, env, episodes=command.episodes, steps=steps, draw="heads", **options):
            frames.append(frame)
            progress.update(len(frames) - 1)
        progress.update(steps)
    say(str(write_video(command.output / "clip.mp4", clip(frames, command.fps), command.fps)))
