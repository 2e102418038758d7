"""Episodes: seeds, ends, errors, snapshots, the pool of start states, and both sides."""

import json

import numpy as np
import psutil
import pytest

from envs.football import FootballConfig
from envs.team import TeamEnv

pytestmark = pytest.mark.engine("football")


def play(env, seed, steps, obs=None, opponents=0):
    """Observations and rewards of `steps` random steps, from a reset without one."""
    rng = np.random.default_rng(99)
    if obs is None:
        obs = env.reset(seed)
    history = [*obs.values()]
    for _ in range(steps):
        others = {"opponent_actions": rng.integers(19, size=opponents)} if opponents else {}
        obs, rewards, terminated, truncated, _ = env.step(rng.integers(19, size=env.spec.num_agents), **others)
        history += [*obs.values(), rewards]
        if opponents:
            history += [*env.observe_opponents().values()]
        if terminated or truncated:
            break
    return history


def same(one, other):
    return len(one) == len(other) and all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def make(level="academy_3_vs_1_with_keeper", **options):
    return FootballConfig(level=level, **options).build()


@pytest.mark.parametrize("view", ["features", "smm"])
def test_a_seed_gives_the_same_episode_in_this_environment_and_a_fresh_one(view):
    env, fresh = make(players=3, view=view), make(players=3, view=view)
    assert isinstance(env, TeamEnv)
    first = play(env, 5, 60)
    assert not same(first, play(env, 6, 60))
    assert same(first, play(env, 5, 60))
    assert same(first, play(fresh, 5, 60))
    assert same(play(env, None, 20), play(fresh, None, 20))  # the sequence of seeds goes on alike
    env.close()
    fresh.close()


def test_an_idle_game_is_truncated_at_its_last_step_and_reports_the_episode():
    env = make("1_vs_1_easy")
    env.reset(0)
    idle = np.zeros(1, int)
    for step in range(1, env.spec.max_steps + 1):
        _, _, terminated, truncated, info = env.step(idle)
        assert (terminated, truncated) == (False, step == env.spec.max_steps)
        assert ("episode" in info) == truncated
    assert env.spec.max_steps == 501
    assert set(info["episode"]) == set(env.spec.metrics)
    with pytest.raises(RuntimeError, match="not in an episode; call reset first"):
        env.step(idle)
    env.close()


def test_a_goal_terminates_and_is_reported():
    env = make("team_empty_goal_close", rewards="scoring")
    for seed in range(5):
        env.reset(seed)
        done, step, total = False, 0, 0.0
        while not done:
            _, rewards, terminated, truncated, info = env.step(np.array([12 if step == 10 else 5]))
            done, step, total = terminated or truncated, step + 1, total + float(rewards[0])
        if info["episode"]["scored"]:
            break
    assert (terminated, truncated) == (True, False)
    assert total == 1
    expected = {"goals_for": 1, "goals_against": 0, "goal_difference": 1, "scored": 1, "conceded": 0, "shots": 1}
    assert expected.items() <= info["episode"].items()
    env.close()


def test_what_was_handed_out_never_changes_and_out_is_written_in_place():
    env = make(view="smm")
    first = env.reset(1)
    kept = {key: array.copy() for key, array in first.items()}
    out = env.spec.empty()
    obs, *_ = env.step(np.full(4, 5), out)
    assert obs is out
    assert same([*first.values()], [*kept.values()])
    env.close()


def test_wrong_actions_are_named():
    env = make("5_vs_5", players=2, opponents=1)
    with pytest.raises(RuntimeError, match="call reset first"):
        env.step(np.zeros(2, int), opponent_actions=np.zeros(1, int))
    env.reset(0)
    good = np.zeros(1, int)
    for bad in (np.zeros(3, int), np.zeros((1, 2), int), np.zeros(2), [0.0, 0.0]):
        with pytest.raises(ValueError, match="must be 2 integers, one per agent; got shape"):
            env.step(bad, opponent_actions=good)
    with pytest.raises(ValueError, match="action 19 of agent 1 does not exist in football/5_vs_5; allowed: 0 to 18"):
        env.step(np.array([0, 19]), opponent_actions=good)
    with pytest.raises(ValueError, match="opponent_actions missing; football/5_vs_5 needs 1 integers"):
        env.step(np.zeros(2, int))
    with pytest.raises(ValueError, match="action -1 of agent 0"):
        env.step(np.zeros(2, int), opponent_actions=np.array([-1]))
    with pytest.raises(ValueError, match="seed -1 does not fit; allowed: 0 and above"):
        env.reset(-1)
    env.close()
    env.close()
    with pytest.raises(RuntimeError, match="closed; make a new one"):
        env.reset(0)
    alone = make("5_vs_5")
    alone.reset(0)
    with pytest.raises(ValueError, match="opponents=0"):
        alone.step(np.zeros(4, int), opponent_actions=good)
    with pytest.raises(ValueError, match="opponents=0"):
        alone.observe_opponents()
    alone.close()


@pytest.mark.parametrize(
    ("level", "options"),
    [
        ("academy_3_vs_1_with_keeper", {"players": 3, "rewards": "checkpoints"}),
        ("5_vs_5", {"view": "smm", "opponents": 2}),
        ("5_vs_5", {"opponents": 4}),
        ("11_vs_11_kaggle", {"players": 11}),
    ],
)
def test_a_game_goes_on_bit_by_bit_from_a_snapshot_also_elsewhere(level, options):
    env, elsewhere = make(level, **options), make(level, **options)
    opponents = options.get("opponents", 0)
    play(env, 3, 25, opponents=opponents)
    moment, obs = env.snapshot(), env.restore(env.snapshot())
    fresh = make(level, **options)
    play(fresh, 3, 25, opponents=opponents)
    then = play(fresh, None, 60, obs=obs, opponents=opponents)  # a game that was never restored
    fresh.close()
    play(env, 8, 10, opponents=opponents)
    assert same(then, play(env, None, 60, obs=env.restore(moment), opponents=opponents))
    assert same(then, play(elsewhere, None, 60, obs=elsewhere.restore(moment), opponents=opponents))
    env.close()
    elsewhere.close()


def test_from_every_snapshot_the_episode_ends_as_it_did():
    """Rings, the last owner of the ball and the last mode matter only now and then, so every step is restored."""
    env = make(players=3, rewards="checkpoints")
    env.reset(1)
    rng = np.random.default_rng(0)
    snapshots, actions, rewards, done = [], [], [], False
    while not done:
        snapshots.append(env.snapshot())
        actions.append(rng.choice([5, 5, 5, 11, 13], size=3))
        _, reward, terminated, truncated, last = env.step(actions[-1])
        rewards.append(reward[0])
        done = terminated or truncated
    assert sum(rewards) > 0
    for start, snapshot in enumerate(snapshots):
        env.restore(snapshot)
        for step in range(start, min(start + 12, len(actions))):
            _, reward, terminated, truncated, info = env.step(actions[step])
            assert reward[0] == rewards[step]
            assert (terminated or truncated) == (step == len(actions) - 1)
        assert info == (last if terminated or truncated else {})
    env.close()


@pytest.mark.parametrize("used", [False, True])
def test_a_match_of_another_order_of_the_teams_goes_on_exactly_too(used):
    """The engine alone does not: its state leaves out something that the reset before it decides."""
    from envs.football.engine import EpisodeSeed
    from envs.football.match import Match

    source, target = Match("5_vs_5", 4, 0), Match("5_vs_5", 4, 0)
    actions = np.random.default_rng(0).integers(19, size=(50, 4)).tolist()

    def rest(match):
        return [(match.step(chosen, []), match.moment().values)[1] for chosen in actions]

    for seed in range(6):
        source.reset(EpisodeSeed(seed, True, True))
        rest(source)
        snapshot = source.snapshot({})
        expected = rest(source)
        target.reset(EpisodeSeed(seed, False, False))
        if used:
            rest(target)
        target.restore(snapshot)
        assert rest(target) == expected
    source.close()
    target.close()


def test_a_snapshot_knows_how_long_the_game_has_waited():
    """Both teams run the ball over the side line, then idle: the throw-in is forced after 20 steps of waiting."""
    env = make("5_vs_5", opponents=4)
    env.reset(5)
    out, idle = np.full(4, 7), np.zeros(4, int)
    while env.match.moment().mode == 0:
        env.step(out, opponent_actions=out)
    for _ in range(12):
        env.step(idle, opponent_actions=idle)
    moment = env.snapshot()
    games = []
    for restored in (False, True):
        if restored:
            env.restore(moment)
        games.append([env.step(idle, opponent_actions=idle)[0]["view"] for _ in range(25)])
    assert same(*games)
    env.close()


def test_restoring_changes_nothing_for_a_game_that_goes_on():
    env, other = make(players=3, view="smm"), make(players=3, view="smm")
    play(env, 3, 20), play(other, 3, 20)
    obs = env.restore(env.snapshot())
    idle = np.zeros(3, int)
    np.testing.assert_array_equal(obs["shared"][..., -3:], env.step(idle)[0]["shared"][..., -6:-3])
    assert same([*env.step(idle)[0].values()], [*[other.step(idle) for _ in range(2)][1][0].values()])
    env.close()
    other.close()


def test_bytes_that_are_no_snapshot_of_this_game_are_refused():
    env, other = make(players=3), make("5_vs_5")
    env.reset(0)
    other.reset(0)
    snapshot = env.snapshot()
    for bad in (b"", b"hello", snapshot[:-1], snapshot[:-9] + b"x" + snapshot[-8:]):
        with pytest.raises(ValueError, match="bytes are no football snapshot"):
            env.restore(bad)
    with pytest.raises(ValueError, match=r"snapshot of \['academy_3.*does not fit; allowed: one of \['5_vs_5', 4, 0"):
        other.restore(snapshot)
    env.close()
    other.close()


def test_the_pool_starts_alike_but_every_game_is_another(monkeypatch):
    from envs.football import pool

    monkeypatch.setattr(pool, "REFRESH", 10**6)
    env = make("5_vs_5", reset_pool=1)
    env.reset(0)
    env.reset()
    games = [play(env, None, 40) for _ in range(4)]
    views = len(env.spec.spaces)
    for game in games[1:]:
        # The same start state (a pool of one) and the same actions, yet chance takes another course.
        assert same(game[:views], games[0][:views])
        assert not same(game, games[0])
    monkeypatch.setattr(pool, "REFRESH", 2)
    stored = {env.reset() and env._pool._states[0] for _ in range(16)}
    assert 3 < len(stored) < 14  # about every second reset replaces the state
    env.close()


def test_the_pool_depends_on_the_seeds_alone_and_never_answers_an_explicit_seed():
    env, fresh, plain = (make(players=3, reset_pool=size) for size in (2, 2, 0))
    for _ in range(5):
        env.reset()
    assert same(play(env, 4, 30), play(plain, 4, 30))
    assert same(play(fresh, 4, 30), play(plain, 4, 30))
    for _ in range(6):
        assert same(play(env, None, 15), play(fresh, None, 15))
    for each in (env, fresh, plain):
        each.close()


def test_reseeding_writes_the_generator_as_the_engine_seeds_it():
    from envs.football import match as matches

    env = make()
    env.reset(0)
    state = env.match.engine.get_state(b"")
    reseeded = matches._reseeded(state, 7)
    assert len(reseeded) == len(state)
    assert (reseeded[:12], reseeded[12 + 2504 :]) == (state[:12], state[12 + 2504 :])
    # init_genrand of Matsumoto and Nishimura's Mersenne Twister (2002), written out.
    key = [7]
    for i in range(1, 624):
        key.append((1812433253 * (key[-1] ^ (key[-1] >> 30)) + i) % 2**32)
    np.testing.assert_array_equal(np.frombuffer(reseeded[12 : 12 + 2496], np.uint32), key)
    env.close()


@pytest.mark.parametrize("level", ["5_vs_5", "11_vs_11_competition"])
def test_left_and_right_play_alike(level):
    """The mirrored game (other kick-off, other order of processing) with the actions swapped is the same game."""
    from envs.football.engine import EpisodeSeed

    one, other = (make(level, players=4, opponents=4) for _ in range(2))
    for env, flag in ((one, False), (other, True)):
        env.reset(0)
        env.match.reset(EpisodeSeed(11, flag, flag))
        env._observe(env.match, None, first=True)
    rng = np.random.default_rng(3)
    for _ in range(120):
        ours, theirs = rng.integers(19, size=4), rng.integers(19, size=4)
        obs, rewards, *_ = one.step(ours, opponent_actions=theirs)
        mirrored, mirrored_rewards, *_ = other.step(theirs, opponent_actions=ours)
        assert same([*obs.values()], [*other.observe_opponents().values()])
        assert same([*one.observe_opponents().values()], [*mirrored.values()])
        np.testing.assert_array_equal(rewards, -mirrored_rewards)
    assert np.abs(obs["positions"][:5, 0]).max() <= 1
    one.close()
    other.close()


def test_the_built_in_ai_is_an_action_when_asked_for():
    env = make(players=3, builtin_ai=True)
    assert (env.spec.action_names[-1], env.spec.num_actions) == ("builtin_ai", 20)
    env.reset(1)
    for _ in range(5):
        env.step(np.full(3, 19))
    env.close()


def test_engines_are_used_again_and_memory_stays_flat():
    def games(count):
        for seed in range(count):
            env = make("academy_empty_goal_close", players=1)
            play(env, seed, 60)
            env.snapshot()
            env.close()
        return psutil.Process().memory_info().rss

    start = games(10)
    assert games(20) - start < 8 * 2**20


def test_the_spec_is_plain():
    env = make("5_vs_5", opponents=2)
    assert env.spec.entity_kinds == ("teammate",) * 5 + ("opponent",) * 5 + ("ball",)
    assert (env.spec.num_agents, env.spec.num_opponents, env.opponent_spec.num_agents) == (4, 2, 2)
    assert env.spec.max_steps == 3001
    json.dumps(env.spec.meta)
    env.close()
