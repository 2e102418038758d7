"""Folders of small pictures, for runs of the generative half that need no download."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def write_pictures(folder: Path, side: int, channels: int, count: int) -> None:
    """PNG files of `count` ramps with noise."""
    rng = np.random.default_rng(side)
    folder.mkdir(parents=True)
    for number in range(count):
        ramp = np.linspace(20, 200, side)[:, None, None] + rng.uniform(0, 50, (1, 1, channels))
        picture = (ramp + rng.normal(0, 4, (side, side, channels))).clip(0, 255).astype(np.uint8)
        Image.fromarray(picture.squeeze()).save(folder / f"{number:03d}.png")


@pytest.fixture(scope="session")
def picture_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int, int], Path]:
    """(side, channels) -> a folder with two classes of 40 pictures each."""
    root = tmp_path_factory.mktemp("pictures")

    def folder(side: int, channels: int) -> Path:
        path = root / f"{side}-{channels}"
        if not path.exists():
            for name in ("dark", "light"):
                write_pictures(path / name, side, channels, 40)
        return path

    return folder
