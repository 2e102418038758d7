"""Grids, strips and figures: every pixel where it belongs, grey as grey, small pictures enlarged."""

from types import SimpleNamespace

import numpy as np
import torch
from PIL import Image

from experiments import pictures
from experiments.tracking import Tracker


def test_a_grid_holds_every_picture_enlarged_by_repeating_its_pixels() -> None:
    levels = torch.arange(5 * 64).reshape(5, 1, 8, 8).remainder(17).to(torch.uint8)
    drawn = pictures.grid(levels, 17)
    times, gap = 64 // 8, pictures.GAP
    assert drawn.shape == (2 * (64 + gap) + gap, 3 * (64 + gap) + gap, 3)  # 5 pictures in 2 rows of 3
    assert (drawn[..., 0] == drawn[..., 1]).all()
    assert (drawn[..., 0] == drawn[..., 2]).all()
    for i in range(5):
        top, left = gap + i // 3 * (64 + gap), gap + i % 3 * (64 + gap)
        for y in range(8):
            for x in range(8):
                block = drawn[top + y * times : top + (y + 1) * times, left + x * times : left + (x + 1) * times]
                assert (block == round(levels[i, 0, y, x].item() * 255 / 16)).all()
    assert (drawn[gap + 64 + gap :, 2 * (64 + gap) + gap :] == 255).all()  # the place that is left


def test_colours_keep_their_order_and_large_pictures_their_size() -> None:
    levels = torch.zeros(1, 3, 64, 100, dtype=torch.uint8)
    levels[:, 0] = 200
    drawn = pictures.grid(levels, 256)
    gap = pictures.GAP
    assert drawn.shape == (64 + 2 * gap, 100 + 2 * gap, 3)
    assert (drawn[gap:-gap, gap:-gap] == [200, 0, 0]).all()


def test_strips_keep_rows_and_columns() -> None:
    levels = torch.zeros(2, 5, 1, 32, 32, dtype=torch.uint8)
    levels[1, 3] = 255
    drawn = pictures.strips(levels, 256)
    assert drawn.shape[:2] == (2 * 66 + 2, 5 * 66 + 2)
    for row in range(2):
        for column in range(5):
            tile = drawn[row * 66 + 2 : row * 66 + 66, column * 66 + 2 : column * 66 + 66]
            assert (tile == (255 if (row, column) == (1, 3) else 0)).all()


def test_a_look_reaches_tensorboard_and_media(tmp_path) -> None:
    line = torch.linspace(0, 1, 7)
    view = SimpleNamespace(
        samples=torch.zeros(4, 1, 8, 8, dtype=torch.uint8),
        strips=torch.zeros(2, 3, 1, 8, 8, dtype=torch.uint8),
        schedule=(line, 13 - 18 * line),
        levels=(13 - 18 * line, line),
        num_levels=17,
        given=None,
        truth=None,
    )
    tracker = Tracker(tmp_path)
    pictures.draw(tracker, 20, view)  # type: ignore[arg-type]
    tracker.close()
    names = {path.name for path in (tmp_path / "media").iterdir()}
    assert names == {f"{tag}-000000000020.png" for tag in ("samples", "denoising", "schedule", "levels")}
    figure = np.asarray(Image.open(tmp_path / "media" / "schedule-000000000020.png"))
    assert figure.std() > 5  # something is drawn


def test_what_was_given_stands_beside_the_sample_and_the_original() -> None:
    """Few pictures in one block, many in two; every place is found by its brightness."""
    gap, side = pictures.GAP, 64
    for count, blocks in ((3, 1), (7, 2)):
        given, sample, truth = (
            (torch.arange(count) + shade).to(torch.uint8)[:, None, None, None].expand(count, 3, 8, 8)
            for shade in (10, 100, 200)
        )
        drawn = pictures.contact_sheet(given, [sample], truth, 256)
        rows = -(-count // blocks)
        assert drawn.shape == (rows * (side + gap) + gap, (4 * blocks - 1) * (side + gap) + gap, 3)
        for i in range(count):
            block, row = divmod(i, rows)
            y = gap + row * (side + gap) + side // 2
            x = [gap + (4 * block + column) * (side + gap) + side // 2 for column in range(3)]
            assert [int(drawn[y, place, 0]) for place in x] == [10 + i, 100 + i, 200 + i]


def test_names_stand_beside_their_rows() -> None:
    sheet = np.full((3 * 66 + 2, 100, 3), 128, np.uint8)
    named = pictures.with_names(sheet, ["a", "a longer one", "c"])
    assert len(named) == len(sheet)
    assert np.array_equal(named[:, -100:], sheet)
    margin = named[:, :-100]
    rows = [margin[2 + 66 * i : 2 + 66 * (i + 1)] for i in range(3)]
    assert all(row.min() < 100 for row in rows)
    dark = [np.argwhere(row.min(-1) < 100) for row in rows]
    assert all(abs(places[:, 0].mean() - 33) < 6 for places in dark)  # in the middle
    assert dark[1][:, 1].min() < dark[0][:, 1].min()  # the longest begins at the left
