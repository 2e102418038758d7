"""Checkpoints of a run: whole or not there.

    checkpoints/000000409600/progress.json    where the run stood
                             policy/          safetensors and JSON, for people (agents.load)
                             rllib/           RLlib's own state (pickled): for resuming this run only
                             optimiser.pt     the same of a pre-training, which needs no RLlib

A checkpoint is written under a temporary name and renamed, so a folder with a plain number is complete.
"""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import agents
from agents import Policy

if TYPE_CHECKING:
    from ray.rllib.algorithms.algorithm import Algorithm


def newest(run: Path) -> Path | None:
    """The newest complete checkpoint of a run folder, or None."""
    found = sorted(path for path in (run / "checkpoints").glob("[0-9]*") if (path / "progress.json").is_file())
    return found[-1] if found else None


def progress_of(checkpoint: Path) -> dict[str, Any]:
    """Where the run stood. Raises ValueError in one sentence if the file cannot be read."""
    try:
        progress = json.loads((checkpoint / "progress.json").read_text())
        for name, kind in (("env_steps", int), ("train_s", float), ("iterations", int)):
            kind(progress[name])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{checkpoint} cannot be read as a checkpoint: {error}") from None
    return progress


def check(checkpoint: Path) -> None:
    """Raises ValueError in one sentence for a checkpoint that is damaged."""
    progress_of(checkpoint)
    agents.load(checkpoint / "policy")
    for name in ("algorithm_state.pkl", "learner_group/learner/state.pkl"):
        path = checkpoint / "rllib" / name
        if not path.is_file() or path.stat().st_size == 0:
            raise ValueError(f"{path} is missing or empty, so the run cannot go on from {checkpoint}")


def save(run: Path, algorithm: "Algorithm", policy: Policy, progress: dict[str, Any], keep: int) -> Path:
    """Writes a checkpoint of a training and removes all but the newest `keep`."""

    def state(folder: Path) -> None:
        algorithm.save_to_path(str((folder / "rllib").absolute()))

    return write(run, progress["env_steps"], state, policy, progress, keep)


def write(
    run: Path, number: int, state: Callable[[Path], None], policy: Policy, progress: dict[str, Any], keep: int
) -> Path:
    """Writes checkpoint `number` and removes all but the newest `keep`; `state` fills a folder with what resuming
    needs beyond the policy."""
    folder = run / "checkpoints"
    folder.mkdir(parents=True, exist_ok=True)
    target, temporary = folder / f"{number:012d}", folder / ".writing"
    shutil.rmtree(temporary, ignore_errors=True)
    if (target / "progress.json").is_file():
        return target  # nothing was learnt since; replacing it would leave a moment without it
    state(temporary)
    policy.save(temporary / "policy")
    (temporary / "progress.json").write_text(json.dumps(progress, indent=2))
    _remove(target)  # the remains of a process killed in the middle of a removal
    os.replace(temporary, target)
    for old in sorted(folder.glob("[0-9]*"))[:-keep]:
        _remove(old)
    return target


def _remove(checkpoint: Path) -> None:
    """Renamed first: a process killed in the middle must not leave half a checkpoint under a valid name."""
    if checkpoint.exists():
        doomed = checkpoint.with_name(".deleting")
        shutil.rmtree(doomed, ignore_errors=True)
        os.replace(checkpoint, doomed)
        shutil.rmtree(doomed, ignore_errors=True)
