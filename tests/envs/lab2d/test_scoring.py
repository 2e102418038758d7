"""The engine's payments taken apart."""

import itertools

import numpy as np

from envs.lab2d import Lab2dConfig
from envs.lab2d.scoring import HIT_MADE, HIT_TAKEN, Scoreboard, engine_settings, split


def test_split_inverts_every_payment():
    cases = np.array(list(itertools.product((0, 1, 2), (0, 1, 5, 19, 1023), (0, 1, 7, 19, 1023))))
    paid = cases @ np.array([1, HIT_MADE, HIT_TAKEN])
    assert np.array_equal(np.stack(split(paid), axis=1), cases)


class _Engine:
    """Answers `observation` from a dictionary."""

    def __init__(self, values):
        self.observation = values.__getitem__


def test_episode_numbers_by_hand():
    board = Scoreboard(Lab2dConfig(level="clean_up", players=2, fine=True))
    # step 2: agent 0 eats; step 4: agent 1 fines agent 0 and eats
    first = board.read(_Engine({"1.REWARD": 1.0, "2.REWARD": 0.0}), 2, 1.0)
    second = board.read(_Engine({"1.REWARD": HIT_TAKEN, "2.REWARD": 1 + HIT_MADE}), 4, 1.0)
    board.count_cleaned(_Engine({"2.CONTRIB": 3.0}), 1)
    assert first.tolist() == [1, 0]
    assert second.tolist() == [-50, 0]
    assert board.caption() == "returns -49, 0"
    assert board.episode(5, False) == {
        "per_capita_return": -24.5,
        "team_return": -49.0,
        "equality": 1.0,
        "sustainability": 3.0,
        "peace": 0.9,
        "apples": 2.0,
        "cleaned": 3.0,
        "fines": 1.0,
    }
    board.start()
    assert board.episode(5, False)["apples"] == 0


def test_without_the_option_there_is_no_beam():
    off = engine_settings(Lab2dConfig(level="clean_up"))
    on = engine_settings(Lab2dConfig(level="clean_up", fine=True))
    assert off["avatars.player.%default.fineWait"] == "-1"
    assert "avatars.player.%default.fineWait" not in on
    assert engine_settings(Lab2dConfig(level="commons_harvest"))["avatars.player.%default.minFramesBetweenZaps"] == "-1"
