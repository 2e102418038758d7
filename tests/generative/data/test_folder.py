import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from generative import data
from generative.data import DataConfig, splits
from tests.generative.data.made import png


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def root(tmp_path):
    return tmp_path / "pictures"


def fill(root: Path, files: dict[str, np.ndarray | bytes]) -> None:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else png(content))


def load(root: Path, cache: Path, split: str = "train", **fields):
    return data.load(DataConfig(name="folder", path=str(root), **fields), split, cache)


def everything(root: Path, cache: Path, **fields) -> dict[str, np.ndarray]:
    """Name -> pixels [C, H, W] over all splits that have pictures."""
    found: dict[str, np.ndarray] = {}
    for split in splits.SPLITS:
        images = load(root, cache, split, **({"holdout": 0.3} | fields))
        found |= dict(zip(images.keys(range(len(images))), images.batch(range(len(images)))["x"].numpy(), strict=True))
    return found


@pytest.fixture
def many(noise):
    return {f"{number:03d}.png": noise.integers(0, 256, (6, 6, 3), dtype=np.uint8) for number in range(60)}


def test_a_flat_folder_is_split_by_the_hash_of_names(root, cache, many):
    fill(root, many)
    fill(root, {"notes.txt": b"hello", ".hidden.png": b"x"})
    found = everything(root, cache)
    assert sorted(found) == sorted(many)
    assert all(np.array_equal(found[name], many[name].transpose(2, 0, 1)) for name in many)
    for split in splits.SPLITS:
        images = load(root, cache, split, holdout=0.3)
        assert images.groups() == sorted(name for name in many if splits.split_of(name, 0.3) == split)
        assert (images.shape, images.num_levels, images.classes, images.skipped) == ((3, 6, 6), 256, (), ())


def test_pictures_that_would_have_to_be_enlarged_can_be_left_out(root, cache, many, noise):
    fill(root, many)
    fill(root, {"wide.png": noise.integers(0, 256, (5, 60, 3), dtype=np.uint8)})
    assert "wide.png" in everything(root, cache, size=6)
    found = everything(root, cache, size=6, smaller="skip")
    assert sorted(found) == sorted(many)
    assert [load(root, cache, split, size=6, smaller="skip", holdout=0.3).skipped for split in splits.SPLITS] == [
        ("wide.png",) if splits.split_of("wide.png", 0.3) == split else () for split in splits.SPLITS
    ]


def test_class_folders(root, cache, many):
    fill(
        root, {f"{'dog' if number % 3 else 'cat'}/{name}": pixels for number, (name, pixels) in enumerate(many.items())}
    )
    for split in splits.SPLITS:
        images = load(root, cache, split, holdout=0.3)
        assert images.classes == ("cat", "dog")
        names = images.keys(range(len(images)))
        expected = [int(name.startswith("dog/")) for name in names]
        assert images.batch(range(len(images)))["label"].tolist() == expected


def test_pictures_beside_folders_are_no_classes(root, cache, many):
    fill(root, {f"sub/{name}": pixels for name, pixels in many.items()} | {"top.png": many["000.png"]})
    assert load(root, cache).classes == ()


@pytest.mark.parametrize("validation", ["val", "valid", "validation"])
def test_official_splits(root, cache, many, validation):
    names = list(many)
    parts = {"train": names[:30], validation: names[30:40], "test": names[40:50]}
    fill(
        root, {f"{part}/{'ab'[i % 2]}/{name}": many[name] for part, own in parts.items() for i, name in enumerate(own)}
    )
    fill(root, {"other/c/x.png": many[names[50]]})  # beside train/: not part of the set
    for split, part in (("train", "train"), ("validation", validation), ("test", "test")):
        images = load(root, cache, split)
        assert images.classes == ("a", "b")
        expected = sorted(f"{part}/{'ab'[i % 2]}/{name}" for i, name in enumerate(parts[part]))
        assert images.keys(range(len(images))) == expected
        assert images.batch(range(4))["label"].tolist() == [0, 0, 0, 0]


def test_a_split_that_is_missing(root, cache, many):
    fill(root, {f"train/a/{name}": pixels for name, pixels in many.items()})
    assert len(load(root, cache)) == 60
    with pytest.raises(
        ValueError, match=r"has train/ but no picture for test: add test/, or name .*/train as the path"
    ):
        load(root, cache, "test")
    fill(root.parent / "one", {"005.png": many["005.png"]})
    with pytest.raises(ValueError, match=r"none of the 1 pictures of .* falls into test .*raise --data\.holdout"):
        load(root.parent / "one", cache, "test", holdout=0.001)


def test_mixed_sizes(root, cache, many):
    fill(root, many | {"wide.png": np.zeros((6, 9, 3), np.uint8)})
    with pytest.raises(ValueError, match=r"mixed sizes: 000\.png is 6 x 6, wide\.png is 9 x 6; .* --data\.size"):
        load(root, cache)
    found = everything(root, cache, size=3)
    assert {pixels.shape for pixels in found.values()} == {(3, 3, 3)}
    assert load(root, cache, size=2).shape == (3, 2, 2)
    exact = many["007.png"].reshape(3, 2, 3, 2, 3).astype(float).mean((1, 3)).transpose(2, 0, 1)
    assert np.abs(found["007.png"] - exact).max() <= 1


def test_mixed_modes(root, cache, many):
    fill(root, many | {"grey.png": np.full((6, 6), 7, np.uint8)})
    with pytest.raises(ValueError, match=r"mixed modes: 000\.png is colour, grey\.png is grey; .* --data\.channels"):
        load(root, cache)
    assert everything(root, cache, channels=3)["grey.png"].tolist() == np.full((3, 6, 6), 7).tolist()
    assert everything(root, cache, channels=1)["grey.png"].tolist() == np.full((1, 6, 6), 7).tolist()


def test_downscale_comes_before_size(root, cache, many):
    fill(root, {name: np.kron(pixels, np.ones((2, 2, 1), np.uint8)) for name, pixels in many.items()})
    found = everything(root, cache, downscale=2)
    assert all(np.array_equal(found[name], many[name].transpose(2, 0, 1)) for name in many)
    with pytest.raises(ValueError, match=r"none of the 60 pictures can be read.*a reduction by 64 leaves no pixel"):
        load(root, cache, downscale=64)


def test_corrupt_pictures_are_left_out_and_named(root, cache, many):
    fill(root, many | {"cut.png": png(many["000.png"])[:60], "text.jpg": b"hello"})
    skipped = [name for split in splits.SPLITS for name in load(root, cache, split, holdout=0.3).skipped]
    assert sorted(skipped) == ["cut.png", "text.jpg"]
    assert sorted(everything(root, cache)) == sorted(many)
    with pytest.raises(ValueError, match=r"^cut\.png cannot be read: "):
        load(root, cache, on_corrupt="fail")
    with pytest.raises(ValueError, match=r"^cut\.png cannot be read: "):
        load(root, cache.with_name("empty"), on_corrupt="fail")


def test_all_corrupt(root, cache):
    fill(root, {"a.png": b"x", "b.png": b"y"})
    with pytest.raises(
        ValueError, match=r"none of the 2 pictures can be read; the first: a\.png cannot be read: no pict"
    ):
        load(root, cache)
    assert not list((cache / "arrays").iterdir())


def test_strange_entries_do_not_stop_the_listing(root, cache, many):
    fill(root, {f"dir.png/{name}": pixels for name, pixels in many.items()})
    (root / "dir.png" / "loop").symlink_to(root)
    (root / "dir.png" / "self.png").symlink_to("self.png")
    (root / "dir.png" / "dangling.png").symlink_to("nowhere.png")
    os.mkfifo(root / "dir.png" / "pipe.png")
    found = everything(root, cache)
    assert sorted(found) == sorted(f"dir.png/{name}" for name in many)
    skipped = {name for split in splits.SPLITS for name in load(root, cache, split, holdout=0.3).skipped}
    assert skipped == {"dir.png/self.png", "dir.png/dangling.png"}


def test_linked_folders_are_followed(root, cache, many):
    fill(root.parent / "elsewhere", many)
    root.mkdir()
    (root / "cats").symlink_to(root.parent / "elsewhere")
    assert load(root, cache).classes == ("cats",)


def test_folders_and_files_that_may_not_be_read(root, cache, many, monkeypatch):
    fill(root, many | {"secret/x.png": many["000.png"]})
    scandir = os.scandir

    def refuse(path):
        if "secret" in str(path):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert load(root, cache).skipped == ("secret/",)
    with pytest.raises(ValueError, match="secret/ cannot be read: Permission denied"):
        load(root, cache, on_corrupt="fail")
    with pytest.raises(ValueError, match=r"no picture .* in .*; the folder cannot be listed: Permission denied"):
        load(root / "secret", cache)


def test_names_that_are_no_text(root, cache, many):
    fill(root, many)
    Path(os.fsdecode(os.fsencode(root) + b"/\xff.png")).write_bytes(png(many["000.png"]))
    names = list(everything(root, cache))
    assert "\\xff.png" in names
    assert "".join(names).encode()


def test_a_changed_file_is_read_again(root, cache, many):
    fill(root, many)
    before = everything(root, cache)["000.png"]
    fill(root, {"000.png": 255 - many["000.png"]})
    assert np.array_equal(everything(root, cache)["000.png"], 255 - before)


def test_decoded_once_for_all_splits(root, cache, many, monkeypatch):
    fill(root, many)
    train = load(root, cache)
    monkeypatch.setattr("generative.data.folder.decode", None)  # a second decoding would call None
    test = load(root, cache, "test")
    assert len(test) > 0
    assert not set(test.groups()) & set(train.groups())


@pytest.mark.parametrize(
    ("path", "sentence"),
    [("nowhere", "is missing"), ("file", "is a file"), ("empty", r"there is no picture \(\.png, \.jpg")],
)
def test_no_pictures(tmp_path, cache, path, sentence):
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=sentence):
        load(tmp_path / path, cache)


def test_jpeg_is_what_pillow_reads(root, cache, many):
    root.mkdir()
    Image.fromarray(many["000.png"]).save(root / "a.jpg")
    images = load(root, cache)
    assert np.array_equal(images.batch([0])["x"][0].permute(1, 2, 0), np.asarray(Image.open(root / "a.jpg")))
