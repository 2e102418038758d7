import numpy as np
import pytest
import torch

from generative.data import ImageSet


@pytest.fixture
def pixels(noise):
    return noise.integers(0, 256, (10, 3, 4, 5), dtype=np.uint8)


def image_set(pixels, /, **changes):
    count = len(changes.get("rows", pixels))
    names = [f"p{i // 2}#{i % 2}" for i in range(count)]
    fields = {"name": "s", "split": "train", "pixels": pixels, "names": names}
    return ImageSet(**({**fields, "group_names": [name.split("#")[0] for name in names]} | changes))


def test_batches_keys_and_groups(pixels):
    images = image_set(pixels, labels=np.arange(10) % 3, classes=("a", "b", "c"))
    batch = images.batch(torch.tensor([9, 0, 9]))
    assert batch["x"].dtype == torch.uint8
    assert np.array_equal(batch["x"].numpy(), np.stack([pixels[9], pixels[0], pixels[9]]))
    assert batch["label"].tolist() == [0, 0, 0]
    assert batch["label"].dtype == torch.int64
    assert images.batch([1, 2])["label"].tolist() == [1, 2]
    assert images.keys([3, 4]) == ["p1#1", "p2#0"]
    assert images.groups() == ["p0", "p0", "p1", "p1", "p2", "p2", "p3", "p3", "p4", "p4"]
    assert (len(images), images.shape) == (10, (3, 4, 5))


def test_a_batch_is_a_copy_and_unlabelled_pictures_have_label_0(pixels):
    images = image_set(pixels)
    images.batch([0])["x"].zero_()
    assert images.batch([0])["x"].any()
    assert images.batch([5, 6])["label"].tolist() == [0, 0]


def test_rows_choose_from_a_file_that_is_mapped(tmp_path, pixels):
    np.save(tmp_path / "a.npy", pixels)
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    images = image_set(mapped, rows=np.array([7, 2, 5]))
    assert len(images) == 3
    batch = images.batch(range(3))["x"]
    assert np.array_equal(batch.numpy(), pixels[[7, 2, 5]])
    batch.zero_()  # writable, and the file is unharmed
    assert np.array_equal(np.load(tmp_path / "a.npy"), pixels)


@pytest.mark.parametrize("index", [-1, 10])
def test_indices_out_of_range(pixels, index):
    with pytest.raises(IndexError, match="has pictures 0 to 9"):
        image_set(pixels).batch([0, index])


def test_an_empty_batch(pixels):
    assert image_set(pixels).batch([])["x"].shape == (0, 3, 4, 5)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"pixels": np.zeros((10, 3, 4, 5))}, "pixels must be uint8"),
        ({"names": ["a"]}, "10 pictures have 1 names"),
        ({"labels": np.zeros(3, int)}, "10 pictures have 3 labels"),
    ],
)
def test_parts_that_do_not_fit(pixels, changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        image_set(pixels, **changes)
