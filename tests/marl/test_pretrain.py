"""Pre-training on recordings of an invented world in which everybody slows down."""

import errno
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import SafetensorError

import agents
from agents import NetworkConfig, ObservationSpec, TeamNetwork
from marl import pretrain as module
from marl.pretrain import NotFinite, held_out_errors, held_out_sample, pretrain
from marl.pretrain_config import PretrainConfig
from marl.pretrained import load_pretrained
from marl.recording_format import FORMAT, PartWriter, Recording, open_recording, write_manifest

KINDS = ("teammate", "teammate", "opponent", "ball")
SLOWER = 0.6
"""What is left of a velocity after a step."""


def world_spec():
    agents_, entities = 2, len(KINDS)
    return ObservationSpec(
        env="fake/slowing",
        view="features",
        num_agents=agents_,
        num_actions=3,
        entity_kinds=KINDS,
        shapes={
            "view": (agents_, 2 * entities), "mask": (agents_,), "who": (agents_,), "positions": (entities, 2),
            "entity_mask": (entities,),
        },
        dtypes={
            "view": "float32", "mask": "bool", "who": "int16", "positions": "float32", "entity_mask": "bool",
        },
        step_scale=(0.1, 0.1),
    )  # fmt: skip


def world_episode(rng, length=12):
    """Velocities shrink by SLOWER a step and are kicked now and then; the view holds them, in units of step_scale."""
    velocity = rng.normal(0, 0.1, (len(KINDS), 2))
    position = rng.uniform(-0.3, 0.3, (len(KINDS), 2))
    rows = []
    for _ in range(length):
        rows.append((position, velocity))
        position = position + velocity
        velocity = SLOWER * velocity + 0.05 * rng.normal(size=velocity.shape)
    positions, velocities = (np.stack(each).astype(np.float32) for each in zip(*rows, strict=True))
    view = np.repeat((velocities / 0.1).reshape(length, 1, -1), 2, 1)
    return {
        "view": view,
        "mask": np.ones((length, 2), bool),
        "who": np.tile(np.arange(2, dtype=np.int16), (length, 1)),
        "positions": positions,
        "entity_mask": np.ones((length, len(KINDS)), bool),
    }


def write_recording(folder, *, parts=3, episodes=20, seed=0):
    """A recording on disk as `tandem record` writes it."""
    spec, rng = world_spec(), np.random.default_rng(seed)
    manifest = {
        "format": FORMAT, "env": {"suite": "fake", "level": "slowing"}, "spec": spec.to_json(), "policy": [],
        "seed": seed, "deterministic": False, "complete": True, "parts": [],
    }  # fmt: skip
    folder.mkdir(parents=True)
    for number in range(parts):
        writer = PartWriter(folder / f"part-{number:05d}.parquet", spec)
        for episode in range(episodes):
            writer.add(number * episodes + episode, world_episode(rng), 0.0)
        manifest["parts"].append(writer.finish(f"part-{number:05d}.parquet"))
    write_manifest(Recording(folder, manifest, spec))
    return folder


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    return write_recording(tmp_path_factory.mktemp("recordings") / "slowing")


@pytest.fixture
def config(recording):
    return PretrainConfig(
        data=str(recording),
        network=NetworkConfig(width=16, hidden=32, horizon=2),
        steps=60,
        batch=32,
        learning_rate=1e-2,
        warmup_steps=5,
        eval_interval_steps=30,
        report_interval_steps=10,
        device="cpu",
    )


def weights(policy):
    return policy.network.state_dict()


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


class Killed(Exception):
    pass


def killed_at(step):
    def report(done, metrics):
        if done == step:
            raise Killed

    return report


def test_the_predictor_learns_what_constant_velocity_cannot_know(config, tmp_path):
    seen = {}
    policy = pretrain(replace(config, steps=200), tmp_path, report=lambda step, m: seen.update({step: m}))
    rows = {(row.measure, row.kind, row.horizon): row for row in held_out_errors(config, policy)}
    for kind in ("teammate", "opponent", "ball"):
        for horizon in (1, 2):
            row = rows["huber", kind, horizon]
            assert row.model < min(row.constant_velocity, row.no_move)
            assert row.better
            assert row.share_interval[0] < row.share < row.share_interval[1] < 1
            assert row.episodes == 6
    assert seen[200]["train/loss"] < 0.5 * seen[10]["train/loss"]
    assert rows["distance", "ball", 1].model < 0.7 * rows["distance", "ball", 1].constant_velocity


def test_metrics_have_the_tags_of_every_run(config, tmp_path):
    seen = {}
    pretrain(config, tmp_path, report=lambda step, m: seen.update({step: m}))
    assert list(seen) == [10, 20, 30, 40, 50, 60]
    for tag in ("train/loss", "train/grad_norm", "train/prediction_error/ball", "time/rows_per_s", "time/train_s"):
        assert np.isfinite(seen[10][tag])
    assert "eval/prediction_error/ball_constant_velocity" in seen[30]
    assert "eval/prediction_error/ball_constant_velocity" not in seen[20]
    assert "eval/prediction_error/teammate_same_rows" in seen[60]


@pytest.mark.parametrize("step", [10, 30, 50])
def test_a_killed_run_that_goes_on_ends_with_the_same_bits(config, tmp_path, step):
    config = replace(config, checkpoint_interval_s=1e-9)
    undisturbed = pretrain(config, tmp_path / "a")
    with pytest.raises(Killed):
        pretrain(config, tmp_path / "b", report=killed_at(step))
    seen = []
    resumed = pretrain(config, tmp_path / "b", report=lambda done, m: seen.append(done), resume=True)
    assert seen[0] == step + 10
    assert same(weights(undisturbed), weights(resumed))


def test_data_in_windows_goes_on_with_the_same_bits_too(config, tmp_path):
    config = replace(config, checkpoint_interval_s=1e-9, memory_mb=0.05, batch=16)
    undisturbed = pretrain(config, tmp_path / "a")
    with pytest.raises(Killed):
        pretrain(config, tmp_path / "b", report=killed_at(30))
    assert same(weights(undisturbed), weights(pretrain(config, tmp_path / "b", resume=True)))
    assert not same(weights(undisturbed), weights(pretrain(replace(config, memory_mb=100.0), tmp_path / "c")))


def test_an_interrupted_run_keeps_what_it_has(config, tmp_path):
    def interrupt(done, metrics):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pretrain(config, tmp_path, report=interrupt)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["000000000010"]
    assert same(weights(pretrain(config, tmp_path, resume=True)), weights(pretrain(config, tmp_path / "other")))


def test_the_seed_decides_everything(config, tmp_path):
    one, two = (pretrain(config, tmp_path / name) for name in "ab")
    other = pretrain(replace(config, seed=1), tmp_path / "c")
    assert same(weights(one), weights(two))
    assert not same(weights(one), weights(other))


def test_the_run_is_a_policy_whose_heads_are_untrained(config, tmp_path):
    pretrain(config, tmp_path)
    policy = agents.load(tmp_path)
    assert policy.meta["pretrained"] is True
    assert policy.meta["pretrain_steps"] == 60
    assert policy.meta["untrained"] == ["policy", "value"]
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        born = TeamNetwork(policy.spec, config.network).state_dict()
    for name, value in weights(policy).items():
        untouched = name.split(".")[0] in ("policy", "value")
        assert torch.equal(value, born[name]) == untouched, name


def test_training_starts_from_it(config, tmp_path):
    policy = pretrain(config, tmp_path)
    network = TeamNetwork(world_spec(), config.network)
    load_pretrained(network, tmp_path)
    assert torch.equal(network.predictor[0].weight, policy.network.predictor[0].weight)


def test_the_torch_generator_of_the_caller_is_left_alone(config, tmp_path):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    pretrain(config, tmp_path)
    assert torch.equal(torch.rand(1), expected)


def test_only_the_kinds_that_count_are_learnt(config, tmp_path):
    seen = []
    policy = pretrain(replace(config, kinds=("ball",)), tmp_path, report=lambda step, m: seen.append(m))
    assert {row.kind for row in held_out_errors(replace(config, kinds=("ball",)), policy)} == {"ball"}
    assert not any("teammate" in tag for tag in seen[-1])


def test_cells_are_learnt_and_counted(config, tmp_path):
    config = replace(config, network=replace(config.network, prediction="both"), steps=150)
    rows = held_out_errors(config, pretrain(config, tmp_path))
    assert {row.measure for row in rows} == {"huber", "nats", "wrong_cell", "distance"}
    wrong = [(row.model, row.no_move, row.constant_velocity) for row in rows if row.measure == "wrong_cell"]
    assert np.min(wrong) >= 0
    assert np.max(wrong) <= 1
    model, no_move, constant_velocity = np.mean(wrong, 0)
    assert model < min(no_move, constant_velocity)


def test_the_step_size_rises_and_falls(config, tmp_path):
    pretraining = module.Pretraining(replace(config, steps=100, warmup_steps=10, learning_rate=0.5), tmp_path)
    rates = [pretraining.rate(step) for step in range(101)]
    assert rates[0] == pytest.approx(0.05)
    assert max(rates) <= 0.5
    assert rates[50] == pytest.approx(0.25)
    assert rates[100] == pytest.approx(0)
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_the_sample_is_held_out_moments(config):
    rows = held_out_sample(config, world_spec(), 5)
    assert len(rows) == 5
    assert all(episode % 10 == 9 for episode in rows.episode.tolist())


def test_checkpoints_of_an_earlier_run_are_not_overwritten(config, tmp_path):
    pretrain(replace(config, steps=10), tmp_path)
    with pytest.raises(ValueError, match="holds checkpoints of an earlier run; resume that one or give another folder"):
        pretrain(config, tmp_path)


def test_another_recording_is_refused_when_a_run_goes_on(config, tmp_path):
    pretrain(replace(config, steps=10), tmp_path / "run")
    other = write_recording(tmp_path / "other", seed=1)
    with pytest.raises(ValueError, match=r"was made with another recording than .*other"):
        pretrain(replace(config, data=str(other)), tmp_path / "run", resume=True)


def test_another_network_is_refused_when_a_run_goes_on(config, tmp_path):
    pretrain(replace(config, steps=10), tmp_path)
    with pytest.raises(ValueError, match="holds another network than the one that is asked for"):
        pretrain(replace(config, network=replace(config.network, hidden=16)), tmp_path, resume=True)


def other_shapes(path):
    saved = torch.load(path, weights_only=True)
    saved["state"][0]["exp_avg"] = torch.zeros(3)
    torch.save(saved, path)


@pytest.mark.parametrize(
    "damage", [lambda path: os.truncate(path, 50), lambda path: os.truncate(path, 0), other_shapes]
)
def test_a_damaged_state_is_one_sentence(damage, config, tmp_path):
    pretrain(replace(config, steps=10), tmp_path)
    path = tmp_path / "checkpoints" / "000000000010" / "optimiser.pt"
    damage(path)
    with pytest.raises(ValueError, match=r"optimiser.pt cannot be read") as caught:
        pretrain(config, tmp_path, resume=True)
    assert "\n" not in str(caught.value)


def test_a_truncated_part_is_one_sentence_and_nothing_is_written(config, recording, tmp_path):
    shutil.copytree(recording, tmp_path / "data")
    os.truncate(tmp_path / "data" / "part-00001.parquet", 1000)
    with pytest.raises(ValueError, match=r"part-00001.parquet is truncated: 1000 bytes") as caught:
        pretrain(replace(config, data=str(tmp_path / "data")), tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_folder_that_is_no_recording_is_one_sentence(config, tmp_path):
    with pytest.raises(ValueError, match="is not a recording"):
        pretrain(replace(config, data=str(tmp_path)), tmp_path / "run")


def test_a_recording_of_another_environment_is_refused(config, tmp_path, meeting):
    with pytest.raises(ValueError, match=r"is a recording of fake/slowing, not of fake/meet"):
        pretrain(replace(config, env=meeting()), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_too_few_episodes_for_a_test_is_one_sentence(config, tmp_path):
    few = write_recording(tmp_path / "few", parts=1, episodes=3)
    with pytest.raises(ValueError, match=r"has no held-out moment: 0.1 of its episodes is none"):
        pretrain(replace(config, data=str(few)), tmp_path / "run")


def test_a_loss_that_is_no_number_ends_the_run_and_is_not_kept(config, tmp_path):
    pretrain(replace(config, steps=10), tmp_path)
    with pytest.raises(NotFinite, match="the loss was not finite before step 20; try a learning_rate lower than 1e"):
        pretrain(replace(config, learning_rate=1e30, warmup_steps=0), tmp_path, resume=True)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["000000000010"]


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("steps", 0, "steps must be positive and finite, got 0"),
        ("batch", -1, "batch must be positive"),
        ("learning_rate", float("nan"), "learning_rate must be positive"),
        ("holdout", 0.0, "holdout must be above 0 and below 1, got 0"),
        ("holdout", 1.0, "holdout must be above 0 and below 1, got 1"),
        ("restart", -1.0, "restart must be finite and not negative"),
        ("kinds", ("referee",), "kinds must be some of teammate, opponent, ball"),
        ("seed", 2**32, "seed must be below"),
        ("device", "tpu", "device 'tpu' does not exist; allowed: auto, cpu, cuda"),
    ],
)
def test_settings_out_of_range_are_one_sentence(config, field, value, sentence):
    with pytest.raises(ValueError, match=sentence):
        replace(config, **{field: value})


def test_the_recording_of_these_tests_is_one(recording):
    assert open_recording(recording).num_episodes == 60


@pytest.mark.parametrize("written", ["optimiser.pt", "weights.safetensors", "progress.json"])
def test_a_full_disk_is_one_sentence_and_the_earlier_checkpoint_stays(config, tmp_path, monkeypatch, written):
    pretrain(replace(config, steps=10), tmp_path)
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if written == "weights.safetensors":  # written by a library that has an error of its own

        def refuse(weights, path):
            raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

        monkeypatch.setattr("agents.policy.save_file", refuse)
    for name in ("write_text", "write_bytes"):
        original = getattr(Path, name)

        def write(self, data, *args, original=original, **options):
            if self.name == written:
                raise full
            return original(self, data, *args, **options)

        monkeypatch.setattr(Path, name, write)
    with pytest.raises(ValueError, match=rf"^cannot write a checkpoint of {tmp_path}: .*No space left on device"):
        pretrain(replace(config, steps=20), tmp_path, resume=True)
    monkeypatch.undo()
    assert [path.name for path in (tmp_path / "checkpoints").glob("[0-9]*")] == ["000000000010"]
    assert agents.load(tmp_path).meta["pretrain_steps"] == 10
    pretrain(replace(config, steps=20), tmp_path, resume=True)
