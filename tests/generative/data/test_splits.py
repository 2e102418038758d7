import hashlib

import numpy as np
import pytest

from generative.data import splits

NAMES = [f"album/{number:05d}.jpg" for number in range(20_000)]


def test_the_formula_as_documented():
    digest = hashlib.sha256(b"album/00007.jpg").hexdigest()
    assert splits.position("album/00007.jpg") == int(digest[:16], 16) / 2.0**64


def test_a_split_that_must_never_change():
    found = {name: splits.split_of(name, 0.1) for name in ("digits/0034", "digits/0004", "digits/0000")}
    assert found == {"digits/0034": "test", "digits/0004": "validation", "digits/0000": "train"}


@pytest.mark.parametrize("holdout", [0.01, 0.1, 0.3])
def test_shares_are_those_asked_for(holdout):
    found = [splits.split_of(name, holdout) for name in NAMES]
    for split, share in (("test", holdout), ("validation", holdout), ("train", 1 - 2 * holdout)):
        error = (share * (1 - share) / len(NAMES)) ** 0.5
        assert found.count(split) / len(NAMES) == pytest.approx(share, abs=4 * error)


def test_a_larger_holdout_keeps_what_was_held_out():
    small = {name for name in NAMES if splits.split_of(name, 0.1) == "test"}
    assert small < {name for name in NAMES if splits.split_of(name, 0.2) == "test"}


def test_every_picture_is_in_one_split_with_its_group():
    groups = [NAMES[number // 3] for number in range(3000)]
    parts = {split: splits.members(groups, split, 0.2) for split in splits.SPLITS}
    assert sorted(np.concatenate(list(parts.values()))) == list(range(3000))
    owners = [{groups[i] for i in part} for part in parts.values()]
    assert sum(len(owner) for owner in owners) == 1000


def test_names_of_bytes_that_are_no_text():
    assert splits.split_of("a/\udcff.jpg", 0.1) in splits.SPLITS
