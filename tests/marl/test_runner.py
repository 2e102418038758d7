"""The runner: what it returns is what a fresh environment plays again from the recorded actions and seeds."""

import pickle
from collections import defaultdict

import numpy as np
import pytest
import torch
from torch.distributions import Categorical

import envs
from agents import ObservationSpec, TeamNetwork
from marl import OpponentSettings, PPOSettings, RunnerSettings, TrainConfig
from marl.algorithm import ppo_config, team_spec
from marl.opponents import Lineup
from marl.rollout import AGENT_REWARDS
from marl.runner import RunnerError, RunnerFailure, TeamVecRunner
from marl.seeds import train_seed
from tests.marl.two_sides import SMALL, DuelConfig, always, network, train_config

HARVEST = envs.config("lab2d/commons_harvest", players=3, steps=30)
STEPS, NUM_ENVS = 16, 4


def view(chunk, key="view"):
    return chunk.observations.data[key]


def by_env(chunks, steps=STEPS):
    """The chunks of one `sample`, as a list per environment."""
    found, done = [[]], 0
    for chunk in chunks:
        if done == steps:
            found, done = [*found, []], 0
        found[-1].append(chunk)
        done += len(chunk)
    return found


def same(a, b):
    """Every array of two lists of chunks is equal."""
    return len(a) == len(b) and all(
        len(x) == len(y)
        and all(np.array_equal(value, y.observations.data[key]) for key, value in x.observations.data.items())
        and np.array_equal(x.actions.data, y.actions.data)
        and np.array_equal(x.extra_model_outputs["action_logp"].data, y.extra_model_outputs["action_logp"].data)
        and (x.is_terminated, x.is_truncated, x.t_started) == (y.is_terminated, y.is_truncated, y.t_started)
        for x, y in zip(a, b, strict=True)
    )


@pytest.fixture(params=["meet", pytest.param("harvest", marks=pytest.mark.engine("lab2d"))])
def env(request, meeting):
    return meeting(absent=0.4, side=2) if request.param == "meet" else HARVEST


def test_a_fresh_environment_plays_the_same_from_the_recorded_actions(env, make_runner):
    runner = make_runner(env, seed=5)
    limit = runner.env.spec.max_steps
    samples = [by_env(runner.sample()) for _ in range(4)]
    kinds = defaultdict(int)
    for index in range(NUM_ENVS):
        episodes = defaultdict(list)
        for sample in samples:
            for chunk in sample[index]:
                episodes[chunk.id_].append(chunk)
        for count, chunks in enumerate(episodes.values()):
            team = envs.make_team(env)
            obs = team.reset(train_seed(5, 0, 0, index, count))
            done, t = (False, False), 0
            for chunk in chunks:
                assert chunk.t_started == t
                for row, actions in enumerate(chunk.actions.data):
                    assert done == (False, False)
                    for key, value in obs.items():
                        assert np.array_equal(view(chunk, key)[row], value)
                    obs, rewards, *done, _ = team.step(actions)
                    done, t = tuple(done), t + 1
                    assert np.array_equal(chunk.extra_model_outputs[AGENT_REWARDS].data[row], rewards)
                    assert chunk.rewards.data[row] == pytest.approx(rewards.mean(), abs=1e-6)
                for key, value in obs.items():  # the final observation is the episode's own
                    assert np.array_equal(view(chunk, key)[-1], value)
            cut = count == 0 and index < NUM_ENVS - 1 and t == -(-limit * (index + 1) // NUM_ENVS) and not done[0]
            if chunk.is_done:
                assert (chunk.is_terminated, chunk.is_truncated) == ((False, True) if cut else done)
                kinds["cut" if cut and not done[1] else "terminated" if done[0] else "truncated"] += 1
            else:
                assert done == (False, False)
            team.close()
    assert kinds["truncated"]
    assert kinds["cut"]
    assert kinds["terminated"] or env is HARVEST
    runner.stop()


def test_first_episodes_are_cut_at_different_times_and_only_they(meeting, make_runner):
    runner = make_runner(meeting(side=9, steps=8), steps=24)  # too large a field to meet on
    lengths = [[len(chunk) for chunk in chunks] for chunks in by_env(runner.sample(), 24)]
    assert lengths == [[2, 8, 8, 6], [4, 8, 8, 4], [6, 8, 8, 2], [8, 8, 8]]
    metrics = runner.get_metrics()
    assert metrics["num_episodes"].peek() == 2 + 2 + 2 + 3  # a cut episode is none: its length and return say nothing
    assert metrics["episode_len_mean"].peek() == 8


@pytest.mark.parametrize("explore", [True, False])
def test_two_runners_with_one_seed_and_the_same_weights_do_the_same(env, make_runner, explore):
    one, other = make_runner(env, seed=3), make_runner(env, seed=3)
    for _ in range(3):
        assert same(one.sample(explore=explore), other.sample(explore=explore))


def test_another_seed_or_later_start_plays_other_episodes(meeting, make_runner):
    starts = []
    for seed, done in ((0, 0), (1, 0), (0, 64)):
        runner = make_runner(meeting(), seed=seed)
        runner.set_state({"num_env_steps_sampled_lifetime": done})
        starts.append(np.stack([view(chunks[0])[0] for chunks in by_env(runner.sample())]))
    assert not any(np.array_equal(starts[a], starts[b]) for a, b in ((0, 1), (0, 2), (1, 2)))


def test_a_forced_reset_starts_new_episodes(meeting, make_runner):
    runner = make_runner(meeting(side=9, steps=100))
    before = runner.sample()
    after = runner.sample(force_reset=True)
    assert all(chunk.t_started == 0 for chunk in after)
    assert not {chunk.id_ for chunk in before} & {chunk.id_ for chunk in after}
    assert not np.array_equal(view(before[0])[0], view(after[0])[0])


def test_the_learner_finds_a_ratio_of_1_whatever_rows_it_takes(env, make_runner):
    runner = make_runner(env, num_envs=8)
    chunks = runner.sample()
    obs = {key: torch.from_numpy(np.concatenate([view(c, key)[:-1] for c in chunks])) for key in runner.env.spec.spaces}
    actions = torch.from_numpy(np.concatenate([c.actions.data for c in chunks]))
    recorded = torch.from_numpy(np.concatenate([c.extra_model_outputs["action_logp"].data for c in chunks]))

    def ratio_error(rows):
        with torch.no_grad():
            logits = runner.module.network({key: value[rows] for key, value in obs.items()}).logits
        logp = Categorical(logits=logits).log_prob(actions[rows])
        assert logits.std(-1).mean() > 0.1
        return float(((logp - recorded[rows]).exp() - 1).abs().max())

    everything = torch.arange(len(actions))
    for rows in (everything, everything[::3], everything.flip(0)[:40], torch.randperm(len(actions))[:50]):
        assert ratio_error(rows) <= 1e-6
    # A single team takes another path through the matrix library, and a rare action has a large log-probability.
    assert max(ratio_error(everything[i : i + 1]) for i in range(20)) <= 1e-5


def test_without_exploration_the_likeliest_action_is_taken(env, make_runner):
    runner = make_runner(env)
    for chunk in runner.sample(explore=False):
        obs = {key: torch.from_numpy(view(chunk, key)[:-1]) for key in runner.env.spec.spaces}
        logits = runner.module.network(obs).logits.detach().sort(-1).values
        sure = (logits[..., -1] - logits[..., -2] > 1e-5).numpy()
        expected = runner.module.network(obs).logits.argmax(-1).numpy()
        assert np.array_equal(chunk.actions.data[sure], expected[sure])
        assert sure.mean() > 0.9


def test_samples_follow_the_policy(meeting, make_runner):
    runner = make_runner(meeting(side=9, steps=100), steps=500)
    logits, actions = [], []
    for chunk in runner.sample():
        obs = {key: torch.from_numpy(view(chunk, key)[:-1]) for key in runner.env.spec.spaces}
        logits.append(runner.module.network(obs).logits.detach())
        actions.append(torch.from_numpy(chunk.actions.data))
    probabilities, taken = torch.cat(logits).softmax(-1), torch.cat(actions)
    expected = probabilities.mean((0, 1))
    shares = torch.bincount(taken.flatten(), minlength=5) / taken.numel()
    assert expected.std() > 0.01
    assert (shares - expected).abs().max() < 4 * 0.5 / taken.numel() ** 0.5


def test_random_actions_are_uniform_and_say_so(meeting, make_runner):
    chunks = make_runner(meeting(), steps=300).sample(random_actions=True)
    actions = np.concatenate([chunk.actions.data for chunk in chunks])
    shares = np.bincount(actions.ravel(), minlength=5) / actions.size
    assert np.abs(shares - 0.2).max() < 4 * np.sqrt(0.16 / actions.size)
    for chunk in chunks:
        assert chunk.extra_model_outputs["action_logp"].data == pytest.approx(-np.log(5))


def test_num_timesteps_is_rounded_up_to_whole_vector_steps(meeting, make_runner):
    runner = make_runner(meeting())
    assert sum(len(chunk) for chunk in runner.sample()) == STEPS * NUM_ENVS
    assert sum(len(chunk) for chunk in runner.sample(num_timesteps=9)) == 12
    assert runner.num_env_steps_sampled_lifetime == STEPS * NUM_ENVS + 12
    with pytest.raises(ValueError, match="samples steps, not episodes"):
        runner.sample(num_episodes=1)


def test_metrics_are_those_of_the_finished_episodes(meeting, make_runner):
    runner = make_runner(meeting(), num_envs=3, steps=40)
    chunks = runner.sample()
    metrics = runner.get_metrics()
    whole = [c for index, part in enumerate(by_env(chunks, 40)) for c in part[0 if index == 2 else 1 :] if c.is_done]
    first_ended = [part[0] for part in by_env(chunks, 40)[:2] if part[0].is_terminated]  # not cut, but met
    whole += first_ended
    returns = [chunk.extra_model_outputs[AGENT_REWARDS].data.sum(0).mean() for chunk in whole]
    assert metrics["num_env_steps_sampled"].peek() == 120
    assert metrics["num_episodes"].peek() == len(whole)
    assert metrics["episode_return_mean"].peek() == pytest.approx(np.mean(returns), abs=1e-6)
    assert metrics["episode_len_mean"].peek() == pytest.approx(np.mean([len(chunk) for chunk in whole]))
    assert metrics["episode"]["met"].peek() == pytest.approx(np.mean([chunk.is_terminated for chunk in whole]))


def test_chunks_do_not_change_when_the_runner_goes_on(meeting, make_runner):
    runner = make_runner(meeting())
    chunks = runner.sample()
    kept = pickle.loads(pickle.dumps(chunks))
    runner.sample()
    assert same(chunks, kept)


def test_weights_from_another_runner_decide_the_actions(meeting, make_runner):
    one, other = make_runner(meeting()), make_runner(meeting())
    with torch.no_grad():
        other.module.network.policy[-1].bias[2] += 100
    one.set_state(other.get_state())
    assert all((chunk.actions.data == 2).all() for chunk in one.sample())


def test_an_error_reaches_the_driver_with_its_own_traceback(meeting, make_runner):
    runner = make_runner(meeting())
    good = runner.apply(lambda r, word: (r.num_envs, word), word="hello")
    assert good == (NUM_ENVS, "hello")

    def broken_step(*args):
        raise ZeroDivisionError("the engine divided by nothing")

    runner.env.envs[2].step = broken_step
    failure = pickle.loads(pickle.dumps(runner.apply(lambda r: (r.sample(), r.get_metrics()))))
    assert isinstance(failure, RunnerFailure)
    with pytest.raises(RunnerError, match="ZeroDivisionError: the engine divided by nothing") as caught:
        _episodes, _metrics = failure
    assert "broken_step" in str(caught.value)
    assert "_step_all" in str(caught.value)


@pytest.mark.engine("lab2d")
def test_a_runner_that_cannot_start_says_why(make_runner, monkeypatch):
    config = ppo_config(TrainConfig(env=HARVEST), team_spec(HARVEST))
    monkeypatch.setattr(envs, "make_team", lambda env: 1 / 0)
    with pytest.raises(RunnerError, match=r"(?s)a runner could not start: .*ZeroDivisionError"):
        TeamVecRunner(config=config)


def duel_runner(chances, networks, *, steps=STEPS, seed=0, **env):
    config = train_config(
        env=DuelConfig(**env),
        seed=seed,
        runners=RunnerSettings(num_runners=0, num_envs=NUM_ENVS),
        ppo=PPOSettings(batch_env_steps=NUM_ENVS * steps, minibatch_env_steps=NUM_ENVS),
    )
    algorithm = ppo_config(config, team_spec(config.env))
    algorithm.env_config["opponents"] = Lineup(chances=chances, networks=networks)
    torch.manual_seed(1)
    return TeamVecRunner(config=algorithm)


def test_opponents_play_every_step_and_nothing_of_theirs_is_recorded():
    runner = duel_runner({"a": 0.5, "b": 0.5}, {"a": always(1), "b": always(2)})
    chunks = [chunk for _ in range(2) for chunk in runner.sample()]
    for env in runner.env.envs:
        played = np.stack([actions for _, actions in env.history])
        assert played.shape == (2 * STEPS, 2)
        assert set(played.ravel()) <= {1, 2}
        assert (played == played[:, :1]).all()
    recorded = {view(chunk)[row].tobytes() for chunk in chunks for row in range(len(chunk) + 1)}
    seen = {obs["view"].tobytes() for env in runner.env.envs for obs, _ in env.history}
    assert len(seen) == 2 * STEPS * NUM_ENVS
    assert not recorded & seen
    for chunk in chunks:  # and the team's own steps are those of its environment
        points = (np.asarray(chunk.actions.data) == 0).sum(-1)
        assert np.array_equal(chunk.rewards.data, points)


def test_results_are_counted_for_the_opponent_that_played_and_cut_episodes_are_not():
    runner = duel_runner({"idle": 0.5, "busy": 0.5}, {"idle": always(1), "busy": always(0)}, steps=100)
    chunks = runner.sample()
    metrics = runner.get_metrics()["opponents"]
    counted = {name: {word: stats.peek() for word, stats in metrics[name].items()} for name in ("idle", "busy")}
    expected = {"idle": dict.fromkeys(("wins", "draws", "losses"), 0), "busy": {}}
    expected["busy"] = dict(expected["idle"])
    for index, (env, own) in enumerate(zip(runner.env.envs, by_env(chunks, 100), strict=True)):
        theirs = (np.stack([actions for _, actions in env.history]) == 0).all(-1)
        begin = 0
        for count, chunk in enumerate(own):
            if chunk.is_done and not (count == 0 and index < NUM_ENVS - 1 and len(chunk) < 5):
                goals = chunk.rewards.data.sum()
                word = "wins" if goals > 0 else "losses" if goals < 0 else "draws"
                expected["busy" if theirs[begin] else "idle"][word] += 1
            begin += len(chunk)
    assert {name: {word: n for word, n in one.items() if n} for name, one in expected.items()} == counted
    assert counted["idle"]["wins"] > 10
    assert counted["busy"]["losses"] > 10
    runner.sample(num_timesteps=5 * NUM_ENVS)
    later = runner.get_metrics()["opponents"]  # counted anew, and NaN where nothing was
    assert np.nansum([stats.peek() for name in ("idle", "busy") for stats in later[name].values()]) == NUM_ENVS


def test_a_new_lineup_plays_the_episodes_that_begin_then():
    runner = duel_runner({"a": 1.0}, {"a": always(1)}, steps=5)
    runner.sample()
    assert runner.get_metrics()["opponents"]["uninformed"].peek() == 1
    runner.meet(Lineup(chances={"b": 1.0}, networks={"b": always(2)}))
    runner.sample()
    assert np.isnan(runner.get_metrics()["opponents"]["uninformed"].peek())
    # The last environment's first episode was not cut, so that it ended with the first sample.
    assert [int(env.history[5][1][0]) for env in runner.env.envs] == [1, 1, 1, 1]
    runner.sample()
    assert {int(actions[0]) for env in runner.env.envs for _, actions in env.history[10:]} == {2}


def test_two_runners_with_opponents_and_one_seed_do_the_same():
    def make(seed):
        return duel_runner({"a": 0.5, "b": 0.5}, {"a": network(1), "b": network(2)}, seed=seed)

    one, other, third = make(3), make(3), make(4)
    for _ in range(2):
        first = one.sample()
        assert same(first, other.sample())
        assert not same(first, third.sample())
    assert one._seats.playing == other._seats.playing


def test_a_right_team_without_players_is_said(meeting):
    config = ppo_config(train_config(), team_spec(DuelConfig()))
    with pytest.raises(RunnerError, match=r"nobody plays the right team of fake/duel: env_config\['opponents'\] must"):
        TeamVecRunner(config=config)


@pytest.mark.engine("football")
def test_both_teams_of_a_football_match_are_played():
    env = envs.config("football/5_vs_5", players=4, opponents=4)
    config = TrainConfig(
        env=env,
        opponent=OpponentSettings(kind="self_play"),
        network=SMALL,
        runners=RunnerSettings(num_runners=0, num_envs=2),
        ppo=PPOSettings(batch_env_steps=8, minibatch_env_steps=8),
    )
    spec = team_spec(env)
    net = TeamNetwork(ObservationSpec.from_team(spec), SMALL).eval()
    algorithm = ppo_config(config, spec)
    algorithm.env_config["opponents"] = Lineup(chances={"a": 1.0}, networks={"a": net})
    runner = TeamVecRunner(config=algorithm)
    chunks = runner.sample()
    assert [len(chunk) for chunk in chunks] == [4, 4]
    left = view(chunks[0])[-1]
    right = runner.env.envs[0].observe_opponents()["view"]
    assert left.shape == right.shape
    assert not np.array_equal(left, right)
    runner.stop()
