import errno
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pytest

from generative.data import arrays


def test_written_piece_by_piece_like_written_at_once(tmp_path, noise):
    pixels = noise.integers(0, 256, (1000, 3, 4, 5), dtype=np.uint8)
    writer = arrays.ArrayWriter(tmp_path / "a.npy", (3, 4, 5))
    for start in range(0, 1000, 300):
        writer.append(pixels[start : start + 300])
    writer.append(pixels[:0])
    writer.close()
    assert np.array_equal(np.load(tmp_path / "a.npy", mmap_mode="r"), pixels)
    with pytest.raises(ValueError, match="rows must be uint8"):
        arrays.ArrayWriter(tmp_path / "b.npy", (1, 2, 2)).append(pixels)


def build(folder):
    np.save(folder / "x.npy", np.arange(10, dtype=np.uint8))
    return {"note": "made"}


def test_built_once_and_known_by_what_decides_it(tmp_path):
    calls = []

    def counted(folder):
        calls.append(folder)
        return build(folder)

    first, about = arrays.cached(tmp_path, "set", {"size": 32}, counted)
    again, _ = arrays.cached(tmp_path, "set", {"size": 32}, counted)
    other, _ = arrays.cached(tmp_path, "set", {"size": 64}, counted)
    assert first == again != other
    assert len(calls) == 2
    assert about["note"] == "made"


@pytest.mark.parametrize("damage", ["cut", "gone", "about"])
def test_a_damaged_folder_is_built_again(tmp_path, damage):
    folder, _ = arrays.cached(tmp_path, "set", {}, build)
    if damage == "cut":
        (folder / "x.npy").write_bytes(b"\x93NUMPY")
    elif damage == "gone":
        (folder / "x.npy").unlink()
    else:
        (folder / "about.json").write_text('{"files": ')
    folder, _ = arrays.cached(tmp_path, "set", {}, build)
    assert np.load(folder / "x.npy").sum() == 45


def test_nothing_is_left_of_a_build_that_failed(tmp_path):
    def fail(folder):
        (folder / "half.npy").write_bytes(b"half")
        raise ValueError("no picture")

    with pytest.raises(ValueError, match="no picture"):
        arrays.cached(tmp_path, "set", {}, fail)
    assert list((tmp_path / "arrays").iterdir()) == []


def test_two_build_the_same_set_at_once(tmp_path):
    both = Barrier(2)

    def slow(folder):
        both.wait(timeout=60)
        return build(folder)

    with ThreadPoolExecutor(2) as threads:
        found = list(threads.map(lambda _: arrays.cached(tmp_path, "set", {}, slow), range(2)))
    assert found[0] == found[1]
    assert np.load(found[0][0] / "x.npy").sum() == 45
    assert [path.name for path in (tmp_path / "arrays").iterdir()] == [found[0][0].name]


def test_a_full_disk(tmp_path):
    def fail(folder):
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(ValueError, match=r"the disk of the cache .* is full: free some, or set TANDEM_DATA"):
        arrays.cached(tmp_path, "set", {}, fail)


def test_a_cache_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ValueError, match="cannot write to the cache"):
        arrays.cached(tmp_path / "file", "set", {}, build)
