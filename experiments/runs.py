"""Run folders: `runs/<preset>/<time>-<seed>/`, with config.json written whole before anything else."""

import importlib.metadata
import json
import os
import platform
import subprocess
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import agents
import envs
from marl import EvalSettings, PPOSettings, RunnerSettings, TrainConfig

_PARTS = {
    "network": agents.NetworkConfig,
    "ppo": PPOSettings,
    "runners": RunnerSettings,
    "evaluation": EvalSettings,
}
_PACKAGES = ("tandem-lab", "torch", "ray", "numpy", "gymnasium", "gfootball", "dmlab2d")


def config_to_json(config: TrainConfig) -> dict[str, Any]:
    """The resolved configuration as plain data."""
    return {**asdict(config), "env": envs.to_json(config.env)}


def config_from_json(data: dict[str, Any]) -> TrainConfig:
    """The inverse of `config_to_json`. Raises ValueError naming the field that does not exist or fit."""
    try:
        parts = {name: cls(**data[name]) for name, cls in _PARTS.items()}
        rest = {key: value for key, value in data.items() if key not in _PARTS and key != "env"}
        return TrainConfig(env=envs.from_json(data["env"]), **parts, **rest)
    except KeyError as error:
        raise ValueError(f"{error} is missing") from None
    except TypeError as error:
        raise ValueError(f"a field does not exist or fit: {error}") from None


def versions() -> dict[str, str]:
    """Versions of what decides a result."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def git_sha() -> str:
    """The commit of this source, "-dirty" if changed, or "unknown"."""
    here = Path(__file__).resolve().parent
    try:
        run = lambda *args: subprocess.run(["git", *args], cwd=here, capture_output=True, text=True, check=True).stdout  # noqa: E731
        return run("rev-parse", "HEAD").strip() + ("-dirty" if run("status", "--porcelain", "-uno").strip() else "")
    except (OSError, subprocess.CalledProcessError):
        return os.environ.get("TANDEM_GIT_SHA", "unknown")


def create(runs_dir: Path, preset: str, config: TrainConfig, command: list[str]) -> Path:
    """Makes a new run folder. It appears with its config.json in it or not at all."""
    parent = runs_dir / preset
    staging = parent / f".new-{os.getpid()}-{time.time_ns()}"
    try:
        staging.mkdir(parents=True)
    except OSError as error:
        raise ValueError(f"cannot make a run folder under {runs_dir}: {error.strerror}") from None
    record = {
        "preset": preset,
        "config": config_to_json(config),
        "seed": config.seed,
        "git_sha": git_sha(),
        "versions": versions(),
        "command": command,
    }
    (staging / "config.json").write_text(json.dumps(record, indent=2))
    stem = f"{time.strftime('%Y%m%d-%H%M%S')}-{config.seed}"
    for attempt in range(1000):
        target = parent / (stem if attempt == 0 else f"{stem}-{attempt + 1}")
        try:
            if not target.exists():
                staging.rename(target)
                return target
        except OSError:  # another run took the name in this very moment
            continue
    raise RuntimeError(f"no free name for a run under {parent}")


def read(run: Path) -> tuple[str, TrainConfig]:
    """(preset, configuration) of a run folder. Raises ValueError in one sentence if it is none."""
    path = run / "config.json"
    if not path.is_file():
        raise ValueError(f"{run} is not a run folder: it has no config.json (runs are at runs/PRESET/TIME-SEED)")
    try:
        record = json.loads(path.read_text())
        return record["preset"], config_from_json(record["config"])
    except KeyError as error:
        raise ValueError(f"{path} cannot be read: {error} is missing") from None
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} cannot be read as the configuration of a run: {error}") from None


def environment_of(path: Path) -> envs.EnvConfig:
    """The environment that a run, checkpoint or policy folder was made for. Raises ValueError."""
    if (path / "config.json").is_file():
        return read(path)[1].env
    meta = agents.load(path).meta
    if "env" not in meta:
        raise ValueError(f"{path} does not say which environment it was made for; name one with --env")
    return envs.from_json(meta["env"])


def rewrite_config(run: Path, config: TrainConfig) -> None:
    """Notes a changed budget or pace of a run that goes on."""
    path = run / "config.json"
    record = json.loads(path.read_text())
    record["config"] = config_to_json(config)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(record, indent=2))
    temporary.replace(path)
