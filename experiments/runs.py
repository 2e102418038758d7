"""Run folders: `runs/<preset>/<time>-<seed>/`, with config.json written whole before anything else."""

import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import time
from dataclasses import fields, is_dataclass
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments import files, halves
from experiments.flags import say

if TYPE_CHECKING:
    import agents
    import envs

_PACKAGES = ("tandem-lab", "torch", "ray", "numpy", "pillow", "gymnasium", "gfootball", "dmlab2d")


def config_to_json(config: Any) -> dict[str, Any]:
    """The resolved configuration of either half as plain data."""
    return halves.of(config).to_json(config)


def config_from_json(data: dict[str, Any], half: str = halves.MARL) -> Any:
    """The inverse of `config_to_json`. Raises ValueError naming the field that does not exist or fit."""
    return halves.named(half).from_json(data)


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


def describe(preset: str, config: Any) -> dict[str, Any]:
    """What config.json and --dry-run say first. A record without "half" is of the MARL half, one without "kind" is a
    training."""
    name = halves.of(config).NAME
    half = {} if name == halves.MARL else {"half": name}
    kind = {"kind": config.KIND} if hasattr(config, "KIND") else {}
    return {"preset": preset, **half, **kind, "config": config_to_json(config)}


def create(runs_dir: Path, preset: str, config: Any, command: list[str]) -> Path:
    """Makes a new run folder. It appears with its config.json in it or not at all."""
    parent = runs_dir / preset
    staging = _staged(parent, runs_dir, preset, config, command)
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


def create_at(run: Path, preset: str, config: Any, command: list[str]) -> None:
    """Makes the run folder `run`, with its config.json in it or not at all. Raises ValueError if it is there."""
    staging = _staged(run.parent, run.parent, preset, config, command)
    try:
        staging.rename(run)
    except OSError:
        shutil.rmtree(staging, ignore_errors=True)
        raise ValueError(f"cannot make the run folder {run}: it is there already") from None


def _staged(parent: Path, runs_dir: Path, preset: str, config: Any, command: list[str]) -> Path:
    """A run folder under a temporary name in `parent`."""
    staging = parent / f".new-{os.getpid()}-{time.time_ns()}"
    try:
        staging.mkdir(parents=True)
    except OSError as error:
        raise ValueError(f"cannot make a run folder under {runs_dir}: {error.strerror}") from None
    record = {
        **describe(preset, config),
        "seed": config.seed,
        "git_sha": git_sha(),
        "versions": versions(),
        "command": command,
    }
    try:
        files.write_text(staging / "config.json", json.dumps(record, indent=2))
    except ValueError:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    return staging


def read(run: Path) -> tuple[str, Any]:
    """(preset, configuration) of a run folder. Raises ValueError in one sentence if it is none."""
    path = run / "config.json"
    if not path.is_file():
        raise ValueError(f"{run} is not a run folder: it has no config.json (runs are at runs/PRESET/TIME-SEED)")
    with halves.record_of(run) as record:
        if "kind" in record:
            raise ValueError(f"it is of `tandem {record['kind']}`, not of `tandem train`")
        for name, kind in (("preset", str), ("config", dict)):
            if not isinstance(record[name], kind):
                raise ValueError(f"{name} is {record[name]!r}")
        return record["preset"], config_from_json(record["config"], record.get("half", halves.MARL))


def check_fixed(run: Path, names: tuple[str, ...], stored: Any, asked: Any) -> None:
    """A run goes on as what it is; budget and pace may change. names: of fields that may not, "a.b" for an inner one.

    Raises: ValueError for one that would.
    """
    for name in names:
        before, after = (reduce(getattr, name.split("."), config) for config in (stored, asked))
        if before != after:
            name, before, after = _differing(name, before, after)
            raise ValueError(f"{name} of {run} cannot change when it goes on; it is {before}, asked was {after}")


def _differing(name: str, before: Any, after: Any) -> tuple[str, Any, Any]:
    """The first field that differs, "a.b" for an inner one, and its values."""
    if is_dataclass(before) and type(before) is type(after):
        for one in fields(before):
            if (mine := getattr(before, one.name)) != (theirs := getattr(after, one.name)):
                return _differing(f"{name}.{one.name}", mine, theirs)
    return name, before, after


def environment_of(path: Path) -> "envs.EnvConfig":
    """The environment that a run, checkpoint or policy folder was made for. Raises ValueError.

    Whoever asks is about to let it play, so a policy that has not learnt to is named in a line.
    """
    import envs
    from agents.reading import check_types

    if halves.name_at(path) != halves.MARL:
        raise ValueError(f"{path} is of the generative half: it has no environment")
    if (path / "config.json").is_file():
        return read(path)[1].env
    meta = tell_untrained(path).meta
    if "env" not in meta:
        raise ValueError(f"{path} does not say which environment it was made for; name one with --env")
    try:
        env = envs.from_json(meta["env"])
        check_types(env)
    except ValueError as error:
        raise ValueError(f"{path} does not say which environment it was made for: {error}") from None
    return env


def tell_untrained(path: Path) -> "agents.Policy":
    """The policy at `path`, and a line for the person if its head for actions is untrained. Raises ValueError."""
    import agents

    policy = agents.load(path)
    if policy.untrained:
        say(f"{path} was only pre-trained: its head for actions is untrained, so it acts at random")
    return policy


def rewrite_config(run: Path, config: Any) -> None:
    """Notes a changed budget or pace of a run that goes on."""
    with halves.record_of(run) as record:
        record["config"] = config_to_json(config)
    files.write_text(run / "config.json", json.dumps(record, indent=2))
