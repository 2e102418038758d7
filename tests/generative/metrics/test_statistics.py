"""The Frechet distance against SciPy, torchmetrics and closed forms; files that are damaged or of other features."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from torch import Tensor

from generative.metrics import statistics as stats
from generative.metrics.features import random_features
from generative.metrics.fid import fid
from generative.metrics.statistics import Statistics, frechet, of_features


def gaussian(mean: Tensor, covariance: Tensor) -> Statistics:
    return Statistics(mean=mean.double(), covariance=covariance.double(), n=100, features="test")


def drawn(num: int, dims: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    root = torch.randn(dims, dims, generator=generator, dtype=torch.float64)
    return torch.randn(num, dims, generator=generator, dtype=torch.float64) @ root + seed


def test_commuting_gaussians_have_a_closed_form():
    rotation = torch.linalg.qr(drawn(6, 6, 1)).Q
    a, b = torch.rand(6).double() + 0.1, torch.rand(6).double() + 0.1
    mean = torch.arange(6.0).double()
    found = frechet(
        gaussian(mean, rotation @ a.diag() @ rotation.T), gaussian(mean * 2, rotation @ b.diag() @ rotation.T)
    )
    assert found == pytest.approx(float(mean.square().sum() + (a.sqrt() - b.sqrt()).square().sum()))


def test_statistics_agree_with_sqrtm():
    a, b = of_features(drawn(200, 12, 1), "test"), of_features(drawn(150, 12, 2), "test")
    assert a.n == 200
    np.testing.assert_allclose(a.covariance, np.cov(drawn(200, 12, 1).numpy().T))
    root = sqrtm(a.covariance.numpy() @ b.covariance.numpy())
    expected = (a.mean - b.mean).square().sum() + a.covariance.trace() + b.covariance.trace() - 2 * np.trace(root).real
    assert frechet(a, b) == pytest.approx(float(expected))
    assert frechet(a, b) == pytest.approx(frechet(b, a))
    assert frechet(a, a) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("num", [200, 15])  # 15 pictures leave 20 features' covariance without full rank
def test_statistics_agree_with_torchmetrics(num: int):
    a, b = drawn(num, 20, 3), drawn(num, 20, 4)
    assert frechet(of_features(a, "test"), of_features(b, "test")) == pytest.approx(fid(a, b), rel=1e-6)


def test_a_file_gives_back_what_was_saved(tmp_path: Path):
    net = random_features(8)
    x = torch.randint(0, 17, (12, 1, 16, 16), dtype=torch.uint8)
    saved, path = stats.statistics(x, net, num_levels=17), tmp_path / "digits.npz"
    stats.save(saved, path)
    loaded = stats.load(path, net)
    assert loaded.mean.equal(saved.mean)
    assert loaded.covariance.equal(saved.covariance)
    assert (loaded.n, loaded.features) == (12, net.describe())
    assert [p.name for p in tmp_path.iterdir()] == ["digits.npz"]


def test_statistics_of_other_features_are_refused(tmp_path: Path):
    saved = of_features(drawn(10, 64, 1), random_features(seed=1).describe())
    stats.save(saved, tmp_path / "a.npz")
    with pytest.raises(ValueError, match=r"a.npz was made with other features: random convolutions .*; not random"):
        stats.load(tmp_path / "a.npz", random_features(seed=2))
    with pytest.raises(ValueError, match="statistics of different features: test; and random"):
        frechet(of_features(drawn(10, 64, 1), "test"), saved)


@pytest.mark.parametrize("keep", [0, 10, 300, -30])
def test_a_damaged_file_is_one_sentence(tmp_path: Path, keep: int):
    path = tmp_path / "a.npz"
    stats.save(of_features(drawn(10, 4, 1), "test"), path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"a.npz holds no statistics that can be read$"):
        stats.load(path)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"covariance": np.eye(3)}, r"does not fit: mean \[4\], covariance \[3, 3\]"),
        ({"mean": np.full(4, np.nan)}, "finite mean and a symmetric covariance"),
        ({"covariance": np.triu(np.ones((4, 4)))}, "finite mean and a symmetric covariance"),
        ({"mean": np.zeros(4).astype(object)}, "holds no statistics that can be read"),
        ({"mean": np.array(["a"] * 4)}, "holds no statistics that can be read"),
        ({"n": np.array([1, 2])}, "holds no statistics that can be read"),
        ({"features": None}, "holds no statistics that can be read"),
    ],
)
def test_a_file_with_other_contents_is_one_sentence(tmp_path: Path, change: dict, sentence: str):
    content = {"mean": np.zeros(4), "covariance": np.eye(4), "n": np.int64(5), "features": np.str_("test")} | change
    np.savez(tmp_path / "a.npz", **{key: value for key, value in content.items() if value is not None})
    with pytest.raises(ValueError, match=sentence):
        stats.load(tmp_path / "a.npz")


def test_a_file_that_is_not_there_and_one_that_is_a_plain_array(tmp_path: Path):
    with pytest.raises(ValueError, match="there are no statistics at"):
        stats.load(tmp_path / "a.npz")
    np.save(tmp_path / "b.npy", np.zeros(3))
    with pytest.raises(ValueError, match="holds no statistics that can be read"):
        stats.load(tmp_path / "b.npy")


def test_a_failed_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path, saved = tmp_path / "a.npz", of_features(drawn(10, 4, 1), "test")
    stats.save(saved, path)
    before = path.read_bytes()

    def full(file, **arrays) -> None:
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="disk full"):
        stats.save(saved, path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.npz"]


def test_one_picture_has_no_covariance():
    with pytest.raises(ValueError, match="at least 2 pictures, got 1"):
        of_features(torch.zeros(1, 4), "test")
