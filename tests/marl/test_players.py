"""Players: who they are, what they play, and that a game does not depend on the games beside it."""

import numpy as np
import pytest
import torch

import envs
from agents import NetworkConfig, ObservationSpec, Policy, TeamNetwork
from agents.policy import gumbel
from envs.fakes import FakeTeamEnv, make_spec
from envs.football.actions import ACTION_NAMES, BUILTIN_AI
from envs.football.features import unbounded
from marl import players


def football_like(*, builtin_ai=False, players=3, features=6):
    """A spec with football's actions and no engine."""
    spec = make_spec(unbounded(players, features), players=players, others=("opponent", "ball"))
    names = (*ACTION_NAMES, BUILTIN_AI) if builtin_ai else ACTION_NAMES
    return type(spec)(**{**vars(spec), "action_names": names})


def policy_for(spec):
    torch.manual_seed(0)
    network = TeamNetwork(ObservationSpec.from_team(spec), NetworkConfig(width=16, hidden=24))
    torch.nn.init.normal_(network.policy[-1].weight)
    return Policy(network)


def batch_of(spec, count):
    games = [FakeTeamEnv(spec).reset(seed) for seed in range(count)]
    return {key: np.stack([game[key] for game in games]) for key in games[0]}


def generators(count, first=0):
    return [np.random.default_rng(first + row) for row in range(count)]


@pytest.mark.parametrize("who", ["random", "idle", "builtin_ai", "policy"])
def test_a_game_does_not_depend_on_the_games_beside_it(who):
    spec = football_like(builtin_ai=True)
    player = players.make(policy_for(football_like()) if who == "policy" else who)
    player.fit(spec)
    obs = batch_of(spec, 5)
    together = player.act(obs, generators(5))
    assert together.shape == (5, 3)
    assert together.dtype == np.int64
    for row in range(5):
        alone = player.act({key: value[row : row + 1] for key, value in obs.items()}, generators(1, first=row))
        assert alone.tolist() == together[row : row + 1].tolist()


def test_simple_players_do_what_their_names_say():
    spec = football_like(builtin_ai=True)
    obs = batch_of(spec, 2)
    for who, action in (("idle", 0), ("builtin_ai", 19)):
        player = players.make(who)
        player.fit(spec)
        assert (player.act(obs, generators(2)) == action).all()
        assert player.name == who


def test_random_draws_what_evaluation_always_drew_and_never_the_engines_skill():
    for builtin_ai in (False, True):
        spec = football_like(builtin_ai=builtin_ai)
        player = players.make("random")
        player.fit(spec)
        obs, rngs = batch_of(spec, 1), generators(1)
        drawn = np.concatenate([player.act(obs, rngs) for _ in range(300)])
        rng = np.random.default_rng(0)
        assert drawn.tolist() == [rng.integers(19, size=3).tolist() for _ in range(300)]
        assert set(drawn.ravel()) == set(range(19))


@pytest.mark.parametrize("deterministic", [True, False])
def test_a_policy_plays_its_samples_or_its_likeliest_actions(deterministic):
    spec = football_like()
    policy = policy_for(spec)
    player = players.make(policy, deterministic=deterministic)
    player.fit(spec)
    obs = batch_of(spec, 4)
    logits = policy.output(obs).logits.numpy()
    noise = np.stack([rng.random((3, 19), dtype=np.float32) for rng in generators(4)])
    expected = (logits if deterministic else logits + gumbel(noise)).argmax(-1)
    assert player.act(obs, generators(4)).tolist() == expected.tolist()


def test_a_policy_from_a_folder_is_named_after_it(tmp_path):
    spec = football_like()
    folder = policy_for(spec).save(tmp_path / "mine")
    player = players.make(folder)
    player.fit(spec)
    assert player.name == str(folder)
    assert not player.needs_builtin_ai


def test_a_policy_that_knows_more_actions_or_other_observations_is_refused():
    with pytest.raises(ValueError, match=r"^the policy does not fit fake/features: num_actions is 19, .* for 20$"):
        players.make(policy_for(football_like(builtin_ai=True))).fit(football_like())
    with pytest.raises(ValueError, match=r"^the policy does not fit fake/features: shape of 'view' is \(3, 9\)"):
        players.make(policy_for(football_like())).fit(football_like(features=9))


def test_only_football_has_a_built_in_ai():
    builtin_ai = players.make("builtin_ai")
    assert players.seat(envs.config("football/5_vs_5"), builtin_ai).builtin_ai
    with pytest.raises(ValueError, match=r"^builtin_ai plays football only; allowed here: random, idle"):
        players.seat(envs.config("lab2d/clean_up"), players.make("idle"), builtin_ai)
    with pytest.raises(ValueError, match=r"^the built-in AI plays football with the option builtin_ai=True, not fake"):
        builtin_ai.fit(football_like())


def test_seats_of_others_change_nothing():
    for env in (envs.config("football/5_vs_5"), envs.config("lab2d/clean_up")):
        assert players.seat(env, players.make("random"), players.make("idle")) == env


def test_a_player_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"^player 'rondom' does not exist; allowed: random, idle, scripted, builtin_"):
        players.make("rondom")
    with pytest.raises(ValueError, match="holds no policy"):
        players.make(tmp_path)
