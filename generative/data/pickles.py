"""Reads pickles of arrays and plain containers, and refuses all others: no code in a file can run.

Old data sets and networks are distributed as pickles. Of the classes and functions that a pickle may name, only those
that make NumPy arrays and dictionaries are admitted here.
"""

import io
import pickle
from collections import OrderedDict
from typing import Any, BinaryIO

import numpy as np

_RECONSTRUCT = np.zeros(0).__reduce__()[0]  # what a pickled array calls first; its module's name differs by version


def _encode(text: str, encoding: str) -> bytes:
    """What Python 3 writes for bytes in old pickle protocols."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes encoded as {encoding!r}")
    return text.encode("latin1")


_ADMITTED: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _encode,
    ("collections", "OrderedDict"): OrderedDict,
    ("flax.core.frozen_dict", "FrozenDict"): dict,
}


class _Arrays(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ADMITTED:
            raise pickle.UnpicklingError(f"it names {module}.{name}, and only arrays and plain containers are read")
        return _ADMITTED[module, name]


def loads(content: bytes, source: object, encoding: str = "ASCII") -> Any:
    """As `load`, from bytes."""
    return load(io.BytesIO(content), source, encoding)


def load(file: BinaryIO, source: object, encoding: str = "ASCII") -> Any:
    """The value that a pickle of arrays and plain containers holds.

    Args:
        source: the file's name, for messages.
        encoding: how strings of Python 2 are read: "latin1" for text, "bytes" to keep them as bytes.
    Raises:
        ValueError: the content is no pickle, damaged, or names anything that is not admitted.
    """
    try:
        return _Arrays(file, encoding=encoding).load()
    except Exception as error:  # a damaged pickle may raise anything from its opcodes
        reason = str(error) or type(error).__name__
        raise ValueError(f"{source} is no pickle of arrays that can be read: {reason}") from error
