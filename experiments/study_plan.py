"""The plan of a study: every cell of its grid with its configuration, and what must be there before it.

STUDY/TASK/random.json            episodes of the random policy
STUDY/TASK/recordings/SEED/data/  what a pre-training learns from
STUDY/TASK/pretrained/SEED/run/   a pre-training: one per seed, shared by the arms with "+pretrain"
STUDY/TASK/ARM/SEED/              a cell: an ordinary run folder, with result.json once it is done
STUDY/tuning/TASK/ARM/FACTOR/SEED/  a cell of the search for a learning rate
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

import agents
import envs
from experiments import presets, runs
from experiments.presets.study import ARMS, LEARNING_RATE_FACTORS, TASKS, Budget
from marl import TrainConfig

PRETRAIN = "+pretrain"
LARGEST_DIFFERENCE = 0.01
"""By which part of `acam`'s number of parameters another arm's may differ."""
_NOT_PART = ("device", "checkpoint_interval_s", "keep_checkpoints", "pretrained")
"""Fields that do not decide a result, and one whose meaning is another node."""
Rates = dict[str, dict[str, float]]
"""Task -> arm -> factor of the preset's learning rate."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """What was asked for: a part of a size, or all of it."""

    folder: Path
    budgets: dict[str, Budget]
    """Task -> budget, with the seeds that were asked for."""
    arms: tuple[str, ...] = ARMS
    rates: Rates


@dataclass(frozen=True, kw_only=True)
class Node:
    """One piece of work. It is done once its last file is there, and made for the present configuration."""

    kind: str
    """"random", "record", "pretrain", "cell" or "unseen"."""
    key: str
    """Unique in the study: its folder below the study's."""
    folder: Path
    task: str
    arm: str = ""
    seed: int = 0
    needs: tuple[str, ...] = ()
    """Keys of the nodes that must be done before."""
    config: TrainConfig
    """Of the cell; for the other kinds, of the cell that they are for."""
    budget: Budget
    episodes: int = 0
    opponents: tuple[tuple[str, str], ...] = ()
    """unseen: (name, key of the cell whose policy it is) of opponents that are trained."""


@lru_cache
def spec_of(env: envs.EnvConfig) -> agents.ObservationSpec:
    """The observations of an environment, from an instance that is closed again."""
    instance = envs.make_team(env)
    try:
        return agents.ObservationSpec.from_team(instance.spec)
    finally:
        instance.close()


def parameters(config: TrainConfig) -> int:
    """How many parameters the network has, all heads counted."""
    with torch.device("meta"):
        network = agents.TeamNetwork(spec_of(config.env), config.network)
    return sum(parameter.numel() for parameter in network.parameters())


@lru_cache
def matched(config: TrainConfig, target: int) -> TrainConfig:
    """`config` with the `hidden` whose number of parameters is closest to `target`.

    Raises: ValueError if none comes within LARGEST_DIFFERENCE.
    """

    def with_hidden(hidden: int) -> TrainConfig:
        return replace(config, network=replace(config.network, hidden=hidden))

    # The count grows with `hidden`, so the first width at or above the target and the one below it are the closest.
    low, high = 1, 2
    while parameters(with_hidden(high)) < target:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if parameters(with_hidden(middle)) < target else (low, middle)
    best = min((with_hidden(low), with_hidden(high)), key=lambda c: abs(parameters(c) - target))
    if abs(parameters(best) - target) > LARGEST_DIFFERENCE * target:
        raise ValueError(
            f"arm {config.network.arm!r} cannot have as many parameters as acam ({target:,}) within "
            f"{LARGEST_DIFFERENCE:.0%}: the closest is {parameters(best):,}"
        )
    return best


def base_config(task: str, arm: str, budget: Budget) -> TrainConfig:
    """The preset's configuration with the budget of the study, and as many parameters as `acam` has."""
    plain = arm.replace(PRETRAIN, "")
    config, acam = (_sized(f"{task}-{name}", budget) for name in (plain, "acam"))
    return config if config.network == acam.network else matched(config, parameters(acam))


def _sized(preset: str, budget: Budget) -> TrainConfig:
    found = presets.get(preset)
    config: TrainConfig = found.tiny(found.make()) if budget.tiny else found.make()
    num_envs = config.runners.num_envs if budget.num_envs is None else budget.num_envs
    return replace(
        config,
        env_steps=budget.env_steps,
        device="cpu",
        checkpoint_interval_s=30.0,
        runners=replace(config.runners, num_runners=budget.num_runners, num_envs=num_envs),
        evaluation=replace(
            config.evaluation,
            episodes=budget.episodes,
            interval_s=0,
            interval_env_steps=budget.interval_env_steps,
            interval_episodes=budget.interval_episodes,
        ),
    )


def with_rate(config: TrainConfig, factor: float) -> TrainConfig:
    """`config` with the learning rates of its algorithm times `factor`."""
    old = config.learning
    new = replace(old, learning_rate=old.learning_rate * factor, learning_rate_end=old.learning_rate_end * factor)
    return replace(config, **{config.algorithm: new})


def digest(config: TrainConfig) -> str:
    """A name for everything in a configuration that decides a result. What it is pre-trained from counts as the fact
    alone: that is a node of its own, and the path differs from machine to machine."""
    data: dict[str, Any] = runs.config_to_json(config)
    unused = {"ppo", "impala"} - {config.algorithm}
    kept = {name: value for name, value in data.items() if name not in (*_NOT_PART, *unused)}
    kept["pretrained"] = config.pretrained is not None
    kept["runners"] = {name: kept["runners"][name] for name in ("num_runners", "num_envs")}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:16]


def nodes(grid: Grid) -> list[Node]:
    """Everything that the study needs, each after what it needs."""
    found: list[Node] = []
    for task, budget in grid.budgets.items():
        found += _task_nodes(grid, task, budget)
    return found + list(_unseen_nodes(grid, {node.key for node in found}))


def _task_nodes(grid: Grid, task: str, budget: Budget) -> Iterator[Node]:
    root = grid.folder / task
    acam = base_config(task, "acam", budget)
    random = {"kind": "random", "key": f"{task}/random", "folder": root, "task": task}
    yield Node(**random, config=acam, budget=budget, episodes=budget.episodes)
    if any(PRETRAIN in arm for arm in grid.arms):
        for seed in budget.seeds:
            yield from _pretraining(root, task, replace(acam, seed=seed), budget, f"{seed}")
    for seed in budget.seeds:  # seed by seed, so that a study that is cut short is short of seeds, not of arms
        for arm in grid.arms:
            config = with_rate(base_config(task, arm, budget), grid.rates.get(task, {}).get(arm, 1.0))
            yield _cell(root, f"{task}/{arm}/{seed}", task, arm, replace(config, seed=seed), budget, f"{seed}")


def _pretraining(root: Path, task: str, config: TrainConfig, budget: Budget, name: str) -> Iterator[Node]:
    common = {"task": task, "seed": config.seed, "config": config, "budget": budget}
    record = f"{task}/recordings/{name}"
    yield Node(kind="record", key=record, folder=root / "recordings" / name, **common)
    folder = root / "pretrained" / name
    yield Node(kind="pretrain", key=f"{task}/pretrained/{name}", folder=folder, needs=(record,), **common)


def _cell(root: Path, key: str, task: str, arm: str, config: TrainConfig, budget: Budget, pretrained: str) -> Node:
    needs: tuple[str, ...] = ()
    if PRETRAIN in arm:
        needs = (f"{task}/pretrained/{pretrained}",)
        config = replace(config, pretrained=str((root / "pretrained" / pretrained / "run").absolute()))
    folder = root / key.partition("/")[2]
    common = {"task": task, "arm": arm, "seed": config.seed, "needs": needs, "config": config, "budget": budget}
    return Node(kind="cell", key=key, folder=folder, **common)


def _unseen_nodes(grid: Grid, planned: set[str]) -> Iterator[Node]:
    """Matches against opponents that a cell never met. A trained opponent is every arm's policy of the same seed. After
    self-play there is nothing left to do: all its evaluations are against the built-in AI, which it never met."""
    for task, budget in grid.budgets.items():
        other = TASKS[task].unseen_task
        for seed in budget.seeds:
            rivals = tuple((arm, f"{other}/{arm}/{seed}") for arm in grid.arms if f"{other}/{arm}/{seed}" in planned)
            if not TASKS[task].unseen_env and not rivals:
                continue
            for arm in grid.arms:
                key = f"{task}/{arm}/{seed}"
                yield Node(
                    kind="unseen", key=f"{key}/unseen", folder=grid.folder / key, task=task, arm=arm, seed=seed,
                    needs=(key, *(rival for _, rival in rivals)), budget=budget, episodes=budget.episodes,
                    config=replace(base_config(task, arm, budget), seed=seed), opponents=rivals,
                )  # fmt: skip


def tuning_nodes(grid: Grid) -> list[Node]:
    """The search: every arm with every factor, seeds of its own, a shortened budget."""
    found = [
        node
        for task, full in grid.budgets.items()
        for seed in full.tuning_seeds
        for node in _seed_of_search(grid, task, replace(full, env_steps=full.tuning_env_steps), seed)
    ]
    return [
        replace(node, key=f"tuning/{node.key}", needs=tuple(f"tuning/{need}" for need in node.needs)) for node in found
    ]


def _seed_of_search(grid: Grid, task: str, budget: Budget, seed: int) -> Iterator[Node]:
    root = grid.folder / "tuning" / task
    if any(PRETRAIN in arm for arm in grid.arms):
        acam = replace(base_config(task, "acam", budget), seed=seed)
        yield from _pretraining(root, task, acam, budget, f"{seed}")
    for factor in LEARNING_RATE_FACTORS:
        for arm in grid.arms:
            config = replace(with_rate(base_config(task, arm, budget), factor), seed=seed)
            config = replace(config, evaluation=replace(config.evaluation, seed=seed))
            yield _cell(root, f"{task}/{arm}/{factor:g}/{seed}", task, arm, config, budget, f"{seed}")
