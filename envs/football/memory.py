"""Reads the engine's record of a moment from memory at once, instead of some 50 to 250 calls through boost::python.

The record (C++ struct SharedInfo of gfootball 2.10.2) lies inside the Python object that `get_info` returns, and the
players behind two pointers in it. That layout is a private matter of the engine and of boost, so nothing is taken on
trust: `reader` reads the start of every game both ways, and returns the slow way unless they agree in every number.
"""

import struct
import sys
from collections.abc import Callable
from ctypes import c_char
from dataclasses import replace
from typing import Any

import numpy as np

from envs.football.frame import ACTIVE, DX, DY, NUM_COLUMNS, Frame, X, Y
from envs.football.frame import read as read_attributes

Read = Callable[[Any, Frame], None]

_POINTER_AT, _HOLDER_HEAD = 40, 16
"""boost keeps the address of a holder in the object; the record comes after two pointers of the holder."""
_RECORD = "<9f4x12QiiiB3xiii4x"
"""Ball position, direction, rotation; four vectors (begin, end, capacity); goals, mode, in play, owner, step."""
_LEFT, _RIGHT, _LEFT_AGENTS, _RIGHT_AGENTS, _NUMBERS = 9, 12, 15, 18, 21
"""Where the beginnings of the vectors, and the numbers after them, are among what _RECORD unpacks."""
_PLAYER = "ff4xff4x??2xf4x"
"""x, y, dx, dy, yellow card, on the pitch, tired: the columns of a frame, in metres."""
_PLAYER_BYTES, _AGENT_BYTES = 36, 4
_SCALES = ((X, 54.4), (Y, -83.6), (DX, 54.4), (DY, -83.6))
"""Metres per engine unit. The engine divides in double precision too, and rounds what its attributes give to float32;
here that is left to whoever stores it."""


def _unpacker(layout: str) -> Callable[[int], tuple[Any, ...]]:
    """A function that unpacks what lies at an address. `from_address` spares the call of a foreign function."""
    packed = struct.Struct(layout)
    memory, unpack = (c_char * packed.size).from_address, packed.unpack_from
    return lambda address: unpack(memory(address))


class MemoryReader:
    """Reads the records of one match. Made by `reader` only."""

    def __init__(self, record_at: int, frame: Frame) -> None:
        self._record_at = record_at
        self._record = _unpacker(_RECORD)
        self._own = _unpacker("<" + _PLAYER * frame.num_own)
        self._other = _unpacker("<" + _PLAYER * frame.num_other)
        self._agents = _unpacker(f"<{len(frame.controlled)}i")
        self._other_agents = _unpacker(f"<{len(frame.other_controlled)}i")

    def __call__(self, info: Any, frame: Frame) -> None:
        """Fills `frame` (of the left team) from `info`."""
        record = self._record(id(info) + self._record_at)
        ball = (record[0], record[1], record[3], record[4], 0.0, 1.0, 0.0)
        values = [*self._own(record[_LEFT]), *self._other(record[_RIGHT]), *ball]
        for column, scale in _SCALES:
            values[column::NUM_COLUMNS] = [value / scale for value in values[column::NUM_COLUMNS]]
        frame.values = values
        frame.complete = all(values[ACTIVE::NUM_COLUMNS])
        frame.ball_z, frame.ball_dz = record[2], record[5]
        frame.goals_for, frame.goals_against, frame.mode, _, side, owner, frame.step = record[_NUMBERS:]
        frame.owner = -1 if side < 0 else owner + side * frame.num_own
        frame.controlled = [*self._agents(record[_LEFT_AGENTS])]
        if frame.other_controlled:
            frame.other_controlled = [*self._other_agents(record[_RIGHT_AGENTS])]


def reader(info: Any, frame: Frame) -> Read:
    """The quickest way to read a match that begins with `info` and `frame` and agrees with reading by attributes."""
    record_at = _find_record(info, frame)
    if record_at is None:
        return read_attributes
    read = MemoryReader(record_at, frame)
    slow, fast = replace(frame, values=[]), replace(frame, values=[])
    read_attributes(info, slow)
    read(info, fast)
    same = np.array_equal(slow.table(), fast.table()) and replace(slow, values=[]) == replace(fast, values=[])
    return read if same else read_attributes


def _find_record(info: Any, frame: Frame) -> int | None:
    """Bytes from the address of `info` to the record, or None where it does not look as expected."""
    size = type(info).__basicsize__
    if sys.implementation.name != "cpython" or size != _POINTER_AT + 8:
        return None
    (holder,) = _unpacker("<Q")(id(info) + _POINTER_AT)
    if holder != id(info) + size:  # boost makes room for it right behind the object's own fields
        return None
    vectors = _unpacker(_RECORD)(holder + _HOLDER_HEAD)[_LEFT:_NUMBERS]
    lengths = (frame.num_own, frame.num_other, frame.num_own, frame.num_other)
    sizes = (_PLAYER_BYTES, _PLAYER_BYTES, _AGENT_BYTES, _AGENT_BYTES)
    for i, (length, item) in enumerate(zip(lengths, sizes, strict=True)):
        if vectors[3 * i + 1] - vectors[3 * i] != length * item:
            return None
    return size + _HOLDER_HEAD
