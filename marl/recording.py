"""Recordings of play for pre-training: what was seen, never what was done.

    recording = record(["scripted", "random"], envs.config("lab2d/commons_harvest"), "data/harvest", episodes=100)
    for episode in open_recording("data/harvest").episodes(0):
        episode["positions"]                      # [T + 1, E, 2]

No column holds actions or rewards. An observation is stored as a player has it, and football's views show every agent
its own sticky actions (direction, sprint, dribble) as the engine's own observations do: those are left in.

`marl/recording_format.py` says what is on disk. Every episode has a seed of its own from the half that evaluation never
uses, and its own generator for actions, so a recording does not depend on how many games are played side by side.
"""

import hashlib
import json
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import agents
import envs
from marl import players
from marl.checks import MOST, within
from marl.files import alone, whole
from marl.players import Player
from marl.recording_format import (
    FORMAT,
    MANIFEST,
    MOST_PARTS,
    PartWriter,
    Recording,
    open_recording,
    part_name,
    write_manifest,
)
from marl.recording_play import play, playing_env
from marl.workers import spread

__all__ = ["Recording", "open_recording", "record"]

Who = str | Path | agents.Policy | Player
Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class _Job:
    """One part to be played and written."""

    folder: Path
    number: int
    """Of the part."""
    episodes: range
    seats: tuple[Player, ...]
    env: envs.EnvConfig
    """What is stepped."""
    spec: agents.ObservationSpec
    """What is recorded."""
    seed: int
    num_envs: int


def record(
    who: Who | Sequence[Who],
    env: envs.EnvConfig,
    folder: str | Path,
    *,
    episodes: int,
    seed: int = 0,
    deterministic: bool = False,
    episodes_per_part: int = 20,
    num_envs: int = 8,
    workers: int = 1,
    progress: Progress | None = None,
) -> Recording:
    """Plays episodes 0 to `episodes` - 1 into `folder`, or goes on where an earlier call with the same settings ended.

    Args:
        who: a player, what `players.make` takes, or several of either: episode n is played by number n modulo their
            count. In football they play the left team, and the engine the right one, whatever `env.opponents` says.
        env: the environment that the recording is for; its reward plays no role.
        seed: which set of episodes.
        deterministic: trained policies play their likeliest actions instead of samples.
        episodes_per_part: most episodes of a file; a part is written whole or not at all.
        num_envs: episodes played side by side. workers: processes, each of which plays whole parts.
        progress: called with (episodes done, `episodes`).
    Returns: the recording, which may hold more episodes than asked for if it did before.
    Raises: ValueError for a count below 1 or beyond `checks.MOST`, more parts than a recording can have, a player that
        does not fit, and a folder that holds something else; nothing in it is then changed.
    """
    within("episodes", episodes, 1)
    for name, count in {"episodes_per_part": episodes_per_part, "num_envs": num_envs, "workers": workers}.items():
        within(name, count, 1, MOST[name])
    within("seed", seed, 0)
    _check_parts(0, episodes, episodes_per_part)
    everybody = [who] if isinstance(who, str) or not isinstance(who, Sequence) else who
    seats = tuple(
        players.make(one, deterministic=deterministic) if isinstance(one, str | Path | agents.Policy) else one
        for one in everybody
    )
    spec = _check_players(seats, env)
    wanted = Recording(Path(folder), _manifest(seats, env, spec, seed), spec)
    with alone(wanted.folder):
        recording = _continued(wanted)
        _check_parts(len(recording.parts), episodes - recording.num_episodes, episodes_per_part)
        job = _Job(
            folder=wanted.folder, number=0, episodes=range(0), seats=seats, env=playing_env(env, seats), spec=spec,
            seed=seed, num_envs=num_envs,
        )  # fmt: skip
        firsts = range(recording.num_episodes, episodes, episodes_per_part)
        jobs = (
            replace(job, number=number, episodes=range(first, min(first + episodes_per_part, episodes)))
            for number, first in enumerate(firsts, len(recording.parts))
        )
        return _play_jobs(recording, jobs, min(workers, len(firsts)), progress, episodes)


def _check_parts(there: int, episodes: int, episodes_per_part: int) -> None:
    """Raises ValueError where `episodes` more would make more parts than a recording can have."""
    if there - (-episodes // episodes_per_part) > MOST_PARTS:
        raise ValueError(
            f"a recording has at most {MOST_PARTS:,} parts: there is no room for {episodes:,} episodes with "
            f"{episodes_per_part:,} of them in each; give fewer episodes, or more episodes_per_part"
        )


def _check_players(seats: Sequence[Player], env: envs.EnvConfig) -> agents.ObservationSpec:
    """What a network for `env` must know. Raises ValueError for nobody to play, or a player that does not fit."""
    if not seats:
        raise ValueError(f"a recording needs somebody who plays: {', '.join(players.NAMES)}, or a policy's folder")
    team = envs.make_team(playing_env(env, seats))
    try:
        for seat in seats:
            seat.fit(team.spec)
        spec = agents.ObservationSpec.from_team(team.spec)
    finally:
        team.close()
    own = isinstance(env, envs.FootballConfig) and env.builtin_ai
    lent = any(seat.needs_builtin_ai for seat in seats) and not own
    return replace(spec, num_actions=spec.num_actions - 1) if lent else spec


def _manifest(seats: Sequence[Player], env: envs.EnvConfig, spec: agents.ObservationSpec, seed: int) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "env": envs.to_json(env),
        "spec": spec.to_json(),
        "policy": [{"name": seat.name, "sha256": _fingerprint(seat)} for seat in seats],
        "seed": seed,
        "deterministic": any(getattr(seat, "deterministic", False) for seat in seats),
        "complete": False,
        "parts": [],
    }


def _fingerprint(player: Player) -> str | None:
    """Of a policy's network and weights; None for a player that its name describes."""
    policy = getattr(player, "policy", None)
    if not isinstance(policy, agents.Policy):
        return None
    digest = hashlib.sha256(json.dumps(asdict(policy.network.config), sort_keys=True).encode())
    for name, weights in sorted(policy.network.state_dict().items()):
        digest.update(name.encode())
        digest.update(weights.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _continued(wanted: Recording) -> Recording:
    """What the folder holds, or a new recording begun in it. Raises ValueError if it holds something else."""
    folder = wanted.folder
    if not (folder / MANIFEST).exists():
        if any(folder.glob("[!.]*")):
            raise ValueError(f"{folder} is not empty and holds no recording; give another folder")
        write_manifest(wanted)
        return wanted
    there = open_recording(folder)
    ours, theirs = (_identity(recording.manifest) for recording in (wanted, there))
    for name, value in ours.items():
        if theirs[name] != value:
            got, have = _shown(value, theirs[name])
            raise ValueError(
                f"{folder} holds a recording of another {name} ({have}, asked for {got}); give another folder"
            )
    _clear(folder)
    return there


def _identity(manifest: dict[str, Any]) -> dict[str, Any]:
    """What must be the same for a recording to go on, as JSON has it; a policy is its weights, wherever they lie."""
    policies = [(policy["sha256"] or policy["name"])[:16] for policy in manifest["policy"]]
    fields = {"environment": manifest["env"], "observation": manifest["spec"], "policy": policies}
    fields |= {"seed": manifest["seed"], "choice of actions": {"deterministic": manifest["deterministic"]}}
    return json.loads(json.dumps(fields))


def _shown(one: Any, other: Any) -> tuple[str, str]:
    """Two values in short: of dictionaries the first field that differs."""
    if isinstance(one, dict) and isinstance(other, dict):
        name = next(name for name in {**one, **other} if one.get(name) != other.get(name))
        return f"{name} {one.get(name)!r}"[:80], f"{name} {other.get(name)!r}"[:80]
    return str(one)[:80], str(other)[:80]


def _play_jobs(
    recording: Recording, jobs: Iterable[_Job], workers: int, progress: Progress | None, episodes: int
) -> Recording:
    """Plays the jobs in order and notes every part as soon as it and all before it are there."""

    def tell(done: int) -> None:
        if progress:
            progress(done, episodes)

    def note(recording: Recording, *parts: dict[str, Any]) -> Recording:
        parts = (*recording.parts, *parts)
        complete = sum(part["episodes"] for part in parts) >= episodes
        recording = replace(recording, manifest={**recording.manifest, "complete": complete, "parts": list(parts)})
        write_manifest(recording)
        return recording

    several = workers > 1
    entries = spread(_write_part, jobs, workers) if several else (_write_part(job, tell) for job in jobs)
    try:
        with closing(entries):
            for entry in entries:
                recording = note(recording, entry)
                if several:
                    tell(recording.num_episodes)
    finally:
        _clear(recording.folder)
    return recording if recording.manifest["complete"] else note(recording)


def _clear(folder: Path) -> None:
    """Removes what processes that were ended have begun."""
    for leftover in folder.glob(".part-*.writing"):
        leftover.unlink(missing_ok=True)


def _write_part(job: _Job, tell: Callable[[int], None] | None = None) -> dict[str, Any]:
    """Plays and writes a part; returns its entry in the manifest. tell: hears how many episodes there are now."""
    target = job.folder / part_name(job.number)
    with whole(target) as temporary:
        writer = PartWriter(temporary, job.spec)
        try:
            waiting: dict[int, tuple[envs.Obs, float]] = {}
            following = deque(job.episodes)
            played = play(job.seats, job.env, job.episodes, seed=job.seed, num_envs=job.num_envs)
            for done, (number, episode, total) in enumerate(played, job.episodes.start + 1):
                waiting[number] = (episode, total)
                while following and following[0] in waiting:
                    writer.add(following[0], *waiting.pop(following.popleft()))
                if tell:
                    tell(done)
            return writer.finish(target.name)
        finally:
            writer.close()
