"""Pickles of arrays are read; anything that could run code is refused."""

import os
import pickle
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

from generative.data import pickles


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_arrays_and_containers_come_back(protocol: int):
    value = {"data": np.arange(6, dtype=np.uint8).reshape(2, 3), "names": ["a", b"\xff"], "o": OrderedDict(k=(1, 2.5))}
    read = pickles.loads(pickle.dumps(value, protocol), "file")
    np.testing.assert_array_equal(read["data"], value["data"])
    assert read["data"].dtype == np.uint8
    assert {k: read[k] for k in ("names", "o")} == {k: value[k] for k in ("names", "o")}


def test_strings_of_python_2_as_bytes_or_text():
    written = b"(dp0\nS'caf\\xe9'\np1\nI1\ns."  # protocol 0, as Python 2 writes {'caf\xe9': 1}
    assert pickles.loads(written, "file", "bytes") == {b"caf\xe9": 1}
    assert pickles.loads(written, "file", "latin1") == {"caf\xe9": 1}


def test_code_is_refused_and_does_not_run(tmp_path: Path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    with pytest.raises(ValueError, match=r"batch is no pickle of arrays .*mkdir"):
        pickles.loads(pickle.dumps({"data": Evil()}), "batch")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [b"", b"not a pickle", pickle.dumps(np.zeros(1000))[:500]])
def test_damage_is_one_sentence(content: bytes):
    with pytest.raises(ValueError, match="batch is no pickle of arrays that can be read"):
        pickles.loads(content, "batch")


def test_an_array_too_large_for_memory_is_refused():
    huge = pickle.dumps(np.zeros(3, np.uint8), 2).replace(b"K\x03\x85", b"\x8a\x07" + b"\xff" * 6 + b"\x7f\x85")
    with pytest.raises(ValueError, match="batch is no pickle"):
        pickles.loads(huge, "batch")
