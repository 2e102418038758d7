"""The picture shows the ball and every player where they are."""

import numpy as np
import pytest

from envs.football.drawing import draw_pitch
from tests.envs.football.moments import moment


def pixel(x, y):
    return round(42 + (y / 0.42 + 1) * 369.1 / 2), round(34 + (x + 1) * 286)


def colours(picture, x, y, reach=4):
    row, column = pixel(x, y)
    return picture[row - reach : row + reach + 1, column - reach : column + reach + 1].reshape(-1, 3).astype(int)


def near(patch, colour):
    return int((np.abs(patch - colour).sum(axis=1) < 40).sum())


@pytest.mark.parametrize("seed", range(3))
def test_players_and_ball_are_drawn_where_they_are(seed):
    frame = moment(seed=seed, controlled=(), goals_for=2)
    table = frame.table()
    spots = np.abs(table[:, None, :2] - table[None, :, :2]).max(axis=2) + np.eye(6)
    picture = draw_pitch(frame, level="a level")
    assert (picture.shape, picture.dtype) == ((420, 640, 3), np.uint8)
    for row in range(5):
        if spots[row].min() > 0.08:  # not hidden by another
            colour = (250, 206, 52) if row < 3 else (62, 118, 226)
            assert near(colours(picture, *table[row, :2]), colour) > 30
    assert near(colours(picture, *table[5, :2]), (252, 252, 252)) > 10


def test_players_sent_off_are_not_drawn():
    there, gone = draw_pitch(moment(), level=""), draw_pitch(moment(absent=(0,)), level="")
    at = moment().table()[0, :2]
    assert near(colours(there, *at), (250, 206, 52)) > 30 > near(colours(gone, *at), (250, 206, 52))


def test_attention_brightens_the_way_between_two_players():
    frame = moment(controlled=(0, 1))
    a, b = frame.table()[:2, :2]
    plain = draw_pitch(frame, level="")
    for weights, brighter in (([[0, 0.9], [0, 0]], True), ([[1.0, 0], [0, 1.0]], False)):
        drawn = draw_pitch(frame, level="", attention=np.array(weights))
        patch = [colours(picture, *((a + b) / 2), reach=5).sum() for picture in (plain, drawn)]
        assert (patch[1] > patch[0] + 300) == brighter


def test_attention_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"attention of shape \(3, 3\) does not fit; allowed: \(2, 2\)"):
        draw_pitch(moment(), level="", attention=np.zeros((3, 3)))
