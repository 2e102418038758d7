import io

import numpy as np
import pytest
from PIL import Image

from generative import data
from generative.data import DataConfig, photos, splits
from tests.generative.data.made import deb_bytes, place, png, rcc_bytes

ACTIVITIES = "/gcompris/src/activities/"


def photograph(seed: int, height: int = 70, width: int = 110) -> np.ndarray:
    """Soft blobs, as photographs have them: uint8 [H, W, 3]."""
    rough = np.random.default_rng(seed).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(rough).resize((width, height), Image.Resampling.BICUBIC))


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Packages like the real ones, in the cache: 12 + 24 photographs, 3 of them smaller copies of others."""
    pictures = {f"animals/resource/{n:02d}.png": png(photograph(n)) for n in range(8)}
    pictures |= {f"towns/resource/{n:02d}.png": png(photograph(n + 8)) for n in range(4)}
    rcc = {
        f"usr/share/gcompris-qt/rcc/{activity}.rcc": rcc_bytes(
            {ACTIVITIES + name: content for name, content in pictures.items() if name.startswith(activity)}
        )
        for activity in ("animals", "towns")
    }
    flat = {f"usr/share/nature/{n:02d}.png": png(photograph(100 + n)) for n in range(20)}
    flat["usr/share/nature/flat.png"] = png(np.full((70, 110, 3), 9, np.uint8))
    for n in range(3):
        buffer = io.BytesIO()
        Image.fromarray(photograph(n)).resize((80, 51)).save(buffer, "jpeg", quality=60)
        flat[f"usr/share/nature/copy{n}.jpg"] = buffer.getvalue()
    flat["usr/share/nature/drawing.png"] = b"not asked for"
    first = place(tmp_path, deb_bytes(rcc), name="gcompris-qt-data")
    second = place(tmp_path, deb_bytes(flat), name="nature")
    names: dict[str, dict[str, tuple[str, ...]]] = {"gcompris-qt-data": {}, "nature": {}}
    for package, files in (("gcompris-qt-data", pictures), ("nature", flat)):
        for path in files:
            folder, name = path.rsplit("/", 1)
            if name != "drawing.png":
                names[package][folder] = (*names[package].get(folder, ()), name)
    monkeypatch.setattr(photos, "PACKAGES", (first, second))
    monkeypatch.setattr(photos, "PHOTOS", names)
    return tmp_path


def load(cache, split="train", **fields):
    return data.load(DataConfig(name="photos", **({"size": 16, "downscale": 2, "holdout": 0.2} | fields)), split, cache)


def test_crops_are_those_of_a_slow_loop(cache):
    found = {}
    for split in splits.SPLITS:
        images = load(cache, split)
        found |= dict(zip(images.keys(range(len(images))), images.batch(range(len(images)))["x"].numpy(), strict=True))
    for number in range(20):
        pixels = photograph(100 + number).astype(int)
        for crop in range(6):  # 35 x 55 pixels after the reduction: 2 rows of 3 crops
            y, x = 16 * (crop // 3), 16 * (crop % 3)
            slow = np.empty((3, 16, 16))
            for i in range(16):
                for j in range(16):
                    block = pixels[2 * (y + i) : 2 * (y + i) + 2, 2 * (x + j) : 2 * (x + j) + 2]
                    slow[:, i, j] = np.floor(block.sum((0, 1)) / 4 + 0.5)
            assert np.array_equal(found[f"nature/usr/share/nature/{number:02d}.png#{crop}"], slow)
    # 12 + 20 photographs and the flat one with 6 crops, three copies of 25 x 40 pixels with 2
    assert len(found) == 33 * 6 + 3 * 2
    assert "gcompris-qt-data/towns/resource/03.png#5" in found
    assert (found["nature/usr/share/nature/flat.png#0"] == 9).all()  # nearly constant crops stay in


def test_all_of_a_photograph_is_in_one_split(cache):
    owners = {split: set(load(cache, split).groups()) for split in splits.SPLITS}
    assert sum(map(len, owners.values())) == len(set.union(*owners.values())) == 33
    for split, groups in owners.items():
        assert all(splits.split_of(group, 0.2) == split for group in groups)


def test_photographs_that_look_alike_share_a_group(cache):
    group = {}
    for split in splits.SPLITS:
        images = load(cache, split)
        names = [key.split("#")[0] for key in images.keys(range(len(images)))]
        group |= dict(zip(names, images.groups(), strict=True))
    for number in range(3):
        original = f"gcompris-qt-data/animals/resource/{number:02d}.png"
        assert group[f"nature/usr/share/nature/copy{number}.jpg"] == group[original] == original


def test_groups_join_through_others():
    hashes = {"a": 0b0, "b": 0b111, "c": 0b111111, "d": 0b1111 << 200}
    assert photos.alike(hashes, bits=3) == {"a": "a", "b": "a", "c": "a", "d": "d"}
    assert photos.alike(hashes, bits=2) == {name: name for name in hashes}


def test_one_channel_is_pillows_grey(cache):
    colour, grey = load(cache), load(cache, channels=1)
    assert grey.shape == (1, 16, 16)
    x = colour.batch([0])["x"][0].permute(1, 2, 0).numpy()
    assert np.array_equal(grey.batch([0])["x"][0, 0], np.asarray(Image.fromarray(x).convert("L")))


def test_decoded_once(cache, monkeypatch):
    load(cache)
    monkeypatch.setattr(photos, "decode", None)
    assert len(load(cache, "test", holdout=0.3))


def test_other_crops_are_other_arrays(cache):
    crops = len(load(cache))
    assert len(load(cache, downscale=1)) > 3 * crops
    assert load(cache, size=8).shape == (3, 8, 8)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"size": None}, r"photos have many sizes: name the side of the crops with --data\.size"),
        ({"size": 36}, "no photograph has 36 pixels on each side after a reduction by 2"),
        ({"downscale": 50}, "no photograph has 16 pixels on each side after a reduction by 50"),
        ({"path": "/x"}, "photos comes from a package and takes no path, got '/x'"),
        ({"holdout": 1e-9}, "no photograph of test has 16 pixels"),
    ],
)
def test_impossible_fields(cache, fields, sentence):
    with pytest.raises(ValueError, match=sentence):
        load(cache, "test", **fields)


def test_every_listed_photograph_has_one_name_and_a_package():
    assert list(photos.PHOTOS) == [package.name for package in photos.PACKAGES]
    names = [f"{p}/{f}/{n}" for p, folders in photos.PHOTOS.items() for f, own in folders.items() for n in own]
    assert len(names) == len(set(names)) == 334
