"""`tandem record`: whose environment is taken, what is printed, and what a wrong flag says."""

import json
import re

import numpy as np
import pytest
from PIL import Image

import envs
from experiments import presets
from experiments.progress import Steps
from experiments.record import PREVIEW, draw
from marl.recording import open_recording, record

HARVEST = ("lab2d/commons_harvest", "--policy", "scripted", "random", "--players", "2", "--steps", "20")


@pytest.mark.engine("lab2d")
def test_a_recording_is_made_extended_and_drawn(tandem, tmp_path):
    status, out, _ = tandem("record", *HARVEST, "-o", tmp_path / "data", "--episodes", "2")
    assert status == 0
    assert "2 episodes, 40 steps" in out
    assert f"go on with: tandem pretrain PRESET --data {tmp_path / 'data'}" in out
    opened = open_recording(tmp_path / "data")
    assert opened.env == envs.config("lab2d/commons_harvest", players=2, steps=20)
    assert [policy["name"] for policy in opened.manifest["policy"]] == ["scripted", "random"]
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == [
        "manifest.json", "part-00000.parquet", PREVIEW
    ]  # fmt: skip
    status, out, _ = tandem("record", *HARVEST, "-o", tmp_path / "data", "--episodes", "3")
    assert status == 0
    assert "3 episodes, 60 steps" in out
    assert len(open_recording(tmp_path / "data").parts) == 2


@pytest.mark.engine("lab2d")
def test_a_presets_environment_is_taken(tandem, tmp_path):
    status, out, _ = tandem(
        "record", "tiny-lab2d-harvest-acam", "--policy", "idle", "-o", tmp_path / "data", "--episodes", "1"
    )
    assert status == 0
    assert "tandem pretrain tiny-lab2d-harvest-acam --data" in out
    assert open_recording(tmp_path / "data").env == presets.get("tiny-lab2d-harvest-acam").make().env


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("lab2d/nowhere", "--policy", "idle"), r"lab2d level 'nowhere' does not exist; allowed: "),
        (("nothing", "--policy", "idle"), r"'nothing' is neither an environment \(such as football/5_vs_5"),
        (("vdm-digits", "--policy", "idle"), r"preset 'vdm-digits' has no environment"),
        (("football/5_vs_5", "--policy", "idle", "--steps", "9"), r"--steps applies to lab2d/LEVEL only"),
        (("lab2d/clean_up", "--policy", "idle", "--players", "99"), r"clean_up cannot have 99 players"),
        (("lab2d/clean_up", "--policy", "nobody"), r"player 'nobody' does not exist; allowed: random, idle, scripted"),
        (("lab2d/clean_up", "--policy", "builtin_ai"), r"builtin_ai plays football only"),
        (("lab2d/clean_up",), r"--policy is missing"),
    ],
)
def test_a_wrong_flag_is_one_sentence_and_nothing_is_written(flags, message, tandem, tmp_path):
    status, _, error = tandem("record", *flags, "-o", tmp_path / "data", "--episodes", "1")
    assert status == 2
    assert error.startswith("tandem: ")
    assert error.count("\n") == 1
    assert re.search(message, error)
    assert not (tmp_path / "data").exists()


@pytest.mark.engine("lab2d")
def test_a_folder_with_another_recording_is_one_sentence(tandem, tmp_path):
    tandem("record", *HARVEST, "-o", tmp_path, "--episodes", "1")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    status, _, error = tandem("record", *HARVEST, "-o", tmp_path, "--episodes", "2", "--seed", "1")
    assert status == 2
    assert error == f"tandem: {tmp_path} holds a recording of another seed (0, asked for 1); give another folder\n"
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_the_help_has_an_example(tandem):
    status, out, _ = tandem("record", "--help")
    assert status == 0
    assert "Example: tandem record football-3v1-acam --policy scripted random" in out


@pytest.mark.engine("lab2d")
@pytest.mark.parametrize("level", ["commons_harvest", "running_with_scissors"])
def test_the_picture_shows_where_everybody_was(level, tmp_path):
    recording = record("idle", envs.config(f"lab2d/{level}", players=2, steps=5), tmp_path / "data", episodes=1)
    draw(recording, tmp_path / "picture.png")
    pixels = np.asarray(Image.open(tmp_path / "picture.png").convert("RGB"))
    brightest = (pixels == (253, 231, 36)).all(-1).any()  # the colour map's upper end
    assert brightest == (level == "commons_harvest")  # the other level does not say where its players are
    assert json.loads((tmp_path / "data" / "manifest.json").read_text())["complete"]


@pytest.mark.engine("lab2d")
def test_an_interrupt_says_how_to_go_on(tandem, tmp_path, monkeypatch):
    updated = Steps.update

    def interrupted(self, done, note=""):
        updated(self, done, note)
        if done == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(Steps, "update", interrupted)
    args = ("record", *HARVEST, "-o", tmp_path / "data", "--episodes", "2", "--episodes-per-part", "1")
    status, out, err = tandem(*args)
    assert (status, err) == (130, "")
    said = f"stopped; the same command goes on after the last whole part in {tmp_path / 'data'}"
    assert out.splitlines()[-1] == said
    monkeypatch.undo()
    assert tandem(*args)[0] == 0
