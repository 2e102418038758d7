"""Models from runs, checkpoints and folders; files from elsewhere that are not what they should be."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import generative
from generative import train
from generative.config import TrainConfig, to_json


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {"run": tmp_path_factory.mktemp("run")}


@pytest.fixture
def run(tiny: TrainConfig, made: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of a run with checkpoints of steps 1 and 2."""
    if not (made["run"] / "config.json").exists():
        train.train(replace(tiny, steps=2, checkpoint_interval_steps=1), made["run"])
        (made["run"] / "config.json").write_text(json.dumps({"config": to_json(tiny)}))
    shutil.copytree(made["run"], tmp_path / "run")
    return tmp_path / "run"


NEWEST = "checkpoints/000000000002"


@pytest.mark.parametrize(("place", "step"), [("", 2), ("checkpoints", 2), (NEWEST, 2), ("checkpoints/000000000001", 1)])
def test_places(run: Path, place: str, step: int):
    model = generative.load(run / place)
    assert model.meta["step"] == step
    assert model.meta["num_levels"] == 256
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_folder_with_two_files(run: Path, tmp_path: Path):
    (tmp_path / "model").mkdir()
    for name in ("model.json", "model.safetensors"):
        shutil.copy(run / NEWEST / name, tmp_path / "model")
    one, other = generative.load(tmp_path / "model"), generative.load(run)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_loading_draws_no_random_numbers(run: Path):
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    generative.load(run)
    assert torch.equal(torch.rand(3), expected)


def test_damaged_newest(run: Path):
    weights = run / NEWEST / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8] + b"damaged!")
    for place in (run, run / NEWEST):
        with pytest.raises(ValueError, match=r"model.safetensors is damaged"):
            generative.load(place)
    assert generative.load(run / "checkpoints/000000000001").meta["step"] == 1


def test_truncated_newest(run: Path):
    """Half-written: it is no checkpoint, and the one before it is the newest."""
    weights = run / NEWEST / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    assert generative.load(run).meta["step"] == 1
    with pytest.raises(ValueError, match=r"model.safetensors is damaged"):
        generative.load(run / NEWEST)


def test_nothing_there(tmp_path: Path):
    with pytest.raises(ValueError, match="holds no model"):
        generative.load(tmp_path)
    with pytest.raises(ValueError, match="holds no model"):
        generative.load(tmp_path / "missing")


def test_folder_without_weights(run: Path, tmp_path: Path):
    (tmp_path / "model").mkdir()
    shutil.copy(run / NEWEST / "model.json", tmp_path / "model")
    with pytest.raises(ValueError, match="is not a whole model"):
        generative.load(tmp_path / "model")


@pytest.mark.parametrize(
    "change",
    [
        lambda about: [],
        lambda about: {**about, "shape": [1, 8]},
        lambda about: {**about, "shape": "abc"},
        lambda about: {**about, "num_levels": None},
        lambda about: {name: value for name, value in about.items() if name != "config"},
        lambda about: {**about, "shape": [1, -8, 8]},
        lambda about: {**about, "shape": [1, 10**20, 8]},
        lambda about: {**about, "config": {**about["config"], "sauce": 1}},
        lambda about: {**about, "config": {**about["config"], "model": {"net": None}}},
        lambda about: {**about, "config": {**about["config"], "model": {"net": {"blocks": 10**9}}}},
        lambda about: {**about, "config": {**about["config"], "model": {"net": {"channels": 10**30}}}},
        lambda about: {**about, "config": {**about["config"], "model": {"schedule": {"log_snr_max": 1e300}}}},
        lambda about: {**about, "config": {**about["config"], "model": 3}},
        lambda about: {**about, "config": {**about["config"], "steps": "many"}},
        lambda about: {**about, "config": {**about["config"], "model": {"net": {"channels": "wide"}}}},
        lambda about: {**about, "config": {**about["config"], "model": {"net": {"channels": -1}}}},
    ],
)
def test_model_json_from_elsewhere(run: Path, tmp_path: Path, change):
    folder = tmp_path / "model"
    folder.mkdir()
    shutil.copy(run / NEWEST / "model.safetensors", folder)
    about = json.loads((run / NEWEST / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(change(about)))
    with pytest.raises(ValueError, match=r"model.json of .* does not describe a model"):
        generative.load(folder)


def test_weights_of_another_model(run: Path, tmp_path: Path):
    folder = tmp_path / "model"
    folder.mkdir()
    shutil.copy(run / NEWEST / "model.safetensors", folder)
    about = json.loads((run / NEWEST / "model.json").read_text())
    about["config"]["model"]["net"]["channels"] = 8 * 10**5  # terabytes, if they were taken
    (folder / "model.json").write_text(json.dumps(about))
    with pytest.raises(ValueError, match="is of another model"):
        generative.load(folder)
