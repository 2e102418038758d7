"""IMPALA's batch and loss, without Ray: against a slow V-trace per chunk and agent, and put together by hand."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.distributions import Categorical
from torch.nn.functional import smooth_l1_loss

from agents import Policy
from agents.rl_module import TOKENS, VALUES
from marl.batch import ADVANTAGES, RETURNS, TeamBatch
from marl.evaluation import evaluate
from marl.impala_learner import TeamIMPALALearner, VTraceBatch, vtrace_of
from marl.losses.impala import policy_gradient_loss
from marl.losses.masked import masked_mean
from marl.losses.ppo import entropy, log_prob, value_loss
from marl.rollout import AGENT_REWARDS

GAMMA, LAMBDA, SCALE, RHO, C = 0.9, 0.8, 0.5, 1.3, 0.9
ENTROPY, VALUE = 0.02, 0.7


def vtrace_batch(**changes):
    settings = {"gamma": GAMMA, "lambda_": LAMBDA, "rho_clip": RHO, "c_clip": C, "standardise_advantages": False}
    return VTraceBatch(reward_scale=SCALE, device="cpu", **(settings | changes))


@pytest.fixture
def collected(meeting, make_runner):
    """A network that has moved on, and chunks with absent agents and ends of all kinds."""
    runner = make_runner(meeting(absent=0.5, side=2, players=4, steps=6), num_envs=8, steps=16)
    chunks = runner.sample() + runner.sample()
    assert {(c.is_terminated, c.is_truncated) for c in chunks} == {(True, False), (False, True), (False, False)}
    network = runner.module.network
    torch.manual_seed(2)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return network, chunks


def slow(network, chunk):
    """V-trace of one chunk from the definition, and the present log-probabilities."""
    obs = {key: torch.from_numpy(value) for key, value in chunk.observations.data.items()}
    with torch.no_grad():
        out = network(obs)
    there, values = chunk.observations.data["mask"], out.values.double().numpy()
    logp = Categorical(logits=out.logits[:-1]).log_prob(torch.from_numpy(chunk.actions.data)).double().numpy()
    ratio = np.exp(np.where(there[:-1], logp - chunk.extra_model_outputs["action_logp"].data, 0))
    rewards, steps = SCALE * chunk.extra_model_outputs[AGENT_REWARDS].data, len(chunk)
    following = values[1:].copy()
    if chunk.is_terminated:
        following[-1] = 0
    targets, advantages = values[:-1].copy(), np.zeros((steps, values.shape[1]))
    for t in range(steps):
        trace = np.ones(values.shape[1])
        for k in range(t, steps):
            error = np.minimum(RHO, ratio[k]) * (rewards[k] + GAMMA * following[k] - values[k])
            targets[t] += GAMMA ** (k - t) * trace * error
            trace = trace * LAMBDA * np.minimum(C, ratio[k])
    for t in range(steps):
        onward = following[t] if t == steps - 1 else (1 - LAMBDA) * following[t] + LAMBDA * targets[t + 1]
        advantages[t] = np.minimum(RHO, ratio[t]) * (rewards[t] + GAMMA * onward - values[t])
    return targets, advantages


def test_targets_and_advantages_are_the_slow_ones(collected):
    network, chunks = collected
    got = vtrace_batch().build(network, chunks)
    targets, advantages = (np.concatenate(x) for x in zip(*(slow(network, c) for c in chunks), strict=True))
    mask = got["obs"]["mask"].numpy()
    assert 0.1 < mask.mean() < 0.95
    ratio = (log_prob(network(got["obs"]).logits, got["actions"]) - got["action_logp"]).exp()[got["obs"]["mask"]]
    assert ratio.min() < 0.8
    assert ratio.max() > 1.5  # off-policy, on both sides of the clips
    assert np.allclose(got[RETURNS].numpy(), targets, atol=1e-5)
    assert np.allclose(got[ADVANTAGES].numpy(), advantages, atol=1e-5)


def test_on_policy_it_is_ppos_batch(meeting, make_runner):
    runner = make_runner(meeting(absent=0.5, side=2, players=4, steps=6), num_envs=8, steps=16)
    chunks, network = runner.sample(), runner.module.network
    expected = TeamBatch(gamma=GAMMA, lambda_=LAMBDA, reward_scale=SCALE, device="cpu").build(network, chunks)
    got = vtrace_batch(rho_clip=1.0, c_clip=1.0, standardise_advantages=True).build(network, chunks)
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        if name == "obs":
            assert all(torch.equal(got[name][key], there) for key, there in value.items())
        elif name == ADVANTAGES:  # PPO takes the mean off too
            present = got["obs"]["mask"]
            torch.testing.assert_close(
                (got[name] - got[name][present].mean())[present], value[present], rtol=0, atol=1e-4
            )
        else:
            torch.testing.assert_close(got[name], value, rtol=0, atol=1e-4, msg=name)


def test_standardised_or_not(collected):
    network, chunks = collected
    raw = vtrace_batch().build(network, chunks)
    for std_min in (0.0, 10.0):
        got = vtrace_batch(standardise_advantages=True, advantage_std_min=std_min).build(network, chunks)
        present = raw["obs"]["mask"]
        expected = raw[ADVANTAGES] / max(float(raw[ADVANTAGES][present].std(unbiased=False)), std_min)
        torch.testing.assert_close(got[ADVANTAGES][present], expected[present], rtol=1e-5, atol=1e-6)
        assert torch.equal(got[RETURNS], raw[RETURNS])


def test_what_an_absent_agent_did_does_not_count(collected):
    network, chunks = collected
    clean = vtrace_batch().build(network, chunks)
    for chunk in chunks:
        absent = ~chunk.observations.data["mask"][:-1]
        chunk.extra_model_outputs["action_logp"].data[absent] = -50.0
    dirty = vtrace_batch().build(network, chunks)
    assert (dirty["action_logp"] != clean["action_logp"]).any()
    assert torch.equal(dirty[RETURNS], clean[RETURNS])
    assert torch.equal(dirty[ADVANTAGES], clean[ADVANTAGES])


def test_chunks_of_unequal_length_are_as_if_alone():
    g = torch.Generator().manual_seed(3)
    lengths, terminated = [1, 7, 3, 7], [True, False, True, False]
    logp, behaviour, rewards = ([torch.randn(n, 3, generator=g) for n in lengths] for _ in range(3))
    values = [torch.randn(n + 1, 3, generator=g) for n in lengths]
    settings = {"gamma": GAMMA, "lambda_": 1.0, "rho_clip": 1.0, "c_clip": 1.0}
    got = vtrace_of(logp, behaviour, rewards, values, terminated, **settings)
    alone = [
        vtrace_of([p], [b], [r], [v], [over], **settings)
        for p, b, r, v, over in zip(logp, behaviour, rewards, values, terminated, strict=True)
    ]
    for field in ("targets", "advantages"):
        assert torch.equal(getattr(got, field), torch.cat([getattr(one, field) for one in alone]))


class Log(dict):
    def log_dict(self, values, **_):
        self.update({key: value.item() for key, value in values.items()})


@pytest.mark.parametrize("coefficient", [0.0, 0.3])
def test_the_loss_is_the_sum_of_its_parts(collected, coefficient):
    network, chunks = collected
    batch, log = vtrace_batch().build(network, chunks), Log()
    learner = object.__new__(TeamIMPALALearner)  # its constructor wants a whole Algorithm
    vars(learner).update(
        entropy_coeff_schedulers_per_module={"default_policy": SimpleNamespace(get_current_value=lambda: ENTROPY)},
        metrics=log,
        _network=lambda _: network,
    )
    settings = {
        "value_coeff": VALUE,
        "rho_clip": RHO,
        "prediction_coeff": coefficient,
        "prediction_kinds": ("teammate",),
        "minibatches": 1,
    }
    out, there = network(batch["obs"]), batch["obs"]["mask"]
    got = learner.compute_loss_for_module(
        module_id="default_policy",
        config=SimpleNamespace(learner_config_dict=settings),
        batch=batch,
        fwd_out={"action_dist_inputs": out.logits.flatten(1), VALUES: out.values, TOKENS: out.tokens},
    )
    dist = Categorical(logits=out.logits)
    policy = -(dist.log_prob(batch["actions"]) * batch[ADVANTAGES])[there].mean()
    value = 0.5 * (out.values - batch[RETURNS]).square()[there].mean()
    said, seen = network.predict(out.tokens), there[..., None, None] & batch["mask"][:, None]
    truth = batch["displacement"][:, None].expand_as(said.displacement)[seen]
    error = smooth_l1_loss(said.displacement[seen], truth, reduction="none").sum(-1).mean()
    expected = policy + VALUE * value - ENTROPY * dist.entropy()[there].mean() + (coefficient or 1.0) * error
    assert got.item() == pytest.approx(expected.item(), abs=1e-5)
    assert log["policy_loss"] == pytest.approx(policy.item(), abs=1e-5)
    assert log["entropy"] == pytest.approx(dist.entropy()[there].mean().item(), abs=1e-5)
    ratio = (dist.log_prob(batch["actions"]) - batch["action_logp"]).exp()[there]
    assert log["rho"] == pytest.approx(ratio.clamp(max=RHO).mean().item(), abs=1e-5)
    assert log["kl"] == pytest.approx((ratio - 1 - ratio.log()).mean().item(), abs=1e-5)


def learn(make_runner, env, *, updates, lag):
    """Learns from data that a policy `lag` updates old collected."""
    runner = make_runner(env, num_envs=32, steps=16, arm="acam")
    acting = runner.module.network
    torch.manual_seed(0)
    network = type(acting)(acting.spec, acting.config)
    optimizer = torch.optim.Adam(network.parameters(), 2e-3)
    settings = {"gamma": 0.95, "lambda_": 1.0, "rho_clip": 1.0, "c_clip": 1.0, "standardise_advantages": True}
    collect = VTraceBatch(reward_scale=1.0, device="cpu", **settings)
    history = [{key: value.clone() for key, value in network.state_dict().items()}]
    for _ in range(updates):
        acting.load_state_dict(history[max(0, len(history) - 1 - lag)])
        batch = collect.build(network, runner.sample())
        out, mask = network(batch["obs"]), batch["obs"]["mask"]
        policy = policy_gradient_loss(log_prob(out.logits, batch["actions"]), batch[ADVANTAGES], mask)
        value, _ = value_loss(out.values, batch[RETURNS], mask)
        optimizer.zero_grad()
        (policy + 0.5 * value - 0.03 * masked_mean(entropy(out.logits), mask)).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 0.5)
        optimizer.step()
        history.append({key: value.clone() for key, value in network.state_dict().items()})
    return np.mean([e.metrics["met"] for e in evaluate(Policy(network), env, episodes=200, num_envs=100)])


@pytest.mark.slow
def test_it_learns_to_meet_from_data_of_an_older_policy(meeting, make_runner):
    env = meeting(players=3, side=3, steps=12)
    assert learn(make_runner, env, updates=0, lag=2) < 0.1
    assert learn(make_runner, env, updates=200, lag=2) > 0.6
