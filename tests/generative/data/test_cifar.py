"""CIFAR-10 from files of the official layouts, made here with 20 pictures each instead of 10,000."""

import io
import pickle
import struct
import tarfile
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from generative.data import cifar
from generative.data.config import DataConfig

NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
STEMS = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
N = 20


@pytest.fixture(autouse=True)
def small_files(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cifar, "PER_FILE", N)


class Python2(pickle._Pickler):
    """Writes bytes as Python 2 wrote its strings, as the official files hold them."""

    def save_string(self, text: bytes) -> None:
        self.write(b"T" + struct.pack("<i", len(text)) + text)

    dispatch: ClassVar[dict[type, Any]] = {**pickle._Pickler.dispatch, bytes: save_string}


def dumps(value: object) -> bytes:
    file = io.BytesIO()
    Python2(file, 2).dump(value)
    return file.getvalue().replace(b"numpy._core.multiarray", b"numpy.core.multiarray")  # NumPy 1's name


def pictures(stem: str) -> tuple[np.ndarray, list[int]]:
    """Pixels [N, 3072] and labels of one file."""
    rng = np.random.default_rng(STEMS.index(stem))
    return rng.integers(0, 256, (N, 3072), dtype=np.uint8), rng.integers(0, 10, N).tolist()


def python_batch(stem: str) -> bytes:
    data, labels = pictures(stem)
    names = [f"picture_{i}.png".encode() for i in range(N)]
    return dumps({b"batch_label": b"one", b"labels": labels, b"data": data, b"filenames": names})


def binary_batch(stem: str) -> bytes:
    return b"".join(bytes([label]) + row.tobytes() for row, label in zip(*pictures(stem), strict=True))


def layout(kind: str) -> dict[str, bytes]:
    if kind == "py":
        meta = dumps({b"label_names": [name.encode() for name in NAMES]})
        return {stem: python_batch(stem) for stem in STEMS} | {"batches.meta": meta}
    return {f"{stem}.bin": binary_batch(stem) for stem in STEMS} | {
        "batches.meta.txt": "\n".join([*NAMES, ""]).encode()
    }


def place(tmp_path: Path, kind: str, packed: bool) -> Path:
    files = layout(kind)
    if not packed:
        folder = tmp_path / f"cifar-10-batches-{kind}"
        folder.mkdir()
        for name, content in files.items():
            (folder / name).write_bytes(content)
        return folder
    archive = tmp_path / f"cifar-10-{kind}.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(f"cifar-10-batches-{kind}/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return archive


def config(path: Path, **fields) -> DataConfig:
    return DataConfig(name="cifar10", path=str(path), **fields)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", ["py", "bin"])
def test_both_versions_from_folder_and_archive(tmp_path: Path, kind: str, packed: bool):
    path = place(tmp_path, kind, packed)
    train, test = cifar.load(config(path), "train"), cifar.load(config(path), "test")
    assert (len(train), len(test)) == (5 * N, N)
    assert train.classes == tuple(NAMES)
    assert train.shape == (3, 32, 32)
    batch = train.batch([0, 2 * N + 3])
    data, labels = pictures("data_batch_3")
    np.testing.assert_array_equal(batch["x"][1].numpy(), data[3].reshape(3, 32, 32))
    assert batch["label"].tolist()[1] == labels[3]
    assert train.keys([2 * N + 3]) == ["data_batch_3/" + ("picture_3.png" if kind == "py" else "3")]
    np.testing.assert_array_equal(test.batch([5])["x"][0, 2, 31].numpy(), pictures("test_batch")[0][5][-32:])


def test_the_folder_above_will_do(tmp_path: Path):
    place(tmp_path, "py", packed=False)
    assert len(cifar.load(config(tmp_path), "test")) == N


def test_missing_files_say_what_to_place_where(tmp_path: Path):
    with pytest.raises(ValueError, match=r"cifar10 is not at .*nowhere: take .*cifar-10-python.tar.gz.* --data.path"):
        cifar.load(config(tmp_path / "nowhere"), "train")
    (place(tmp_path, "py", packed=False) / "data_batch_4").unlink()
    with pytest.raises(ValueError, match="holds no data_batch_4 of CIFAR-10"):
        cifar.load(config(tmp_path), "train")


def test_fields_that_do_not_fit(tmp_path: Path):
    path = place(tmp_path, "bin", packed=False)
    with pytest.raises(ValueError, match="no validation split"):
        cifar.load(config(path), "validation")
    with pytest.raises(ValueError, match="32 x 32 in RGB"):
        cifar.load(config(path, size=64), "train")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("test_batch", b"\x80", "test_batch is no pickle of arrays"),
        ("test_batch", pickle.dumps([1, 2]), "test_batch is no CIFAR-10 batch"),
        ("test_batch", pickle.dumps({"data": np.zeros((N - 1, 3072), np.uint8), "labels": [0] * N}), "with 20 labels"),
        ("test_batch", pickle.dumps({"data": np.zeros((N, 3072), np.uint8), "labels": [10] * N}), "outside 0 to 9"),
        ("test_batch.bin", binary_batch("test_batch")[:-1], "no whole number of records"),
        ("test_batch.bin", binary_batch("test_batch")[3073:], r"\[19, 3072\] with 19 labels"),
    ],
)
def test_damaged_files_are_one_sentence(tmp_path: Path, name: str, content: bytes, said: str):
    path = place(tmp_path, "bin" if name.endswith("bin") else "py", packed=False)
    (path / name).write_bytes(content)
    with pytest.raises(ValueError, match=said):
        cifar.load(config(path), "test")


def test_a_truncated_archive_is_one_sentence(tmp_path: Path):
    path = place(tmp_path, "bin", packed=True)
    path.write_bytes(path.read_bytes()[:200_000])
    with pytest.raises(ValueError, match="damaged"):
        cifar.load(config(path), "train")
