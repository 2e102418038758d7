"""The learner's loss, without Ray: put together from its parts by hand, and what its switches leave alone."""

from types import SimpleNamespace

import pytest
import torch
from torch.distributions import Categorical
from torch.nn.functional import cross_entropy, smooth_l1_loss

from agents.rl_module import TOKENS, VALUES
from marl.batch import ADVANTAGES, RETURNS, TeamBatch
from marl.learner import TeamPPOLearner
from marl.losses.prediction import cell_of

ENTROPY, VALUE = 0.02, 0.7


class Log(dict):
    def log_value(self, key, value, **_):
        self[key[-1]] = float(value)

    def log_dict(self, values, **_):
        self.update({key: value.item() for key, value in values.items()})


@pytest.fixture(params=[{}, {"prediction": "both", "horizon": 3}], ids=["displacement", "both"])
def collected(request, meeting, make_runner):
    runner = make_runner(meeting(absent=0.5, side=3, players=4), num_envs=8, steps=12, **request.param)
    network = runner.module.network
    batch = TeamBatch(gamma=0.9, lambda_=0.9, reward_scale=1.0, device="cpu").build(network, runner.sample())
    return network, batch


def loss_of(network, batch, prediction_coeff=0.0, log=None):
    learner = object.__new__(TeamPPOLearner)  # its constructor wants a whole Algorithm
    vars(learner).update(
        entropy_coeff_schedulers_per_module={"default_policy": SimpleNamespace(get_current_value=lambda: ENTROPY)},
        metrics=Log() if log is None else log,
        _network=lambda _: network,
        _first_minibatch=True,
    )
    settings = {
        "clip_eps": 0.2,
        "value_coeff": VALUE,
        "prediction_coeff": prediction_coeff,
        "prediction_kinds": ("teammate", "ball"),
        "minibatches": 1,
    }
    out = network(batch["obs"])
    return learner.compute_loss_for_module(
        module_id="default_policy",
        config=SimpleNamespace(learner_config_dict=settings),
        batch=batch,
        fwd_out={"action_dist_inputs": out.logits.flatten(1), VALUES: out.values, TOKENS: out.tokens},
    )


def gradients(network, loss):
    network.zero_grad()
    loss.backward()
    return {name: None if p.grad is None else p.grad.clone() for name, p in network.named_parameters()}


@pytest.mark.parametrize("coefficient", [0.0, 0.3])
def test_the_loss_is_the_sum_of_its_parts(collected, coefficient):
    network, batch = collected
    log = Log()
    shifted = batch | {"action_logp": batch["action_logp"] + 0.3 * torch.randn_like(batch["action_logp"])}
    got = loss_of(network, shifted, coefficient, log)
    out, there = network(batch["obs"]), batch["obs"]["mask"]
    dist = Categorical(logits=out.logits)
    ratio = (dist.log_prob(batch["actions"]) - shifted["action_logp"]).exp()
    adv = batch[ADVANTAGES]
    policy = -torch.minimum(ratio * adv, ratio.clip(0.8, 1.2) * adv)[there].mean()
    value = 0.5 * (out.values - batch[RETURNS]).square()[there].mean()
    said, seen = network.predict(out.tokens), there[..., None, None] & batch["mask"][:, None]
    truth = batch["displacement"][:, None].expand_as(said.displacement)[seen]
    error = smooth_l1_loss(said.displacement[seen], truth, reduction="none").sum(-1).mean()
    prediction = error
    if said.cells is not None:
        cells = cell_of(batch["displacement"], 1)[:, None].expand_as(seen)[seen]
        nats = cross_entropy(said.cells[seen], cells)
        prediction = error + nats
        assert log["prediction_nats"] == log["prediction_nats/teammate"] == pytest.approx(nats.item(), abs=1e-5)
    expected = policy + VALUE * value - ENTROPY * dist.entropy()[there].mean() + (coefficient or 1.0) * prediction
    torch.testing.assert_close(got, expected)
    assert log["policy_loss"] == pytest.approx(policy.item(), abs=1e-5)
    assert log["entropy"] == pytest.approx(dist.entropy()[there].mean().item(), abs=1e-5)
    assert log["prediction_error"] == log["prediction_error/teammate"] == pytest.approx(error.item(), abs=1e-5)
    assert log["first_ratio_error"] == pytest.approx((ratio - 1).abs()[there].max().item(), abs=1e-5)


def test_the_first_minibatch_finds_a_ratio_of_1(collected):
    network, batch = collected
    log = Log()
    loss_of(network, batch, log=log)
    assert log["first_ratio_error"] <= 1e-6
    assert log["kl"] <= 1e-12
    assert log["clip_fraction"] == 0


def test_without_the_auxiliary_loss_the_predictor_learns_and_shapes_nothing(collected):
    network, batch = collected
    probed = gradients(network, loss_of(network, batch, 0.0))
    wild = batch | {"displacement": batch["displacement"] * 5 + 3}
    other = gradients(network, loss_of(network, wild, 0.0))
    shaped = gradients(network, loss_of(network, batch, 0.5))
    for name in probed:
        if name.startswith("predictor."):
            assert (probed[name] != other[name]).any()
        elif probed[name] is not None:
            assert (probed[name] == other[name]).all()
    assert any((probed[n] != shaped[n]).any() for n in probed if n.startswith("encoder."))


@pytest.mark.parametrize("garbage", [torch.inf, torch.nan, 1e30])
def test_garbage_where_nobody_is_changes_no_loss_and_no_gradient(collected, garbage):
    network, batch = collected
    there, entities = batch["obs"]["mask"], batch["obs"]["entity_mask"]
    assert not there.all()

    def filled(value):
        obs = batch["obs"] | {
            "view": batch["obs"]["view"].masked_fill(~there[..., None], value),
            "positions": batch["obs"]["positions"].masked_fill(~entities[..., None], value),
        }
        masked = {key: batch[key].masked_fill(~there, value) for key in (ADVANTAGES, RETURNS, "action_logp")}
        displacement = batch["displacement"].masked_fill(~batch["mask"][..., None], value)
        return batch | masked | {"obs": obs, "displacement": displacement}

    results = []
    for value in (0.0, garbage):
        log = Log()
        loss = loss_of(network, filled(value), 0.3, log)
        results.append((loss, log, gradients(network, loss)))
    (loss, log, grads), (wild_loss, wild_log, wild_grads) = results
    assert loss.isfinite()
    assert loss == wild_loss
    assert log == wild_log
    for name, grad in grads.items():
        assert grad is wild_grads[name] is None or (grad == wild_grads[name]).all()


def test_every_parameter_has_one_optimizer(collected):
    network, _ = collected
    found = {}
    learner = SimpleNamespace(
        _network=lambda _: network, register_optimizer=lambda **k: found.update({k["optimizer_name"]: k})
    )
    TeamPPOLearner.configure_optimizers_for_module(learner, "default_policy", SimpleNamespace(lr=[[0, 1e-3], [9, 0.0]]))
    ids = {name: {id(p) for p in entry["params"]} for name, entry in found.items()}
    assert ids["predictor"] == {id(p) for p in network.predictor.parameters()}
    assert ids["main"] | ids["predictor"] == {id(p) for p in network.parameters()}
    assert not ids["main"] & ids["predictor"]
