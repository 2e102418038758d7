"""`tandem eval` of a team: held-out episodes of a trained policy beside the random policy."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console
from rich.table import Table

import agents
import envs
from agents.policy import find
from experiments import flags, runs
from experiments.evaluate import interval
from experiments.flags import say
from experiments.progress import Steps
from marl import EvalSettings
from marl.evaluation import RANDOM, Episode, evaluate, summarise, write_jsonl


@dataclass(frozen=True, kw_only=True)
class EvalCommand:
    """Flags of `tandem eval`."""

    run: tyro.conf.Positional[Path]
    """A run folder (its newest checkpoint), a checkpoint, or a policy folder."""
    episodes: int | None = None
    """Held-out episodes; the run's own number if omitted."""
    seed: int = 0
    """Which set of held-out seeds."""
    deterministic: bool | None = None
    """Most likely actions instead of samples; the run's own choice if omitted."""
    env: str | None = None
    """Another environment of the same observations, such as football/academy_3_vs_1_with_keeper."""
    random: bool = True
    """Play the random policy on the same seeds beside it."""
    workers: int = 1
    """Processes that play."""
    output: Path | None = None
    """Also write every episode as JSON lines here."""


def eval_command(args: list[str]) -> int:
    """Evaluates a trained policy on held-out seeds, beside the random policy."""
    command = flags.parse(
        EvalCommand,
        args,
        prog="tandem eval",
        example="tandem eval runs/football-empty-goal/20260101-120000-0 --episodes 100",
        about=eval_command.__doc__ or "",
    )
    for name in ("episodes", "workers"):
        value = getattr(command, name)
        if value is not None and value < 1:
            raise ValueError(f"--{name} must be at least 1, got {value}")
    if command.output:
        flags.check_writable(command.output)
    if command.seed < 0:
        raise ValueError(f"--seed must not be negative, got {command.seed}")
    env = envs.config(command.env) if command.env is not None else runs.environment_of(command.run)
    is_run = (command.run / "config.json").is_file()
    count = command.episodes or (runs.read(command.run)[1].evaluation if is_run else EvalSettings()).episodes
    deterministic = chosen_mode(command.run, command.deterministic)
    results = {}
    who: dict[str, Any] = {"trained": find(command.run)} | ({RANDOM: RANDOM} if command.random else {})
    for name, policy in who.items():
        results[name] = evaluate_with_progress(
            f"evaluating {name}",
            policy,
            env,
            episodes=count,
            seed=command.seed,
            deterministic=deterministic,
            workers=command.workers,
        )
    summaries = {name: summarise(episodes) for name, episodes in results.items()}
    print_comparison(summaries, count, env.level)
    if command.output:
        write_jsonl(command.output, results["trained"])
        say(f"episodes: {command.output}")
    return 0


def chosen_mode(path: Path, asked: bool | None) -> bool:
    """Whether to play the most likely actions: what was asked, else what the policy was trained to be judged by."""
    return bool(agents.load(path).meta.get("deterministic", False)) if asked is None else asked


def evaluate_with_progress(
    what: str, policy: Any, env: envs.EnvConfig, *, episodes: int, **options: Any
) -> list[Episode]:
    """`marl.evaluation.evaluate` with a progress bar."""
    with Steps(what, episodes) as steps:
        return evaluate(policy, env, episodes=episodes, progress=lambda done, total: steps.update(done), **options)


def print_comparison(summaries: dict[str, dict[str, dict[str, float]]], count: int, title: str) -> None:
    """A table: one row per number, one column per policy, means with 95% intervals."""
    table = Table(title=f"{title}, {count} held-out episodes, mean [95% interval]")
    table.add_column("")
    for name in summaries:
        table.add_column(name, justify="right")
    for metric in next(iter(summaries.values())):
        table.add_row(metric, *(interval(summary[metric]) for summary in summaries.values()))
    Console().print(table)
