"""The scripted player: what it does in drawn-up situations, what its ids mean, and that it beats random play."""

import numpy as np
import pytest

import envs
from envs.fakes import make_spec
from envs.football.actions import ACTION_NAMES
from envs.football.features import unbounded
from marl import players, scripted
from marl.seeds import record_seed

HARVEST = ("noop", "forward", "back", "left", "right", "turn_left", "turn_right")


def spec_of(env, actions, view, shape, **options):
    spec = make_spec(unbounded(*shape), players=shape[0], **options)
    return type(spec)(**{**vars(spec), "env": env, "view": view, "action_names": actions})


def footballer(places, who=(0, 1), opponents=1):
    """What two agents do with teammates, opponents and ball at `places` (true proportions)."""
    others = ("opponent",) * opponents + ("ball",)
    spec = spec_of("football/5_vs_5", ACTION_NAMES, "features", (2, 4), others=others)
    player = players.make("scripted")
    player.fit(spec)
    positions = np.array(places, np.float32) / (1, 0.42)
    obs = {"positions": positions, "entity_mask": np.ones(len(places), bool), "who": np.array(who, np.int16)}
    actions = player.act({key: value[None] for key, value in obs.items()}, [np.random.default_rng(0)])
    return [ACTION_NAMES[action] for action in actions[0]]


FAR = (-0.9, 0.4)


@pytest.mark.parametrize(
    ("ball", "direction"),
    [((0.3, 0), "right"), ((0, 0.3), "bottom"), ((0, -0.3), "top"), ((-0.3, 0), "left"), ((0.2, -0.2), "top_right")],
)
def test_the_nearest_fetches_the_ball(ball, direction):
    assert footballer([(0, 0), (-0.9, -0.4), FAR, ball])[0] == direction


def test_the_player_with_the_ball_runs_to_the_goal_and_shoots_when_near():
    assert footballer([(0, 0), FAR, FAR, (0.01, 0)])[0] == "right"
    assert footballer([(0.9, 0.4), FAR, FAR, (0.9, 0.41)])[0] == "top"
    assert footballer([(0.8, 0), FAR, FAR, (0.81, 0)])[0] == "shot"


def test_the_player_with_the_ball_passes_when_an_opponent_is_in_the_way():
    assert footballer([(0, 0), FAR, (0.1, 0), (0.01, 0)])[0] == "short_pass"
    assert footballer([(0, 0), FAR, (-0.1, 0), (0.01, 0)])[0] == "right"
    assert footballer([(0, 0), FAR, (0.5, 0), (0.01, 0)])[0] == "right"


def test_the_others_run_forward_and_who_controls_nobody_stands():
    assert footballer([(0, 0), (0, 0.25), FAR, (0.01, 0)])[1] == "right"
    assert footballer([(0, 0), (0, 0.25), FAR, (0.01, 0)], who=(0, -1)) == ["right", "idle"]


def forager(window, level="commons_harvest", seed=0):
    actions = (*HARVEST, "clean") if level == "clean_up" else HARVEST
    spec = spec_of(f"lab2d/{level}", actions, "layer", (1, *window.shape))
    player = players.make("scripted")
    player.fit(spec)
    chosen = player.act({"view": window[None, None]}, [np.random.default_rng(seed)])
    return actions[int(chosen[0, 0])]


def window(**cells):
    """A window with things (layer 0) at {name: [(row, column), ...]}; "wall" stands in the way."""
    empty = np.zeros((11, 11, 4), np.uint8)
    for name, places in cells.items():
        for row, column in places:
            empty[row, column, 1 if name == "wall" else 0] = {"apple": 2, "mud": 18, "wall": 40}[name]
    return empty


PATCH = [(5, 5), (5, 4), (5, 6), (4, 5), (6, 5)]


def test_a_forager_walks_to_the_nearest_apple():
    assert forager(window(apple=PATCH)) == "forward"
    assert forager(window(apple=[(9, column) for column in range(5)])) == "left"
    assert forager(window(apple=[(9, column) for column in range(6, 11)])) == "right"
    both = {forager(window(apple=PATCH, wall=[(8, 5)]), seed=seed) for seed in range(20)}
    assert both == {"turn_left", "turn_right"}  # the way is blocked


def test_a_forager_spares_the_last_apples_of_a_patch_where_they_need_each_other():
    few = window(apple=[(9, 6), (9, 7), (9, 8)])
    assert "right" not in {forager(few, seed=seed) for seed in range(20)}
    assert forager(few, "clean_up") == "right"


def test_a_forager_cleans_what_its_beam_reaches_and_walks_to_other_mud():
    assert forager(window(mud=[(4, 5)]), "clean_up") == "clean"
    assert forager(window(mud=[(9, 4)]), "clean_up") == "clean"
    assert forager(window(mud=[(2, 5)]), "clean_up") == "forward"
    assert forager(window(mud=[(10, 5)]), "clean_up") == "back"
    assert forager(window(mud=[(4, 5)], apple=[(9, 6)]), "clean_up") == "right"


def test_other_games_and_views_are_refused():
    for spec in (
        spec_of("lab2d/pushbox", HARVEST, "layer", (2, 4)),
        spec_of("lab2d/clean_up", HARVEST, "rgb", (2, 4)),
        make_spec(unbounded(2, 4), players=2),
    ):
        with pytest.raises(ValueError, match=rf"^scripted cannot play {spec.env} with the view {spec.view}; allowed: "):
            players.make("scripted").fit(spec)


def play(env, who, episodes):
    """Mean of each episode number."""
    team, player = envs.make_team(env), players.make(who)
    player.fit(team.spec)
    numbers = []
    for episode in range(episodes):
        obs, rng, over = team.reset(record_seed(0, episode)), [np.random.default_rng(episode)], False
        while not over:
            actions = player.act({key: value[None] for key, value in obs.items()}, rng)[0]
            obs, _, terminated, truncated, info = team.step(actions)
            over = terminated or truncated
        numbers.append(info["episode"])
    team.close()
    return {name: np.mean([one[name] for one in numbers]) for name in numbers[0]}


def moments(level, num_players, seed, steps):
    """The scripted player's game: (observation, actions, rewards, next observation) of every step."""
    team, player = envs.make_team(f"lab2d/{level}", players=num_players), players.make("scripted")
    player.fit(team.spec)
    obs, rng = team.reset(seed), [np.random.default_rng(seed)]
    for _ in range(steps):
        actions = player.act({key: value[None] for key, value in obs.items()}, rng)[0]
        following, rewards, *_ = team.step(actions)
        yield obs, [team.spec.action_names[action] for action in actions], rewards, following
        obs = following
    team.close()


@pytest.mark.engine("lab2d")
def test_an_apple_is_what_pays_a_point_to_whom_steps_on_it():
    eaten, grown = 0, 0
    for obs, (action,), rewards, _ in moments("commons_harvest", 1, 3, 300):
        down, right = scripted.STEPS.get(action, (0, 0))
        there = obs["view"][0, 9 + down, 5 + right, scripted.THINGS]
        apple = scripted.APPLE <= there < scripted.APPLE + 4
        assert rewards[0] or not apple
        eaten, grown = eaten + apple, grown + int(rewards[0]) - apple
    assert eaten > 10
    assert grown <= 0.05 * eaten  # an apple may grow under the player's feet


@pytest.mark.engine("lab2d")
@pytest.mark.parametrize("num_players", [1, 7])
def test_mud_within_the_beam_is_what_cleaning_takes_away(num_players):
    """In the first 50 steps no new mud appears; the beam needs two steps of rest."""
    cleaned = 0
    for seed in range(4):
        fired = np.full(num_players, -9)
        for step, (obs, actions, _, following) in enumerate(moments("clean_up", num_players, seed, 45)):
            mud = [(np.isin(one["view"][..., 0], range(scripted.MUD, scripted.MUD + 4))) for one in (obs, following)]
            for agent in np.flatnonzero([action == "clean" for action in actions]):
                assert (mud[0][agent] & scripted.BEAM).any()
                if step - fired[agent] < 3:
                    continue
                fired[agent] = step
                if num_players == 1:  # else teammates stand in the way of the beam
                    assert mud[1][agent].sum() < mud[0][agent].sum()
                cleaned += int(mud[1][agent].sum() < mud[0][agent].sum())
    assert cleaned > 3


@pytest.mark.engine("lab2d")
def test_a_forager_earns_more_than_random():
    harvest = envs.config("lab2d/commons_harvest", players=4, team_reward=True, steps=500)
    assert play(harvest, "scripted", 2)["apples"] > 1.5 * play(harvest, "random", 2)["apples"]
    assert play(envs.config("lab2d/clean_up", players=4, steps=600), "scripted", 1)["apples"] > 10


@pytest.mark.engine("football")
def test_a_footballer_scores():
    """Over 60 episodes 43% with a goal, and 5% for random play."""
    assert play(envs.config("football/team_3_vs_1_with_keeper"), "scripted", 12)["scored"] >= 0.2
