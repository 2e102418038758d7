"""Every fact of `levels.py` against the engine itself."""

import numpy as np
import pytest

from envs.lab2d import LEVELS, Lab2dConfig
from envs.lab2d.spec import action_names, action_table

pytestmark = pytest.mark.engine("lab2d")


def _engine(level, **settings):
    import dmlab2d
    from dmlab2d import runfiles_helper

    settings = {"levelName": level, **settings}
    return dmlab2d.Lab2d(runfiles_helper.find(), {key: str(value) for key, value in settings.items()})


def _started(level, players=None, **settings):
    settings |= {} if LEVELS[level].solo else {"numPlayers": players or LEVELS[level].default_players}
    engine = _engine(level, **settings)
    engine.start(0, 7)
    return engine


@pytest.mark.parametrize("level", LEVELS)
def test_sizes(level):
    facts, engine = LEVELS[level], _started(level)
    name = "WORLD.LAYER" if facts.solo else "1.LAYER"
    assert engine.observation(name).shape == facts.layer_shape
    height, width, _ = engine.observation("WORLD.RGB").shape
    assert (width, height) == tuple(facts.sprite_size * cells for cells in facts.map_size)


@pytest.mark.parametrize("level", [name for name, facts in LEVELS.items() if not facts.solo])
def test_most_players(level):
    most = LEVELS[level].players[1]
    assert f"{most}.LAYER" in _started(level, most).observation_names()
    with pytest.raises((ValueError, RuntimeError)):
        _started(level, most + 1)


@pytest.mark.parametrize("level", LEVELS)
def test_the_engines_own_time_limit(level):
    import dmlab2d

    facts, steps = LEVELS[level], 0
    for seed in range(20):  # a foe may end chase_eat early: somebody survives
        engine = _engine(level, **({} if facts.solo else {"numPlayers": facts.players[0]}))
        engine.start(0, seed)
        steps, status = 0, dmlab2d.RUNNING
        while status == dmlab2d.RUNNING:
            engine.act_discrete(np.zeros(len(engine.action_discrete_names()), np.int32))
            status, _ = engine.advance()
            steps += 1
        if level != "chase_eat":
            break
    if level == "chase_eat":
        assert steps <= facts.steps
    else:
        assert steps == facts.steps


@pytest.mark.parametrize("level", LEVELS)
def test_ids_stay_below_the_vocabulary_and_reach_its_end(level):
    """Walls or water have the last sprite, so the highest id is one of the last four (or eight)."""
    facts, rng, highest = LEVELS[level], np.random.default_rng(0), 0
    players = facts.players[1]
    env = Lab2dConfig(level=level, players=players, zap=facts.option == "zap", fine=facts.option == "fine").build()
    for seed in range(5):
        over, obs = False, env.reset(seed)
        while not over and highest >= 0:
            highest = max(highest, int(obs["view"].max()))
            obs, _, terminated, truncated, info = env.step(rng.integers(0, env.spec.num_actions, players))
            over = terminated or truncated or bool(info)
            if env._step == 150:
                break
    vocab = facts.view_vocab(players)
    assert vocab <= 256
    assert highest < vocab
    assert highest >= vocab - 4


@pytest.mark.parametrize("level", LEVELS)
def test_action_table_fits_the_engine(level):
    """Each action sets one sub-action of the engine, to a value that the engine allows."""
    facts = LEVELS[level]
    config = Lab2dConfig(level=level, zap=facts.option == "zap", fine=facts.option == "fine")
    engine, table, names = _started(level), action_table(config), action_names(config)
    own = [name for name in engine.action_discrete_names() if facts.solo or name.startswith("1.")]
    assert len(own) == table.shape[1]
    beams = {"zap": ("zap", "fireZap"), "clean": ("fireClean",), "fine": ("fireFine",)}
    assert not table[0].any()
    for name, row in zip(names[1:], table[1:], strict=True):
        (column,) = row.nonzero()[0]
        spec = engine.action_discrete_spec(own[column])
        assert spec["min"] <= row[column] <= spec["max"]
        expected = beams.get(name, ("turn",) if "turn" in name else ("move", "MOVE"))
        assert own[column].removeprefix("1.") in expected
    assert len(np.unique(table, axis=0)) == len(names)
