"""`tandem record`: plays episodes and writes down what was seen, for `tandem pretrain`."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import tyro

import envs
from experiments import files, flags, halves, presets
from experiments.flags import say
from experiments.progress import Steps

if TYPE_CHECKING:
    from marl.recording import Recording

PREVIEW = "preview.png"
PREVIEW_ROWS = 100_000
FEW = 20
"""Moments in the picture at most."""
FOOTBALL_BINS = (60, 40)
"""Cells of football's picture, along the pitch and across."""


@dataclass(frozen=True, kw_only=True)
class RecordCommand:
    """Flags of `tandem record`."""

    env: tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="ENV")]]
    """An environment, such as football/5_vs_5, or a preset, whose environment is taken."""
    policy: tuple[str, ...]
    """Who plays: random, idle, scripted, builtin_ai, or a run, checkpoint or policy folder. With several, episode n is
    played by number n modulo their count."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Folder of the recording; one that was begun with the same settings goes on."""
    episodes: int
    """Episodes that the recording has in the end."""
    players: int | None = None
    """Agents on the team; as the environment or preset has it if omitted."""
    view: str | None = None
    """What agents see; as the environment or preset has it if omitted."""
    steps: int | None = None
    """Length of an episode (DMLab2D only)."""
    seed: int = 0
    """Which set of episodes."""
    deterministic: bool = False
    """Trained policies play their likeliest actions instead of samples."""
    episodes_per_part: int = 20
    """Most episodes of a file."""
    num_envs: int = 8
    """Episodes played side by side; the recording does not depend on it."""
    workers: int = 1
    """Processes that play; the recording does not depend on it."""


def record_command(args: list[str]) -> int:
    """Records what a team sees in episodes of play (no actions, no rewards) as Parquet, for pre-training."""
    command = flags.parse(
        RecordCommand,
        args,
        prog="tandem record",
        example="tandem record football-3v1-acam --policy scripted random -o data/3v1 --episodes 400",
        about=record_command.__doc__ or "",
    )
    env = environment(command)
    from marl.recording import record  # imports PyArrow

    names = ("episodes", "seed", "deterministic", "episodes_per_part", "num_envs", "workers")
    options: dict[str, Any] = {name: getattr(command, name) for name in names}
    try:
        with Steps("recording", command.episodes) as steps:
            steps.update(0)
            options["progress"] = lambda done, total: steps.update(done)
            recording = record(command.policy, env, command.output, **options)
    except KeyboardInterrupt:
        say(f"stopped; the same command goes on after the last whole part in {command.output}")
        raise
    draw(recording, command.output / PREVIEW)
    _tell(recording, command.env)
    return 0


def environment(command: RecordCommand) -> envs.EnvConfig:
    """The environment that the flags name. Raises ValueError."""
    if "/" in command.env:
        env = envs.config(command.env)
    else:
        try:
            config = presets.get(command.env).make()
        except ValueError:
            raise ValueError(
                f"{command.env!r} is neither an environment (such as football/5_vs_5, see `tandem envs`) nor a preset "
                "(see `tandem presets`)"
            ) from None
        if halves.name_of(config) != halves.MARL:
            raise ValueError(f"preset {command.env!r} has no environment: it is of the generative half")
        env = config.env
    asked = {name: getattr(command, name) for name in ("players", "view", "steps")}
    changes: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
    if "steps" in changes and not isinstance(env, envs.Lab2dConfig):
        raise ValueError(f"--steps applies to lab2d/LEVEL only, not to {command.env}")
    return replace(env, **changes)


def _tell(recording: "Recording", name: str) -> None:
    episodes, steps, size = recording.num_episodes, recording.num_steps, recording.num_bytes
    per_step = f", {size / steps:.0f} per step" if steps else ""
    say(f"{recording.folder}: {episodes:,} episodes, {steps:,} steps, {size:,} bytes{per_step}")
    say(f"mean return {recording.return_mean:.3g}; where everybody was: {recording.folder / PREVIEW}")
    preset = "PRESET" if "/" in name else name
    say(f"go on with: tandem pretrain {preset} --data {recording.folder}")
    if episodes < FEW:
        say(f"pre-training holds out a tenth of the episodes, by chance: of fewer than {FEW} that may be none")


def draw(recording: "Recording", path: Path) -> None:
    """A picture of where each kind of entity was, over all of a recording (or its first PREVIEW_ROWS moments)."""
    from matplotlib.figure import Figure

    places = _places(recording)
    width, height = _cells(recording)
    figure = Figure(figsize=(5 * len(places), 4), layout="constrained")
    for axes, (kind, points) in zip(np.atleast_1d(figure.subplots(1, len(places))), places.items(), strict=True):
        edges = [np.linspace(-1 - 1 / (n - 1), 1 + 1 / (n - 1), n + 1) for n in (height, width)]
        counts, *_ = np.histogram2d(points[:, 1], points[:, 0], bins=edges)
        shown = np.log1p(counts)  # where somebody stands still would otherwise be all that is seen
        axes.imshow(shown, aspect="auto", extent=(edges[1][0], edges[1][-1], edges[0][-1], edges[0][0]))
        axes.set_title(f"{kind}: {len(points):,} places" if len(points) else f"{kind}: places not known")
        axes.set_xticks([-1, 0, 1])
        axes.set_yticks([-1, 0, 1])
    figure.suptitle(f"{recording.spec.env}: {recording.num_episodes} episodes\n(brighter: more often, log scale)")
    with files.whole(path) as temporary:
        figure.savefig(temporary, dpi=100)


def _cells(recording: "Recording") -> tuple[int, int]:
    """Columns and rows of the picture; a grid's own where a step is one cell."""
    if recording.spec.env.startswith("football/"):
        return FOOTBALL_BINS
    return (round(2 / recording.spec.step_scale[0]) + 1, round(2 / recording.spec.step_scale[1]) + 1)


def _places(recording: "Recording") -> dict[str, np.ndarray]:
    """Kind -> positions [N, 2] of all entities of that kind that were there."""
    kinds = np.array(recording.spec.entity_kinds)
    found: dict[str, list[np.ndarray]] = {kind: [np.zeros((0, 2))] for kind in recording.spec.entity_kinds}
    rows = 0
    for episode in _episodes(recording):
        for kind, points in found.items():
            there = episode["entity_mask"] & (kinds == kind)
            points.append(episode["positions"][there])
        rows += len(episode["entity_mask"])
        if rows >= PREVIEW_ROWS:
            break
    return {kind: np.concatenate(points) for kind, points in found.items()}


def _episodes(recording: "Recording") -> Iterator[envs.Obs]:
    for part in range(len(recording.parts)):
        yield from recording.episodes(part)
