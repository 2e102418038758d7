"""Recordings of play for pre-training: what was seen, never what was done.

    recording = record(["scripted", "random"], envs.config("lab2d/commons_harvest"), "data/harvest", episodes=100)
    for episode in open_recording("data/harvest").episodes(0):
        episode["positions"]                      # [T + 1, E, 2]

`marl/recording_format.py` says what is on disk. Every episode has a seed of its own from the half that evaluation never
uses, and its own generator for actions, so a recording does not depend on how many games are played side by side.
"""

import fcntl
import hashlib
import json
import os
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

import agents
import envs
from marl import players
from marl.players import Player
from marl.recording_format import (
    FORMAT,
    MANIFEST,
    PartWriter,
    Recording,
    open_recording,
    part_name,
    whole,
    write_manifest,
)
from marl.recording_play import play, playing_env

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
    Raises: ValueError for a count below 1, a player that does not fit, and a folder that holds something else; nothing
        in it is then changed.
    """
    _check_counts(1, episodes=episodes, episodes_per_part=episodes_per_part, num_envs=num_envs, workers=workers)
    _check_counts(0, seed=seed)
    everybody = [who] if isinstance(who, str) or not isinstance(who, Sequence) else who
    seats = tuple(
        players.make(one, deterministic=deterministic) if isinstance(one, str | Path | agents.Policy) else one
        for one in everybody
    )
    spec = _check_players(seats, env)
    wanted = Recording(Path(folder), _manifest(seats, env, spec, seed), spec)
    with _alone(wanted.folder):
        recording = _continued(wanted)
        job = _Job(
            folder=wanted.folder, number=0, episodes=range(0), seats=seats, env=playing_env(env, seats), spec=spec,
            seed=seed, num_envs=num_envs,
        )  # fmt: skip
        firsts = range(recording.num_episodes, episodes, episodes_per_part)
        jobs = [
            replace(job, number=number, episodes=range(first, min(first + episodes_per_part, episodes)))
            for number, first in enumerate(firsts, len(recording.parts))
        ]
        return _play_jobs(recording, jobs, workers, progress, episodes)


def _check_counts(least: int, **counts: int) -> None:
    for name, count in counts.items():
        if count < least:
            raise ValueError(f"{name} must be at least {least}, got {count}")


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
    for leftover in folder.glob(".part-*.writing"):  # of a process that was killed
        leftover.unlink(missing_ok=True)
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


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Makes the folder and holds it. Raises ValueError if it cannot be made, or another process records into it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise ValueError(f"cannot record into {folder}: {error.strerror}") from None
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"another process is recording into {folder}; give another folder") from None
        yield
    finally:
        os.close(handle)


def _play_jobs(
    recording: Recording, jobs: list[_Job], workers: int, progress: Progress | None, episodes: int
) -> Recording:
    """Plays the jobs in order and notes every part as soon as it and all before it are there."""

    def tell(done: int) -> None:
        if progress:
            progress(done, episodes)

    def note(recording: Recording, *parts: dict[str, Any], complete: bool) -> Recording:
        manifest = {**recording.manifest, "complete": complete, "parts": [*recording.parts, *parts]}
        recording = replace(recording, manifest=manifest)
        write_manifest(recording)
        return recording

    if workers == 1:
        for job in jobs:
            recording = note(recording, _write_part(job, tell), complete=job is jobs[-1])
    elif jobs:
        pool = ProcessPoolExecutor(min(workers, len(jobs)), mp_context=get_context("spawn"), initializer=_start_worker)
        try:
            for job, entry in zip(jobs, pool.map(_write_part, jobs), strict=True):
                recording = note(recording, entry, complete=job is jobs[-1])
                tell(recording.num_episodes)
        except BrokenProcessPool:
            raise ValueError(
                f"a process that played for {recording.folder} was ended from outside (perhaps for want of memory); "
                "the same command goes on after the last part"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)
            for leftover in recording.folder.glob(".part-*.writing"):
                leftover.unlink(missing_ok=True)
    if not jobs and not recording.manifest["complete"]:
        recording = note(recording, complete=True)
    return recording


def _start_worker() -> None:
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # an interrupt ends it at once and without a traceback


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
