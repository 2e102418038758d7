"""Codecs' bits against files written and read by hand, and bad input."""

import importlib.util
import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from generative.metrics import lossless
from generative.metrics.lossless import codec_bits, measure


def smooth(num: int, channels: int, height: int, width: int, num_levels: int, seed: int = 0) -> Tensor:
    """Pictures of slow waves and a little noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / 8.0
    phase = rng.uniform(0, 6, (num, channels, 2, 1, 1))
    waves = 0.5 + 0.2 * np.sin(y + phase[:, :, 0]) + 0.2 * np.sin(x + phase[:, :, 1])
    waves += rng.normal(0, 0.01, waves.shape)
    return torch.tensor(np.clip(waves * num_levels, 0, num_levels - 1).astype(np.uint8))


@pytest.mark.parametrize(("channels", "num_levels"), [(1, 256), (3, 256), (1, 17), (3, 2)])
def test_every_codec_is_lossless_and_counts_bits(channels: int, num_levels: int):
    x = smooth(7, channels, 16, 12, num_levels)
    bits = codec_bits(x, num_levels)
    assert set(bits) == {name + suffix for name in lossless.available() for suffix in ("", "-mosaic")}
    for name, values in bits.items():
        assert values.shape == (7,)
        assert values.dtype == np.float64
        assert (values % 8 == 0).all() or name.endswith("-mosaic")
        assert (values > 8).all()


def test_png_is_no_larger_than_a_file_written_by_hand():
    x = smooth(5, 3, 24, 24, 256)
    bits = codec_bits(x, 256, codecs=["png"])["png"]
    for picture, size in zip(x, bits, strict=True):
        stream = io.BytesIO()
        Image.fromarray(picture.permute(1, 2, 0).numpy()).save(stream, "PNG", optimize=True)
        assert size <= 8 * stream.tell()
        assert size >= 8 * stream.tell() * 0.8


def test_webp_is_the_size_of_its_file():
    x = smooth(2, 3, 16, 16, 256)
    for picture, size in zip(x, codec_bits(x, 256, codecs=["webp"])["webp"], strict=True):
        stream = io.BytesIO()
        image = Image.fromarray(picture.permute(1, 2, 0).numpy())
        image.save(stream, "WEBP", lossless=True, method=6, quality=100, exact=True)
        assert size == 8 * stream.tell()


def test_a_mosaic_pays_for_one_header_and_for_one_of_equal_pictures():
    x = smooth(1, 1, 8, 8, 256).expand(100, 1, 8, 8)
    bits = codec_bits(x, 256)
    for name in lossless.available():
        assert np.ptp(bits[f"{name}-mosaic"]) == 0
        assert bits[f"{name}-mosaic"].sum() < 0.75 * bits[name].sum()
    assert bits["webp-mosaic"].sum() < 0.1 * bits["webp"].sum()


@pytest.mark.parametrize(
    ("num", "tiles_of_each"), [(1, [1]), (2, [2]), (5, [6]), (6, [6]), (12, [6, 6]), (13, [6, 6, 1])]
)
def test_mosaics_hold_every_picture_once(num: int, tiles_of_each: list[int], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(lossless, "MOSAIC_SIDE", 20)  # at most 2 x 3 tiles of 8 x 6 pixels
    x = torch.randint(1, 256, (num, 3, 8, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(num))
    pictures, held, found = x.permute(0, 2, 3, 1).numpy(), 0, []
    for mosaic, count in lossless._mosaics(pictures):
        height, width = mosaic.shape[:2]
        assert height <= 24
        assert width <= 24
        tiles = [mosaic[i : i + 8, j : j + 6] for i in range(0, height, 8) for j in range(0, width, 6)]
        for k in range(count):
            np.testing.assert_array_equal(tiles[k], pictures[held + k])
        assert not np.any(tiles[count:])
        held += count
        found.append(len(tiles))
    assert held == num
    assert found == tiles_of_each


def test_the_mapping_of_few_levels_is_the_best_of_all_and_named():
    x = smooth(6, 1, 16, 16, 17)
    chosen = measure(x, 17)
    raw, spread = measure(x, 256), measure((x * 15), 256)
    for name, coded in chosen.items():
        assert coded.bits.sum() <= min(raw[name].bits.sum(), spread[name].bits.sum())
        assert coded.setting.startswith(("levels as they are", "levels spread", "levels in green"))


@pytest.mark.parametrize("num_levels", [2, 17, 200, 255, 256])
def test_mappings_give_every_level_a_sample_of_its_own(num_levels: int):
    levels = np.arange(num_levels, dtype=np.uint8).reshape(-1, 1, 1, 1)
    for label, mapped in lossless._mappings(levels, num_levels, green=True):
        assert len(np.unique(mapped.reshape(num_levels, -1), axis=0)) == num_levels, label


def test_a_codec_that_changes_a_picture_is_found_out(monkeypatch: pytest.MonkeyPatch):
    def lossy(picture: np.ndarray):
        yield lossless._saved(lossless._image(picture), format="JPEG", quality=50)

    monkeypatch.setitem(lossless._CODECS, "png", (lossy, ""))
    with pytest.raises(RuntimeError, match="gave back another picture"):
        codec_bits(smooth(1, 1, 16, 16, 256), 256, codecs=["png"])


def test_jpeg_xl_is_left_out_where_it_is_not_installed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert lossless.available() == ["png", "webp", "jpeg2000"]
    with pytest.raises(ValueError, match="'jxl' is not at hand; there are png, webp, jpeg2000"):
        codec_bits(smooth(1, 1, 8, 8, 256), 256, codecs=["jxl"])


@pytest.mark.parametrize(
    ("x", "num_levels", "sentence"),
    [
        (torch.zeros(1, 1, 4, 4), 256, "take uint8"),
        (torch.zeros(1, 2, 4, 4, dtype=torch.uint8), 256, "take uint8"),
        (torch.zeros(0, 1, 4, 4, dtype=torch.uint8), 256, "take uint8"),
        (torch.full((1, 1, 4, 4), 17, dtype=torch.uint8), 17, r"below num_levels \(17\), got 17"),
        (torch.zeros(1, 1, 4, 4, dtype=torch.uint8), 300, "2 to 256, got 300"),
        (torch.zeros(1, 1, 1, 20000, dtype=torch.uint8), 256, "at most 16383 pixels"),
    ],
)
def test_bad_input(x: Tensor, num_levels: int, sentence: str):
    with pytest.raises(ValueError, match=sentence):
        codec_bits(x, num_levels)
