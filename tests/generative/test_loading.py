"""Models from runs, checkpoints and folders; files from elsewhere that are not what they should be."""

import json
import os
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


@pytest.mark.parametrize("name", ["model.json", "model.safetensors"])
def test_a_pipe_in_a_checkpoint_does_not_keep_us_waiting(run: Path, name: str):
    for step in (1, 2):
        place = run / f"checkpoints/{step:012d}"
        manifest = json.loads((place / "manifest.json").read_text())
        manifest[name]["bytes"] = 0
        (place / "manifest.json").write_text(json.dumps(manifest))
        (place / name).unlink()
        os.mkfifo(place / name)
    with pytest.raises(ValueError, match=r"is not a whole checkpoint .* is no regular file"):
        generative.load(run)


@pytest.mark.parametrize("url", ["dir://x", "reference://x", "github://x", "zip://x"])
def test_urls_of_kinds_that_need_more(url: str):
    with pytest.raises(ValueError, match=rf"storage '{url}' cannot be used: "):
        generative.load(url)


@pytest.mark.parametrize(
    "tensor",
    [
        {"dtype": "F4", "shape": [2], "data_offsets": [0, 1]},
        {"dtype": "F32", "shape": [0, 2**64 - 1], "data_offsets": [0, 0]},
    ],
)
def test_tensors_that_torch_does_not_have(run: Path, tmp_path: Path, tensor: dict[str, object]):
    header = json.dumps({"odd": tensor}).encode()
    (tmp_path / "model").mkdir()
    shutil.copy(run / NEWEST / "model.json", tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"\0")
    with pytest.raises(ValueError, match=r"cannot be read as safetensors: [^\n]*$"):
        generative.load(tmp_path / "model")


def test_loading_draws_no_random_numbers(run: Path):
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    generative.load(run)
    assert torch.equal(torch.rand(3), expected)


def test_a_config_without_end_is_somebody_else_s(run: Path):
    (run / "config.json").write_text("[" * 100_000)
    assert generative.load(run).meta["step"] > 0


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


def test_the_folder_above_a_run(run: Path):
    with pytest.raises(ValueError, match=f"holds no model but folders that may: name one, such as {run}"):
        generative.load(run.parent)


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
