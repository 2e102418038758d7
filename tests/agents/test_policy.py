"""Policies: the same after saving, the same for every form of observation, and clear about what does not fit."""

import json
import os
import pickle
import re
from functools import reduce
from operator import getitem
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import envs
from agents import Policy, load
from agents.policy import find, gumbel


@pytest.fixture
def policy(team_spec, network):
    return Policy(network(team_spec), {"env_steps": 7})


@pytest.fixture
def saved(specs, network, tmp_path):
    return Policy(network(specs["features"]), {"env_steps": 7}).save(tmp_path / "policy")


def arrays(obs):
    return {key: value.numpy() for key, value in obs.items()}


def test_a_loaded_policy_plays_bit_for_bit_the_same(policy, team_spec, observe, tmp_path):
    batch = arrays(observe(team_spec, 30, absent=0.2))
    again = load(policy.save(tmp_path))
    assert (again.output(batch).logits == policy.output(batch).logits).all()
    assert (again.output(batch).values == policy.output(batch).values).all()
    for deterministic in (True, False):
        actions = [p.act(batch, deterministic=deterministic, rng=np.random.default_rng(3)) for p in (policy, again)]
        assert (actions[0] == actions[1]).all()
    assert (again.spec, again.network.config, again.meta) == (policy.spec, policy.network.config, {"env_steps": 7})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["policy.json", "weights.safetensors"]


def test_saving_over_a_policy_replaces_it(saved, specs, network):
    other = network(specs["features"], arm="meanpool")
    Policy(other).save(saved)
    assert load(saved).network.config.arm == "meanpool"
    assert len(list(saved.iterdir())) == 2


def test_a_team_and_a_batch_get_the_same_actions(policy, team_spec, observe):
    batch = arrays(observe(team_spec, 12, absent=0.2))
    actions = policy.act(batch)
    assert actions.shape == (12, 3)
    assert actions.dtype == np.int64
    for i in range(12):
        assert (policy.act({key: value[i] for key, value in batch.items()}) == actions[i]).all()
    assert (actions == policy.output(batch).logits.numpy().argmax(-1)).all()


@pytest.mark.engine("lab2d")
@pytest.mark.parametrize("view", ["layer", "rgb"])
def test_pettingzoo_gets_the_teams_actions(view, network):
    options = {"players": 3, "steps": 12, "view": view}
    parallel, team = envs.make("lab2d/commons_harvest", **options), envs.make_team("lab2d/commons_harvest", **options)
    policy = Policy(network(team.spec))
    (by_agent, _), obs = parallel.reset(seed=5), team.reset(5)
    for _ in range(12):
        named, actions = policy.act(by_agent), policy.act(obs)
        assert named == {f"player_{i}": int(a) for i, a in enumerate(actions)}
        by_agent, obs = parallel.step(named)[0], team.step(actions)[0]
    parallel.close()
    team.close()


def test_samples_follow_the_policys_probabilities(specs, network, observe):
    policy = Policy(network(specs["features"]))
    one = arrays(observe(specs["features"], 1))
    count = 20_000
    batch = {key: np.repeat(value, count, 0) for key, value in one.items()}
    actions = policy.act(batch, deterministic=False, rng=np.random.default_rng(0))
    probabilities = policy.output(one).logits[0].softmax(-1).numpy()
    for agent in range(3):
        shares = np.bincount(actions[:, agent], minlength=5) / count
        error = np.sqrt(probabilities[agent] * (1 - probabilities[agent]) / count)
        assert (np.abs(shares - probabilities[agent]) < 4 * error + 1e-4).all()


def test_gumbel_noise_has_the_gumbel_distribution_and_survives_0():
    noise = np.sort(gumbel(np.random.default_rng(0).random(100_000, dtype=np.float32)))
    expected = np.exp(-np.exp(-noise))
    assert np.abs(expected - np.arange(100_000) / 100_000).max() < 0.01
    assert np.isfinite(gumbel(np.array([0, 1 - 2**-24], np.float32))).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda obs: obs.pop("who"), r"^observation lacks 'who'; the policy for fake/features needs view, mask, "),
        (lambda obs: obs.clear(), r"^observation lacks 'view'"),
        (lambda obs: obs.update(view=obs["view"][:, :5]), r"^observation 'view' has shape \(3, 5\), .* \(3, 7\)$"),
        (lambda obs: obs.update(mask=obs["mask"].astype(int)), r"^observation 'mask' has dtype int64, .* needs bool$"),
        (lambda obs: obs.update(view=np.full((3, 7), "x")), r"^observation 'view' has dtype "),
    ],
)
def test_observations_that_do_not_fit_are_refused(change, message, specs, network, observe):
    obs = {key: value[0] for key, value in arrays(observe(specs["features"], 1)).items()}
    change(obs)
    with pytest.raises(ValueError, match=message):
        Policy(network(specs["features"])).act(obs)


def test_a_batch_of_unequal_lengths_and_a_team_of_another_size_are_refused(specs, network, observe):
    policy = Policy(network(specs["features"]))
    batch = arrays(observe(specs["features"], 4))
    with pytest.raises(ValueError, match=r"equally long, got view 3, mask 4,"):
        policy.act(batch | {"view": batch["view"][:3]})
    with pytest.raises(ValueError, match=r"^the policy plays 3 agents, got observations of 2: a, b$"):
        policy.act({"a": {}, "b": {}})


def test_lists_and_float64_will_do(specs, network, observe):
    policy = Policy(network(specs["features"]))
    batch = arrays(observe(specs["features"], 4))
    listed = {key: value.tolist() for key, value in batch.items()}
    assert (policy.act(listed | {"extra": [1, 2]}) == policy.act(batch)).all()


def test_an_untrained_head_is_told_when_it_acts(specs, network, observe, recwarn):
    obs = arrays(observe(specs["features"], 1))
    trained, pretrained = (Policy(network(specs["features"]), meta) for meta in (None, {"untrained": ["policy"]}))
    trained.act(obs)
    pretrained.output(obs)  # its tokens and attention are trained
    assert not trained.untrained
    assert not recwarn.list
    with pytest.warns(UserWarning, match="head for actions is untrained"):
        pretrained.act(obs)


def edit(folder, change):
    data = json.loads((folder / "policy.json").read_text())
    change(data)
    (folder / "policy.json").write_text(json.dumps(data))


def edit_weights(folder, change):
    weights = load_file(folder / "weights.safetensors")
    change(weights)
    save_file(weights, folder / "weights.safetensors")


def text(folder, change):
    (folder / "policy.json").write_text(change((folder / "policy.json").read_text()))


def pipe(path):
    path.unlink()
    os.mkfifo(path)


def truncate(folder, name, share):
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: int(len(content) * share)])


DAMAGE = {
    "no json": lambda f: (f / "policy.json").unlink(),
    "no weights": lambda f: (f / "weights.safetensors").unlink(),
    "half a json": lambda f: truncate(f, "policy.json", 0.5),
    "empty json": lambda f: truncate(f, "policy.json", 0),
    "json of something else": lambda f: (f / "policy.json").write_text("[1, 2]"),
    "binary json": lambda f: (f / "policy.json").write_bytes(b"\xff\xfe\x00\x01"),
    "another format": lambda f: edit(f, lambda d: d.update(format="tandem-policy-9")),
    "no format": lambda f: edit(f, lambda d: d.pop("format")),
    "no spec": lambda f: edit(f, lambda d: d.pop("spec")),
    "unknown arm": lambda f: edit(f, lambda d: d["network"].update(arm="telepathy")),
    "unknown field": lambda f: edit(f, lambda d: d["network"].update(depth=3)),
    "wrong type": lambda f: edit(f, lambda d: d["network"].update(width="64")),
    "fraction": lambda f: edit(f, lambda d: d["network"].update(width=16.0)),
    "absurd size": lambda f: edit(f, lambda d: d["network"].update(hidden=10**12)),
    "unknown view": lambda f: edit(f, lambda d: d["spec"].update(view="radar")),
    "view without axes": lambda f: edit(f, lambda d: d["spec"]["shapes"].update(view=[])),
    "layer without vocabulary": lambda f: edit(f, lambda d: d["spec"].update(view="layer")),
    "meta is a list": lambda f: edit(f, lambda d: d.update(meta=[1])),
    "half the weights": lambda f: truncate(f, "weights.safetensors", 0.5),
    "half a header": lambda f: truncate(f, "weights.safetensors", 0.001),
    "empty weights": lambda f: truncate(f, "weights.safetensors", 0),
    "a missing tensor": lambda f: edit_weights(f, lambda w: w.pop("place.weight")),
    "an unknown tensor": lambda f: edit_weights(f, lambda w: w.update(more=torch.zeros(1))),
    "a wrong shape": lambda f: edit_weights(f, lambda w: w.update({"place.weight": torch.zeros(3, 3)})),
    "another width": lambda f: edit(f, lambda d: d["network"].update(width=32)),
    "more hidden units": lambda f: edit(f, lambda d: d["network"].update(hidden=65536, layers=64)),
    "a text for true": lambda f: edit(f, lambda d: d["network"].update(residual="no")),
    "a number beyond all": lambda f: text(f, lambda t: t.replace('"env_steps": 7', f'"env_steps": {10**400}')),
    "no number": lambda f: text(f, lambda t: t.replace('"env_steps": 7', '"env_steps": NaN')),
    "without end": lambda f: text(f, lambda t: t.replace('"env_steps": 7', '"env_steps": Infinity')),
    "deep": lambda f: text(f, lambda t: "[" * 100_000),
    "weights are a pipe": lambda f: pipe(f / "weights.safetensors"),
    "weights are a folder": lambda f: ((f / "weights.safetensors").unlink(), (f / "weights.safetensors").mkdir()),
    "weights are numbers of another kind": lambda f: edit_weights(
        f, lambda w: w.update({"place.weight": w["place.weight"].to(torch.int32)})
    ),
    "weights are complex": lambda f: edit_weights(
        f, lambda w: w.update({"place.weight": w["place.weight"].to(torch.complex64)})
    ),
    "dtype of view": lambda f: edit(f, lambda d: d["spec"]["dtypes"].update(view="object")),
    "fewer arrays": lambda f: edit(f, lambda d: (d["spec"]["shapes"].pop("who"), d["spec"]["dtypes"].pop("who"))),
}
FACTS = {
    "env": ([], "football"), "env_steps": ("7", 7.5), "deterministic": (1,), "pretrained": ("yes",),
    "pretrain_steps": (None,), "untrained": (3, [3]),
}  # fmt: skip
OBSERVATION = {
    "num_agents": (2**31, 0, "3", 4), "num_actions": (10**17, -1, 2.5), "view_vocab": ("x", 0), "env": (3,),
    "step_scale": ([0, 1], [1], ["a", "b"]), "entity_kinds": ([1] * 7, ["ball"] * 99), "view": ([],),
    "shapes": ([],), "dtypes": ({}, 3),
}  # fmt: skip
SHAPES = {
    "view": ([3, 2**40], [3, 2**29], [3, -7], [3, "7"], [3, 7.5]), "mask": ([4],), "positions": ([7, 3],),
    "entity_mask": ([],), "extra": ([1],),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damage_is_said_in_one_sentence(damage, saved):
    damage(saved)
    with pytest.raises(ValueError, match=str(saved.name)) as caught:
        load(saved)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("table", "name", "value"),
    [
        (table, name, value)
        for table, cases in ((("meta",), FACTS), (("spec",), OBSERVATION), (("spec", "shapes"), SHAPES))
        for name, values in cases.items()
        for value in values
    ],
)
def test_a_field_that_cannot_be_is_said_in_one_sentence(table, name, value, saved):
    edit(saved, lambda data: reduce(getitem, table, data).update({name: value}))
    with pytest.raises(ValueError, match=str(saved.name)) as caught:
        load(saved)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [float("nan"), float("-inf"), 1e39])
def test_weights_that_are_no_finite_numbers_are_refused(value, saved):
    """1e39 is one in the file, and none in the network's precision."""

    def change(weights):
        weights["value.2.bias"] = torch.tensor([value], dtype=torch.float64)

    edit_weights(saved, change)
    message = rf"^weights in {re.escape(str(saved))} are of no use: value.2.bias holds numbers that are not finite$"
    with pytest.raises(ValueError, match=message):
        load(saved)


def test_nothing_is_unpickled(saved, tmp_path):
    class Bomb:
        def __reduce__(self):
            return Path.touch, (tmp_path / "exploded",)

    for name in ("weights.safetensors", "policy.json"):
        content = (saved / name).read_bytes()
        (saved / name).write_bytes(pickle.dumps(Bomb()))
        with pytest.raises(ValueError, match="cannot be read as a policy"):
            load(saved)
        (saved / name).write_bytes(content)
    assert not (tmp_path / "exploded").exists()


def test_it_is_found_in_a_run_a_checkpoint_or_its_own_folder(specs, network, tmp_path):
    run = tmp_path / "run"
    for steps in (900, 1000, 10_000):
        Policy(network(specs["features"]), {"env_steps": steps}).save(run / "checkpoints" / f"{steps:012d}" / "policy")
    (run / "checkpoints" / ".writing" / "policy").mkdir(parents=True)
    (run / "checkpoints" / f"{20_000:012d}").mkdir()  # a checkpoint without a policy is passed over
    newest = run / "checkpoints" / f"{10_000:012d}"
    for path in (run, newest, newest / "policy", str(run)):
        assert find(path) == newest / "policy"
    assert load(run).meta == {"env_steps": 10_000}


def test_a_path_without_policy_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"nowhere does not exist; give a run folder"):
        load(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"holds no policy; expected policy.json"):
        load(tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(ValueError, match=r"file holds no policy"):
        load(tmp_path / "file")
