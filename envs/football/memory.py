"""Reads the engine's record of a moment from memory at once, instead of some 50 to 250 calls through boost::python.

The record (C++ struct SharedInfo of gfootball 2.10.2) lies inside the Python object that `get_info` returns, and the
players behind two pointers in it. That layout is a private matter of the engine and of boost, so nothing is taken on
trust: `reader` reads the start of every game both ways, and returns the slow way unless they agree in every number.
"""

import struct
import sys
from collections.abc import Callable
from ctypes import string_at
from dataclasses import replace
from typing import Any

from envs.football.frame import ACTIVE, DX, DY, NUM_COLUMNS, Frame, X, Y
from envs.football.frame import read as read_attributes

Read = Callable[[Any, Frame], None]

_POINTER_AT, _HOLDER_HEAD = 40, 16
"""boost keeps the address of a holder in the object; the record comes after two pointers of the holder."""
_RECORD = struct.Struct("<9f4x12QiiiB3xiii4x")
"""Ball position, direction, rotation; four vectors (begin, end, capacity); goals, mode, in play, owner, step."""
_LEFT, _RIGHT, _LEFT_AGENTS, _RIGHT_AGENTS, _NUMBERS = 9, 12, 15, 18, 21
"""Where the beginnings of the vectors, and the numbers after them, are among what _RECORD unpacks."""
_PLAYER = "ff4xff4x??2xf4x"
"""x, y, dx, dy, yellow card, on the pitch, tired: the columns of a frame, in metres."""
_PLAYER_BYTES, _AGENT_BYTES = 36, 4
_SCALES = ((X, 54.4), (Y, -83.6), (DX, 54.4), (DY, -83.6))
"""Metres per engine unit. The engine divides in double precision too."""


class MemoryReader:
    """Reads the records of one match. Made by `reader` only."""

    def __init__(self, record_at: int, frame: Frame) -> None:
        self._record_at = record_at
        self._own_bytes, self._other_bytes = frame.num_own * _PLAYER_BYTES, frame.num_other * _PLAYER_BYTES
        self._players = struct.Struct("<" + _PLAYER * frame.num_players)
        self._rows = frame.num_players + 1
        self._floats = struct.Struct(f"<{len(_SCALES) * self._rows}f")
        self._agents = struct.Struct(f"<{len(frame.controlled)}i")
        self._other_agents = struct.Struct(f"<{len(frame.other_controlled)}i")

    def __call__(self, info: Any, frame: Frame) -> None:
        """Fills `frame` (of the left team) from `info`."""
        record = _RECORD.unpack(string_at(id(info) + self._record_at, _RECORD.size))
        raw = string_at(record[_LEFT], self._own_bytes) + string_at(record[_RIGHT], self._other_bytes)
        values = [*self._players.unpack(raw), record[0], record[1], record[3], record[4], 0.0, 1.0, 0.0]
        moving = [value / scale for column, scale in _SCALES for value in values[column::NUM_COLUMNS]]
        moving = self._floats.unpack(self._floats.pack(*moving))  # rounds to float32, as the engine does
        rows = self._rows
        for i, (column, _) in enumerate(_SCALES):
            values[column::NUM_COLUMNS] = moving[i * rows : (i + 1) * rows]
        frame.values = values
        frame.complete = all(values[ACTIVE::NUM_COLUMNS])
        frame.ball_z, frame.ball_dz = record[2], record[5]
        frame.goals_for, frame.goals_against, frame.mode, _, side, owner, frame.step = record[_NUMBERS:]
        frame.owner = -1 if side < 0 else owner + side * frame.num_own
        agents = self._agents
        frame.controlled = [*agents.unpack(string_at(record[_LEFT_AGENTS], agents.size))]
        if frame.other_controlled:
            agents = self._other_agents
            frame.other_controlled = [*agents.unpack(string_at(record[_RIGHT_AGENTS], agents.size))]


def reader(info: Any, frame: Frame) -> Read:
    """The quickest way to read a match that begins with `info` and `frame` and agrees with reading by attributes."""
    record_at = _find_record(info, frame)
    if record_at is None:
        return read_attributes
    read = MemoryReader(record_at, frame)
    slow, fast = replace(frame, values=[]), replace(frame, values=[])
    read_attributes(info, slow)
    read(info, fast)
    return read if slow == fast else read_attributes


def _find_record(info: Any, frame: Frame) -> int | None:
    """Bytes from the address of `info` to the record, or None where it does not look as expected."""
    size = type(info).__basicsize__
    if sys.implementation.name != "cpython" or size != _POINTER_AT + 8:
        return None
    (holder,) = struct.unpack("<Q", string_at(id(info) + _POINTER_AT, 8))
    if holder != id(info) + size:  # boost makes room for it right behind the object's own fields
        return None
    vectors = _RECORD.unpack(string_at(holder + _HOLDER_HEAD, _RECORD.size))[_LEFT:_NUMBERS]
    lengths = (frame.num_own, frame.num_other, frame.num_own, frame.num_other)
    sizes = (_PLAYER_BYTES, _PLAYER_BYTES, _AGENT_BYTES, _AGENT_BYTES)
    for i, (length, item) in enumerate(zip(lengths, sizes, strict=True)):
        if vectors[3 * i + 1] - vectors[3 * i] != length * item:
            return None
    return size + _HOLDER_HEAD
