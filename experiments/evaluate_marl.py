"""`tandem eval` of a team: held-out episodes of a trained policy beside the random policy, or matches (--against)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.table import Table

import agents
import envs
from agents.policy import find
from experiments import files, flags, runs
from experiments.evaluate import interval
from experiments.flags import say
from experiments.progress import Steps
from marl import EvalSettings
from marl.checks import MOST, within
from marl.evaluation import RANDOM, Episode, evaluate, summarise, write_jsonl
from marl.players import NAMES


@dataclass(frozen=True, kw_only=True)
class EvalCommand:
    """Flags of `tandem eval`."""

    run: tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="RUN")]]
    """A run folder (its newest checkpoint), a checkpoint, or a policy folder; or random, idle, scripted, builtin_ai."""
    against: tuple[str, ...] = ()
    """Play matches against these instead, with the sides swapped on every seed; with several, all play each other.
    Each is what RUN may be."""
    episodes: int | None = None
    """Held-out episodes; the run's own number if omitted."""
    pairs: int | None = None
    """With --against: seeds per match, each played twice; 20 if omitted."""
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
    """Also write every episode, or every game, as JSON lines here."""


def eval_command(args: list[str]) -> int:
    """Evaluates a trained policy on held-out seeds, beside the random policy; or plays matches (--against)."""
    command = flags.parse(
        EvalCommand,
        args,
        prog="tandem eval",
        example="tandem eval runs/football-empty-goal/20260101-120000-0 --episodes 100\n"
        "tandem eval runs/football-5v5-acam/20260101-120000-0 --against builtin_ai scripted --pairs 30",
        about=eval_command.__doc__ or "",
    )
    check(command)
    if command.against:
        from experiments.evaluate_match import match_command

        return match_command(command)
    env = environment(command)
    is_run = command.run not in NAMES and (Path(command.run) / "config.json").is_file()
    count = command.episodes or (runs.read(Path(command.run))[1].evaluation if is_run else EvalSettings()).episodes
    deterministic = chosen_mode(command.run, command.deterministic)
    results = {}
    trained = "trained" if command.run not in NAMES else command.run
    who = {trained: command.run if command.run in NAMES else find(command.run)}
    if command.random:
        who[RANDOM] = RANDOM
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
    against = " against the built-in AI" if getattr(env, "opponents", 0) else ""  # whoever it was in training
    print_comparison(summaries, count, env.level + against)
    if command.output:
        with files.whole(command.output) as temporary:
            write_jsonl(temporary, results[trained])
        say(f"episodes: {command.output}")
    return 0


def check(command: EvalCommand) -> None:
    """Raises ValueError for flags that cannot be meant."""
    for name in ("episodes", "pairs", "workers"):
        value = getattr(command, name)
        if value is not None:
            within(f"--{name}", value, 1, MOST[name])
    if command.seed < 0:
        raise ValueError(f"--seed must not be negative, got {command.seed}")
    if command.against and command.episodes is not None:
        raise ValueError("--episodes does not count with --against: each seed is played twice; give --pairs")
    if command.pairs is not None and not command.against:
        raise ValueError("--pairs counts with --against only; give --episodes")
    if command.output:
        flags.check_writable(command.output)


def environment(command: EvalCommand) -> envs.EnvConfig:
    """Where to play: what --env names, else what the policy was made for."""
    if command.env is not None:
        if command.run not in NAMES:
            runs.tell_untrained(Path(command.run))
        return envs.config(command.env)
    if command.run in NAMES:
        raise ValueError(f"{command.run} plays anything; name an environment with --env")
    return runs.environment_of(Path(command.run))


def chosen_mode(path: str | Path, asked: bool | None) -> bool:
    """Whether to play the most likely actions: what was asked, else what the policy was trained to be judged by."""
    if asked is not None or path in NAMES:
        return bool(asked)
    return bool(agents.load(path).meta.get("deterministic", False))


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
