"""Archives, resource files and pictures made on the spot, by code that shares nothing with the readers under test."""

import hashlib
import io
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from generative.data.fetch import Package

TarMode = Literal["w:xz", "w:gz", "w"]


def tar_bytes(files: dict[str, bytes], mode: TarMode = "w:gz") -> bytes:
    """A tar archive of the files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def wheel_bytes(files: dict[str, bytes], name: str = "fake_data", version: str = "1.0") -> bytes:
    """A wheel that pip accepts."""
    about = f"{name}-{version}.dist-info"
    files = files | {
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
        f"{about}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{about}/RECORD": b"",
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path, content in files.items():
            archive.writestr(path, content)
    return buffer.getvalue()


def deb_bytes(files: dict[str, bytes], mode: TarMode = "w:xz") -> bytes:
    """A Debian package: an ar archive of debian-binary, control.tar and data.tar."""
    end = {"w:xz": ".xz", "w:gz": ".gz", "w": ""}[mode]
    data = tar_bytes({f"./{name}": content for name, content in files.items()}, mode)
    control = tar_bytes({"./control": b"x"}, mode)
    parts = {"debian-binary": b"2.0\n", f"control.tar{end}": control, f"data.tar{end}": data}
    archive = b"!<arch>\n"
    for name, content in parts.items():
        archive += f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode()
        archive += content + b"\n" * (len(content) % 2)
    return archive


def png(pixels: np.ndarray) -> bytes:
    """uint8 [H, W] or [H, W, 3 or 4] as a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "png")
    return buffer.getvalue()


def place(cache: Path, content: bytes, registry: str = "debian", name: str = "fake", file: str = "fake.deb") -> Package:
    """Puts an archive into the cache by hand, as someone without a network would."""
    sha256 = hashlib.sha256(content).hexdigest()
    folder = cache / "packages" / sha256[:16]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / file).write_bytes(content)
    return Package(registry=registry, name=name, version="1.0", sha256=sha256)  # type: ignore[arg-type]


def rcc_bytes(files: dict[str, bytes], version: int = 3, squeeze: bool = False) -> bytes:
    """A Qt resource file with the files, whose paths begin with "/"."""
    tree: dict = {}
    for path, content in files.items():
        *folders, name = path.strip("/").split("/")
        inside = tree
        for folder in folders:
            inside = inside.setdefault(folder, {})
        inside[name] = content
    names, data, nodes = b"", b"", [("", tree)]
    rows: list[bytes] = []
    position = 0
    while position < len(nodes):
        name, node = nodes[position]
        at, encoded = len(names), name.encode("utf-16-be")
        names += struct.pack(">HI", len(name), 0) + encoded
        if isinstance(node, dict):
            rows.append(struct.pack(">IHII", at, 2, len(node), len(nodes)))
            nodes += sorted(node.items())
        else:
            packed = struct.pack(">I", len(node)) + zlib.compress(node) if squeeze else node
            rows.append(struct.pack(">IHHHI", at, int(squeeze), 0, 1, len(data)))
            data += struct.pack(">I", len(packed)) + packed
        position += 1
    stamp = b"" if version == 1 else struct.pack(">Q", 0)
    table = b"".join(row + stamp for row in rows)
    start = 20 if version < 3 else 24
    header = b"qres" + struct.pack(">4I", version, start, start + len(table), start + len(table) + len(data))
    return header + (b"" if version < 3 else struct.pack(">I", 0)) + table + data + names
