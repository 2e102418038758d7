import random
import struct

import pytest

from generative.data.rcc import read_rcc
from tests.generative.data.made import rcc_bytes

FILES = {
    "/gcompris/src/activities/a/resource/x.webp": b"first" * 50,
    "/gcompris/src/activities/a/resource/ünïcode.webp": b"",
    "/top.txt": bytes(range(256)),
}


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize("squeeze", [False, True])
def test_every_file_comes_back(version, squeeze):
    content = rcc_bytes(FILES, version, squeeze)
    assert dict(read_rcc(content, lambda path: True)) == FILES


def test_only_wanted_files_are_unpacked():
    content = rcc_bytes(FILES)
    assert [path for path, _ in read_rcc(content, lambda path: path.endswith(".txt"))] == ["/top.txt"]


def test_no_resource_file():
    with pytest.raises(ValueError, match="does not begin with qres"):
        list(read_rcc(b"PK\x03\x04" + bytes(100), lambda path: True))


def test_a_tree_with_a_loop():
    content = bytearray(rcc_bytes({"/a/b": b"x"}, version=1))
    struct.pack_into(">HII", content, 20 + 14 + 4, 2, 1, 0)  # node 1, the folder a, gets the root as its child
    with pytest.raises(ValueError, match="loop"):
        list(read_rcc(bytes(content), lambda path: True))


def test_a_size_bomb_and_zstd_are_refused(monkeypatch):
    content = rcc_bytes({"/a": bytes(10_000)}, version=1, squeeze=True)
    monkeypatch.setattr("generative.data.rcc._LARGEST", 1000)
    with pytest.raises(ValueError, match="unreasonably large"):
        list(read_rcc(content, lambda path: True))
    packed = bytearray(rcc_bytes({"/a": b"x"}, version=1))
    struct.pack_into(">H", packed, 20 + 14 + 4, 4)
    with pytest.raises(ValueError, match="packed with zstd"):
        list(read_rcc(bytes(packed), lambda path: True))


def test_damage_is_one_sentence():
    """Cut short anywhere and with changed bytes: files, or a ValueError."""
    content = rcc_bytes(FILES, squeeze=True)
    draw = random.Random(0)
    refused = 0
    for _ in range(300):
        damaged = bytearray(content[: draw.randrange(len(content))] if draw.random() < 0.5 else content)
        for _ in range(draw.randrange(4)):
            if damaged:
                damaged[draw.randrange(len(damaged))] = draw.randrange(256)
        try:
            list(read_rcc(bytes(damaged), lambda path: True))
        except ValueError:
            refused += 1
    assert refused > 100
