"""Pictures of people's files as a model takes them, with a word where one had to be converted; and back into files."""

import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from experiments import files
from experiments.flags import say
from generative.data.decode import EXTENSIONS, FORMATS, decode
from generative.model import PictureModel

_MODES = {
    "P": "a palette became {}", "CMYK": "CMYK became {}", "YCbCr": "YCbCr became {}", "LAB": "Lab became {}",
    "HSV": "HSV became {}", "1": "black and white became {}", "I": "32 bits were cut to 16 and became 8, {}",
    "I;16": "16 bits became 8, {}", "I;16B": "16 bits became 8, {}", "I;16L": "16 bits became 8, {}",
}  # fmt: skip
_CLEAR = ("RGBA", "LA", "PA", "La", "RGBa")
_CLEARED = "put on white, {} without transparency"
_MARK = "Software", "Tandem"
_ORIENTATION = 0x0112
"""Of EXIF; 1 is upright."""


def read(path: Path, model: PictureModel, most_pixels: int) -> Tensor:
    """Level indices uint8 [C, H, W] of the model's channels. Raises ValueError in one sentence for what is no picture,
    or has more pixels than `most_pixels`; the header decides that, before anything is decoded."""
    channels = model.shape[0]
    pixels, words = _decoded(path, channels, most_pixels)
    as_what = "RGB" if channels == 3 else "grey"
    for word in words:
        say(f"{path}: {word.format(as_what)}")
    levels = torch.from_numpy(pixels.transpose(2, 0, 1).copy())
    return levels if model.num_levels == 256 else (levels.float() * (model.num_levels - 1) / 255).round().byte()


def read_mask(path: Path, most_pixels: int) -> Tensor:
    """bool [H, W], True where the picture is white. Raises ValueError as `read`."""
    pixels, words = _decoded(path, 1, most_pixels)
    if _CLEARED in words:
        raise ValueError(
            f"the mask {path} has transparency, which may mean either: save it without, white where pixels are to be "
            "made"
        )
    for word in words:
        say(f"the mask {path}: {word.format('grey')}")
    lightest = int(pixels.max())
    if 0 < lightest < 128:
        raise ValueError(
            f"the mask {path} has no white pixel: its lightest is {lightest} of 255; white marks what is made"
        )
    return torch.from_numpy(pixels[..., 0] >= 128)


def _decoded(path: Path, channels: int, most_pixels: int) -> tuple[np.ndarray, list[str]]:
    """Pixels uint8 [H, W, C], and what had to be done to them."""
    if not path.is_file():
        raise ValueError(f"{path} is no regular file")
    words: list[str] = []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of bombs: the size is looked at here
            try:
                with Image.open(path, formats=FORMATS) as opened:
                    if opened.width * opened.height > most_pixels:
                        raise ValueError(f"{opened.width} x {opened.height} pixels are more than {most_pixels:,}")
                    words = _words(opened, channels)
            except Image.DecompressionBombError:
                raise ValueError("it has too many pixels") from None
            except ValueError:
                raise
            except Exception:  # Pillow's plug-ins raise anything: decode says what is wrong
                words = []
        return decode(path, channels), words
    except ValueError as error:
        raise ValueError(f"{path} cannot be read as a picture: {error}") from None


def _words(opened: Image.Image, channels: int) -> list[str]:
    words, deep = [], opened.mode not in _MODES and _is_deep(opened)
    if _is_clear(opened):
        words.append(_CLEARED)
    elif opened.mode in _CLEAR:
        words.append("it is opaque, {} without alpha")
    elif opened.mode in _MODES:
        words.append(_MODES[opened.mode])
    elif opened.mode == "RGB" and channels == 1:
        words.append("colour became {}")
    if deep:
        words.append("16 bits became 8, {}")  # colours, which Pillow has no mode for
    if _has_more(opened):
        words.append("the first of several frames is taken")
    try:
        if opened.getexif().get(_ORIENTATION, 1) != 1:
            words.append("turned upright, as it says")
    except Exception:  # a broken EXIF block is no reason to lose the picture
        return words
    return words


def _is_clear(opened: Image.Image) -> bool:
    """Whether something shows through."""
    if opened.mode not in _CLEAR and ("transparency" not in opened.info or opened.mode.startswith("I")):
        return False
    return int(np.asarray(opened.convert("RGBA").getchannel("A")).min()) < 255


def _has_more(opened: Image.Image) -> bool:
    """Whether a second frame follows: counting them all would read a file that has a million to its end."""
    try:
        opened.seek(1)
    except Exception:  # no second one, or none that can be read
        return False
    finally:
        opened.seek(0)
    return True


def _is_deep(opened: Image.Image) -> bool:
    """Whether colours have 16 bits, for which Pillow has no mode: in a PNG or TIFF, or a PPM with a large maximum."""
    told = [tile[3] for tile in getattr(opened, "tile", ())]
    words = [word for args in told for word in (args if isinstance(args, tuple) else (args,))]
    if opened.format == "PPM":
        return any(isinstance(word, int) and word > 255 for word in words)
    return any(str(word).startswith(("RGB;16", "RGBA;16", "LA;16")) for word in words)


def beside(place: Path, path: Path) -> Path:
    """The file of the folder `place` that belongs to the picture `path`, or the one file for all. Raises ValueError if
    there is none."""
    if place.is_dir():
        found = sorted(p for p in place.iterdir() if p.stem == path.stem and p.suffix.lower() in EXTENSIONS)
        if not found:
            raise ValueError(f"{place} has nothing for {path.name}")
        if len(found) > 1:
            raise ValueError(f"{place} has {found[0].name} and {found[1].name}: which is for {path.name}?")
        return found[0]
    if not place.is_file():
        raise ValueError(f"there is no file {place}")
    return place


def write(path: Path, pixels: np.ndarray) -> None:
    """uint8 [H, W, 1 or 3] as a PNG that says who made it, whole or not at all."""
    mark = PngInfo()
    mark.add_text(*_MARK)
    with files.whole(path) as temporary:
        Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(temporary, "PNG", pnginfo=mark)


def check_ours(path: Path) -> None:
    """Raises ValueError for a file that is there and that `write` did not make."""
    name, value = _MARK
    try:
        if not path.exists():
            return
        with Image.open(path, formats=["PNG"]) as opened:
            ours = opened.info.get(name) == value
    except Exception:  # no picture, or a damaged one
        ours = False
    if not ours:
        raise ValueError(f"{path} is there, and no earlier call made it: name another --output")


def to_bytes(picture: Tensor, model: PictureModel) -> np.ndarray:
    """Level indices [C, H, W] as uint8 [H, W, C] of 0 to 255."""
    levels = picture if model.num_levels == 256 else (picture.float() * 255 / (model.num_levels - 1)).round().byte()
    return levels.permute(1, 2, 0).numpy()


def to_rgb(picture: Tensor, model: PictureModel) -> np.ndarray:
    """The same, three channels."""
    return np.broadcast_to(pixels := to_bytes(picture, model), (*pixels.shape[:2], 3)).copy()
