"""The views against slow loops that follow their description, and against gfootball's own super mini map."""

import gymnasium as gym
import numpy as np
import pytest

from envs.football import FootballConfig, feature_names
from envs.football.entities import ENTITY_NAMES, EXTRA_NAMES
from envs.football.frame import ROLES, STEP_SCALE, from_other_side
from envs.football.observation import Observer
from tests.envs.football.moments import moment

STICKY = [1.0, 0, 0, 0, 0, 0, 0, 0, 0, 1] + [0.0] * 8 + [1, 0]
SCALE = np.array([1, 1 / 0.42])
STEP = np.array(STEP_SCALE)


def observe(view, frame, stack=2):
    observer = Observer(view, 2, frame.num_own, frame.num_other, max_steps=101, stack=stack)
    observer.advance(frame, first=True)
    obs = observer.write(frame, STICKY, None)
    assert all(observer.boxes[key].contains(array) for key, array in obs.items())
    assert obs.keys() == observer.boxes.keys()
    return obs


def expected_features(frame, agent):
    """What the description of the view says, name by name."""
    table, me, ball = frame.table(), frame.controlled[agent], frame.num_players
    move = table[:, 2:4] * SCALE / STEP
    facts = {"x": table[me, 0], "y": table[me, 1] / 0.42, "dx": move[me, 0], "dy": move[me, 1]}
    facts |= {"tired": table[me, 6], "yellow_card": table[me, 4], "has_ball": frame.owner == me}
    facts |= {f"role_{role}": i == frame.roles[me] for i, role in enumerate(ROLES)}
    names = feature_names(frame.num_own, frame.num_other)
    sticky = [name for name in names if name.startswith("sticky")]
    facts |= dict(zip(sticky, STICKY[10 * agent : 10 * agent + 10], strict=True))
    relative = (table[:, :2] - table[me, :2]) * SCALE
    facts |= {"ball_x": relative[ball, 0], "ball_y": relative[ball, 1]}
    facts |= {"ball_dx": move[ball, 0], "ball_dy": move[ball, 1]}
    facts |= {"ball_z": frame.ball_z / 4, "ball_dz": frame.ball_dz / 4, "ball_is_free": frame.owner < 0}
    facts |= {"ball_is_ours": 0 <= frame.owner < frame.num_own, "ball_is_theirs": frame.owner >= frame.num_own}
    facts |= {name: i == frame.mode for i, name in enumerate(n for n in names if n.startswith("mode_"))}
    facts |= {"steps_left": (100 - frame.step) / 101}
    facts |= {"goals_for": frame.goals_for / 10, "goals_against": frame.goals_against / 10}
    for row in range(frame.num_players):
        ours = row < frame.num_own
        name = f"teammate{row}" if ours else f"opponent{row - frame.num_own}"
        there = bool(table[row, 5]) and row != me
        block = {"present": 1, "x": relative[row, 0], "y": relative[row, 1], "dx": move[row, 0], "dy": move[row, 1]}
        block["has_ball"] = frame.owner == row
        facts |= {f"{name}_{key}": value * there for key, value in block.items()}
    return [float(facts[name]) for name in names]


FRAMES = {
    "plain": {"owner": 1, "mode": 0, "step": 4},
    "theirs": {"owner": 4, "mode": 5, "step": 90, "goals_for": 2, "goals_against": 1, "ball_z": 3.0, "ball_dz": -0.4},
    "sent off": {"owner": -1, "absent": (0, 4), "step": 50},
}


@pytest.mark.parametrize("name", FRAMES)
def test_features_are_what_their_names_say(name):
    frame = moment(**FRAMES[name])
    obs = observe("features", frame)
    for agent in range(2):
        np.testing.assert_allclose(obs["view"][agent], expected_features(frame, agent), atol=1e-6)


def test_an_agent_whose_player_was_sent_off_is_masked_and_zero():
    frame = moment(absent=(2,))
    for view in ("features", "entities", "smm"):
        obs = observe(view, frame)
        np.testing.assert_array_equal(obs["mask"], [True, False])
        np.testing.assert_array_equal(obs["who"], [1, -1])
        np.testing.assert_array_equal(obs["entity_mask"], [True, True, False, True, True, True])
        np.testing.assert_array_equal(obs["view"].any(axis=1), [True, False])
        np.testing.assert_array_equal(obs["positions"].any(axis=1), obs["entity_mask"])


def test_an_agent_without_a_player_is_masked():
    obs = observe("features", moment(controlled=(1, -1)))
    np.testing.assert_array_equal(obs["who"], [1, -1])
    assert not obs["view"][1].any()
    assert obs["entity_mask"].all()


@pytest.mark.parametrize("name", FRAMES)
def test_entities_are_what_their_names_say(name):
    frame = moment(**FRAMES[name])
    obs, table = observe("entities", frame), frame.table()
    for row in range(frame.num_players + 1):
        kind = 3 if row == frame.num_players else 2 if row >= frame.num_own else 1
        roles = [kind < 3 and i == frame.roles[row] for i in range(len(ROLES))]
        height = [frame.ball_z / 4, frame.ball_dz / 4] if kind == 3 else [0, 0]
        expected = [1, kind == 1, kind == 2, kind == 3, *table[row, :2] * SCALE, *table[row, 2:4] * SCALE / STEP]
        expected += [*height, frame.owner == row, table[row, 6], table[row, 4], row in frame.controlled, *roles]
        np.testing.assert_allclose(obs["shared"][row], np.array(expected, float) * table[row, 5], atol=1e-6)
    assert obs["shared"].shape[1] == len(ENTITY_NAMES)
    assert obs["view"].shape[1] == len(EXTRA_NAMES)
    features = dict(zip(feature_names(3, 2), observe("features", frame)["view"].T, strict=True))
    np.testing.assert_array_equal(obs["view"].T, [features[name] for name in EXTRA_NAMES])


def test_writing_in_place_leaves_nothing_of_what_was_there():
    frame = moment(absent=(0,))
    for view in ("features", "entities", "smm"):
        fresh = observe(view, frame)
        observer = Observer(view, 2, 3, 2, max_steps=101, stack=2)
        observer.advance(frame, first=True)
        out = {key: np.full(array.shape, 1, array.dtype) for key, array in fresh.items()}
        written = observer.write(frame, STICKY, out)
        assert written is out
        for key, array in fresh.items():
            np.testing.assert_array_equal(out[key], array)


def test_the_other_side_sees_the_pitch_turned_round():
    frame = moment(owner=3, goals_for=2)
    other = from_other_side(frame)
    np.testing.assert_allclose(other.table()[:, :2], -frame.table()[[3, 4, 0, 1, 2, 5], :2])
    assert (other.owner, other.owner_side, other.goals_against, other.controlled) == (0, 0, 2, [0])
    again = from_other_side(other)
    np.testing.assert_array_equal(again.table(), frame.table())
    assert (again.owner, again.roles, again.num_own) == (frame.owner, frame.roles, frame.num_own)


@pytest.mark.engine("football")
def test_the_planes_are_gfootballs_super_mini_map():
    from gfootball.env import observation_preprocessing

    env = FootballConfig(level="5_vs_5", view="smm", stack=3).build()
    rng = np.random.default_rng(0)
    obs = env.reset(3)
    past = []
    for step in range(25):
        frame = env.match.moment()
        at = frame.table()[:, :2].astype(float)
        raw = {"left_team": at[:5], "right_team": at[5:10], "ball": at[10]}
        peer = observation_preprocessing.generate_smm([raw | {"active": active} for active in frame.controlled])
        past = [peer[0, ..., :3]] * 3 if step == 0 else [*past[1:], peer[0, ..., :3]]
        np.testing.assert_array_equal(obs["shared"], np.concatenate(past, axis=-1))
        for agent in range(4):
            own = np.zeros((72, 96), np.uint8)
            own[tuple(obs["view"][agent])] = 255
            np.testing.assert_array_equal(own, peer[agent, ..., 3])
        obs, *_ = env.step(rng.integers(1, 9, size=4))
    env.close()


@pytest.mark.engine("football")
@pytest.mark.parametrize(("level", "players"), [("academy_3_vs_1_with_keeper", 3), ("11_vs_11_stochastic", 11)])
def test_the_record_is_read_from_memory_and_as_its_attributes_say(level, players):
    from dataclasses import replace

    from envs.football.engine import episode_seed
    from envs.football.frame import read
    from envs.football.match import Match
    from envs.football.memory import MemoryReader

    match = Match(level, players, 1)
    frame = match.reset(episode_seed(1))
    assert isinstance(match._read, MemoryReader)
    rng = np.random.default_rng(0)
    by_attributes = replace(frame)
    for _ in range(40):
        match.step(rng.integers(19, size=players).tolist(), [5])
        read(match.engine.get_info(), by_attributes)
        np.testing.assert_array_equal(by_attributes.table(), frame.table())
        assert replace(by_attributes, values=[]) == replace(frame, values=[])
    match.close()


@pytest.mark.engine("football")
def test_a_record_laid_out_otherwise_is_read_by_attributes(monkeypatch):
    from envs.football import memory
    from envs.football.engine import episode_seed
    from envs.football.frame import read
    from envs.football.match import Match

    match = Match("5_vs_5", 4, 0)
    frame = match.reset(episode_seed(1))
    info = match.engine.get_info()
    assert memory.reader(info, frame) is not read
    with monkeypatch.context() as patch:
        patch.setattr(memory, "_PLAYER", "f4xff4xf??2xf4x")  # same size, wrong columns
        assert memory.reader(info, frame) is read
    with monkeypatch.context() as patch:
        patch.setattr(memory, "_PLAYER_BYTES", 40)
        assert memory.reader(info, frame) is read
    match.close()


def test_boxes_have_the_contracts_types():
    boxes = Observer("features", 2, 3, 2, max_steps=101, stack=1).boxes
    types = {key: box.dtype for key, box in boxes.items()}
    assert types == {
        "view": np.float32, "mask": np.bool_, "who": np.int16, "positions": np.float32, "entity_mask": np.bool_,
    }  # fmt: skip
    assert all(isinstance(box, gym.spaces.Box) for box in boxes.values())
