"""Which split a picture belongs to: decided by the name of its group alone, on every machine, for ever.

A group is what pictures share: a photograph, a concept, a file. With u = the first 8 bytes of the SHA-256 of the
group's name in UTF-8, read as a big-endian integer, over 2^64: test if u < holdout, validation if u < 2 holdout, else
train.
Adding pictures moves no other picture, and a larger holdout keeps what was held out.
"""

import hashlib
from collections.abc import Sequence

import numpy as np

SPLITS = ("train", "validation", "test")


def position(group: str) -> float:
    """u in [0, 1) of a group's name."""
    first = hashlib.sha256(group.encode("utf-8", "surrogateescape")).digest()[:8]
    return int.from_bytes(first) / 2**64


def split_of(group: str, holdout: float) -> str:
    """The split of a group: train, validation or test."""
    u = position(group)
    if u < holdout:
        return "test"
    return "validation" if u < 2 * holdout else "train"


def members(groups: Sequence[str], split: str, holdout: float) -> np.ndarray:
    """int64 positions of the pictures of a split, in order; groups holds one name per picture."""
    wanted = {group: split_of(group, holdout) == split for group in set(groups)}
    return np.flatnonzero([wanted[group] for group in groups])
