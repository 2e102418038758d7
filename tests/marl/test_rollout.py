"""Cutting arrays into episode chunks, against a recorder that keeps a list per environment."""

import copy

import gymnasium as gym
import numpy as np
import pytest

from envs.fakes import make_spec
from marl.rollout import AGENT_REWARDS, Rollout

T, E, A = 7, 4, 3
SPEC = make_spec(gym.spaces.Box(-np.inf, np.inf, (A, 5), np.float32))
KEYS = tuple(SPEC.spaces)


class Recorder:
    """What happened to one environment, chunk by chunk, in lists."""

    def __init__(self, first):
        self.past, self.done = 0, []
        self.begin(first)

    def begin(self, obs):
        self.chunk = {"obs": [obs], "actions": [], "logp": [], "rewards": [], "start": self.past}

    def step(self, action, logp, reward, obs):
        for name, value in (("actions", action), ("logp", logp), ("rewards", reward), ("obs", obs)):
            self.chunk[name].append(value)
        self.past += 1

    def close(self, how):
        if self.chunk["actions"]:
            self.done.append(self.chunk | {"how": how})


def random_obs(rng):
    return {key: rng.integers(0, 99, box.shape).astype(box.dtype) for key, box in SPEC.spaces.items()}


def play(rng, first, ends):
    """One rollout as the runner writes it, and the same in lists. ends: {(step, env): "terminated" | "truncated"}."""
    rollout = Rollout.empty(SPEC, T, E)
    recorders = [Recorder(obs) for obs in first["obs"]]
    for env, recorder in enumerate(recorders):
        recorder.past = recorder.chunk["start"] = first["past"][env]
        for key in KEYS:
            rollout.obs[key][0, env] = first["obs"][env][key]
    for t in range(T):
        for env, recorder in enumerate(recorders):
            action, logp, reward = rng.integers(5, size=A), rng.normal(size=A), rng.normal(size=A)
            rollout.actions[t, env], rollout.logp[t, env], rollout.rewards[t, env] = action, logp, reward
            obs, slot = random_obs(rng), rollout.slot(t + 1, env)
            for key in KEYS:
                slot[key][...] = obs[key]
            recorder.step(action, logp, reward, obs)
            if how := ends.get((t, env)):
                rollout.end(t, env, how == "terminated", how == "truncated")
                recorder.close(how)
                recorder.past, fresh = 0, random_obs(rng)
                recorder.begin(fresh)
                for key in KEYS:
                    slot[key][...] = fresh[key]
    return rollout, recorders


def check(chunk, expected):
    for key in KEYS:
        assert np.array_equal(chunk.observations.data[key], np.stack([obs[key] for obs in expected["obs"]]))
    assert np.array_equal(chunk.actions.data, expected["actions"])
    assert np.allclose(chunk.extra_model_outputs["action_logp"].data, expected["logp"], atol=1e-6)
    assert np.allclose(chunk.extra_model_outputs[AGENT_REWARDS].data, expected["rewards"], atol=1e-6)
    assert np.allclose(chunk.rewards.data, np.mean(expected["rewards"], -1), atol=1e-6)
    assert (chunk.is_terminated, chunk.is_truncated) == (
        expected["how"] == "terminated",
        expected["how"] == "truncated",
    )
    assert (chunk.t_started, chunk.t) == (expected["start"], expected["start"] + len(expected["actions"]))
    chunk.validate()  # RLlib's own


ENDS = {
    "none": {},
    "one": {(3, 1): "terminated"},
    "several of one environment": {(0, 2): "truncated", (1, 2): "terminated", (5, 2): "truncated", (2, 0): "truncated"},
    "at the last step": {(T - 1, 0): "terminated", (T - 1, 3): "truncated"},
    "at every step": {(t, 1): "terminated" for t in range(T)},
}


@pytest.mark.parametrize("ends", ENDS.values(), ids=ENDS)
def test_chunks_are_what_the_recorder_saw(ends):
    rng = np.random.default_rng(0)
    first = {"obs": [random_obs(rng) for _ in range(E)], "past": [0, 3, 0, 11]}
    rollout, recorders = play(rng, first, ends)
    ids, starts = [f"old{i}" for i in range(E)], np.array(first["past"])
    chunks = iter(rollout.episodes(ids, starts))
    for env, recorder in enumerate(recorders):
        fresh = not recorder.chunk["actions"]  # an end at the last step leaves nothing behind it
        recorder.close("open")
        for number, expected in enumerate(recorder.done):
            chunk = next(chunks)
            check(chunk, expected)
            assert (chunk.id_ == f"old{env}") == (number == 0)
        assert ids[env] == (chunk.id_ if not fresh else ids[env])
        assert starts[env] == recorder.past
    assert next(chunks, None) is None


def test_episodes_go_on_across_rollouts_and_rllib_joins_their_chunks():
    rng = np.random.default_rng(1)
    first = {"obs": [random_obs(rng) for _ in range(E)], "past": [0] * E}
    ids, starts = [f"first{i}" for i in range(E)], np.zeros(E, int)
    joined, lists = {}, {}
    for _ in range(5):
        ends = {
            (t, e): str(rng.choice(["terminated", "truncated"]))
            for t in range(T)
            for e in range(E)
            if rng.random() < 0.1
        }
        rollout, recorders = play(rng, first, ends)
        for recorder in recorders:
            recorder.close("open")
        chunks = rollout.episodes(ids, starts)
        for chunk, expected in zip(chunks, [c for r in recorders for c in r.done], strict=True):
            if chunk.id_ in joined:
                joined[chunk.id_].concat_episode(chunk)  # refuses another id, a gap, or another observation in between
                for name in ("actions", "rewards"):
                    lists[chunk.id_][name] += expected[name]
                lists[chunk.id_]["obs"] += expected["obs"][1:]
            else:
                joined[chunk.id_], lists[chunk.id_] = copy.deepcopy(chunk), expected
        first = {
            "obs": [{key: rollout.obs[key][-1, e].copy() for key in KEYS} for e in range(E)],
            "past": [r.past for r in recorders],
        }
    assert max(len(episode) for episode in joined.values()) > T
    assert len(joined) > E
    for id_, episode in joined.items():
        assert np.array_equal(np.stack(list(episode.get_actions())), lists[id_]["actions"])
        assert np.array_equal(episode.get_observations()["view"], np.stack([o["view"] for o in lists[id_]["obs"]]))
        assert np.allclose(episode.get_rewards(), np.mean(lists[id_]["rewards"], -1), atol=1e-6)


def test_a_final_observation_stays_when_the_next_episode_overwrites_its_row():
    rollout = Rollout.empty(SPEC, 2, 1)
    slot = rollout.slot(1, 0)
    slot["view"][...] = 7
    rollout.end(0, 0, False, True)
    slot["view"][...] = 9
    first, second = rollout.episodes(["a"], np.zeros(1, int))
    assert (first.observations.data["view"][-1] == 7).all()
    assert (second.observations.data["view"][0] == 9).all()
