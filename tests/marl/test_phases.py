"""Phases of made-up moments and of games, roles, and the scenes of environments."""

import numpy as np
import pytest

from envs import FootballConfig, Lab2dConfig
from envs.fakes import meet
from envs.football.frame import ROLES, Frame
from marl import phases


def moment(owner=-1, ball=0.0, mode=0):
    values = np.zeros((6, 7))
    values[5, 0] = ball
    return Frame(
        num_own=3, num_other=2, roles=[0] * 5, controlled=[1], other_controlled=[], values=values.ravel().tolist(),
        owner=owner, mode=mode,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("frame", "last_side", "expected"),
    [
        (moment(mode=4), 0, "set piece"),
        (moment(owner=1, mode=5), 0, "set piece"),
        (moment(), 0, "own pass or shot"),
        (moment(), 1, "loose ball"),
        (moment(), -1, "loose ball"),
        (moment(owner=3), 1, "other team's ball"),
        (moment(owner=2, ball=-0.01), 0, "own ball, own half"),
        (moment(owner=0, ball=0.0), 0, "own ball, middle"),
        (moment(owner=0, ball=0.33), 0, "own ball, middle"),
        (moment(owner=0, ball=0.34), 0, "own ball, final third"),
    ],
)
def test_a_moment_of_football_has_its_phase(frame, last_side, expected):
    assert phases.FOOTBALL[phases.football_phase(frame, last_side)] == expected


def test_clean_up_counts_who_is_at_the_river():
    height = 2 / 20  # of a row of the 21 rows of the map
    at = {row: (0.0, row * height - 1) for row in (1, 7, 8, 15)}
    for rows, expected in (((8, 15), 0), ((7, 8), 1), ((15, 1), 1), ((1, 7), 2)):
        positions = np.array([at[row] for row in rows], np.float32)
        assert phases.clean_up_phase(positions, height) == expected


def test_thirds_are_equally_long():
    assert np.bincount([phases.third(step, 9) for step in range(9)]).tolist() == [3, 3, 3]
    assert phases.third(9, 9) == 2  # the final observation


def test_a_role_that_is_given_twice_is_numbered():
    roles = [ROLES.index(name) for name in ("goalkeeper", "centre_back", "centre_forward", "centre_back")]
    assert phases.role_names(roles) == ("goalkeeper", "centre back 1", "centre forward", "centre back 2")


def test_an_unknown_environment_has_thirds_and_numbered_agents():
    env = meet(3, steps=6)
    obs = env.reset(0)
    scene = phases.scene(env)
    assert (scene.phases, scene.players) == (phases.THIRDS, ("agent 0", "agent 1", "agent 2"))
    assert (phases.phase(env, obs, 4), phases.holder(env)) == (2, -1)


@pytest.mark.engine("football")
def test_football_tells_roles_and_who_has_the_ball():
    env = FootballConfig(level="team_3_vs_1_with_keeper").build()
    obs, step, seen = env.reset(0), 0, set()
    scene = phases.scene(env)
    assert scene.players == ("goalkeeper", "central midfield 1", "central midfield 2", "central midfield 3")
    assert scene.scale == scene.half_size == pytest.approx((54.4, 35.112))
    for step in range(60):
        obs, _, terminated, truncated, _ = env.step(np.full(3, 12 if step > 40 else 5))
        name, frame = scene.phases[phases.phase(env, obs, step)], env.match.moment()
        assert (phases.holder(env) >= 0) == (frame.owner_side == 0)
        assert name.startswith("own ball") == (frame.mode == 0 and frame.owner_side == 0)
        seen.add(name)
        if terminated or truncated:
            break
    assert "own ball, final third" in seen
    env.close()


@pytest.mark.engine("lab2d")
def test_a_grid_is_measured_in_cells():
    env = Lab2dConfig(level="clean_up", players=2).build()
    obs = env.reset(0)
    scene = phases.scene(env)
    assert (scene.kind, scene.phases, scene.unit) == ("grid", phases.CLEAN_UP, "cells")
    assert scene.half_size == pytest.approx((15.0, 10.5))
    cells = (obs["positions"] + 1) * scene.scale
    assert cells == pytest.approx(np.rint(cells), abs=1e-4)
    expected = min(2, int((np.rint(cells[:, 1]) <= 7).sum()))
    assert phases.phase(env, obs, 0) == expected
    env.close()
