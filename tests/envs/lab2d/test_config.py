"""Bad configurations are answered in one sentence that names the value and what is allowed."""

import sys

import pytest

from envs.lab2d import LEVELS, Lab2dConfig
from envs.team import EngineMissing


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"level": "cleanup"}, r"lab2d level 'cleanup' does not exist; allowed: clean_up, commons_harvest, running_"),
        ({"level": "clean_up", "view": "smm"}, r"view 'smm' does not exist; allowed: layer, rgb"),
        ({"level": "clean_up", "players": 21}, r"clean_up cannot have 21 players; allowed: 1 to 20"),
        ({"level": "commons_harvest", "players": 0}, r"cannot have 0 players; allowed: 1 to 20"),
        ({"level": "running_with_scissors", "players": 16}, r"cannot have 16 players; allowed: 2 to 15"),
        ({"level": "pushbox", "players": 2}, r"pushbox cannot have 2 players; allowed: 1$"),
        (
            {"level": "commons_harvest", "fine": True},
            r"fine=True does not apply to commons_harvest; allowed in: clean_up",
        ),
        ({"level": "clean_up", "zap": True}, r"zap=True does not apply to clean_up; allowed in: commons_harvest"),
        ({"level": "running_with_scissors", "zap": True}, r"zap=True does not apply"),
        ({"level": "clean_up", "steps": 0}, r"steps 0 .*allowed: 1 and more"),
        ({"level": "clean_up", "clean_bonus": -0.1}, r"clean_bonus -0.1 does not fit; allowed: 0 and more"),
        ({"level": "clean_up", "clean_bonus": float("nan")}, r"clean_bonus nan does not fit"),
        ({"level": "pushbox", "clean_bonus": 0.1}, r"clean_bonus 0.1 does not apply to pushbox; allowed in: clean_up"),
        ({"level": "clean_up", "sprite_size": 65}, r"sprite_size 65 .*allowed: 1 to 64"),
    ],
)
def test_bad_values(options, message):
    with pytest.raises(ValueError, match=message):
        Lab2dConfig(**options)


@pytest.mark.parametrize("level", LEVELS)
def test_defaults_are_the_levels_own(level):
    config = Lab2dConfig(level=level)
    facts = LEVELS[level]
    assert (config.num_players, config.num_steps, config.pixels) == (
        facts.default_players,
        facts.steps,
        facts.sprite_size,
    )
    assert not config.punishes


def test_missing_engine_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "dmlab2d", None)
    with pytest.raises(EngineMissing, match=r"tandem-lab\[lab2d\]"):
        Lab2dConfig(level="clean_up").build()
