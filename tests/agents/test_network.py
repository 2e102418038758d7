"""The whole network: the order of agents, what the arms exchange, and the absent."""

import numpy as np
import pytest
import torch

from agents import NetworkConfig, ObservationSpec, TeamNetwork

ARMS = ("independent", "meanpool", "acam")


def assert_close(got, expected, atol=2e-5):
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=atol)


def guess(net, out):
    return net.predict(out.tokens).displacement


def shuffled(obs, order):
    return obs | {key: obs[key][:, order] for key in ("view", "mask", "who")}


@pytest.mark.parametrize("arm", ARMS)
def test_agents_may_come_in_any_order(arm, team_spec, observe, network):
    obs, net = observe(team_spec, 6, absent=0.3), network(team_spec, arm=arm, layers=2, prediction="both", horizon=2)
    order = torch.tensor([2, 0, 1])
    before, after = net(obs), net(shuffled(obs, order))
    there = obs["mask"][:, order]
    assert_close(after.logits[there], before.logits[:, order][there])
    assert_close(after.values[there], before.values[:, order][there])
    for moved, still in zip(net.predict(after.tokens), net.predict(before.tokens), strict=True):
        assert_close(moved[there], still[:, order][there])
    both = there[:, None, :, None].expand_as(after.attention)
    assert_close(after.attention[both], before.attention[:, :, order][..., order][both])


def what_teammates_change(net, obs, other):
    """Largest change of agent 0's and 1's logits when agent 2 sees something else."""
    mixed = obs | {"view": torch.cat([obs["view"][:, :2], other["view"][:, 2:]], 1)}
    return (net(mixed).logits[:, :2] - net(obs).logits[:, :2]).abs().max()


@pytest.mark.parametrize(("arm", "talks"), [("independent", False), ("meanpool", True), ("acam", True)])
def test_only_the_exchanging_arms_hear_a_teammate(arm, talks, team_spec, observe, network):
    net = network(team_spec, arm=arm)
    change = what_teammates_change(net, observe(team_spec, 6), observe(team_spec, 6, seed=50))
    assert change > 1e-3 if talks else change < 1e-5


@pytest.mark.parametrize("arm", ARMS)
@pytest.mark.parametrize("garbage", [np.inf, -np.inf, np.nan, 1e30])
@pytest.mark.parametrize("view", ["features", "entities"])
def test_what_is_left_where_nobody_is_changes_nothing(arm, garbage, view, specs, observe, network):
    obs = observe(specs[view], 8, absent=0.4)
    wild = obs | {
        "view": obs["view"].masked_fill(~obs["mask"][..., None], garbage),
        "positions": obs["positions"].masked_fill(~obs["entity_mask"][..., None], garbage),
    }
    results = []
    for one in (obs, wild):
        net = network(specs[view], arm=arm)
        out = net(one)
        there = obs["mask"]
        total = out.logits[there].square().sum() + out.values[there].sum() + guess(net, out)[there].square().sum()
        total.backward()
        results.append((out, [p.grad for p in net.parameters()]))
    (clean, clean_grads), (dirty, dirty_grads) = results
    assert (clean.logits[there] == dirty.logits[there]).all()
    assert (clean.values[there] == dirty.values[there]).all()
    assert (
        clean.attention[there[:, None].expand(-1, 2, -1)] == dirty.attention[there[:, None].expand(-1, 2, -1)]
    ).all()
    assert all(value.isfinite().all() for value in dirty)
    for a, b in zip(clean_grads, dirty_grads, strict=True):
        assert (a is None and b is None) or (a == b).all()


@pytest.mark.parametrize("arm", ARMS)
def test_nobody_present_gives_finite_outputs_and_gradients(arm, team_spec, observe, network):
    obs, net = observe(team_spec, 4, absent=1.0), network(team_spec, arm=arm, layers=2)
    assert not obs["mask"].any()
    out = net(obs)
    assert all(value.isfinite().all() for value in out)
    (out.logits.sum() + out.values.sum() + guess(net, out).sum()).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in net.parameters())


def test_layers_follow_each_other_and_the_last_ones_weights_are_shown(specs, observe, network):
    obs, net = observe(specs["features"], 5, absent=0.3), network(specs["features"], layers=3, heads=4)
    out = net(obs)
    rows = obs["who"].long().clamp(min=0)
    places = torch.stack([obs["positions"][b, rows[b]] for b in range(5)])
    tokens = net.encoder(obs | {"view": obs["view"] * obs["mask"][..., None]}) + places @ net.place.weight.T
    for layer in net.exchange:
        tokens, weights = layer(tokens, obs["mask"])
    assert len(net.exchange) == 3
    assert weights.shape == (5, 4, 3, 3)
    assert_close(out.attention, weights)
    assert_close(out.tokens, tokens.clamp(min=0))
    assert_close(out.logits, net.policy(tokens.clamp(min=0)))
    assert_close(out.values, net.value(tokens.clamp(min=0))[..., 0])


def test_by_default_the_predictor_says_one_displacement_per_entity(specs, observe, network):
    obs, net = observe(specs["features"], 5), network(specs["features"])
    out = net(obs)
    said = net.predict(out.tokens)
    assert said.displacement.shape == (5, 3, 7, 1, 2)
    assert said.cells is None
    assert_close(said.displacement[:, :, 4, 0, 1], net.predictor(out.tokens)[..., 9])
    shapes = {name: tuple(p.shape) for name, p in net.named_parameters() if name.startswith("predictor.")}
    assert shapes == {
        "predictor.0.weight": (24, 16),
        "predictor.0.bias": (24,),
        "predictor.2.weight": (14, 24),
        "predictor.2.bias": (14,),
    }


@pytest.mark.parametrize(("prediction", "outputs"), [("displacement", 2), ("cells", 25), ("both", 27)])
def test_what_is_predicted_at_which_horizon_is_a_setting(prediction, outputs, specs, observe, network):
    net = network(specs["features"], prediction=prediction, horizon=3, cell_radius=2)
    out = net(observe(specs["features"], 5))
    raw = net.predictor(out.tokens).view(5, 3, 7, 3, outputs)
    displacement, cells = net.predict(out.tokens)
    assert (displacement is None) == (prediction == "cells")
    assert (cells is None) == (prediction == "displacement")
    if displacement is not None:
        assert_close(displacement, raw[..., :2])
    if cells is not None:
        assert cells.shape == (5, 3, 7, 3, 25)
        assert_close(cells, raw[..., -25:])


def test_the_first_guess_of_the_cells_is_nearly_even(specs, observe):
    torch.manual_seed(0)
    net = TeamNetwork(ObservationSpec.from_team(specs["features"]), NetworkConfig(prediction="cells", horizon=2))
    said = net.predict(net(observe(specs["features"], 20)).tokens)
    assert torch.distributions.Categorical(logits=said.cells).entropy().min() > 0.999 * np.log(9)


def test_position_is_a_switch(specs, observe, network):
    obs = observe(specs["features"], 4)
    moved = obs | {"positions": obs["positions"] * 0.5}
    for position in (True, False):
        net = network(specs["features"], position=position)
        changed = (net(obs).logits - net(moved).logits).abs().max()
        assert changed > 1e-4 if position else changed == 0


def test_the_first_policy_is_nearly_uniform_and_the_first_values_small(team_spec, observe):
    torch.manual_seed(0)
    net = TeamNetwork(ObservationSpec.from_team(team_spec), NetworkConfig())
    out = net(observe(team_spec, 20))
    assert torch.distributions.Categorical(logits=out.logits).entropy().min() > 0.999 * np.log(5)
    assert out.values.abs().max() < 1


def test_the_arms_differ_in_nothing_but_the_weights_of_the_exchange(specs, network):
    names = {arm: set(network(specs["features"], arm=arm).state_dict()) for arm in ARMS}
    assert names["independent"] == names["meanpool"]
    assert {n.split(".")[2] for n in names["acam"] - names["meanpool"]} == {"query_key"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"arm": "telepathy"}, r"^arm 'telepathy' does not exist; allowed: independent, meanpool, acam$"),
        ({"width": 0}, r"^width must be at least 1, got 0$"),
        ({"layers": 0}, r"^layers must be at least 1, got 0$"),
        ({"hidden": 10**10}, r"^hidden must be at most 65536, got 10000000000$"),
        ({"horizon": 10**9}, r"^horizon must be at most 100, got 1000000000$"),
        ({"horizon": 0}, r"^horizon must be at least 1, got 0$"),
        ({"cell_radius": 0}, r"^cell_radius must be at least 1, got 0$"),
        ({"prediction": "mood"}, r"^prediction 'mood' does not exist; allowed: displacement, cells, both$"),
        ({"width": 10, "heads": 4}, r"^width must be a multiple of heads, got width 10 and heads 4$"),
    ],
)
def test_a_config_that_does_not_fit_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        NetworkConfig(**options)
