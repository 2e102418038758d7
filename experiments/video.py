"""`tandem video`: a clip of a trained team, and its attention maps."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import tyro

import agents
from experiments import attention_figures, flags, media, runs
from experiments.evaluate_marl import chosen_mode
from experiments.flags import say
from experiments.progress import Steps
from marl import TrainConfig
from marl.checks import MOST, within

if TYPE_CHECKING:
    from experiments.tracking import Tracker

FPS = 12
SUFFIXES = (".mp4", ".gif", ".webp")
MOST_FRAMES = 10_000
"""Of a clip: it is held in memory."""


@dataclass(frozen=True, kw_only=True)
class Watched:
    """Flags of the commands that look at a trained team's held-out episodes."""

    run: tyro.conf.Positional[Path]
    """A run folder (its newest checkpoint), a checkpoint, or a policy folder."""
    episode: int = 0
    """The first held-out episode (the same numbers as in `tandem eval`)."""
    episodes: int = 1
    """How many episodes, one after the other."""
    fps: int = FPS
    """Frames per second of the clip."""
    deterministic: bool | None = None
    """Most likely actions instead of samples; the run's own choice if omitted."""

    def check(self, **least: int) -> None:
        """Raises ValueError for a number that makes no clip. least: of flags of one command's own, numbers of steps."""
        bounds = {"episode": (0, MOST["episodes"]), "episodes": (1, 1000), "fps": (1, 120)}
        bounds |= {name: (lowest, MOST_FRAMES) for name, lowest in least.items()}
        for name, (lowest, highest) in bounds.items():
            within(f"--{name.replace('_', '-')}", getattr(self, name), lowest, highest)


@dataclass(frozen=True, kw_only=True)
class VideoCommand(Watched):
    """Flags of `tandem video`."""

    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("clip.mp4")
    """Where to write: .mp4, .gif or .webp."""
    steps: int = 300
    """Steps at most, over all episodes."""
    attention: bool = True
    """Draw who attends to whom, mean over heads."""
    heads: bool = False
    """Draw a panel for each attention head."""


def video_command(args: list[str]) -> int:
    """Writes a clip of a trained team, with its attention maps beside it."""
    command = flags.parse(
        VideoCommand,
        args,
        prog="tandem video",
        example="tandem video runs/football-empty-goal/20260101-120000-0 -o clip.mp4 --episodes 5",
        about=video_command.__doc__ or "",
    )
    if command.output.suffix.lower() not in SUFFIXES:
        raise ValueError(f"cannot write a video as {command.output.name!r}; allowed suffixes: {', '.join(SUFFIXES)}")
    command.check(steps=1)
    flags.check_writable(command.output)
    env, policy = runs.environment_of(command.run), agents.load(command.run)
    frames = []
    with Steps("drawing", command.steps) as progress:
        for frame in media.play(
            policy,
            env,
            first=command.episode,
            episodes=command.episodes,
            steps=command.steps,
            deterministic=chosen_mode(command.run, command.deterministic),
            draw="heads" if command.heads else "mean" if command.attention else "plain",
        ):
            frames.append(frame)
            progress.update(len(frames) - 1)
        progress.update(command.steps)
    _write(command, frames)
    return 0


def _write(command: VideoCommand, frames: list[media.Frame]) -> None:
    from experiments import tracking  # imports TensorBoard

    tracking.write_video(command.output, clip(frames, command.fps), command.fps)
    maps = command.output.with_name(command.output.stem + "-attention.png")
    tracking.write_png(maps, attention_figures.overview(frames, f"attention in episode {command.episode}"))
    say(f"{command.output} ({len(frames)} frames) and {maps}")
    for frame in frames:
        if frame.ended:
            say("an episode ended with " + ", ".join(f"{name} {value:.3g}" for name, value in frame.numbers.items()))


def clip(frames: list[media.Frame], fps: int) -> list[np.ndarray]:
    """The pictures, with the last of each episode held for most of a second so that its outcome can be seen."""
    return [frame.picture for frame in frames for _ in range(1 + (3 * fps // 4 if frame.ended else 0))]


def picture(tracker: "Tracker", policy: agents.Policy, config: TrainConfig, step: int, clip_steps: int) -> None:
    """A clip and what the policy attends to into TensorBoard and media/: `clip_steps` steps of held-out episodes."""
    if clip_steps == 0:
        return
    frames = list(
        media.play(policy, config.env, episodes=5, steps=clip_steps, deterministic=config.evaluation.deterministic)
    )
    after = f"after {step:,} environment steps"
    tracker.image("attention", step, attention_figures.overview(frames, f"attention {after}"))
    if media.attends(policy):
        seen, scene = media.looks(frames), frames[0].scene
        field = attention_figures.field_figure(
            seen, scene, f"attention over the field {after}", media.ground(config.env)
        )
        tracker.image("attention_pitch", step, field)
        tracker.image("attention_phases", step, attention_figures.phases_figure(seen, scene, f"attention {after}"))
    tracker.video("clip", step, clip(frames, FPS), FPS)
