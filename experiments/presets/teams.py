"""Presets of the MARL half: a task (environment and budget) times an arm (network and auxiliary loss)."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from agents import NetworkConfig
from envs import FootballConfig, Lab2dConfig
from marl import EvalSettings, ImpalaSettings, OpponentSettings, PPOSettings, RunnerSettings, TrainConfig

ARMS = ("independent", "meanpool", "acam", "acam+aux")
AUX_WEIGHT = 0.1
GRID: dict[str, Any] = {"prediction": "cells", "horizon": 2, "cell_radius": 2}
"""On a grid a teammate's next two steps end in one of the 25 cells around it, so the predictor classifies."""


def base() -> TrainConfig:
    """What every task starts from."""
    return TrainConfig()


def harvest() -> TrainConfig:
    """commons_harvest, four players without zapping, paid as a team: who eats the last apple of a patch hurts all."""
    return replace(
        base(),
        env=Lab2dConfig(level="commons_harvest", players=4, team_reward=True),
        network=NetworkConfig(hidden=64, **GRID),
        ppo=PPOSettings(learning_rate=1e-3, learning_rate_end=1e-4, reward_scale=0.25, grad_clip=1.0),
        impala=ImpalaSettings(reward_scale=0.25),
        runners=RunnerSettings(num_envs=16),
        env_steps=240_000,
    )


def cleanup() -> TrainConfig:
    """clean_up, four players without fining, paid as a team. Players who act at random never see an apple, so cleaning
    a cell is worth a tenth of one in training."""
    return replace(
        base(),
        env=Lab2dConfig(level="clean_up", players=4, team_reward=True, steps=1000, clean_bonus=0.1),
        network=NetworkConfig(**GRID),
        ppo=PPOSettings(entropy_coeff=0.02, entropy_coeff_end=0.002, reward_scale=0.25, advantage_std_min=0.05),
        impala=ImpalaSettings(entropy_coeff_end=0.002, reward_scale=0.25, advantage_std_min=0.05),
        env_steps=3_000_000,
    )


def football(level: str, *, opponent: OpponentSettings | None = None, **env: Any) -> TrainConfig:
    """A football level with dense rewards, starts from a pool of snapshots, and goals as the measure."""
    return replace(
        base(),
        env=FootballConfig(level=level, rewards="scoring,checkpoints", reset_pool=64, **env),
        opponent=opponent or OpponentSettings(),
        network=NetworkConfig(hidden=256),
        # Much entropy and small steps: with a larger step the team is soon content with shooting at once, which scores
        # in a fifth of the episodes, and stays there.
        ppo=PPOSettings(gamma=0.995, epochs=6, learning_rate=4e-4, entropy_coeff=0.02, entropy_coeff_end=0.002),
        impala=ImpalaSettings(gamma=0.995, entropy_coeff_end=0.002),
        runners=RunnerSettings(num_envs=8),
        evaluation=EvalSettings(episodes=200, interval_episodes=20, deterministic=False),
        env_steps=2_000_000,
    )


def empty_goal() -> TrainConfig:
    """One attacker in front of an empty goal: the smallest football task, about two minutes."""
    config = football("team_empty_goal_close")
    return replace(
        config,
        ppo=PPOSettings(gamma=0.993, batch_env_steps=1024, minibatch_env_steps=256, learning_rate=1e-3),
        evaluation=replace(config.evaluation, episodes=100),
        env_steps=60_000,
    )


TASKS: dict[str, tuple[str, Callable[[], TrainConfig], str]] = {
    "lab2d-harvest": ("commons_harvest with 4 players", harvest, "per_capita_return"),
    "lab2d-cleanup": ("clean_up with 4 players, team reward", cleanup, "per_capita_return"),
    "football-pass-and-shoot": (
        "pass and shoot past a keeper, 2 attackers",
        lambda: football("team_pass_and_shoot_with_keeper"),
        "scored",
    ),
    "football-3v1": (
        "3 attackers against 1 defender and a keeper",
        lambda: football("team_3_vs_1_with_keeper"),
        "scored",
    ),
    "football-5v5": (
        "5 against 5, 4 field players controlled, against the built-in AI",
        lambda: replace(football("5_vs_5"), env_steps=20_000_000),
        "goal_difference",
    ),
    "football-5v5-selfplay": (
        "5 against 5, 4 field players controlled, against a pool of past selves",
        lambda: replace(
            football("5_vs_5", opponents=4, opponent=OpponentSettings(kind="self_play")), env_steps=20_000_000
        ),
        "goal_difference",
    ),
}
"""Task -> what it is, its configuration, its measure."""

EXPECTED: dict[str, str] = {
    "lab2d-cleanup-acam": "151 [143, 158], random 0 [0, 0.16]; 20 held-out episodes, seed 0, stopped after 1.33M "
    "of its 3M steps, `tandem train lab2d-cleanup-acam`",
    "football-3v1-acam+aux": "0.74 [0.67, 0.79], random 0.02 [0.01, 0.05]; 200 held-out episodes, seed 3, stopped "
    "after 1.33M of its 2M steps, `tandem train football-3v1-acam+aux`",
    "lab2d-harvest-acam": "151 [143, 159], random 48 [44, 52]; 20 held-out episodes, seed 0, 240k steps, "
    "`tandem train lab2d-harvest-acam`",
    "football-empty-goal": "1.00 [0.96, 1], random 0.18 [0.12, 0.27]; 100 held-out episodes, seed 0, 60k steps, "
    "`tandem train football-empty-goal`",
}
"""Preset -> measured result and the command that shows it."""


def with_arm(config: TrainConfig, arm: str) -> TrainConfig:
    """`config` with the network and auxiliary loss of one arm."""
    name, _, aux = arm.partition("+")
    prediction = replace(config.prediction, coeff=AUX_WEIGHT if aux else 0.0)
    return replace(config, network=replace(config.network, arm=name), prediction=prediction)


def tiny(config: TrainConfig) -> TrainConfig:
    """Three small iterations and one short evaluation."""
    env = config.env
    env = replace(env, steps=40) if isinstance(env, Lab2dConfig) else replace(env, reset_pool=min(env.reset_pool, 2))
    return replace(
        config,
        env=env,
        ppo=replace(config.ppo, batch_env_steps=64, minibatch_env_steps=32, epochs=2),
        impala=replace(config.impala, batch_env_steps=32, fragment_env_steps=16),
        runners=replace(config.runners, num_runners=0, num_envs=2, max_restarts=0),
        evaluation=replace(config.evaluation, episodes=2, interval_s=0, num_envs=2),
        env_steps=192,
    )


def rows() -> Iterator[dict[str, Any]]:
    """One dictionary per preset, in the order of the list."""
    common = {"tiny": tiny}
    for task, (what, make, metric) in TASKS.items():
        for arm in ARMS:
            name = f"{task}-{arm}"
            row = {"name": name, "summary": f"{what}; {arm}", "make": _armed(make, arm), "metric": metric, **common}
            yield row | ({"expected": EXPECTED[name]} if name in EXPECTED else {})
        if task == "lab2d-cleanup":
            name = "football-empty-goal"
            row = {"name": name, "summary": "1 attacker, no keeper; acam", "make": empty_goal, "metric": "scored"}
            yield row | common | ({"expected": EXPECTED[name]} if name in EXPECTED else {})


def _armed(make: Callable[[], TrainConfig], arm: str) -> Callable[[], TrainConfig]:
    return lambda: with_arm(make(), arm)
