"""The engine's share is a share, and gfootball's own environment is measured beside it."""

import pytest


@pytest.mark.engine("football")
@pytest.mark.parametrize("peer", [False, True])
def test_the_share_is_measured(peer):
    from envs.football.bench import engine_share

    result = engine_share("academy_empty_goal_close", 1, 60, 0, peer=peer)
    assert 0.3 < result["share"] < 1
    assert result["engine_ms_per_step"] == pytest.approx(result["share"] * result["ms_per_step"])
    assert result["steps_per_s"] == pytest.approx(1e3 / result["ms_per_step"])
