"""What is taken over from a pre-trained network, and what is refused."""

import json
import os
from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from agents import NetworkConfig, ObservationSpec, Policy, TeamNetwork
from envs.fakes import make_spec
from marl.pretrained import describe, load_pretrained

SMALL = NetworkConfig(width=8, hidden=12, horizon=2)


def spec(features=6, **options):
    view = gym.spaces.Box(-np.inf, np.inf, (3, features), np.float32)
    return ObservationSpec.from_team(make_spec(view, others=("opponent", "ball"), **options))


def network(seed, config=SMALL, **options):
    torch.manual_seed(seed)
    return TeamNetwork(spec(**options), config)


def weights(net):
    return {name: value.clone() for name, value in net.state_dict().items()}


@pytest.fixture
def saved(tmp_path):
    """A run folder with one checkpoint."""
    Policy(network(1)).save(tmp_path / "checkpoints" / "000000000010" / "policy")
    return tmp_path


def test_encoder_exchange_and_predictor_go_over_and_the_heads_stay(saved):
    source, net = network(1), network(2)
    before = weights(net)
    loaded = load_pretrained(net, saved)
    after, given = net.state_dict(), source.state_dict()
    for name in after:
        whose = before if name.startswith(("policy.", "value.")) else given
        assert torch.equal(after[name], whose[name]), name
    assert set(loaded.loaded) == {name for name in after if not name.startswith(("policy.", "value."))}
    assert loaded.source == saved / "checkpoints" / "000000000010" / "policy"
    assert {name.split(".")[0] for name in loaded.loaded} == {"encoder", "place", "exchange", "predictor"}
    assert sum(loaded.numbers.values()) == sum(given[name].numel() for name in loaded.loaded)


def test_both_say_the_same_of_the_future_after_loading(saved):
    source, net = network(1), network(2)
    load_pretrained(net, saved)
    obs = {key: torch.zeros(4, *shape) for key, shape in net.spec.shapes.items()}
    obs |= {"view": torch.randn(4, 3, 6), "mask": torch.ones(4, 3, dtype=torch.bool)}
    obs |= {"entity_mask": torch.ones(4, 5, dtype=torch.bool), "positions": torch.rand(4, 5, 2)}
    said = [net.predict(net.encode(obs)[0]).displacement for net in (source, net)]
    assert torch.equal(*said)


def test_the_number_of_actions_may_differ(saved):
    source, net = network(1), network(2, actions=7)
    loaded = load_pretrained(net, saved)
    given, got = source.state_dict(), net.state_dict()
    assert loaded.loaded
    assert all(torch.equal(got[name], given[name]) for name in loaded.loaded)
    assert not any(name.startswith("policy") for name in loaded.loaded)


def test_what_was_loaded_is_told(saved):
    lines = describe(load_pretrained(network(2), saved))
    assert str(saved) in lines[0]
    assert "fake/features" in lines[0]
    for part in ("encoder", "place", "exchange", "predictor"):
        assert any(part in line and "loaded" in line and "weights" in line for line in lines)
    for part in ("policy", "value"):
        assert any(part in line and "left out" in line and "learnt from the start" in line for line in lines)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"hidden": 16}, r"network.hidden is 12 there, needed is 16"),
        ({"width": 16}, r"network.width is 8 there, needed is 16"),
        ({"heads": 1}, r"network.heads is 2 there, needed is 1"),
        ({"layers": 2}, r"network.layers is 1 there, needed is 2"),
        ({"arm": "meanpool"}, r"network.arm is 'acam' there, needed is 'meanpool'"),
        ({"residual": False}, r"network.residual is True there"),
        ({"pre_norm": False}, r"network.pre_norm is True there"),
        ({"position": False}, r"network.position is True there"),
        ({"horizon": 3}, r"network.horizon is 2 there, needed is 3"),
        ({"prediction": "cells"}, r"network.prediction is 'displacement' there"),
    ],
)
def test_another_network_is_refused_and_nothing_is_touched(saved, change, sentence):
    net = network(2, replace(SMALL, **change))
    before = weights(net)
    with pytest.raises(ValueError, match=sentence):
        load_pretrained(net, saved)
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


def test_a_setting_that_is_not_used_may_differ(saved):
    net, same = network(2, replace(SMALL, cell_radius=2)), network(2)
    assert load_pretrained(net, saved).loaded == load_pretrained(same, saved).loaded
    assert all(torch.equal(value, same.state_dict()[name]) for name, value in net.state_dict().items())


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"features": 7}, r"shape of 'view' is \(3, 7\), the network was built for \(3, 6\)"),
        ({"name": "entities"}, "view"),
    ],
)
def test_another_observation_is_refused(saved, options, sentence):
    theirs = spec(**options)
    if "name" in options:
        shapes = {**theirs.shapes, "shared": (5, 4)}
        theirs = replace(theirs, shapes=shapes, dtypes={**theirs.dtypes, "shared": "float32"})
    with pytest.raises(ValueError, match=sentence):
        load_pretrained(TeamNetwork(theirs, SMALL), saved)


def test_another_unit_of_displacement_is_refused(saved):
    theirs = replace(spec(), step_scale=(0.2, 0.1))
    with pytest.raises(ValueError, match=r"step_scale is \(0.2, 0.1\), the network was built for \(0.1, 0.1\)"):
        load_pretrained(TeamNetwork(theirs, SMALL), saved)


def test_weights_that_are_no_numbers_are_refused(saved):
    path = saved / "checkpoints" / "000000000010" / "policy" / "weights.safetensors"
    tensors = load_file(path)
    tensors["predictor.0.bias"][0] = float("nan")
    save_file(tensors, path)
    with pytest.raises(ValueError, match=r"predictor.0.bias holds numbers that are not finite"):
        load_pretrained(network(2), saved)


def test_a_damaged_file_is_one_sentence(saved):
    path = saved / "checkpoints" / "000000000010" / "policy" / "weights.safetensors"
    os.truncate(path, 100)
    with pytest.raises(ValueError, match="cannot be read as a policy") as caught:
        load_pretrained(network(2), saved)
    assert "\n" not in str(caught.value)


def test_a_folder_without_policy_is_one_sentence(tmp_path):
    with pytest.raises(ValueError, match="holds no policy"):
        load_pretrained(network(2), tmp_path)
    with pytest.raises(ValueError, match="does not exist"):
        load_pretrained(network(2), tmp_path / "nowhere")


def test_a_description_that_lacks_a_field_is_one_sentence(saved):
    path = saved / "checkpoints" / "000000000010" / "policy" / "policy.json"
    data = json.loads(path.read_text())
    del data["spec"]["view"]
    path.write_text(json.dumps(data))
    with pytest.raises(ValueError, match="cannot be read as a policy"):
        load_pretrained(network(2), saved)
