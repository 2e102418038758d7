"""Checkpoints: whole or not there, in a folder and under a URL."""

import json
from pathlib import Path

import pytest
import torch

from generative import checkpoint
from generative.checkpoint import Store, load_into, pack, unpack

FILES = {"model.json": b"{}", "model.safetensors": b"abc"}


@pytest.fixture(params=["folder", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "folder":
        return Store(tmp_path / "checkpoints")
    return Store(f"memory://{tmp_path.name}/checkpoints")


def test_newest_is_the_last_saved(store: Store):
    assert store.newest() is None
    for step in (5, 10, 15):
        store.save(step, FILES, keep=2)
    assert (store.steps(), store.newest()) == ([10, 15], 15)
    assert store.read(15, "model.safetensors") == b"abc"


def test_a_lock_that_cannot_be_opened_is_one_sentence(tmp_path: Path):
    (tmp_path / ".lock").mkdir()
    with pytest.raises(ValueError, match=r"cannot lock .*\.lock: Is a directory"), Store(tmp_path).locked():
        pass


def test_folders_of_other_names_are_no_checkpoints(store: Store):
    store.save(5, FILES, keep=2)
    for name in ("²²²²²²²²²²²²", "٠٠٠٠٠٠٠٠٠٠١٢", "latest"):
        store.fs.makedirs(f"{store.root}/{name}")
    assert store.steps() == [5]


def test_without_manifest_is_none(store: Store):
    store.save(1, FILES, keep=3)
    store.save(2, FILES, keep=3)
    store.fs.rm_file(store.path(2, "manifest.json"))
    assert store.newest() == 1
    store.save(2, {"model.json": b"new"}, keep=3)  # what is left of it makes room
    assert store.read(2, "model.json") == b"new"


def test_what_is_not_whole_is_passed_over_and_never_kept_instead_of_what_is(store: Store):
    """Uploads that were killed, of this run or of an earlier one, before and after the newest whole checkpoint."""
    store.save(10, FILES, keep=2)
    for partial in (5, 30, 31):
        store.fs.makedirs(store.path(partial), exist_ok=True)
        store.fs.pipe_file(store.path(partial, "model.json"), b"{}")
    store.fs.makedirs(store.path(32), exist_ok=True)
    store.fs.pipe_file(store.path(32, "manifest.json"), b"")  # a power cut
    store.fs.makedirs(store.path(33), exist_ok=True)
    store.fs.pipe_file(store.path(33, "manifest.json"), b'{"model.json": {"bytes": 2, "sha256": "?"}}')
    assert store.newest() == 10
    store.save(28, FILES, keep=2)
    assert (store.steps(), store.newest()) == ([10, 28], 28)


def test_damage_is_noticed(store: Store):
    store.save(3, FILES, keep=1)
    store.fs.pipe_file(store.path(3, "model.safetensors"), b"abd")
    with pytest.raises(ValueError, match=r"model.safetensors is damaged: its checksum differs"):
        store.read(3, "model.safetensors")
    with pytest.raises(ValueError, match="is not a whole checkpoint"):
        store.read(3, "train.safetensors")
    store.fs.pipe_file(store.path(3, "manifest.json"), b"[]")
    with pytest.raises(ValueError, match="is not a whole checkpoint"):
        store.read(3, "model.json")


def test_writing_is_cut_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A process that dies between two files leaves nothing that looks like a checkpoint."""
    store = Store(tmp_path)
    store.save(1, FILES, keep=2)

    def dies(path: Path, data: bytes) -> None:
        if path.name == "model.safetensors":
            raise OSError("no space left on device")
        path.write_bytes(data)

    monkeypatch.setattr(checkpoint, "write_through", dies)
    with pytest.raises(OSError, match="no space"):
        store.save(2, FILES, keep=2)
    assert store.newest() == 1
    assert store.steps() == [1]


def test_removal_is_cut_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    store = Store(tmp_path)
    store.save(1, FILES, keep=2)

    def dies(path: str, recursive: bool) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(store.fs, "rm", dies)
    with pytest.raises(KeyboardInterrupt):
        store.save(2, FILES, keep=1)
    assert (tmp_path / "000000000001" / "model.json").exists()
    assert store.newest() == 2
    assert not (tmp_path / "000000000001" / "manifest.json").exists()


def test_manifest_tells_sizes(tmp_path: Path):
    Store(tmp_path).save(7, FILES, keep=1)
    manifest = json.loads((tmp_path / "000000000007" / "manifest.json").read_text())
    assert manifest["model.safetensors"]["bytes"] == 3
    assert manifest["model.safetensors"]["sha256"].startswith("ba7816bf8f01cfea")  # SHA-256 of "abc", FIPS 180-2


def test_tensors_survive():
    tensors = {"a": torch.randn(2, 3, dtype=torch.float64), "b": torch.arange(3).to(torch.bfloat16)}
    back = unpack(pack(tensors), "here")
    assert all(torch.equal(back[name], tensor) and back[name].dtype == tensor.dtype for name, tensor in tensors.items())
    with pytest.raises(ValueError, match="here cannot be read as safetensors"):
        unpack(b"no tensors", "here")
    with pytest.raises(ValueError, match="here cannot be read as safetensors"):
        unpack(pack(tensors)[:-2], "here")


@pytest.mark.parametrize(
    ("tensors", "says"),
    [
        ({"a": torch.zeros(2)}, r"'a' is \(2,\) float32, expected \(3,\) float32"),
        ({"a": torch.zeros(3).double()}, r"'a' is \(3,\) float64, expected \(3,\) float32"),
        ({"b": torch.zeros(3)}, "is only in"),
        ({}, "'a' is only in ours"),
    ],
)
def test_another_model(tensors: dict[str, torch.Tensor], says: str):
    put: list[object] = []
    with pytest.raises(ValueError, match=says):
        load_into(put.append, {"a": torch.zeros(3)}, tensors, "there")
    assert not put


def test_unknown_kind_of_url():
    with pytest.raises(ValueError, match="storage 'nowhere://x' cannot be used"):
        Store("nowhere://x")
