"""Tar and Parquet shards made here, read whole, at random, and damaged."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from generative.data import shard_files, shards, splits
from generative.data.config import DataConfig


def picture(seed: int, side: int = 8, channels: int = 3) -> np.ndarray:
    """uint8 [side, side, channels]."""
    return np.random.default_rng(seed).integers(0, 256, (side, side, channels), dtype=np.uint8)


def encoded(pixels: np.ndarray, kind: str = "png") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels.squeeze()).save(buffer, kind, **({"lossless": True} if kind == "webp" else {}))
    return buffer.getvalue()


def put_tar(path: Path, members: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def samples(first: int, number: int, labelled: bool = True) -> dict[str, bytes]:
    """Members of a webdataset tar: pictures `first`, `first` + 1, ... with label seed % 3, and captions to ignore."""
    members = {}
    for seed in range(first, first + number):
        kind = ("png", "webp")[seed % 2]
        if labelled:
            members[f"./part/{seed:04d}.cls"] = b"%d\n" % (seed % 3)
        members[f"./part/{seed:04d}.{kind}"] = encoded(picture(seed), kind)
        members[f"./part/{seed:04d}.seg.txt"] = b"a caption"
    return members


def put_parquet(
    path: Path, seeds: list[int], *, nested: bool = True, names: list[str] | None = None, **options
) -> Path:
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    contents = [encoded(picture(seed)) for seed in seeds]
    column = [{"bytes": content, "path": "x.png"} for content in contents] if nested else contents
    table = pa.table({"image": column, "label": [seed % 3 for seed in seeds], "text": ["t"] * len(seeds)})
    if names:
        features = {"label": {"names": names, "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=3, **options)
    return path


def load(path: Path | str, split: str = "train", **fields):
    base = Path(str(path).split("{")[0])
    cache = next(folder for folder in (base, *base.parents) if folder.name.startswith("test_")) / "cache"
    return shards.load(DataConfig(name="shards", path=str(path), **fields), split, cache)


def assert_holds(images, seeds: list[int]) -> None:
    """The set holds just the pictures of these seeds, in this order, read in another."""
    assert len(images) == len(seeds)
    order = np.random.default_rng(0).permutation(len(seeds))
    batch = images.batch(order)
    for i, at in enumerate(order):
        np.testing.assert_array_equal(batch["x"][i].permute(1, 2, 0).numpy(), picture(seeds[at]))
        assert batch["label"][i] == seeds[at] % 3


def test_tars_with_official_names(tmp_path: Path):
    for i in range(3):
        put_tar(tmp_path / "s" / f"train-{i:03d}.tar", samples(10 * i, 10))
    put_tar(tmp_path / "s" / "test-000.tar", samples(100, 4))
    train, test = load(tmp_path / "s"), load(tmp_path / "s", "test")
    assert_holds(train, list(range(30)))
    assert_holds(test, list(range(100, 104)))
    assert train.shape == (3, 8, 8)
    assert train.classes == test.classes == ("0", "1", "2")
    assert train.keys([10]) == ["train-001.tar#part/0010.png"]
    with pytest.raises(ValueError, match=r"none of the 4 shards in .* is for validation"):
        load(tmp_path / "s", "validation")


def test_the_index_is_built_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = put_tar(tmp_path / "train-0.tar", samples(0, 5))
    put_tar(tmp_path / "val-0.tar", samples(5, 2))
    load(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(shard_files, "scan", lambda path: pytest.fail("scanned again"))
        assert_holds(load(tmp_path, "validation"), [5, 6])
    put_tar(path, samples(50, 6))  # another content: another index
    assert_holds(load(tmp_path), list(range(50, 56)))


@pytest.mark.parametrize("nested", [True, False])
def test_parquet(tmp_path: Path, nested: bool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shard_files, "CACHED_BYTES", 1000)  # a few row groups of three pictures
    put_parquet(
        tmp_path / "data" / "train-00000-of-00002.parquet", list(range(8)), nested=nested, names=["a", "b", "c"]
    )
    put_parquet(tmp_path / "data" / "train-00001-of-00002.parquet", list(range(8, 13)), nested=nested)
    put_parquet(tmp_path / "data" / "validation-00000-of-00001.parquet", [20, 21], nested=nested)
    train = load(tmp_path)
    assert_holds(train, list(range(13)))
    assert_holds(load(tmp_path, "validation"), [20, 21])
    assert train.classes == ("a", "b", "c")
    assert train.keys([9]) == ["data/train-00001-of-00002.parquet#1"]


def test_row_groups_are_read_once_per_batch_and_few_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    put_parquet(tmp_path / "a.parquet", list(range(12)))
    reader = shard_files.Reader([tmp_path / "a.parquet"])
    reads = []
    original = shard_files._row_group
    monkeypatch.setattr(
        shard_files, "_row_group", lambda parquet, group: reads.append(group) or original(parquet, group)
    )
    monkeypatch.setattr(shard_files, "CACHED_BYTES", 3 * len(encoded(picture(0))) * 2 + 50)  # two row groups
    for place in [(0, 0), (0, 2), (1, 1), (0, 1), (2, 0), (0, 0), (1, 0)]:
        assert reader.read(0, place) == encoded(picture(3 * place[0] + place[1]))
    assert reads == [0, 1, 2, 1]
    assert len(reader._groups) == 2


def test_folders_of_splits_and_unlabelled(tmp_path: Path):
    for split, first in (("train", 0), ("val", 10), ("test", 20)):
        put_tar(tmp_path / split / "0000.tar", samples(first, 3, labelled=False))
    images = load(tmp_path, "validation")
    assert images.keys([0]) == ["val/0000.tar#part/0010.png"]
    assert images.classes == ()
    assert images.batch([2])["label"].tolist() == [0]


def test_other_names_are_split_by_the_hash_of_the_shard(tmp_path: Path):
    for i in range(20):
        put_tar(tmp_path / f"train-{i}.tar", samples(i, 2))  # one official split alone is none
    got = {split: load(tmp_path, split, holdout=0.2) for split in splits.SPLITS}
    for split, images in got.items():
        holding = {key.split("#")[0] for key in images.keys(range(len(images)))}
        assert holding == {f"train-{i}.tar" for i in range(20) if splits.split_of(f"train-{i}.tar", 0.2) == split}
        assert len(images) == 2 * len(holding) > 0
    with pytest.raises(ValueError, match=r"named by split, but other.tar is neither"):
        shards.split_names(["train-0.tar", "test-0.tar", "other.tar"], 0.1)


def test_braces_sizes_and_channels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for i in range(8, 12):
        put_tar(tmp_path / f"train-{i:04d}.tar", {"a.png": encoded(picture(i, 16, 1))})
    put_tar(tmp_path / "test-0.tar", {"a.png": encoded(picture(99, 12))})
    images = load(f"{tmp_path}/{{train-{{0008..0010}},test-0}}.tar", size=8, channels=1)
    assert [key.split("#")[0] for key in images.keys(range(3))] == [f"train-{i:04d}.tar" for i in range(8, 11)]
    assert images.shape == (1, 8, 8)
    mean = picture(9, 16, 1)[..., 0].reshape(8, 2, 8, 2).mean((1, 3))
    assert np.abs(images.batch([1])["x"][0, 0].numpy() - mean).max() <= 1
    assert shards.expand("a{x,y}-{09..11}") == ["ax-09", "ax-10", "ax-11", "ay-09", "ay-10", "ay-11"]
    with pytest.raises(ValueError, match=r"there is no shard .*train-0012.tar nor 1 others"):
        load(f"{tmp_path}/train-{{0011..0013}}.tar")
    with pytest.raises(ValueError, match="count upwards"):
        shards.expand("a{3..1}")
    monkeypatch.setattr(shards, "_MAX_SHARDS", 100)
    with pytest.raises(ValueError, match="more than 100 shards"):
        shards.expand("{1..20}{1..20}")


def test_a_member_that_is_no_picture_is_named_or_fatal(tmp_path: Path):
    members = samples(0, 4)
    members["./part/0002.png"] = b"no picture"
    members["./part/0003.webp"] = members["./part/0003.webp"][:60]
    put_tar(tmp_path / "train-0.tar", members)
    put_tar(tmp_path / "test-0.tar", samples(10, 2))
    for _ in range(2):  # the second time from the index
        images = load(tmp_path)
        assert images.skipped == ("train-0.tar#part/0002.png", "train-0.tar#part/0003.webp")
        assert_holds(images, [0, 1])
    assert load(tmp_path, "test").skipped == ()
    with pytest.raises(ValueError, match=r"^train-0.tar#part/0002.png cannot be read: no picture"):
        load(tmp_path, on_corrupt="fail")


@pytest.mark.parametrize("cut", ["within a picture", "within a header", "between members", "garbage header"])
def test_a_truncated_tar_keeps_what_lies_before_or_is_fatal(tmp_path: Path, cut: str):
    path = put_tar(tmp_path / "train-0.tar", samples(0, 6))
    put_tar(tmp_path / "test-0.tar", samples(10, 2))
    with tarfile.open(path) as tar:
        member = tar.getmember("./part/0004.png")
    end = {"within a picture": member.offset_data + 20, "within a header": member.offset + 100}
    content = path.read_bytes()
    kept = content[: end.get(cut, member.offset)]
    path.write_bytes(kept + (b"garbage" * 1000 if cut == "garbage header" else b""))
    images = load(tmp_path)
    assert_holds(images, [0, 1, 2, 3])
    assert images.skipped == ("train-0.tar",)
    with pytest.raises(
        ValueError, match=r"^train-0.tar cannot be read: (unexpected end of data|a header is damaged|trunc)"
    ):
        load(tmp_path, on_corrupt="fail")


def test_a_truncated_parquet_file_is_named_or_fatal(tmp_path: Path):
    path = put_parquet(tmp_path / "train-0.parquet", list(range(6)))
    put_parquet(tmp_path / "train-1.parquet", [7, 8])
    put_parquet(tmp_path / "test-0.parquet", [9])
    path.write_bytes(path.read_bytes()[:-30])
    images = load(tmp_path)
    assert images.skipped == ("train-0.parquet",)
    assert_holds(images, [7, 8])
    with pytest.raises(ValueError, match=r"^train-0.parquet cannot be read: Parquet magic bytes not found in footer"):
        load(tmp_path, on_corrupt="fail")


def test_a_damaged_page_of_a_parquet_file_is_named(tmp_path: Path):
    path = put_parquet(tmp_path / "train-0.parquet", list(range(6)), compression="none", use_dictionary=False)
    put_parquet(tmp_path / "test-0.parquet", [9])
    content = bytearray(path.read_bytes())
    content[4:40] = b"\xff" * 36  # the header of the first page
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"^train-0.parquet cannot be read: "):
        load(tmp_path, on_corrupt="fail")


def test_shards_that_change_under_a_set(tmp_path: Path):
    tar = put_tar(tmp_path / "t" / "train-0.tar", samples(0, 3))
    put_tar(tmp_path / "t" / "test-0.tar", samples(3, 1))
    images = load(tmp_path / "t")
    tar.write_bytes(tar.read_bytes()[:3000])
    with pytest.raises(ValueError, match=r"train-0.tar has changed since it was indexed: unexpected end"):
        images.batch([2])
    tar.unlink()
    with pytest.raises(ValueError, match=r"train-0.tar has changed since it was indexed: .*No such file"):
        images.batch([2])


def test_other_content_is_one_sentence(tmp_path: Path):
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    with pytest.raises(ValueError, match=r"there is no shard \(.tar, .parquet\) in"):
        load(tmp_path)
    (tmp_path / "a.tar.gz").write_bytes(b"")
    with pytest.raises(ValueError, match=r"shards end in .tar \(not compressed\) or .parquet, got .*a.tar.gz"):
        load(tmp_path / "a.tar.gz")
    put_tar(tmp_path / "text" / "a.tar", {"a.txt": b"text"})
    with pytest.raises(ValueError, match=r"the 1 shards hold no picture that can be read$"):
        load(tmp_path / "text")
    put_tar(tmp_path / "one" / "a.tar", {"a.png": b"x"})
    with pytest.raises(ValueError, match=r"no picture that can be read; the first: a.tar#a.png cannot be read"):
        load(tmp_path / "one")
    pq.write_table(pa.table({"image": ["x"], "n": [1]}), tmp_path / "c.parquet")
    with pytest.raises(
        ValueError, match=r"c.parquet needs a column image of bytes.* it has image \(string\), n \(int64\)"
    ):
        load(tmp_path / "c.parquet")


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"a.png": 8, "a.cls": b"cat"}, r"t.tar: a.cls must be the number of a class, 0 to 99999, got 'cat'"),
        ({"a.png": 8, "a.cls": b"99999999"}, "must be the number of a class"),
        ({"a.png": 8, "a.cls": b"1", "b.png": 8}, r"t.tar#b.png has no label, others have"),
        ({"a.png": 8, "b.png": 9}, r"mixed: t.tar#a.png has .* 3 x 8 x 8, t.tar#b.png has 3 x 9 x 9; .*--data.size"),
    ],
)
def test_labels_and_sizes_that_do_not_fit(tmp_path: Path, members: dict, said: str):
    made = {name: value if isinstance(value, bytes) else encoded(picture(0, value)) for name, value in members.items()}
    put_tar(tmp_path / "t.tar", made)
    with pytest.raises(ValueError, match=said):
        load(tmp_path / "t.tar")
