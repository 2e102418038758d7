"""Names, codes and mirrors of the actions against gfootball's own tables."""

import pytest

from envs.football.actions import ACTION_NAMES, NUM_STICKY, STICKY_NAMES, mirrored, update_sticky


@pytest.mark.engine("football")
def test_names_order_and_mirrors_are_gfootballs():
    from gfootball.env import config, football_action_set, observation_rotation

    settings = config.Config({"action_set": "default"})
    actions = football_action_set.get_action_set(settings)
    assert [str(action) for action in actions] == list(ACTION_NAMES)
    flipped = [str(observation_rotation.flip_single_action(action, settings)) for action in actions]
    assert [ACTION_NAMES[mirrored(action)] for action in range(19)] == flipped
    assert [str(action) for action in football_action_set.get_sticky_actions(settings)] == list(STICKY_NAMES)


def test_sticky_actions_stay_until_they_are_replaced_or_released():
    state = [0.0] * (2 * NUM_STICKY)

    def on_after(*names):
        update_sticky(state, [(*ACTION_NAMES, "builtin_ai").index(name) for name in names])
        return [{STICKY_NAMES[i] for i in range(NUM_STICKY) if state[agent * NUM_STICKY + i]} for agent in range(2)]

    assert on_after("left", "sprint") == [{"left"}, {"sprint"}]
    assert on_after("sprint", "shot") == [{"left", "sprint"}, {"sprint"}]
    assert on_after("top_right", "dribble") == [{"top_right", "sprint"}, {"sprint", "dribble"}]
    assert on_after("release_direction", "release_sprint") == [{"sprint"}, {"dribble"}]
    assert on_after("bottom", "builtin_ai") == [{"sprint", "bottom"}, set()]
    assert on_after("idle", "release_dribble") == [{"sprint", "bottom"}, set()]
