"""What a configuration fixes for the life of an environment: spaces, actions, and the engine's action table."""

from typing import Any

import gymnasium as gym
import numpy as np

from envs.lab2d.config import Lab2dConfig
from envs.lab2d.levels import SUB_ACTIONS
from envs.team import TeamSpec

_BOOL: Any = np.bool_
"""Gymnasium's Box takes bool, its annotation does not."""


def action_names(config: Lab2dConfig) -> tuple[str, ...]:
    """The actions of every agent: moves, the level's own beams, and the punishing beam if it is on."""
    punishing = (config.facts.option,) if config.punishes else ()
    return config.facts.moves + config.facts.beams + punishing


def action_table(config: Lab2dConfig) -> np.ndarray:
    """int32 [actions, sub-actions of one player]: each of our actions in the engine's terms."""
    level = config.facts
    beams = {"clean_up": ("fireClean", "fireFine")}.get(config.level, (level.zap_name,))
    columns = ("MOVE",) if level.solo else ("move", "turn", *beams)
    names = action_names(config)
    table = np.zeros((len(names), len(columns)), np.int32)
    for row, name in enumerate(names[1:], start=1):
        column, value = (level.zap_name, 1) if name == "zap" else SUB_ACTIONS[name]
        table[row, columns.index(column)] = value
    return table


def team_spec(config: Lab2dConfig) -> TeamSpec:
    """The TeamSpec of the environment that `config` builds."""
    level, players = config.facts, config.num_players
    width, height = level.map_size
    rows, columns, layers = level.layer_shape
    vocab = level.view_vocab(players) if config.view == "layer" else None
    if vocab is not None:
        view = gym.spaces.Box(0, vocab - 1, (players, rows, columns, layers), np.uint8)
    else:
        view = gym.spaces.Box(0, 255, (players, rows * config.pixels, columns * config.pixels, 3), np.uint8)
    return TeamSpec(
        env=f"lab2d/{config.level}",
        view=config.view,
        num_agents=players,
        action_names=action_names(config),
        spaces={
            "view": view,
            "mask": gym.spaces.Box(0, 1, (players,), _BOOL),
            "who": gym.spaces.Box(-1, players - 1, (players,), np.int16),
            "positions": gym.spaces.Box(-1, 1, (players, 2), np.float32),
            "entity_mask": gym.spaces.Box(0, 1, (players,), _BOOL),
        },
        entity_kinds=("teammate",) * players,
        step_scale=(2 / (width - 1), 2 / (height - 1)),
        max_steps=config.num_steps,
        view_vocab=vocab,
        metrics=("per_capita_return", "team_return", *level.metrics),
        meta={"map_size": [width, height], "sprite_size": config.pixels},
    )
