"""Reads Qt binary resource files (.rcc, format versions 1 to 3), in which some packages keep their pictures.

Header (big endian): "qres", version, offsets of the tree, of the data and of the names. A tree node holds its name's
offset and flags; then a folder has the number and index of its children, a file has a locale and its data's offset.
"""

import struct
import zlib
from collections.abc import Callable, Iterator

_COMPRESSED, _FOLDER, _ZSTD = 1, 2, 4
_LARGEST = 1 << 28
"""Bytes; a file that unpacks to more is refused."""


def read_rcc(content: bytes, keep: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    """Yields (path, content) of the wanted files; paths begin with "/".

    Raises:
        ValueError: not a resource file, damaged, or packed with zstd.
    """
    try:
        yield from _walk(content, keep)
    except (struct.error, UnicodeDecodeError, zlib.error) as error:
        raise ValueError(f"the Qt resource file is damaged: {error}") from error


def _walk(content: bytes, keep: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    if content[:4] != b"qres":
        raise ValueError("this is no Qt resource file: it does not begin with qres")
    version, tree, data, names = struct.unpack_from(">4I", content, 4)
    node_size = 14 if version == 1 else 22  # a time stamp of 8 bytes since version 2
    waiting = [(0, "")]
    seen = set()
    while waiting:
        index, parent = waiting.pop()
        if index in seen:
            raise ValueError("the Qt resource file is damaged: its tree has a loop")
        seen.add(index)
        at = tree + index * node_size
        name_at, flags = struct.unpack_from(">IH", content, at)
        path = f"{parent}/{_name(content, names + name_at)}" if index else parent
        if flags & _FOLDER:
            count, first = struct.unpack_from(">II", content, at + 6)
            if count > len(content) // node_size:
                raise ValueError(f"the Qt resource file is damaged: {path or '/'} claims {count} children")
            waiting += [(first + child, path) for child in reversed(range(count))]
        elif keep(path):
            (data_at,) = struct.unpack_from(">I", content, at + 10)
            yield path, _unpacked(path, content, data + data_at, flags)


def _name(content: bytes, at: int) -> str:
    (length,) = struct.unpack_from(">H", content, at)  # in UTF-16 units; a hash of 4 bytes follows
    return content[at + 6 : at + 6 + 2 * length].decode("utf-16-be")


def _unpacked(path: str, content: bytes, at: int, flags: int) -> bytes:
    (length,) = struct.unpack_from(">I", content, at)
    packed = content[at + 4 : at + 4 + length]
    if len(packed) < length:
        raise ValueError(f"the Qt resource file is damaged: {path} ends early")
    if flags & _ZSTD:
        raise ValueError(f"{path} in the Qt resource file is packed with zstd, which is not supported")
    if not flags & _COMPRESSED:
        return packed
    unpacker = zlib.decompressobj()
    unpacked = unpacker.decompress(packed[4:], _LARGEST)  # the first 4 bytes are the size
    if not unpacker.eof:
        raise ValueError(f"the Qt resource file is damaged: {path} is cut short or unreasonably large")
    return unpacked
