"""The fakes: they conform, and the meeting game needs what it claims to need."""

import gymnasium as gym
import numpy as np
import pytest

from envs.conformance import check
from envs.fakes import FakeTeamEnv, make_spec, meet

LAYER = gym.spaces.Box(0, 40, (3, 5, 5, 2), np.uint8)
FLOATS = gym.spaces.Box(-np.inf, np.inf, (3, 7), np.float32)
SIDE = 5

SPECS = {
    "layer": make_spec(LAYER, name="layer", vocab=41),
    "features": make_spec(FLOATS, others=("opponent",) * 3 + ("ball",), opponents=3),
    "smm": make_spec(
        gym.spaces.Box(0, 10, (3,), np.int16), name="smm", shared=gym.spaces.Box(0, 255, (8, 6, 4), np.uint8)
    ),
}


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
@pytest.mark.parametrize(("absent", "ends"), [(0.0, 0.0), (0.3, 0.0), (1.0, 0.1)])
def test_fakes_conform(spec, absent, ends):
    assert set(check(lambda: FakeTeamEnv(spec, absent=absent, ends=ends))) <= ({"truncation"} if ends else set())


@pytest.mark.parametrize("options", [{}, {"players": 2}, {"players": 5, "absent": 0.5, "side": 3}, {"steps": 3}])
def test_meet_conforms(options):
    assert check(lambda: meet(**options)) == ()


def test_meet_with_a_seed_forgets_who_was_present_before():
    options = {"side": 2, "absent": 0.5, "steps": 4}
    used = meet(**options)
    for seed in range(60):
        for key, value in meet(**options).reset(seed).items():
            assert np.array_equal(used.reset(seed)[key], value)
        for _ in range(2):  # half-time: who is present changes
            used.step(np.zeros(3, int))


def test_make_spec_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match=r"first axis must be the 4 players"):
        make_spec(LAYER, players=4)
    with pytest.raises(ValueError, match=r"opponents 2 does not fit a team of 3; allowed: 0 or 3"):
        make_spec(LAYER, opponents=2)


@pytest.mark.parametrize(
    ("options", "message"), [({"players": 1}, "1 players"), ({"side": 1}, "side 1"), ({"absent": 1.5}, "absent 1.5")]
)
def test_meet_refuses_what_is_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        meet(**options)


def _seen(view):
    """Own columns and rows, and the target's column and row as far as each agent sees them (-1: not at all)."""
    parts = [view[:, i * SIDE : (i + 1) * SIDE] for i in range(4)]
    return [np.where(part.any(1), part.argmax(1), -1) for part in parts]


def _towards(x, y, to_x, to_y):
    across = np.where(x < to_x, 4, np.where(x > to_x, 3, 0))
    return np.where(across, across, np.where(y < to_y, 2, np.where(y > to_y, 1, 0)))


def _score(env, policy, episodes=200):
    """Mean return per capita and share of episodes in which all met."""
    found = []
    for seed in range(episodes):
        obs, info = env.reset(seed), {}
        while not info:
            obs, *_, info = env.step(policy(obs))
        found.append([info["episode"]["per_capita_return"], info["episode"]["met"]])
    return np.mean(found, axis=0)


def test_meet_is_solved_by_those_who_tell_and_only_by_them():
    def telling(obs):
        x, y, to_x, to_y = _seen(obs["view"])
        return _towards(x, y, to_x.max(), to_y.max())

    def silent(obs):
        x, y, to_x, to_y = _seen(obs["view"])
        guess = SIDE // 2  # the best there is: the middle
        return _towards(x, y, np.where(to_x < 0, guess, to_x), np.where(to_y < 0, guess, to_y))

    together, alone = _score(meet(side=SIDE), telling), _score(meet(side=SIDE), silent)
    assert together[1] == 1
    assert together[0] > 1.3
    assert alone[1] < 0.1
    assert alone[0] < 0.35


def test_meet_shows_each_agent_only_its_part():
    env = meet(players=3, side=SIDE)
    for seed in range(20):
        _, _, to_x, to_y = _seen(env.reset(seed)["view"])
        assert (to_x >= 0).tolist() == [True, False, False]
        assert (to_y >= 0).tolist() == [False, True, False]


def test_rewards_of_meet_add_up_to_the_way_gone():
    """Nobody is absent: a player's rewards sum to the distance gained, plus 1 for meeting."""
    env, rng = meet(side=SIDE, steps=40), np.random.default_rng(0)
    for seed in range(20):
        obs, info, total = env.reset(seed), {}, np.zeros(3)
        x, y, to_x, to_y = _seen(obs["view"])
        far = np.abs(x - to_x.max()) + np.abs(y - to_y.max())
        while not info:
            obs, rewards, *_, info = env.step(rng.integers(0, 5, 3))
            total += rewards
        x, y, *_ = _seen(obs["view"])
        near = np.abs(x - to_x.max()) + np.abs(y - to_y.max())
        assert total == pytest.approx((far - near) / (2 * (SIDE - 1)) + info["episode"]["met"], abs=1e-5)
        assert info["episode"]["per_capita_return"] == pytest.approx(total.mean(), abs=1e-5)


def test_absent_players_of_meet_stay_where_they_are_and_earn_nothing():
    env, absent = meet(players=6, absent=0.5), 0
    rng = np.random.default_rng(0)
    for seed in range(10):
        obs, info = env.reset(seed), {}
        while not info:
            gone = ~obs["mask"]
            cells = env._cells.copy()
            obs, rewards, *_, info = env.step(rng.integers(0, 5, 6))
            assert not rewards[gone].any()
            assert np.array_equal(env._cells[gone], cells[gone])
            assert not gone[:2].any()
            absent += int(gone.sum())
    assert absent > 100


def test_drawing_shows_players_and_target():
    env = meet(players=4)
    env.reset(0)
    picture = env.draw()
    assert picture.shape == (160, 160, 3)
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) == 2 + 4
