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

import torch

import agents
from agents import Policy
from agents.reading import check_fields, json_of, reading

if TYPE_CHECKING:
    from ray.rllib.algorithms.algorithm import Algorithm


def newest(run: Path) -> Path | None:
    """The newest complete checkpoint of a run folder, or None."""
    found = sorted(path for path in (run / "checkpoints").glob("[0-9]*") if (path / "progress.json").is_file())
    return found[-1] if found else None


def progress_of(checkpoint: Path) -> dict[str, Any]:
    """Where the run stood. Raises ValueError in one sentence if the file cannot be read."""
    kinds = {"env_steps": int, "iterations": int, "train_s": float}
    with json_of(checkpoint / "progress.json", "a checkpoint") as progress:
        check_fields(progress, kinds)
        for name in kinds:
            if progress[name] < 0:
                raise ValueError(f"{name} must not be negative, got {progress[name]}")
    return progress


def restore_adam(path: Path, optimiser: torch.optim.Adam) -> None:
    """Gives an optimiser the state in a file, and leaves its settings. Nothing but tensors is unpickled.

    Raises: ValueError in one sentence for a damaged file, or a state that is not one of the optimiser's parameters:
    torch would take most of those, and fail in the middle of the next step.
    """
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    with reading(path, "the state of an optimiser"):
        state = torch.load(path, "cpu", weights_only=True)["state"]
        if set(state) != set(range(len(parameters))):
            raise ValueError(f"it is of {len(state)} parameters, not of {len(parameters)}")
        for index, parameter in enumerate(parameters):
            shape = parameter.shape
            shapes = {"step": torch.Size(), "exp_avg": shape, "exp_avg_sq": shape}
            if {name: value.shape for name, value in state[index].items()} != shapes:
                raise ValueError(f"what it says of parameter {index} is not of its shape, {tuple(shape)}")
            least = {"step": 1.0, "exp_avg": -float("inf"), "exp_avg_sq": 0.0}
            if not all((value.isfinite() & (value >= least[name])).all() for name, value in state[index].items()):
                raise ValueError(f"what it says of parameter {index} are numbers that cannot be")
        optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})


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
    try:
        state(temporary)
        policy.save(temporary / "policy")
        (temporary / "progress.json").write_text(json.dumps(progress, indent=2))
    except Exception:  # mostly a full disk, where half a checkpoint is in the way of everything else
        shutil.rmtree(temporary, ignore_errors=True)
        raise
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
