"""Bits that lossless picture codecs need: PNG, WebP, JPEG 2000 and, where pillow-jxl-plugin is installed, JPEG XL.

Everything is chosen in the codec's favour: the smallest of several encoder settings for each picture (files describe
themselves, so a decoder need not be told) and, where pictures have fewer than 256 levels, the mapping of levels to
samples that gives the smallest sum over the set. Every file is decoded again and compared.

A file of one small picture is mostly header. The mosaic tiles all pictures into one picture (or a few, where that would
be large), so that headers are paid once and codecs may use what pictures have in common.
"""

import importlib.util
import io
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

MOSAIC_SIDE = 4096
"""Longest side of a mosaic in pixels; more pictures are tiled into several mosaics."""

Encode = Callable[[np.ndarray], Iterator[bytes]]


@dataclass(frozen=True, kw_only=True)
class Coded:
    """What one codec made of a set of pictures."""

    bits: np.ndarray
    """float64 [N]; of a mosaic, its bits shared equally among its pictures."""
    setting: str
    """The mapping of levels to samples that served the codec best, and what was tried."""


def codec_bits(x: Tensor, num_levels: int, *, codecs: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """`measure` without the settings: name -> float64 [N] bits."""
    return {name: coded.bits for name, coded in measure(x, num_levels, codecs=codecs).items()}


def measure(x: Tensor, num_levels: int, *, codecs: Sequence[str] | None = None) -> dict[str, Coded]:
    """The bits of each picture's file and, under names that end in "-mosaic", of its share of a mosaic.

    Args: x: uint8 [N, C, H, W], levels 0 to num_levels - 1, C = 1 or 3; codecs: of `available()`, all if omitted.
    Raises: ValueError if the pictures do not fit or a codec is not at hand; RuntimeError if a file is not lossless.
    """
    _check(x, num_levels)
    known = available()
    if odd := set(codecs or ()) - set(known):
        raise ValueError(f"codec {sorted(odd)[0]!r} is not at hand; there are {', '.join(known)}")
    pictures = x.cpu().numpy().transpose(0, 2, 3, 1)
    mosaics = list(_mosaics(pictures))
    result = {}
    for name in codecs or known:
        sizes, setting = _best_mapping(name, pictures, num_levels)
        result[name] = Coded(bits=sizes, setting=setting)
        parts = [_best_mapping(name, mosaic[None], num_levels) for mosaic, _ in mosaics]
        shares = [np.full(count, size[0] / count) for (_, count), (size, _) in zip(mosaics, parts, strict=True)]
        result[f"{name}-mosaic"] = Coded(bits=np.concatenate(shares), setting=parts[0][1])
    return result


def available() -> list[str]:
    """Names of the codecs at hand."""
    return [name for name in _CODECS if name != "jxl" or importlib.util.find_spec("pillow_jxl")]


def _check(x: Tensor, num_levels: int) -> None:
    if str(x.dtype) != "torch.uint8" or x.ndim != 4 or x.shape[1] not in (1, 3) or not x.numel():
        raise ValueError(f"codecs take uint8 [N, 1 or 3, H, W] pictures, got {x.dtype} {list(x.shape)}")
    if max(x.shape[2:]) > 16383:  # WebP's limit
        raise ValueError(f"codecs take sides of at most 16383 pixels, got {list(x.shape[2:])}")
    if not 2 <= num_levels <= 256:
        raise ValueError(f"num_levels must be 2 to 256, got {num_levels}")
    if int(x.max()) >= num_levels:
        raise ValueError(f"levels must be below num_levels ({num_levels}), got {int(x.max())}")


def _best_mapping(name: str, pictures: np.ndarray, num_levels: int) -> tuple[np.ndarray, str]:
    """The bits of each picture under the mapping with the smallest sum, and that mapping's name."""
    encode, tried = _CODECS[name]
    best = None
    for label, mapped in _mappings(pictures, num_levels, green=name == "webp"):
        sizes = np.array([8.0 * min(map(len, _verified(encode, picture))) for picture in mapped])
        if best is None or sizes.sum() < best[0].sum():
            best = sizes, f"{label}; {tried}"
    assert best is not None
    return best


def _mappings(pictures: np.ndarray, num_levels: int, green: bool) -> Iterator[tuple[str, np.ndarray]]:
    """One-to-one maps from levels to 8-bit samples."""
    yield "levels as they are", pictures
    if num_levels < 256:
        spread = np.round(np.arange(num_levels) * 255 / (num_levels - 1)).astype(np.uint8)
        yield "levels spread over 0 to 255", spread[pictures]
    if green and pictures.shape[-1] == 1:  # WebP has no grey pictures; unequal channels keep it from a palette
        zero = np.zeros_like(pictures)
        yield "levels in green, red and blue 0", np.concatenate([zero, pictures, zero], -1)


def _verified(encode: Encode, picture: np.ndarray) -> Iterator[bytes]:
    for data in encode(picture):
        decoded = _decode(data)
        decoded = decoded[..., None] if decoded.ndim == 2 else decoded
        if decoded.shape[-1] == 3 and picture.shape[-1] == 1 and (decoded == decoded[..., :1]).all():
            decoded = decoded[..., :1]  # grey, stored as RGB
        if not np.array_equal(decoded, picture):
            raise RuntimeError("a codec that should be lossless gave back another picture")
        yield data


def _mosaics(pictures: np.ndarray) -> Iterator[tuple[np.ndarray, int]]:
    """Pictures [N, H, W, C] as near-square grids and how many pictures each holds; empty tiles are level 0."""
    height, width, channels = pictures.shape[1:]
    fit = max(1, MOSAIC_SIDE // height) * max(1, MOSAIC_SIDE // width)
    for start in range(0, len(pictures), fit):
        part = pictures[start : start + fit]
        columns = min(len(part), max(1, round(math.sqrt(len(part) * height / width))))
        rows = -(-len(part) // columns)
        tiles = np.zeros((rows * columns, height, width, channels), np.uint8)
        tiles[: len(part)] = part
        grid = tiles.reshape(rows, columns, height, width, channels).transpose(0, 2, 1, 3, 4)
        yield grid.reshape(rows * height, columns * width, channels), len(part)


def _image(picture: np.ndarray) -> Image.Image:
    return Image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture)


def _saved(image: Image.Image, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, **options)
    return stream.getvalue()


def _png(picture: np.ndarray) -> Iterator[bytes]:
    """Truecolour or grey with adaptive filters, and grey with a palette, under each of zlib's strategies."""
    images = [_image(picture)]
    if picture.shape[-1] == 1:  # in a palette the encoder uses no filters and packs few levels into fewer bits
        palette = Image.fromarray(picture[..., 0]).convert("P")
        palette.putpalette(bytes(level for level in range(int(picture.max()) + 1) for _ in range(3)))
        images.append(palette)
    for image in images:
        for strategy in range(4):  # default, filtered, Huffman only, run length
            yield _saved(image, format="PNG", optimize=True, compress_type=strategy)


def _webp(picture: np.ndarray) -> Iterator[bytes]:
    yield _saved(_image(picture).convert("RGB"), format="WEBP", lossless=True, method=6, quality=100, exact=True)


def _jpeg2000(picture: np.ndarray) -> Iterator[bytes]:
    """The bare codestream, with and without a wavelet transform."""
    for resolutions in {1, min(6, 1 + int(math.log2(min(picture.shape[:2]))))}:
        yield _saved(
            _image(picture), format="JPEG2000", irreversible=False, no_jp2=True, num_resolutions=resolutions, mct=1
        )


def _jxl(picture: np.ndarray) -> Iterator[bytes]:
    import pillow_jxl  # noqa: F401  it adds the format to Pillow

    for effort in (7, 9, 10)[: 3 if picture.size <= 2**23 else 2]:  # 10 takes 15 s for a million RGB pixels
        yield _saved(_image(picture), format="JXL", lossless=True, effort=effort, use_container=False, num_threads=1)


def _decode(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.array(image)  # a palette's indices are the samples


_CODECS: dict[str, tuple[Encode, str]] = {
    "png": (_png, "best of palette or not and zlib's strategies, optimize"),
    "webp": (_webp, "lossless, method 6, quality 100, exact"),
    "jpeg2000": (_jpeg2000, "reversible, bare codestream, best of wavelet transform or not"),
    "jxl": (_jxl, "lossless, bare codestream, best of efforts 7, 9 and (up to 8 million samples) 10"),
}
