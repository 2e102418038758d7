"""Turns the bytes of a picture into level indices, the same way for every set.

Rotated as EXIF says. Palettes and CMYK become RGB; transparency is composited on white; 16-bit grey is divided by 257
and rounded, of 16-bit colour the upper 8 bits count; one bit becomes 0 and 255. Of several frames the first counts.
Colour profiles are ignored.
"""

import io
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

MAX_PIXELS = 178_956_970
"""Larger pictures are refused before they are decoded (Pillow's own limit for decompression bombs)."""
MOST_LONG = 64
"""Of a picture that is longer than so many times its other side, only the middle is resized."""
EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
"""Files with other endings are no pictures."""
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
"""Pillow's names of what such files hold; others may start programs, as PostScript does."""


def decode(source: bytes | Path, channels: int | None = None) -> np.ndarray:
    """Pixels of a picture, uint8 [H, W, C]; C is 1 for grey and 3 for colour pictures unless `channels` says.

    Raises:
        ValueError: the file cannot be read as a picture; the message says why, without the file's name.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # oddities of the file (EXIF, bombs): what matters is checked here
            with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS) as opened:
                if opened.width * opened.height > MAX_PIXELS:
                    raise ValueError(f"{opened.width} x {opened.height} pixels are more than {MAX_PIXELS}")
                return _pixels(_upright(opened), channels)
    except UnidentifiedImageError as error:
        raise ValueError("no picture of a known format") from error
    except OSError as error:
        raise ValueError(error.strerror or str(error)) from error
    except Exception as error:  # a damaged file may raise anything from Pillow's plug-ins
        raise ValueError(str(error) or type(error).__name__) from error


def _upright(image: Image.Image) -> Image.Image:
    image.load()
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # a broken EXIF block is no reason to lose the picture
        return image


def _pixels(image: Image.Image, channels: int | None) -> np.ndarray:
    if image.mode.startswith("I"):  # 16-bit grey
        levels = np.clip(np.asarray(image).astype(np.int64), 0, 65535)
        image = Image.fromarray(((levels + 128) // 257).astype(np.uint8))
    elif image.mode == "F":
        raise ValueError("pixels are floating-point numbers of unknown range")
    elif "A" in image.mode or "a" in image.mode or "transparency" in image.info:
        grey = image.mode in ("LA", "La", "L")
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        white.alpha_composite(image)
        image = white.convert("L" if grey else "RGB")
    grey = image.mode in ("L", "1")
    mode = {None: "L" if grey else "RGB", 1: "L", 3: "RGB"}[channels]
    pixels = np.array(image.convert(mode))
    return pixels.reshape(*pixels.shape[:2], -1)


def shrink(pixels: np.ndarray, factor: int) -> np.ndarray:
    """Box filter: each output pixel is a rounded mean of factor x factor input pixels; the rest at the end is left out.

    Args: pixels: uint8 [H, W, C]. Returns: uint8 [H // factor, W // factor, C].
    """
    if factor == 1:
        return pixels
    height, width = pixels.shape[0] // factor, pixels.shape[1] // factor
    sums = np.zeros((height, width, pixels.shape[2]), np.uint32)
    for row in range(factor):  # a sum of strided views: exact, and no array of floats
        for column in range(factor):
            sums += pixels[row : height * factor : factor, column : width * factor : factor]
    return ((2 * sums + factor**2) // (2 * factor**2)).astype(np.uint8)


def fit(pixels: np.ndarray, size: int, enlarge: bool = True) -> np.ndarray:
    """Resizes the shorter side to `size` and cuts out the centre.

    Reduces by area (each output pixel is the mean of what it covers), enlarges by bicubic interpolation.

    Args: pixels: uint8 [H, W, C]. Returns: uint8 [size, size, C].
    Raises: ValueError for a picture that would have to be enlarged, unless `enlarge`.
    """
    height, width, channels = pixels.shape
    if min(height, width) < size and not enlarge:
        raise ValueError(f"{width} x {height} pixels are smaller than {size}")
    longest = MOST_LONG * min(height, width)
    if max(height, width) > longest:  # a line of pixels, of which the centre is all that will be seen
        top, left = max(0, height - longest) // 2, max(0, width - longest) // 2
        pixels = pixels[top : top + longest, left : left + longest]
        height, width, channels = pixels.shape
    if min(height, width) != size:
        scale = size / min(height, width)
        target = max(size, round(width * scale)), max(size, round(height * scale))
        image = Image.fromarray(pixels[:, :, 0] if channels == 1 else pixels)
        filter_ = Image.Resampling.BOX if scale < 1 else Image.Resampling.BICUBIC
        pixels = np.asarray(image.resize(target, filter_)).reshape(target[1], target[0], channels)
    top, left = (pixels.shape[0] - size) // 2, (pixels.shape[1] - size) // 2
    return pixels[top : top + size, left : left + size]


def similarity_hash(pixels: np.ndarray) -> int:
    """256 bits that survive rescaling and recompression: signs of the differences between neighbours of a 17 x 16 grey
    thumbnail (a difference hash). Count differing bits to compare two pictures."""
    grey = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).convert("L")
    thumbnail = np.asarray(grey.resize((17, 16), Image.Resampling.BOX)).astype(np.int16)
    return int.from_bytes(np.packbits(thumbnail[:, 1:] > thumbnail[:, :-1]).tobytes())
