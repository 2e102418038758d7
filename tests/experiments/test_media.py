"""Episodes moment by moment: the same as in an evaluation, whole, and panels where they belong."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

import agents
from agents import NetworkConfig, ObservationSpec, Policy, TeamNetwork
from envs.fakes import MeetEnv, meet
from experiments import media
from marl.evaluation import evaluate


@dataclass(frozen=True, kw_only=True)
class MeetConfig:
    """The meeting game, where `envs.make_team` expects an `envs.EnvConfig`."""

    steps: int = 9

    def build(self) -> MeetEnv:
        return meet(3, side=4, steps=self.steps, absent=0.3)


MEETING: Any = MeetConfig()


def made_up(env: Any, **network: Any) -> Policy:
    """An untrained policy that is far from uniform, in its actions and in its attention."""
    torch.manual_seed(0)
    net = TeamNetwork(ObservationSpec.from_team(env.spec), NetworkConfig(width=16, hidden=24, **network))
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.dim() > 1:
                torch.nn.init.orthogonal_(parameter, 1.5)
    return Policy(net)


@pytest.mark.parametrize("deterministic", [False, True])
def test_the_episodes_are_those_of_an_evaluation(deterministic):
    policy = made_up(MEETING.build())
    episodes = evaluate(policy, MEETING, episodes=5, deterministic=deterministic)
    frames = list(media.play(policy, MEETING, first=1, episodes=3, deterministic=deterministic, draw="nothing"))
    for look, episode in zip(media.looks(frames), episodes[1:4], strict=True):
        assert len(look.phase) == episode.length + 1  # the final observation too
    ends = [frame for frame in frames if frame.ended]
    assert [frame.numbers for frame in ends] == [episode.metrics for episode in episodes[1:4]]
    assert [frame.episode for frame in ends] == [1, 2, 3]


def test_looks_hold_what_the_frames_hold():
    policy = made_up(MEETING.build())
    frames = list(media.play(policy, MEETING, episodes=2, steps=12, draw="nothing"))
    seen = media.looks(frames)
    assert len(frames) == 13
    assert sum(len(look.phase) for look in seen) == 13
    for name in ("attention", "mask", "who", "positions", "phase", "holder"):
        joined = np.concatenate([getattr(look, name) for look in seen])
        assert np.array_equal(joined, np.stack([getattr(frame, name) for frame in frames]))
    assert frames[0].picture.size == 0
    masked = np.concatenate([look.attention[~look.mask[:, None, None, :].repeat(2, 1).repeat(3, 2)] for look in seen])
    assert len(masked) > 0
    assert not masked.any()


def test_each_head_has_a_panel():
    policy = made_up(MEETING.build(), heads=4)
    (plain, *_), (heads, *_) = (list(media.play(policy, MEETING, steps=1, draw=draw)) for draw in ("mean", "heads"))
    height, width = plain.picture.shape[:2]
    assert heads.picture.shape == (2 * (height + 26), 2 * width, 3)
    for row in range(2):
        for column in range(2):
            top = row * (height + 26) + 26
            panel = heads.picture[top : top + height, column * width : (column + 1) * width]
            assert np.array_equal(panel, plain.picture)  # the meeting game draws no attention
            assert heads.picture[top - 26 : top, column * width : (column + 1) * width].std() > 5  # a title


def test_a_policy_for_other_observations_is_refused():
    policy = made_up(meet(2, side=4))
    with pytest.raises(ValueError, match=r"the policy does not fit fake/meet: num_agents is 3, .* for 2"):
        next(media.play(policy, MEETING))


def test_only_teams_that_exchange_attend():
    env = MEETING.build()
    assert media.attends(made_up(env))
    assert media.attends(made_up(env, arm="meanpool"))
    assert not media.attends(made_up(env, arm="independent"))
    assert isinstance(made_up(env), agents.Policy)
