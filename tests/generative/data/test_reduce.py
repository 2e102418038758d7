"""Sets at a smaller size: made once, as a model that enlarges them makes its inputs."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from generative import data
from generative.data.config import DataConfig
from generative.papers.sr3 import reduced


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(40):
        path = tmp_path / "pictures" / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(path)
    return DataConfig(name="folder", path=str(tmp_path / "pictures"), holdout=0.3)


def test_a_base_learns_what_the_next_stage_is_told(folder, tmp_path) -> None:
    large, small = (data.load(replace(folder, reduced=sides), "train", tmp_path) for sides in ((), (8, 4)))
    assert small.shape == (3, 4, 4)
    assert (small.names, small.classes, len(small)) == (large.names, large.classes, len(large))
    everything = torch.arange(len(large))
    x = large.batch(everything)
    expected = reduced(reduced(x["x"], 8, 256), 4, 256)
    assert small.batch(everything)["x"].equal(expected)
    assert small.batch(everything)["label"].equal(x["label"])
    again = data.load(replace(folder, reduced=(8, 4)), "train", tmp_path)
    assert again.pixels.filename == small.pixels.filename  # pyright: ignore[reportAttributeAccessIssue]
    test = data.load(replace(folder, reduced=(8, 4)), "test", tmp_path)
    assert test.batch([0])["x"].equal(
        reduced(reduced(data.load(folder, "test", tmp_path).batch([0])["x"], 8, 256), 4, 256)
    )


def test_sides_that_make_nothing_smaller(folder, tmp_path) -> None:
    with pytest.raises(ValueError, match="makes square pictures smaller: folder has 16 x 16, asked for 16"):
        data.load(replace(folder, reduced=(16,)), "train", tmp_path)
    for sides in ((0,), (4, 8), (8, 8)):
        with pytest.raises(ValueError, match="reduced must be falling positive sides"):
            replace(folder, reduced=sides)
