"""The emoji set from archives made here, and the concepts that its splits go by."""

import dataclasses
import hashlib
import io
import itertools
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from generative.data import emoji, splits
from generative.data.config import DataConfig

SPLITS = ("train", "validation", "test")
TONES = ["1f3fb", "1f3fc", "1f3fd", "1f3fe", "1f3ff"]


@pytest.mark.parametrize(
    ("alike", "other"),
    [
        # tones; man, woman, person farmer
        (["1f9d1-200d-1f33e", "1f468-1f3fd-200d-1f33e", "1f469-200d-1f33e"], "1f9d1-200d-1f373"),
        # gender by a sign, emoji style, direction
        (["1f6b6", "1f6b6-1f3fb-200d-2642-fe0f", "1f6b6-200d-2640-fe0f-200d-27a1-fe0f"], "1f3c3"),
        # plain people with any hair
        (["1f9d1", "1f469-1f3ff", "1f471-1f3fd", "1f468-200d-1f9b0", "1f9d4-1f3fb-200d-2642-fe0f"], "1f9d2"),
        (["1f934", "1f478-1f3fb", "1fac5"], "1f451"),
        (["1f385", "1f936", "1f9d1-200d-1f384"], "1f384"),
        # groups of people
        (["1f46a", "1f468-200d-1f469-200d-1f466", "1f9d1-200d-1f9d2", "1f469-200d-1f467"], "1f46b"),
        (["1f46b", "1f46c-1f3fb", "1f9d1-1f3fb-200d-1f91d-200d-1f9d1-1f3fc"], "1f91d"),
        (["1f48f", "1f468-1f3fb-200d-2764-fe0f-200d-1f48b-200d-1f468-1f3fc"], "1f48b"),
        (["1f491", "1f469-200d-2764-fe0f-200d-1f468"], "2764-fe0f"),
        (["1f91d", "1f91d-1f3fb", "1faf1-1f3fb-200d-1faf2-1f3fc"], "1faf1"),
        # file names without leading zeros or the end of a flag's tag
        (["0023-fe0f-20e3", "23-fe0f-20e3"], "002a-fe0f-20e3"),
        (["1f3f4-e0067-e0062-e0065-e006e-e0067-e007f", "1f3f4-e0067_e0062_e0065_e006e_e0067"], "1f3f4"),
        # what is a variant elsewhere stands for itself alone
        (["2640-fe0f", "2640"], "2642-fe0f"),
        (["27a1-fe0f"], "2b05-fe0f"),
        (["1f3fb"], "1f3fc"),
    ],
)
def test_concepts(alike: list[str], other: str):
    assert len({emoji.concept(name) for name in alike}) == 1
    assert emoji.concept(other) != emoji.concept(alike[0])
    assert emoji.concept("emoji/" + alike[0]) == emoji.concept(alike[0])  # names of the set have a prefix


def test_no_tone_or_gender_of_a_role_crosses_splits():
    roles = ["1f33e", "1f373", "1f393", "1f3a4", "2695-fe0f", "2696-fe0f", "1f9af", "1f9bc"]
    for role in roles:
        people, tones = ["1f468", "1f469", "1f9d1"], ["", *("-" + tone for tone in TONES)]
        names = [f"{person}{tone}-200d-{role}" for person, tone in itertools.product(people, tones)]
        assert len({splits.split_of(emoji.concept(name), 0.2) for name in names}) == 1
    assert len({splits.split_of(emoji.concept(f"1f9d1-{role}"), 0.2) for role in roles}) > 1


@pytest.mark.parametrize("name", ["smile", "", "fe0f", "1f600--1f601", "-1"])
def test_a_name_that_is_none(name: str):
    with pytest.raises(ValueError, match=rf"named by code points such as .* got '{name}'"):
        emoji.concept(name)


def put(cache: Path, files: dict[str, bytes]) -> str:
    """Places an npm archive into the cache; returns its checksum."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(f"package/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    digest = hashlib.sha256(buffer.getvalue()).hexdigest()
    place = cache / "packages" / digest[:16]
    place.mkdir(parents=True)
    (place / "made.tgz").write_bytes(buffer.getvalue())
    return digest


def picture(seed: int, height: int = 256) -> Image.Image:
    """RGBA: stripes with an edge at every row and column, transparent in the upper half."""
    levels = np.random.default_rng(seed).integers(0, 256, (2, 256 + height, 1, 3))
    levels = (levels[0, :height] + levels[1, height:].transpose(1, 0, 2)) // 2
    alpha = np.full((height, 256, 1), 255)
    alpha[: height // 2] = 0
    return Image.fromarray(np.concatenate([levels, alpha], 2).astype(np.uint8), "RGBA")


def webp(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "webp", lossless=True, quality=0, method=0)
    return buffer.getvalue()


ROLES = {
    "1f33e": "farmer",
    "1f373": "cook",
    "1f393": "student",
    "1f3a4": "singer",
    "1f680": "astronaut",
    "1f692": "firefighter",
}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with six roles, each as man and as woman, and a flag."""
    rows, files = [], {}
    for (code, role), (person, word) in itertools.product(ROLES.items(), (("1f468", "man"), ("1f469", "woman"))):
        stem = f"{person}-200d-{code}"
        row = {
            "annotation": f"{word} {role}",
            "tags": f"{role}, job",
            "group": "people-body",
            "subgroups": "person-role",
        }
        rows.append({"hexcode": stem.upper(), **row})
        files[f"assets/{stem}.webp"] = webp(picture(len(rows), 264 if role == "cook" else 256))
    rows.append({"hexcode": "1F1EB-1F1F7", "annotation": "flag: France", "tags": "", "group": "flags", "subgroups": ""})
    files["assets/1f1eb-1f1f7.webp"] = webp(picture(99))
    table = json.dumps([*rows, {"hexcode": "E000", "annotation": "x", "group": "extras-openmoji"}]).encode()
    for name, content in (("FLUENT", files | {"README.md": b""}), ("OPENMOJI", {"data/openmoji.json": table})):
        package = dataclasses.replace(getattr(emoji, name), sha256=put(tmp_path, content))
        monkeypatch.setattr(emoji, name, package)
    return tmp_path


def test_pictures_labels_and_captions(cache: Path):
    config = DataConfig(name="emoji", size=64, holdout=0.3)
    sets = {split: emoji.load(config, split, cache) for split in SPLITS}
    assert sum(map(len, sets.values())) == 13
    concepts = [set(images.groups()) for images in sets.values()]
    assert sum(map(len, concepts)) == 7  # no concept in two splits
    for images in sets.values():
        assert images.shape == (3, 64, 64)
        for i, name in enumerate(images.names):
            assert images.groups()[i] == emoji.concept(name)
            described = emoji.describe([name], cache)[0]
            batch = images.batch([i])
            assert emoji.GROUPS[batch["label"].item()] == described.group
            if name == "emoji/1f1eb-1f1f7":
                assert described.caption == "flag: France"
                made = np.asarray(picture(99)).astype(float)[..., :3]
                made[:128] = 255  # transparent on white
                mean = made.reshape(64, 4, 64, 4, 3).mean((1, 3))
                assert (
                    np.abs(batch["x"][0].permute(1, 2, 0).numpy() - mean).max() <= 1.0
                )  # rounded along rows, then columns
    assert emoji.describe(["emoji/1f469-200d-1f33e"], cache)[0] == emoji.Description(
        caption="woman farmer", tags=("farmer", "job"), group="people-body", subgroup="person-role"
    )


def test_grey_and_full_size(cache: Path):
    images = emoji.load(DataConfig(name="emoji", channels=1), "train", cache)
    assert images.shape == (1, 256, 256)


def test_fields_and_names_that_do_not_fit(cache: Path):
    with pytest.raises(ValueError, match="size must be at most that and downscale 1, got 512"):
        emoji.load(DataConfig(name="emoji", size=512), "train", cache)
    with pytest.raises(ValueError, match="there is no emoji 'emoji/1f600'"):
        emoji.describe(["emoji/1f600"], cache)


def test_a_picture_that_cannot_be_read_is_named(cache: Path, monkeypatch: pytest.MonkeyPatch):
    files = {"assets/1f1eb-1f1f7.webp": webp(picture(0))[:100]}
    monkeypatch.setattr(emoji, "FLUENT", dataclasses.replace(emoji.FLUENT, sha256=put(cache, files)))
    with pytest.raises(ValueError, match=r"1f1eb-1f1f7.webp in .* cannot be read"):
        emoji.load(DataConfig(name="emoji", size=64), "train", cache)
