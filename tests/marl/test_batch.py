"""A training batch against a slow computation, episode by episode and agent by agent."""

import numpy as np
import pytest
import torch

from marl import batch as batch_module
from marl.batch import ADVANTAGES, RETURNS, TeamBatch, outputs_of
from marl.rollout import AGENT_REWARDS

GAMMA, LAMBDA, SCALE, HORIZON = 0.9, 0.8, 0.5, 3


@pytest.fixture
def collected(meeting, make_runner):
    """A network, and chunks of two calls of `sample` with absent agents and ends of all kinds."""
    runner = make_runner(meeting(absent=0.5, side=2, players=4, steps=6), num_envs=8, steps=16, horizon=HORIZON)
    chunks = runner.sample() + runner.sample()
    assert {(c.is_terminated, c.is_truncated) for c in chunks} == {(True, False), (False, True), (False, False)}
    return runner.module.network, chunks


def build(network, chunks):
    return TeamBatch(gamma=GAMMA, lambda_=LAMBDA, reward_scale=SCALE, device="cpu").build(network, chunks)


def one(chunk, t):
    return {key: torch.from_numpy(value[t : t + 1]) for key, value in chunk.observations.data.items()}


def slow(network, chunks):
    """Values one observation at a time, advantages by the recursion, then standardised over who is present."""
    advantages, returns, present = [], [], []
    for chunk in chunks:
        with torch.no_grad():
            values = [network(one(chunk, t)).values[0].tolist() for t in range(len(chunk) + 1)]
        rewards = chunk.extra_model_outputs[AGENT_REWARDS].data
        rows = np.zeros((len(chunk), 4))
        for a in range(4):
            last = 0.0
            for t in reversed(range(len(chunk))):
                over = chunk.is_terminated and t == len(chunk) - 1
                future = 0.0 if over else values[t + 1][a]
                last = SCALE * rewards[t, a] + GAMMA * future - values[t][a] + GAMMA * LAMBDA * last
                rows[t, a] = last
        advantages.append(rows)
        returns.append(rows + np.array(values[:-1]))
        present.append(chunk.observations.data["mask"][:-1])
    advantages, returns, present = (np.concatenate(x) for x in (advantages, returns, present))
    there = advantages[present]
    standard = np.where(present, (advantages - there.mean()) / there.std(), 0)
    return standard, returns, present


def test_advantages_and_returns_are_the_slow_ones(collected):
    network, chunks = collected
    got = build(network, chunks)
    advantages, returns, present = slow(network, chunks)
    assert 0.1 < present.mean() < 0.95
    assert np.allclose(got[ADVANTAGES].numpy(), advantages, atol=1e-4)
    assert np.allclose(got[RETURNS].numpy(), returns, atol=1e-5)


def test_rows_are_the_steps_of_the_chunks_in_order(collected):
    network, chunks = collected
    got = build(network, chunks)
    row = 0
    for chunk in chunks:
        for t in range(len(chunk)):
            for key in network.spec.shapes:
                assert np.array_equal(got["obs"][key][row].numpy(), chunk.observations.data[key][t])
            assert np.array_equal(got["actions"][row].numpy(), chunk.actions.data[t])
            assert np.array_equal(got["action_logp"][row].numpy(), chunk.extra_model_outputs["action_logp"].data[t])
            row += 1
    assert {len(value) for key, value in got.items() if key != "obs"} == {row}
    assert {len(value) for value in got["obs"].values()} == {row}
    assert {value.dtype for key, value in got["obs"].items() if key == "mask"} == {torch.bool}


def test_prediction_targets_stay_within_a_chunk(collected):
    network, chunks = collected
    got = build(network, chunks)
    assert got["displacement"].shape == (sum(map(len, chunks)), 4, HORIZON, 2)
    scale, row = np.array(network.spec.step_scale, np.float32), 0
    for chunk in chunks:
        positions, there = chunk.observations.data["positions"], chunk.observations.data["entity_mask"]
        for t in range(len(chunk)):
            before = there[t - 1] if t else np.zeros_like(there[t])
            for h in range(1, HORIZON + 1):
                seen = there[t : t + h + 1].all(0) & (t + h <= len(chunk))
                assert np.array_equal(got["mask"][row, :, h - 1].numpy(), seen)
                assert np.array_equal(got["velocity_mask"][row, :, h - 1].numpy(), seen & before)
                moved = (positions[min(t + h, len(chunk))] - positions[t]) / (h * scale)
                moved = np.where(seen[:, None], moved, 0)
                assert np.allclose(got["displacement"][row, :, h - 1].numpy(), moved, atol=1e-6)
                last = (positions[t] - positions[t - 1]) / scale
                known = seen & before
                assert np.allclose(got["velocity"][row, :, h - 1].numpy()[known], last[known], atol=1e-6)
            row += 1
    assert row == len(got["mask"])


def test_values_do_not_depend_on_the_size_of_a_forward_pass(collected, monkeypatch):
    network, chunks = collected
    obs = build(network, chunks)["obs"]
    whole = outputs_of(network, obs)[1]
    assert not whole.requires_grad
    monkeypatch.setattr(batch_module, "VALUE_ROWS", 7)
    torch.testing.assert_close(outputs_of(network, obs)[1], whole, rtol=0, atol=1e-5)


def test_the_connector_serves_the_default_module(collected):
    network, chunks = collected

    class Module(dict):
        def unwrapped(self):
            return self

    module = Module()
    module.network = network
    connector = TeamBatch(gamma=GAMMA, lambda_=LAMBDA, reward_scale=SCALE, device="cpu")
    got = connector(rl_module={"default_policy": module}, batch={}, episodes=chunks)
    assert list(got) == ["default_policy"]
    assert torch.equal(got["default_policy"][ADVANTAGES], build(network, chunks)[ADVANTAGES])


def test_where_the_referee_moved_somebody_is_a_setting(collected):
    """With a limit that every motion is above, only what stands still can be predicted."""
    network, chunks = collected
    common = {"gamma": GAMMA, "lambda_": LAMBDA, "reward_scale": SCALE, "device": "cpu"}
    usual, strict, free = (TeamBatch(**common, restart=r).build(network, chunks) for r in (6.0, 1e-6, 0.0))
    moved = usual["displacement"][:, :, 0].abs().sum(-1) > 1e-5
    assert moved[usual["mask"][:, :, 0]].any()
    assert not (strict["mask"][:, :, 0] & moved).any()
    assert (free["mask"] | ~usual["mask"]).all()
