"""The adapter plays exactly the games that gfootball's own FootballEnv plays: both step side by side, same actions."""

import numpy as np
import pytest

from envs.football import FootballConfig
from envs.football.actions import NUM_STICKY

pytestmark = pytest.mark.engine("football")


class Peer:
    """gfootball's FootballEnv, reset to the episodes of our seeds."""

    def __init__(self, level, players, opponents):
        from gfootball.env import config, football_env

        agents = f"agent:left_players={players},right_players={opponents}"
        self.env = football_env.FootballEnv(config.Config({"level": level, "players": [agents]}))

    def reset(self, seed):
        from envs.football.engine import episode_seed

        episode = episode_seed(seed)
        self.env._config.update(
            {
                "game_engine_random_seed": episode.engine,
                "reverse_team_processing": episode.reverse,
            }
        )
        self.env._config["episode_number"] = 0 if episode.swap_kick_off else 1  # reset counts one up
        return self.env.reset()

    def step(self, actions):
        obs, rewards, done, _ = self.env.step([int(action) for action in actions])
        return obs, rewards, done


def compare(ours, theirs):
    """Observations of one side: ours against the list of gfootball's dictionaries."""
    raw = np.concatenate([theirs[0]["left_team"], theirs[0]["right_team"], theirs[0]["ball"][None, :2]])
    np.testing.assert_allclose(ours["positions"], np.clip(raw / [1, 0.42], -1, 1), atol=1e-6)
    np.testing.assert_array_equal(ours["who"], [agent["active"] for agent in theirs])
    start = 7 + 10  # behind the player itself and its role
    sticky = [agent["sticky_actions"] for agent in theirs]
    np.testing.assert_array_equal(ours["view"][:, start : start + NUM_STICKY], sticky)


CASES = [
    ("academy_3_vs_1_with_keeper", 3, 0, 260),
    ("academy_pass_and_shoot_with_keeper", 2, 0, 200),
    ("team_run_pass_and_shoot_with_keeper", 2, 0, 150),
    ("academy_corner", 10, 0, 100),
    ("1_vs_1_easy", 1, 1, 520),
    ("5_vs_5", 4, 0, 300),
    ("5_vs_5", 2, 3, 200),
    ("11_vs_11_stochastic", 11, 11, 150),
]


@pytest.mark.parametrize(("level", "players", "opponents", "steps"), CASES)
def test_same_seed_and_actions_give_the_same_game(level, players, opponents, steps):
    ours, theirs = (
        FootballConfig(level=level, players=players, opponents=opponents).build(),
        Peer(level, players, opponents),
    )
    rng = np.random.default_rng(7)
    seed = 0
    obs, peer_obs = ours.reset(seed), theirs.reset(seed)
    compare(obs, peer_obs[:players])
    for _ in range(steps):
        actions = rng.integers(19, size=players + opponents)
        others = {"opponent_actions": actions[players:]} if opponents else {}
        obs, rewards, terminated, truncated, _ = ours.step(actions[:players], **others)
        peer_obs, peer_rewards, done = theirs.step(actions)
        compare(obs, peer_obs[:players])
        if opponents:
            compare(ours.observe_opponents(), peer_obs[players:])
        np.testing.assert_array_equal(rewards, peer_rewards[:players])
        assert (terminated or truncated) == done
        assert truncated == (done and peer_obs[0]["steps_left"] == 0)
        if done:
            seed += 1
            compare(ours.reset(seed), theirs.reset(seed)[:players])
    ours.close()
    theirs.env.close()


@pytest.mark.parametrize(("level", "action"), [("academy_empty_goal_close", 7), ("academy_corner", 5)])
def test_running_the_ball_out_ends_an_academy_game_as_in_gfootball(level, action):
    ours, theirs = FootballConfig(level=level, players=1).build(), Peer(level, 1, 0)
    ours.reset(1)
    theirs.reset(1)
    done, step = False, 0
    while not done:
        _, _, terminated, truncated, info = ours.step(np.array([action]))
        _, _, done = theirs.step([action])
        assert (terminated, truncated) == (done, False)
        step += 1
    assert 5 < step < 150
    assert info["episode"]["goal_difference"] == 0
    ours.close()
    theirs.env.close()


def test_a_team_that_lets_the_game_wait_is_made_to_restart_as_in_gfootball():
    """Both teams run the ball over the side line and then do nothing; the throw-in is forced after 20 steps."""
    ours, theirs = FootballConfig(level="5_vs_5", opponents=4).build(), Peer("5_vs_5", 4, 4)
    ours.reset(5)
    theirs.reset(5)
    longest = 0
    for step in range(130):
        actions = np.full(8, 7 if step < 80 else 0)
        obs, *_ = ours.step(actions[:4], opponent_actions=actions[4:])
        peer_obs, *_ = theirs.step(actions)
        compare(obs, peer_obs[:4])
        longest = max(longest, theirs.env._env._env.waiting_for_game_count)
    assert longest > 20
    ours.close()
    theirs.env.close()


@pytest.mark.parametrize("waiting", [25, 35])
def test_the_walk_off_the_ball_is_gfootballs(waiting):
    """Deep in a wait only the player on the ball moves, forwards first, then back; seldom reached, so set by hand."""
    ours, theirs = FootballConfig(level="5_vs_5", opponents=4).build(), Peer("5_vs_5", 4, 4)
    ours.reset(2)
    theirs.reset(2)
    rng, owners = np.random.default_rng(1), set()
    for step in range(150):
        if step % 4 == 0:
            ours.match._waiting = theirs.env._env._env.waiting_for_game_count = waiting
            owners.add(ours.match.moment().owner_side)
        actions = rng.integers(1, 9, size=8)
        obs, *_ = ours.step(actions[:4], opponent_actions=actions[4:])
        peer_obs, *_ = theirs.step(actions)
        compare(obs, peer_obs[:4])
        compare(ours.observe_opponents(), peer_obs[4:])
    assert owners == {-1, 0, 1}
    ours.close()
    theirs.env.close()
