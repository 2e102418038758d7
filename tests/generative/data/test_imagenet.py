"""Both versions of down-sampled ImageNet, from files of their layouts made here."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from generative.data import imagenet
from generative.data.config import DataConfig

N = 6


def batch(number: int, side: int = 32) -> dict:
    """As in the official batches: rows of R, G, B planes, labels from 1, and the mean picture."""
    rng = np.random.default_rng(number)
    data = rng.integers(0, 256, (N, 3 * side**2), dtype=np.uint8)
    return {"data": data, "labels": rng.integers(1, 1001, N).tolist(), "mean": data.mean(0)}


def place_batches(folder: Path, npz: bool = False, side: int = 32) -> Path:
    folder.mkdir(exist_ok=True)
    for number in range(11):
        stem = f"train_data_batch_{number}" if number else "val_data"
        if npz:
            np.savez(folder / f"{stem}.npz", **batch(number, side))
        else:
            (folder / stem).write_bytes(pickle.dumps(batch(number, side)))
    return folder


def place_pictures(folder: Path, side: int = 32) -> list[np.ndarray]:
    """Three training and two validation pictures, [H, W, 3]; returns the training ones."""
    rng = np.random.default_rng(0)
    made = []
    for name, number in ((f"train_{side}x{side}", 3), (f"valid_{side}x{side}", 2)):
        (folder / name).mkdir(parents=True)
        for i in range(number):
            made.append(rng.integers(0, 256, (side, side, 3), dtype=np.uint8))
            Image.fromarray(made[-1]).save(folder / name / f"{i:05d}.png")
    return made[:3]


def config(path: Path, name: str = "imagenet32", **fields) -> DataConfig:
    return DataConfig(name=name, path=str(path), **fields)


@pytest.mark.parametrize("npz", [False, True])
def test_batches(tmp_path: Path, npz: bool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(imagenet, "_PIECE", 4)
    path = place_batches(tmp_path / "Imagenet32_train", npz)
    train = imagenet.load(config(path), "train", tmp_path / "cache")
    assert train.name == "imagenet32 (Chrabaszcz)"
    assert len(train) == 10 * N
    assert isinstance(train.pixels, np.memmap)
    got = train.batch([N + 5])
    np.testing.assert_array_equal(got["x"][0].numpy(), batch(2)["data"][5].reshape(3, 32, 32))
    assert got["label"].tolist() == [batch(2)["labels"][5] - 1]
    assert train.keys([N + 5]) == ["train_data_batch_2#5"]
    test = imagenet.load(config(path), "test", tmp_path / "cache")
    np.testing.assert_array_equal(test.pixels.reshape(N, -1), batch(0)["data"])


def test_train_and_validation_in_folders_of_their_own(tmp_path: Path):
    place_batches(tmp_path / "Imagenet64_train", side=64)
    (tmp_path / "Imagenet64_val").mkdir()
    (tmp_path / "Imagenet64_train" / "val_data").rename(tmp_path / "Imagenet64_val" / "val_data")
    test = imagenet.load(config(tmp_path, "imagenet64"), "test", tmp_path / "cache")
    assert test.shape == (3, 64, 64)


def test_class_names_of_the_map(tmp_path: Path):
    path = place_batches(tmp_path / "batches")
    (path / "map_clsloc.txt").write_text("n02119789 1 kit_fox\nn02100735 2 English_setter\n")
    assert imagenet.load(config(path), "test", tmp_path / "cache").classes[:3] == ("kit_fox", "English_setter", "3")


def test_pictures(tmp_path: Path):
    made = place_pictures(tmp_path)
    train = imagenet.load(config(tmp_path), "train", tmp_path / "cache")
    assert train.name == "imagenet32 (van den Oord)"
    assert train.classes == ()
    batch = train.batch([0, 2])
    np.testing.assert_array_equal(batch["x"].numpy(), np.stack([made[0], made[2]]).transpose(0, 3, 1, 2))
    assert batch["label"].tolist() == [0, 0]
    assert train.keys([2]) == ["train_32x32/00002.png"]
    assert len(imagenet.load(config(tmp_path), "test", tmp_path / "cache")) == 2


def test_a_corrupt_picture_is_left_out_and_named_or_fatal(tmp_path: Path):
    place_pictures(tmp_path)
    (tmp_path / "train_32x32" / "00001.png").write_bytes(b"no picture")
    for _ in range(2):  # the second time from the cache
        train = imagenet.load(config(tmp_path), "train", tmp_path / "cache")
        assert train.skipped == ("train_32x32/00001.png",)
        assert train.keys([0, 1]) == ["train_32x32/00000.png", "train_32x32/00002.png"]
    with pytest.raises(ValueError, match=r"train_32x32/00001.png cannot be read"):
        imagenet.load(config(tmp_path, on_corrupt="fail"), "train", tmp_path / "cache")
    with pytest.raises(ValueError, match=r"train_32x32/00001.png cannot be read as a picture: no picture"):
        imagenet.load(config(tmp_path, on_corrupt="fail"), "train", tmp_path / "another cache")


def test_changed_files_are_read_again(tmp_path: Path):
    path = place_batches(tmp_path / "batches")
    imagenet.load(config(path), "test", tmp_path / "cache")
    (path / "val_data").write_bytes(pickle.dumps(batch(77)))
    again = imagenet.load(config(path), "test", tmp_path / "cache")
    np.testing.assert_array_equal(again.pixels.reshape(N, -1), batch(77)["data"])


def test_what_is_missing_is_said(tmp_path: Path):
    with pytest.raises(
        ValueError, match=r"imagenet32 is not at .*nowhere: place Chrabaszcz.* train_32x32/ .*--data.path"
    ):
        imagenet.load(config(tmp_path / "nowhere"), "train")
    with pytest.raises(ValueError, match=r"holds no test split of imagenet32: place .*val_data"):
        imagenet.load(config(tmp_path), "test")
    path = place_batches(tmp_path / "batches")
    (path / "train_data_batch_7").unlink()
    with pytest.raises(ValueError, match="holds no train_data_batch_7 of imagenet32"):
        imagenet.load(config(path), "train")
    place_pictures(path)
    with pytest.raises(ValueError, match="holds both versions"):
        imagenet.load(config(path), "train")


def test_fields_that_do_not_fit(tmp_path: Path):
    with pytest.raises(ValueError, match="no validation split"):
        imagenet.load(config(tmp_path), "validation")
    with pytest.raises(ValueError, match="imagenet64 is 64 x 64 in RGB"):
        imagenet.load(config(tmp_path, "imagenet64", size=32), "train")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\x80\x04garbage", "val_data is no pickle of arrays"),
        (pickle.dumps({"labels": [1]}), "val_data is no ImageNet batch"),
        (pickle.dumps(batch(0) | {"labels": [1]}), "val_data is no ImageNet batch"),
        (pickle.dumps(batch(0) | {"labels": [0] * N}), "labels outside 1 to 1000"),
        (pickle.dumps(batch(0, 64)), "pictures of 12288 bytes; 32 x 32 in RGB has 3072"),
    ],
)
def test_damaged_batches_are_one_sentence(tmp_path: Path, content: bytes, said: str):
    (tmp_path / "val_data").write_bytes(content)
    with pytest.raises(ValueError, match=said):
        imagenet.load(config(tmp_path), "test", tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob("*.npy"))


def test_a_truncated_npz_and_a_picture_of_another_size(tmp_path: Path):
    np.savez(tmp_path / "val_data.npz", **batch(0))
    content = (tmp_path / "val_data.npz").read_bytes()
    (tmp_path / "val_data.npz").write_bytes(content[:5000])
    with pytest.raises(ValueError, match=r"val_data.npz is no ImageNet batch that can be read"):
        imagenet.load(config(tmp_path), "test", tmp_path / "cache")
    place_pictures(tmp_path / "pictures", 64)
    (tmp_path / "pictures" / "valid_64x64").rename(tmp_path / "pictures" / "valid_32x32")
    with pytest.raises(ValueError, match="has 64 x 64 pixels instead of 32 x 32"):
        imagenet.load(config(tmp_path / "pictures"), "test", tmp_path / "cache")
