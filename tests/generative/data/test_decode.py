import io
import random
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from generative.data import decode as decoding
from generative.data.decode import decode, fit, shrink, similarity_hash


def saved(image: Image.Image, kind: str = "png", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.fixture
def colour(noise):
    return noise.integers(0, 256, (5, 7, 3), dtype=np.uint8)


def test_grey_and_colour(colour):
    assert np.array_equal(decode(saved(Image.fromarray(colour))), colour)
    grey = Image.fromarray(colour[:, :, 0])
    assert np.array_equal(decode(saved(grey)), colour[:, :, :1])
    assert np.array_equal(decode(saved(grey), 3), colour[:, :, [0, 0, 0]])
    weights = np.array([0.299, 0.587, 0.114])
    assert np.abs(decode(saved(Image.fromarray(colour)), 1)[:, :, 0] - colour @ weights).max() < 1


def test_sixteen_bits():
    levels = np.array([[0, 128, 129, 257, 65535 - 129, 65535]], np.uint16)
    assert decode(saved(Image.fromarray(levels))).ravel().tolist() == [0, 0, 1, 1, 254, 255]


def test_palette(colour):
    palette = Image.fromarray(colour).quantize(4)
    assert np.array_equal(decode(saved(palette)), np.asarray(palette.convert("RGB")))


def test_transparency_on_white():
    rgba = np.array([[[10, 20, 30, 0], [10, 20, 30, 255], [100, 100, 100, 128]]], np.uint8)
    pixels = decode(saved(Image.fromarray(rgba)))[0]
    assert pixels[:2].tolist() == [[255, 255, 255], [10, 20, 30]]
    assert np.abs(pixels[2].astype(int) - round(255 + (100 - 255) * 128 / 255)).max() <= 1
    grey = Image.fromarray(rgba[:, :, [0, 3]], "LA")
    assert decode(saved(grey)).shape == (1, 3, 1)
    assert decode(saved(grey)).ravel().tolist()[:2] == [255, 10]
    clear = Image.new("P", (2, 1), 0)
    clear.putpalette([1, 2, 3, 9, 9, 9])
    assert decode(saved(clear, transparency=0)).tolist() == [[[255] * 3] * 2]


def test_cmyk_one_bit_and_several_frames():
    cmyk = saved(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "jpeg", quality=100)
    assert np.abs(decode(cmyk).astype(int) - [255, 0, 0]).max() < 8
    bits = Image.fromarray(np.array([[True, False]]))
    assert decode(saved(bits)).ravel().tolist() == [255, 0]
    frames = [Image.new("RGB", (2, 2), (value, 0, 0)) for value in (10, 200)]
    animated = saved(frames[0], "webp", save_all=True, append_images=frames[1:], lossless=True)
    assert decode(animated)[0, 0].tolist() == [10, 0, 0]


def test_turned_as_exif_says(colour):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned by 90 degrees
    turned = decode(saved(Image.fromarray(colour), exif=exif))
    assert np.array_equal(turned, np.rot90(colour, -1))


def test_floating_point_pixels_are_refused():
    with pytest.raises(ValueError, match="floating-point"):
        decode(saved(Image.fromarray(np.zeros((2, 2), np.float32)), "tiff"))


def test_a_bomb_is_refused_before_it_is_unpacked():
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0))
    with pytest.raises(ValueError, match="pixels"):
        decode(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b""))


def test_the_limit_on_pixels(monkeypatch, colour):
    monkeypatch.setattr(decoding, "MAX_PIXELS", 34)
    with pytest.raises(ValueError, match="7 x 5 pixels are more than 34"):
        decode(saved(Image.fromarray(colour)))


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "gif", "tiff", "bmp"])
def test_damage_is_a_value_error(kind, noise):
    """Cut short and with flipped bytes: pixels, or a ValueError of one line."""
    content = saved(Image.fromarray(noise.integers(0, 256, (16, 16, 3), dtype=np.uint8)), kind)
    draw, refused = random.Random(0), 0
    for _ in range(60):
        damaged = bytearray(content[: draw.randrange(len(content))] if draw.random() < 0.5 else content)
        for _ in range(draw.randrange(5)):
            if damaged:
                damaged[draw.randrange(len(damaged))] = draw.randrange(256)
        try:
            decode(bytes(damaged))
        except ValueError:
            refused += 1
    assert refused > 10


def test_formats_that_are_programs_are_not_read(colour):
    with pytest.raises(ValueError, match="no picture of a known format"):
        decode(saved(Image.fromarray(colour), "eps"))


def test_no_picture(tmp_path):
    (tmp_path / "x.png").write_text("hello")
    with pytest.raises(ValueError, match=r"^no picture of a known format$"):
        decode(tmp_path / "x.png")
    with pytest.raises(ValueError, match=r"^No such file or directory$"):
        decode(tmp_path / "y.png")


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_shrink_is_the_rounded_mean(noise, factor):
    pixels = noise.integers(0, 256, (7, 11, 3), dtype=np.uint8)
    small = shrink(pixels, factor)
    assert small.shape == (7 // factor, 11 // factor, 3)
    for y in range(small.shape[0]):
        for x in range(small.shape[1]):
            block = pixels[y * factor : (y + 1) * factor, x * factor : (x + 1) * factor].reshape(-1, 3)
            mean = block.astype(int).sum(0) / factor**2
            assert small[y, x].tolist() == np.floor(mean + 0.5).tolist()


def test_fit_cuts_the_centre_and_averages_areas(noise):
    pixels = noise.integers(0, 256, (8, 13, 3), dtype=np.uint8)
    assert np.array_equal(fit(pixels, 8), pixels[:, 2:10])
    means = pixels[:, :12].reshape(4, 2, 6, 2, 3).astype(float).mean((1, 3))
    assert np.abs(fit(pixels[:, :12], 4).astype(float) - means[:, 1:5]).max() <= 1
    assert fit(pixels[:, :, :1], 20).shape == (20, 20, 1)
    assert fit(pixels[:1], 4).shape == (4, 4, 3)


def test_similarity_hash_survives_scale_and_compression(noise):
    rough = Image.fromarray(noise.integers(0, 256, (9, 12, 3), dtype=np.uint8))
    smooth = rough.resize((400, 300), Image.Resampling.BICUBIC)
    small = decode(saved(smooth.resize((160, 120)), "jpeg", quality=40))
    other = noise.integers(0, 256, (9, 12, 3), dtype=np.uint8)
    bits = similarity_hash(np.asarray(smooth))
    assert (bits ^ similarity_hash(small)).bit_count() < 20
    assert (bits ^ similarity_hash(other)).bit_count() > 80


def test_a_line_of_pixels_is_cut_before_it_is_enlarged():
    line = np.zeros((1, 60_000, 3), np.uint8)
    line[:, 29_990:30_010] = 200
    found = fit(line, 64)
    assert found.shape == (64, 64, 3)
    assert (found == 200).all()
