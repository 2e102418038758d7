"""Run folders and the sink: whole or not there, readable by others, purged on resume."""

import json
import os
from functools import reduce
from operator import getitem

import gymnasium as gym
import imageio.v3 as iio
import numpy as np
import pytest
from PIL import Image, ImageSequence
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import envs
from agents import NetworkConfig, ObservationSpec, Policy, TeamNetwork
from envs.fakes import make_spec
from experiments import evaluate_marl, presets, runs
from experiments.tracking import Tracker, flatten, write_video


def events(run) -> EventAccumulator:
    reader = EventAccumulator(str(run), size_guidance={"scalars": 0, "images": 0})
    reader.Reload()
    return reader


def test_a_new_folder_is_complete_from_its_first_moment(tmp_path) -> None:
    config = presets.get("football-empty-goal").make()
    first = runs.create(tmp_path, "football-empty-goal", config, ["tandem", "train"])
    second = runs.create(tmp_path, "football-empty-goal", config, ["tandem", "train"])
    assert first != second  # in the same second too
    assert runs.read(first) == ("football-empty-goal", config)
    record = json.loads((first / "config.json").read_text())
    assert {"preset", "config", "seed", "git_sha", "versions", "command"} == set(record)
    assert {"python", "torch", "ray"} <= set(record["versions"])
    assert sorted(path.name for path in first.parent.iterdir()) == sorted([first.name, second.name])


DAMAGE = {
    "preset": (None, 3, ["football-empty-goal"]),
    "half": ([], {}, 3, "other"),
    "kind": ([], "pretrain"),
    "config": (None, [], "x", {}),
    "config.env": (None, [], "football", {}, {"suite": [], "level": "x"}, {"suite": "football", "level": {}}),
    "config.env.level": (3, [], {}, "no such"),
    "config.env.players": ("2", 2.0, True, 10**17, [1]),
    "config.env.builtin_ai": ("yes", 1, None),
    "config.env.name": ("x",),
    "config.network": (None, 3, [], "x"),
    "config.network.width": ("64", 64.0, None, 10**400),
    "config.network.residual": ("no", 0),
    "config.network.arm": ([], {}, None),
    "config.ppo": ([1], "ppo"),
    "config.ppo.learning_rate": ("fast", [1], True, float("nan"), float("inf"), 10**400),
    "config.ppo.epochs": (1.5, "4"),
    "config.prediction.kinds": (3, "ball", [3], [[]], {}),
    "config.opponent.policy": (3, []),
    "config.runners.num_envs": (2.5, None),
    "config.evaluation.deterministic": ("no",),
    "config.pretrained": (3, [], {}),
    "config.seed": ("0", 0.5, None, -(10**400)),
    "config.device": ([], {}, 3),
    "config.time_s": ("60", []),
}
"""Field of a run's config.json -> what it cannot be."""


@pytest.mark.parametrize(("field", "value"), [(name, value) for name, values in DAMAGE.items() for value in values])
def test_a_field_of_a_configuration_that_cannot_be_is_one_sentence(field, value, tmp_path) -> None:
    *tables, name = field.split(".")
    record = json.loads(json.dumps(runs.describe("football-empty-goal", presets.get("football-empty-goal").make())))
    reduce(getitem, tables, record)[name] = value
    (tmp_path / "config.json").write_text(json.dumps(record))
    with pytest.raises(ValueError, match=r"config.json cannot be read as the configuration of a run: ") as caught:
        runs.read(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("make", [lambda path: path.write_text("[" * 100_000), lambda path: path.write_bytes(b"\xff")])
def test_a_configuration_that_is_none_is_one_sentence(make, tmp_path) -> None:
    make(tmp_path / "config.json")
    with pytest.raises(ValueError, match=r"config.json cannot be read as the configuration of a run: "):
        runs.read(tmp_path)
    with pytest.raises(ValueError, match=r"config.json cannot be read as the configuration of a run: "):
        runs.rewrite_config(tmp_path, presets.get("football-empty-goal").make())


def test_a_pipe_keeps_nobody_waiting(tmp_path) -> None:
    os.mkfifo(tmp_path / "config.json")
    for read in (runs.read, runs.environment_of):
        with pytest.raises(ValueError, match=r"has no config.json|holds no policy"):
            read(tmp_path)


ENV = envs.to_json(envs.config("lab2d/commons_harvest"))


def save_policy(folder, **meta):
    spec = ObservationSpec.from_team(make_spec(gym.spaces.Box(-1, 1, (3, 6), np.float32)))
    return Policy(TeamNetwork(spec, NetworkConfig(width=8, hidden=8)), meta).save(folder)


@pytest.mark.parametrize(
    ("env", "why"),
    [
        ({}, "has no field 'suite'"),
        ({"suite": "lab2d"}, "has no field 'level'"),
        ({**ENV, "players": "2"}, "not the description of an environment"),
        ({**ENV, "players": 7.0}, "players must be "),
        ({**ENV, "zap": "no"}, "zap must be true or false, got 'no'"),
        ({**ENV, "colour": 1}, "option of lab2d 'colour' does not exist"),
    ],
)
def test_a_policys_environment_that_cannot_be_is_one_sentence(env, why, tmp_path) -> None:
    policy = save_policy(tmp_path / "policy", env=env)
    with pytest.raises(ValueError, match=f"policy does not say which environment it was made for: .*{why}"):
        runs.environment_of(policy)


def test_a_policy_that_has_not_learnt_to_act_is_named_in_a_line(tmp_path, capsys) -> None:
    trained = save_policy(tmp_path / "trained", env=ENV)
    pretrained = save_policy(tmp_path / "pretrained", env=ENV, pretrained=True, untrained=["policy", "value"])
    assert runs.environment_of(trained) == envs.from_json(ENV)
    assert capsys.readouterr().out == ""
    line = f"{pretrained} was only pre-trained: its head for actions is untrained, so it acts at random\n"
    assert runs.environment_of(pretrained) == envs.from_json(ENV)
    assert capsys.readouterr().out == line
    evaluate_marl.environment(evaluate_marl.EvalCommand(run=str(pretrained), env="lab2d/clean_up"))
    assert capsys.readouterr().out == line


def test_scalars_reach_tensorboard_and_json_lines(tmp_path) -> None:
    tracker = Tracker(tmp_path)
    tracker.scalars(10, {"train/entropy": 1.5})
    tracker.scalars(20, {"train/entropy": 1.25, "eval/scored": 0.5})
    tracker.close()
    assert [(e.step, e.value) for e in events(tmp_path).Scalars("train/entropy")] == [(10, 1.5), (20, 1.25)]
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [10, 20]
    assert lines[1]["eval/scored"] == 0.5


def test_what_a_killed_run_wrote_beyond_its_checkpoint_is_dropped(tmp_path) -> None:
    tracker = Tracker(tmp_path)
    for step in (10, 20, 30):
        tracker.scalars(step, {"train/x": float(step)})
    tracker.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 40, "tra')  # killed in the middle of a line
    tracker = Tracker(tmp_path, resume_step=20)
    tracker.scalars(30, {"train/x": 31.0})
    tracker.close()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(line["step"], line["train/x"]) for line in lines] == [(10, 10.0), (20, 20.0), (30, 31.0)]
    assert [(e.step, e.value) for e in events(tmp_path).Scalars("train/x")] == [(10, 10.0), (20, 20.0), (30, 31.0)]


@pytest.mark.parametrize("suffix", [".mp4", ".gif", ".webp"])
def test_videos_keep_their_pictures(tmp_path, suffix) -> None:
    frames = [np.full((33, 65, 3), value, np.uint8) for value in (0, 120, 240)]  # odd sizes: H.264 wants even ones
    path = write_video(tmp_path / f"clip{suffix}", frames, fps=12)
    if suffix == ".mp4":
        read = iio.imread(path, plugin="FFMPEG")
    else:
        read = np.stack([np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(Image.open(path))])
    assert len(read) == 3
    assert np.abs(read.reshape(3, -1).mean(1) - [0, 120, 240]).max() < 4
    assert [p.name for p in tmp_path.iterdir()] == [f"clip{suffix}"]


def test_an_unknown_video_format_leaves_nothing(tmp_path) -> None:
    with pytest.raises(ValueError, match=r"'clip.avi'; allowed suffixes"):
        write_video(tmp_path / "clip.avi", [np.zeros((8, 8, 3), np.uint8)], fps=12)
    assert list(tmp_path.iterdir()) == []


def test_media_reach_tensorboard_and_the_folder(tmp_path) -> None:
    tracker = Tracker(tmp_path)
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 255, (40, 60, 3), np.uint8)
    assert np.array_equal(np.asarray(Image.open(tracker.image("attention", 5, picture))), picture)
    tracker.video("clip", 5, [picture, 255 - picture], fps=10)
    tracker.hparams(5, {"a": {"b": 1, "c": None}}, {"eval/scored": 0.5})
    tracker.close()
    reader = events(tmp_path)
    assert set(reader.Tags()["images"]) == {"media/attention", "media/clip"}
    assert [event.step for event in reader.Scalars("eval/scored")] == [5]
    gif = reader.Images("media/clip")[0].encoded_image_string
    assert gif[:4] == b"GIF8"
    assert {path.name for path in (tmp_path / "media").iterdir()} == {
        "attention-000000000005.png",
        "clip-000000000005.mp4",
    }


def test_nested_settings_are_flattened() -> None:
    assert flatten({"a": {"b": 1, "c": {"d": None}}, "e": (1, 2)}) == {"a.b": 1, "a.c.d": "None", "e": "(1, 2)"}


def test_a_pipe_in_place_of_the_metrics_keeps_nobody_waiting(tmp_path) -> None:
    os.mkfifo(tmp_path / "metrics.jsonl")
    with pytest.raises(ValueError, match=r"cannot write .*metrics.jsonl: it is there and no regular file"):
        Tracker(tmp_path, 0)
