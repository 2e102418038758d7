"""The contract's own helpers."""

import gymnasium as gym
import numpy as np
import pytest

from envs.fakes import FakeTeamEnv, make_spec, meet
from envs.team import TeamEnv, check_actions, one_of

SPEC = make_spec(gym.spaces.Box(0, 8, (3, 4, 4, 2), np.uint8), name="layer", vocab=9, others=("ball",))


def test_spec_counts_and_empty_buffers():
    assert (SPEC.num_actions, SPEC.num_entities) == (5, 4)
    buffers = SPEC.empty(7, 2)
    assert buffers["view"].shape == (7, 2, 3, 4, 4, 2)
    assert {key: value.dtype for key, value in buffers.items()} == {k: box.dtype for k, box in SPEC.spaces.items()}
    assert not any(value.any() for value in buffers.values())


def test_good_actions_pass_in_any_integer_type():
    for dtype in (np.int8, np.int32, np.int64, np.uint8):
        actions = np.array([0, 4, 2], dtype)
        assert check_actions(actions, SPEC) is actions
    assert check_actions([1, 2, 3], SPEC).tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        ([0, 5, 0], "action 5 of agent 1 does not exist in fake/layer; allowed: 0 to 4"),
        ([0, 0, -1], "action -1 of agent 2 does not exist"),
        ([0, 0], r"must be 3 integers, one per agent; got shape \(2,\)"),
        ([[0, 0, 0]], r"got shape \(1, 3\)"),
        ([0.0, 1.0, 2.0], "dtype float64"),
        ([True, False, True], "dtype bool"),
    ],
)
def test_bad_actions_are_named(actions, message):
    with pytest.raises(ValueError, match=message):
        check_actions(np.array(actions), SPEC)


def test_one_of_names_the_value_and_what_is_allowed():
    one_of("view", "a", ["a", "b"])
    with pytest.raises(ValueError, match=r"^view 'c' does not exist; allowed: a, b$"):
        one_of("view", "c", ["a", "b"])


def test_fakes_are_team_environments():
    assert isinstance(meet(), TeamEnv)
    assert isinstance(FakeTeamEnv(SPEC), TeamEnv)
    assert not isinstance(object(), TeamEnv)
