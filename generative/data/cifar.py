"""CIFAR-10 in its two official layouts, placed by the user: 60,000 colour pictures of 32 x 32 in 10 classes.

Source: Krizhevsky 2009, "Learning Multiple Layers of Features from Tiny Images". The python version
(cifar-10-batches-py/: pickles of 10,000 pictures, five for training and one for testing) is read without general
unpickling; the binary version (cifar-10-batches-bin/) holds records of one label byte and 3,072 bytes of pixels,
channel by channel. Training uses all 50,000 pictures, as in the papers that state bits per dimension on this set, so
there is no validation split.
"""

import re
from pathlib import Path, PurePosixPath

import numpy as np

from generative.data import archives, pickles
from generative.data.config import DataConfig
from generative.data.images import ImageSet

SHAPE = (3, 32, 32)
PER_FILE = 10_000
"""Pictures in each of the official files."""
STEMS = {"train": [f"data_batch_{i}" for i in range(1, 6)], "test": ["test_batch"]}
"""The official files of each split, without the binary version's .bin."""
HOW = (
    "take CIFAR-10's official python version (cifar-10-python.tar.gz) or binary version (cifar-10-binary.tar.gz) "
    "and name it, or the folder that it unpacks to, with --data.path"
)


def load(config: DataConfig, split: str, cache: Path | None = None) -> ImageSet:
    """One split of CIFAR-10: uint8 [N, 3, 32, 32] in the files' order, N = 50,000 (train) or 10,000 (test).

    Raises:
        ValueError: files missing or damaged, the split is validation, or a size other than 32.
    """
    if split not in STEMS:
        raise ValueError(
            "cifar10 has no validation split: it is trained on all 50,000 pictures and tested on the 10,000"
        )
    if config.size not in (None, SHAPE[1]) or config.channels not in (None, 3) or config.downscale != 1:
        raise ValueError("cifar10 is 32 x 32 in RGB: size and channels must be left out or 32 and 3, and downscale 1")
    path = Path(config.path or "").expanduser()
    files = _files(path, STEMS[split])
    pixels, labels, names = [], [], []
    for stem in STEMS[split]:
        name, content = files[stem]
        x, label, own = (_binary if name.endswith(".bin") else _pickled)(content, f"{path}: {name}")
        pixels.append(x.reshape(-1, *SHAPE))
        labels.append(label)
        names += [f"{stem}/{key}" for key in own]
    return ImageSet(
        name="cifar10",
        split=split,
        pixels=np.concatenate(pixels),
        labels=np.concatenate(labels),
        classes=_classes(files, path),
        names=names,
        group_names=names,
    )


def _files(path: Path, stems: list[str]) -> dict[str, tuple[str, bytes]]:
    """The wanted files and that of the classes' names, from a folder or an archive: stem -> (file name, content)."""
    wanted = {name for stem in stems for name in (stem, stem + ".bin")} | {"batches.meta", "batches.meta.txt"}
    if path.is_dir():
        folders = [path, path / "cifar-10-batches-py", path / "cifar-10-batches-bin"]
        folder = next((f for f in folders if any((f / (stems[0] + end)).is_file() for end in ("", ".bin"))), path)
        found = {name: (folder / name).read_bytes() for name in wanted if (folder / name).is_file()}
    elif path.is_file():
        keep = archives.read(path, lambda member: PurePosixPath(member).name in wanted)
        found = {PurePosixPath(member).name: content for member, content in keep}
    else:
        raise ValueError(f"cifar10 is not at {path}: {HOW}")
    files = {re.sub(r"\.(bin|txt)$", "", name): (name, content) for name, content in sorted(found.items())}
    if missing := [stem for stem in stems if stem not in files]:
        raise ValueError(f"{path} holds no {', '.join(missing)} of CIFAR-10: {HOW}")
    return files


def _pickled(content: bytes, source: str) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """One file of the python version: pixels [N, 3072], labels [N], the pictures' names."""
    batch = pickles.loads(content, source, encoding="latin1")
    data, labels = (batch.get("data"), batch.get("labels")) if isinstance(batch, dict) else (None, None)
    if not isinstance(data, np.ndarray) or not isinstance(labels, list):
        raise ValueError(f"{source} is no CIFAR-10 batch: it must hold data and labels")
    names = batch.get("filenames")
    names = names if isinstance(names, list) and len(names) == len(data) else range(len(data))
    return data, _checked(data, labels, source), [str(name) for name in names]


def _binary(content: bytes, source: str) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """One file of the binary version."""
    record = 1 + int(np.prod(SHAPE))
    if len(content) % record:
        raise ValueError(f"{source} is damaged: {len(content)} bytes are no whole number of records of {record} bytes")
    records = np.frombuffer(content, np.uint8).reshape(-1, record)
    data, labels = records[:, 1:], records[:, 0].tolist()
    return data, _checked(data, labels, source), [str(i) for i in range(len(data))]


def _checked(data: np.ndarray, labels: list[int], source: str) -> np.ndarray:
    """The labels as int64 [N], once data and labels are what the official files hold."""
    if data.dtype != np.uint8 or data.shape != (PER_FILE, int(np.prod(SHAPE))) or len(labels) != PER_FILE:
        raise ValueError(
            f"{source} holds {data.dtype} {list(data.shape)} with {len(labels)} labels; a file of CIFAR-10 holds "
            f"{PER_FILE} pictures of 3072 bytes"
        )
    if not all(isinstance(label, int) and 0 <= label < 10 for label in labels):
        raise ValueError(f"{source} holds labels outside 0 to 9")
    return np.array(labels, dtype=np.int64)


def _classes(files: dict[str, tuple[str, bytes]], path: Path) -> tuple[str, ...]:
    """The names of the 10 classes from batches.meta, numbers if it is not there."""
    name, content = files.get("batches.meta", ("", b""))
    if name == "batches.meta":
        meta = pickles.loads(content, f"{path}: {name}", encoding="latin1")
        names = meta.get("label_names") if isinstance(meta, dict) else None
    else:
        names = content.decode("latin1").split()
    return tuple(names) if names and len(names) == 10 else tuple(str(i) for i in range(10))
