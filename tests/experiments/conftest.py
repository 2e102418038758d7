"""Folders of small pictures, for runs of the generative half that need no download."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

if TYPE_CHECKING:
    from generative.config import TrainConfig


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


@pytest.fixture(scope="session")
def tiny(picture_folder: Callable[[int, int], Path]) -> "Callable[..., TrainConfig]":
    """(**changes) -> the configuration of a run of a few steps on 8x8 grey pictures."""
    from experiments import presets
    from generative.data import DataConfig

    def config(**changes: object) -> "TrainConfig":
        data = DataConfig(name="folder", path=str(picture_folder(8, 1)), holdout=0.2)
        return replace(presets.get("tiny-vdm-folder").make(), data=data, **changes)

    return config


@pytest.fixture(scope="session")
def trained(tiny: "Callable[..., TrainConfig]", tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of `tiny`, trained without Ray."""
    from experiments.train import train_run

    return train_run("tiny-vdm-folder", tiny(), tmp_path_factory.mktemp("runs"), plain=True)


@pytest.fixture
def tandem(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """(*arguments) -> exit status, what the command printed, what it said on stderr."""
    from experiments import cli

    def run(*args: object) -> tuple[int, str, str]:
        try:
            status = cli.run([str(arg) for arg in args])
        except SystemExit as end:  # tyro prints help and exits
            status = end.code or 0
        out = capsys.readouterr()
        return int(status), out.out, out.err

    return run


@pytest.fixture(scope="session")
def restorers(picture_folder: Callable[[int, int], Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Finished runs of a few steps on 16 x 16 colour pictures."""
    from experiments import presets
    from experiments.train import train_run
    from generative.data import DataConfig

    data, made = DataConfig(name="folder", path=str(picture_folder(16, 3)), holdout=0.4), {}
    for name, fields in (
        ("sr3-photos64", {"low": 4}),
        ("palette-all64", {"tasks": ("colorize", "inpaint", "jpeg")}),
        ("palette-uncrop64", {}),
    ):
        config = presets.get(f"tiny-{name}").make()
        config = replace(config, data=data, model=replace(config.model, inference_steps=2, **fields))
        made[name] = train_run(f"tiny-{name}", config, tmp_path_factory.mktemp("runs"), plain=True)
    return made
