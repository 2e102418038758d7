"""Checkpoint rewards: rings against the distances written out, and play against gfootball's own wrapper."""

import numpy as np
import pytest

from envs.football import FootballConfig
from envs.football.rewards import Checkpoints
from tests.envs.football.moments import moment

THRESHOLDS = [0.99, 0.9011111, 0.8122222, 0.7233333, 0.6344444, 0.5455556, 0.4566667, 0.3677778, 0.2788889, 0.19]


def ball_at(x, y=0.0, owner=0):
    frame = moment(owner=owner)
    frame.values[-7:-5] = [x, y]
    return frame


@pytest.mark.parametrize("distance", [1.2, 0.985, 0.75, 0.3, 0.1])
def test_every_ring_passed_pays_a_tenth_once(distance):
    checkpoints, rings = Checkpoints(), sum(distance <= threshold for threshold in THRESHOLDS)
    frame = ball_at(1 - 0.6 * distance, 0.8 * distance)
    assert checkpoints.reward(frame, 0) == pytest.approx(0.1 * rings)
    assert checkpoints.reward(frame, 0) == 0


def test_only_a_player_of_the_team_collects():
    checkpoints = Checkpoints()
    assert checkpoints.reward(ball_at(0.9, owner=-1), 0) == 0
    assert checkpoints.reward(ball_at(0.9, owner=3), 0) == 0
    assert checkpoints.reward(ball_at(0.9, owner=2), 0) == pytest.approx(1.0)


def test_a_goal_pays_the_rest_and_a_lost_one_nothing():
    checkpoints = Checkpoints()
    assert checkpoints.reward(ball_at(0.3), 0) == pytest.approx(0.4)
    assert checkpoints.reward(ball_at(1.0, owner=-1), -1) == 0
    assert checkpoints.reward(ball_at(1.0, owner=-1), 1) == pytest.approx(0.6)
    assert checkpoints.reward(ball_at(0.9), 0) == 0


@pytest.mark.engine("football")
def test_with_one_player_rewards_are_those_of_gfootballs_wrapper():
    from gfootball.env import wrappers

    env = FootballConfig(level="academy_empty_goal_close", players=1, rewards="checkpoints").build()
    totals = []
    for seed in range(4):
        env.reset(seed)
        peer = wrappers.CheckpointRewardWrapper.__new__(wrappers.CheckpointRewardWrapper)
        peer._collected_checkpoints, peer._num_checkpoints, peer._checkpoint_reward = {}, 10, 0.1
        total, done, step = 0.0, False, 0
        while not done:
            goals = env.match.moment().goals_for
            _, rewards, terminated, truncated, _ = env.step(np.array([12 if step == 14 else 5]))
            done, step = terminated or truncated, step + 1
            frame = env.match.moment()
            raw = {"ball_owned_team": frame.owner_side, "ball_owned_player": frame.owner, "ball": frame.values[-7:-5]}
            peer.env = _Observes([raw | {"active": frame.owner if frame.owner_side == 0 else -1}])
            expected = peer.reward(np.array([frame.goals_for - goals], np.float32))
            np.testing.assert_allclose(rewards, expected, atol=1e-6)
            total += rewards[0]
        totals.append(total)
    assert max(totals) == pytest.approx(2.0)
    env.close()


class _Observes:
    """What gfootball's wrapper asks of its environment."""

    def __init__(self, observation):
        self.unwrapped = self
        self.observation = lambda: observation
