"""Passes, shots, interceptions and possession of scripted sequences, seen from either side, and of a game."""

import json

import numpy as np
import pytest

from envs.football.frame import Frame, from_other_side
from envs.football.statistics import NAMES, Statistics

OWN, OTHER, NOBODY = 0, 3, -1  # rows: three own players, then two others


def frame(owner=NOBODY, ball=(0.0, 0.0), move=(0.0, 0.0), *, mode=0, goals=(0, 0)):
    values = np.zeros((6, 7))
    values[:, 5] = 1
    values[5, :4] = (*ball, *move)
    return Frame(
        num_own=3, num_other=2, roles=[0] * 5, controlled=[1], other_controlled=[], values=values.ravel().tolist(),
        owner=owner, mode=mode, goals_for=goals[0], goals_against=goals[1],
    )  # fmt: skip


def count(frames, *, turned=False):
    statistics = Statistics()
    for one in frames:
        statistics.step(from_other_side(one) if turned else one)
    return statistics.numbers()


def check(frames, **expected):
    """The own team's numbers, and the same as the other team's when the pitch is turned. What is not named is 0."""
    numbers, turned = count(frames), count(frames, turned=True)
    own = {name: numbers[name] for name in NAMES if f"{name}_against" in NAMES}
    assert own == {name: expected.get(name, 0.0) for name in own}
    assert {name: turned[f"{name}_against"] for name in own} == own
    assert all(isinstance(value, float) and np.isfinite(value) for value in numbers.values())
    return numbers


def flight(start, end, steps, owner=OWN, **ball):
    """`owner` has the ball at `start`, then it flies to `end`."""
    way = np.linspace(start, end, steps + 1)
    move = (way[1] - way[0]).tolist()
    return [frame(owner, start, **ball), *(frame(NOBODY, at.tolist(), move, **ball) for at in way[1:])]


def test_nothing_gives_zeros():
    assert check([]) == dict.fromkeys(NAMES, 0.0)
    assert check([frame(mode=1)] * 3) == dict.fromkeys(NAMES, 0.0)


def test_possession_is_the_share_of_the_steps_in_which_somebody_has_the_ball():
    frames = [frame(0)] * 3 + [frame()] * 10 + [frame(3)] + [frame(0, mode=5)] * 9
    assert count(frames)["possession"] == 0.75
    assert count(frames, turned=True)["possession"] == 0.25


def test_a_pass_is_completed_by_a_teammate_only():
    sent = flight((0, 0), (0.3, 0.1), 6)
    check([*sent, frame(1, (0.3, 0.1))], passes=1, pass_accuracy=1)
    ran_after_it = [*sent, frame(0, (0.3, 0.1))]
    check([*ran_after_it, *flight((0.3, 0.1), (0.1, 0.1), 4), frame(1, (0.1, 0.1))], passes=1, pass_accuracy=1)
    check([*sent, frame(OTHER, (0.3, 0.1))], pass_accuracy=0)
    assert count([*sent, frame(OTHER, (0.3, 0.1))], turned=True)["interceptions"] == 1
    assert count([*sent, frame(OTHER, (0.3, 0.1))])["interceptions"] == 0
    both = [*sent, frame(1, (0.3, 0.1)), *flight((0.3, 0.1), (0.1, 0.1), 4, owner=1), frame(OTHER, (0.1, 0.1))]
    check(both, passes=1, pass_accuracy=0.5)
    out = [*sent, frame(1, (0.3, 0.1)), *flight((0.3, 0.1), (0.3, 0.5), 4, owner=1), frame(mode=5), frame(2, mode=5)]
    check(out, passes=1, pass_accuracy=0.5)


def test_a_ball_that_hardly_moves_is_no_pass():
    check([frame(0), frame(1, (0.01, 0.0)), frame(0, (0.02, 0.0))])
    check([frame(0), frame(NOBODY, (0.01, 0.0)), frame(OTHER, (0.02, 0.0))])


def test_what_a_restart_brings_is_no_pass():
    check([frame(0), frame(mode=3), frame(1, (0.5, 0.1), mode=5), frame(NOBODY, (0.4, 0.1)), frame(2, (0.2, 0.1))])
    check([frame(0), frame(1, (0.0, 0.0), goals=(0, 1)), frame(2, (0.5, 0.1), goals=(0, 1))])


GOAL = (1.0, 0.01)


@pytest.mark.parametrize(
    ("start", "end", "steps", "shots", "on_target"),
    [
        ((0.6, 0.1), GOAL, 8, 1, 1),
        ((0.6, 0.1), (1.0, 0.043), 8, 1, 1),
        ((0.6, 0.1), (1.0, 0.046), 8, 1, 0),
        ((0.6, 0.1), (1.0, 0.131), 8, 1, 0),
        ((0.6, 0.1), (1.0, 0.134), 8, 0, 0),  # too wide
        ((0.2, 0.1), GOAL, 8, 0, 0),  # from too far away
        ((0.6, 0.1), GOAL, 12, 0, 0),  # too slow
        ((0.6, 0.1), (0.2, 0.1), 8, 0, 0),  # away from the goal
    ],
)
def test_a_shot_is_fast_and_goes_at_the_goal_from_near(start, end, steps, shots, on_target):
    keeper = frame(OTHER, end)
    check([*flight(start, end, steps), keeper], shots=shots, shots_on_target=on_target)
    assert count([*flight(start, end, steps), keeper], turned=True)["interceptions"] == 1 - shots
    out = [*flight(start, end, steps), frame(mode=2)]
    check(out, shots=shots, shots_on_target=on_target)
    teammate = [*flight(start, end, steps), frame(1, end)]
    check(teammate, passes=1, pass_accuracy=1)


def test_a_parried_shot_that_a_teammate_gets_stays_a_shot():
    saved = [*flight((0.6, 0), (0.95, 0), 7), frame(NOBODY, (0.9, 0), (-0.03, 0.01))]
    check([*saved, frame(1, (0.8, 0.1))], shots=1, shots_on_target=1)
    check([*saved, frame(0, (0.8, 0.1))], shots=1, shots_on_target=1)
    check(saved, shots=1, shots_on_target=1)
    check([*saved, frame(goals=(1, 0))], shots=1, shots_on_target=1)


def test_a_goal_is_a_shot_on_target_of_the_last_owner_unless_it_is_an_own_goal():
    for end in (GOAL, (1.0, 0.12)):  # the second is deflected
        check([*flight((0.6, 0.1), end, 8), frame(goals=(1, 0))], shots=1, shots_on_target=1)
    check([*flight((0.6, 0.1), GOAL, 14), frame(goals=(1, 0))], shots=1, shots_on_target=1)
    check([frame(0, (0.95, 0)), frame(mode=1, goals=(1, 0))], shots=1, shots_on_target=1)
    check([*flight((-0.6, 0.1), (-1, 0), 8), frame(goals=(0, 1))])
    wide = [*flight((0.6, 0), (0.95, 0.08), 7), frame(NOBODY, (0.96, 0.05), (0.01, -0.01)), frame(goals=(1, 0))]
    check(wide, shots=1, shots_on_target=1)


def test_who_had_the_ball_last_is_known_until_the_game_stops():
    statistics, seen = Statistics(), []
    for one in [frame(), frame(0), frame(), frame(OTHER), frame(), frame(mode=3), frame(0, mode=5), frame()]:
        statistics.step(one)
        seen.append(statistics.last_side)
    assert seen == [-1, 0, 0, 1, 1, -1, -1, -1]


def test_a_new_episode_begins_at_zero_and_a_memory_goes_through_json():
    frames = [*flight((0, 0), (0.3, 0.1), 6), frame(1, (0.3, 0.1)), *flight((0.6, 0.1), GOAL, 8, owner=1), frame(OTHER)]
    for cut in range(len(frames)):
        first, second = Statistics(), Statistics()
        for one in frames[:cut]:
            first.step(one)
        second.step(frame(2))
        second.remember(json.loads(json.dumps(first.memory())))
        for one in frames[cut:]:
            second.step(one)
        assert second.numbers() == count(frames)
    second.start()
    assert second.numbers() == dict.fromkeys(NAMES, 0.0)


@pytest.mark.engine("football")
def test_a_shot_in_a_game_is_counted_and_travels_in_a_snapshot():
    from envs import FootballConfig

    env = FootballConfig(level="team_empty_goal_close").build()
    totals = dict.fromkeys(("shots", "goals_for"), 0.0)
    for seed in range(6):
        env.reset(seed)
        done, step = False, 0
        while not done:
            _, _, terminated, truncated, info = env.step(np.array([12 if step == 10 else 5]))
            done, step = terminated or truncated, step + 1
            if step == 14:
                snapshot = env.snapshot()
                env.reset(99)
                env.restore(snapshot)
        for name in totals:
            totals[name] += info["episode"][name]
        assert info["episode"]["shots_on_target"] >= info["episode"]["goals_for"]
        assert info["episode"]["possession"] == 1.0
    assert totals["shots"] >= totals["goals_for"] >= 1
    env.close()
