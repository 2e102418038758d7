"""`tandem restore`: pictures of every kind and size, folders, masks, panoramas, and sentences for what does not fit."""

import contextlib
import json
import os
import struct
import zlib
from dataclasses import asdict
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from PIL import Image

import generative
from experiments import contact_sheet, picture_files
from experiments.progress import Steps
from generative import noise
from generative.checkpoint import Store, pack
from generative.papers.palette import Palette
from generative.papers.sr3 import SR3
from generative.resize import resize_levels
from generative.schedules import ScheduleConfig, linear_betas


def picture(path: Path, width: int = 20, height: int = 16, mode: str = "RGB") -> Path:
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
    path.parent.mkdir(parents=True, exist_ok=True)
    image.convert(mode).save(path)
    return path


def sixteen_bits(pixels: np.ndarray) -> bytes:
    """A PNG of uint16 colours [H, W, 3] in big-endian order, which Pillow reads and does not write."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    height, width, _ = pixels.shape
    lines = b"".join(b"\0" + row.tobytes() for row in pixels)
    head = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    parts = chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(lines)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def opened(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_a_run_shows_what_was_given_beside_what_was_made(restorers) -> None:
    sheet = opened(next(restorers["sr3-photos64"].glob("media/samples-*.png")))
    assert sheet.shape[1] == 3 * (64 + 2) + 2  # given, sample, original
    assert "eval/psnr" in (restorers["sr3-photos64"] / "metrics.jsonl").read_text()


def test_an_enlarged_picture_is_the_models_own(restorers, tandem, tmp_path) -> None:
    source, out = picture(tmp_path / "in.png"), tmp_path / "out.png"
    status, said, err = tandem("restore", restorers["sr3-photos64"], source, "-o", out, "--steps", 3, "--seed", 5)
    assert status == 0, err
    model = generative.load(restorers["sr3-photos64"])
    low = torch.from_numpy(opened(source).transpose(2, 0, 1).copy())[None]
    tiles = 9 * 7
    expected = model.restore(low, seed=noise.mix(5, 0, 0), draw={"steps": 3, "chunk": min(16, tiles)})
    assert np.array_equal(opened(out), expected[0].permute(1, 2, 0).numpy())
    assert "80 x 64, in 63 tiles of 16 x 16 at each step" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.png", "out-sheet.png", "out.png"]


def test_what_was_enlarged_is_enlarged_further(restorers, tandem, tmp_path) -> None:
    run, source, out = restorers["sr3-photos64"], picture(tmp_path / "in.png", 3, 2), tmp_path / "out.png"
    status, said, err = tandem("restore", run, source, "--then", run, "-o", out, "-n", 2, "--seed", 5)
    assert status == 0, err
    model, low = generative.load(run), torch.from_numpy(opened(source).transpose(2, 0, 1).copy())
    draw = {"chunk": 16}
    first = model.restore(low.expand(2, -1, -1, -1), seed=noise.mix(5, 0, 0), draw={})
    large = model.restore(first, seed=noise.mix(5, 1, 0), draw=draw)
    assert large.shape == (2, 3, 32, 48)
    for name, answer in zip(("out-1.png", "out-2.png"), large, strict=True):
        assert np.array_equal(opened(tmp_path / name), answer.permute(1, 2, 0).numpy())
    assert "48 x 32, in 15 tiles of 16 x 16 at each step" in said


def test_progress_rises_by_one_to_the_last_step(restorers, tandem, tmp_path, monkeypatch) -> None:
    """Through all rounds of a panorama, and through the models of --then."""
    told: list[tuple[float, float]] = []
    monkeypatch.setattr(Steps, "update", lambda self, done, note="": told.append((done, self.total)))
    source, run = picture(tmp_path / "in.png", 4, 4), restorers["sr3-photos64"]
    for args, total in (
        ([restorers["palette-uncrop64"], source, "--side", "all", "--times", 2, "--steps", 3], 24),
        ([run, source, "--then", run, "--steps", 5], 10),
    ):
        told.clear()
        assert tandem("restore", *args, "-o", tmp_path / "out.png")[0] == 0
        assert told == [(done, total) for done in range(1, total + 1)]


def test_several_answers_differ_and_do_not_depend_on_their_number(restorers, tandem, tmp_path) -> None:
    source = picture(tmp_path / "in" / "in.png", 4, 4)
    assert tandem("restore", restorers["sr3-photos64"], source, "-o", tmp_path / "a.png", "-n", 3)[0] == 0
    answers = [opened(tmp_path / f"a-{i}.png") for i in (1, 2, 3)]
    assert all(answer.shape == (16, 16, 3) for answer in answers)
    assert not np.array_equal(answers[0], answers[1])
    assert (tmp_path / "a-sheet.png").is_file()
    picture(tmp_path / "in" / "another.png", 3, 5)
    for name, n in (("one", 1), ("two", 2)):
        args = ["restore", restorers["sr3-photos64"], tmp_path / "in", "-o", tmp_path / "folders" / name, "-n", n]
        assert tandem(*args)[0] == 0
    for name in ("another", "in"):  # the second of two pictures is no other for having more answers
        one, two = (opened(tmp_path / "folders" / file) for file in (f"one/{name}.png", f"two/{name}-1.png"))
        assert np.abs(one.astype(int) - two).max() <= 1


def test_known_pixels_stay_and_the_hole_is_filled(restorers, tandem, tmp_path) -> None:
    source, hole = picture(tmp_path / "in.png", 37, 21), np.zeros((21, 37), np.uint8)
    hole[5:12, 10:30] = 255
    Image.fromarray(hole).save(tmp_path / "mask.png")
    status, _, err = tandem(
        "restore", restorers["palette-all64"], source, "--task", "inpaint", "--mask", tmp_path / "mask.png", "-o",
        tmp_path / "out.png",
    )  # fmt: skip
    assert status == 0, err
    before, after = opened(source), opened(tmp_path / "out.png")
    assert np.array_equal(before[hole == 0], after[hole == 0])
    assert not np.array_equal(before[hole > 0], after[hole > 0])


@pytest.mark.parametrize(("side", "shape"), [("right", (16, 36, 3)), ("top", (32, 20, 3)), ("all", (32, 36, 3))])
def test_a_panorama_continues_the_picture(side: str, shape, restorers, tandem, tmp_path) -> None:
    source, times = picture(tmp_path / "in.png"), 1 if side == "all" else 2
    status, _, err = tandem(
        "restore", restorers["palette-uncrop64"], source, "--side", side, "--times", times, "-o", tmp_path / "out.png"
    )
    assert status == 0, err
    after = opened(tmp_path / "out.png")
    assert after.shape == shape
    top, left = {"right": (0, 0), "top": (16, 0), "all": (8, 8)}[side]
    assert np.array_equal(after[top : top + 16, left : left + 20], opened(source))


@pytest.mark.parametrize("side", ["right", "bottom"])
def test_a_picture_smaller_than_a_tile_is_continued_into_nothing_that_is_known(
    side: str, restorers, tandem, tmp_path, monkeypatch
) -> None:
    """4 x 4, and 8 more beside them: what is missing to a tile of 16 is hidden too, and no black line is shown."""
    told, source = [], picture(tmp_path / "in.png", 4, 4)
    draw = Palette.draw
    monkeypatch.setattr(Palette, "draw", lambda self, cond, **options: told.append(cond) or draw(self, cond, **options))
    args = ["restore", restorers["palette-uncrop64"], source, "--side", side, "-o", tmp_path / "out.png"]
    assert tandem(*args)[0] == 0
    assert opened(tmp_path / "out.png").shape == ((4, 12, 3) if side == "right" else (12, 4, 3))
    mask = told[0]["mask"][0, 0] if side == "right" else told[0]["mask"][0, 0].T
    assert mask.tolist() == [[0.0] * 4 + [1.0] * 12] * 16


def test_the_help_says_what_becomes_of_other_sizes(tandem) -> None:
    said = " ".join(tandem("restore", "--help")[1].replace("│", " ").split())
    assert "overlapping tiles that are blended at every step; smaller ones are continued (padded)" in said


def test_an_intact_picture_is_cut_to_what_an_enlarger_gives_back(restorers, tandem, tmp_path) -> None:
    source, out = picture(tmp_path / "in.png", 19, 17), tmp_path / "out.png"
    status, said, err = tandem("restore", restorers["sr3-photos64"], source, "--spoil", "-o", out)
    assert (status, "cut to 16 x 16, a multiple of 4" in said) == (0, True), err
    model, whole = generative.load(restorers["sr3-photos64"]), opened(source)[:16, :16].transpose(2, 0, 1)
    small = resize_levels(torch.from_numpy(whole.copy())[None], (4, 4), 256)  # as in training
    expected = model.restore(small, seed=noise.mix(0, 0, 0), draw={"chunk": 1})  # pyright: ignore
    assert np.array_equal(opened(out), expected[0].permute(1, 2, 0).numpy())
    status, _, err = tandem("restore", restorers["sr3-photos64"], picture(source, 3, 9), "--spoil", "-o", out)
    assert (status, "3 x 9 is too small to be reduced 4 times" in err, err.count("\n")) == (2, True, 1)


@pytest.mark.parametrize("task", ["colorize", "inpaint", "jpeg"])
def test_an_intact_picture_is_spoiled_first(task: str, restorers, tandem, tmp_path) -> None:
    source = picture(tmp_path / "in.png", 16, 16)
    args = ["restore", restorers["palette-all64"], source, "--task", task, "--spoil", "-o"]
    for name in ("a.png", "b.png"):
        assert tandem(*args, tmp_path / name)[0] == 0
    assert np.array_equal(opened(tmp_path / "a.png"), opened(tmp_path / "b.png"))


@pytest.mark.parametrize(
    ("mode", "ending", "word"),
    [
        ("P", "png", "a palette became RGB"),
        ("CMYK", "jpg", "CMYK became RGB"),
        ("RGBA", "png", "it is opaque, RGB without alpha"),
        ("clear", "png", "put on white, RGB without transparency"),
        ("1", "png", "black and white became RGB"),
        ("I;16", "png", "16 bits became 8, RGB"),
        ("RGB;16", "png", "16 bits became 8, RGB"),
        ("L", "png", ""),
    ],
)
def test_other_kinds_of_pictures_are_converted_with_a_word(
    mode: str, ending: str, word: str, restorers, tandem, tmp_path
):
    source = tmp_path / f"in.{ending}"
    if mode == "RGB;16":
        source.write_bytes(sixteen_bits(np.full((8, 8, 3), 40_000, ">u2")))
    elif mode == "I;16":
        Image.fromarray(np.full((8, 8), 40_000, np.uint16)).save(source)
    elif mode == "clear":
        Image.fromarray(np.full((8, 8, 4), 100, np.uint8)).save(source)
    else:
        picture(source, 8, 8, mode)
    status, out, err = tandem("restore", restorers["sr3-photos64"], source, "-o", tmp_path / "out.png")
    assert status == 0, err
    assert word in out
    assert opened(tmp_path / "out.png").shape == (32, 32, 3)


def test_a_folder_goes_on_where_it_was_and_names_what_it_leaves_out(restorers, tandem, tmp_path) -> None:
    for number in range(3):
        picture(tmp_path / "in" / f"{number}.png", 4 + number, 5)
    (tmp_path / "in" / "broken.png").write_bytes(b"no picture")
    out = tmp_path / "v1.2"
    args = ["restore", restorers["sr3-photos64"], tmp_path / "in", "-o", out]
    status, said, err = tandem(*args)
    assert (status, err) == (1, f"tandem: 1 of the 4 pictures in {tmp_path / 'in'} could not be restored\n")
    assert "cannot be read as a picture: no picture of a known format: broken.png is left out" in said
    assert "3 of 4 pictures made now, 0 there already, 1 left out" in said
    made = [".lock", "0.png", "1.png", "2.png", "restore-sheet.png", "restore.json"]
    assert sorted(p.name for p in out.iterdir()) == made
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in", "v1.2"]
    first = opened(out / "1.png")
    assert first.shape == (20, 20, 3)
    (out / "1.png").unlink()
    (out / "2.png").write_bytes(b"")  # as a killed process without renaming would leave it
    picture(tmp_path / "in" / "a new one.png", 4, 4)  # changes nobody's noise
    (tmp_path / "in" / "broken.png").unlink()
    status, said, _ = tandem(*args)
    assert (status, "3 of 4 pictures made now" in said) == (0, True)
    assert np.array_equal(opened(out / "1.png"), first)
    sheet = contact_sheet.HEAD + 4 * (contact_sheet.BOX + contact_sheet.NAME + contact_sheet.GAP)
    assert len(opened(out / "restore-sheet.png")) == sheet  # also of what is there already
    (tmp_path / "in" / "1.png").write_bytes((tmp_path / "in" / "0.png").read_bytes())
    assert "1 of 4 pictures made now" in tandem(*args)[1]  # it is another picture now
    assert opened(out / "1.png").shape == opened(out / "0.png").shape
    (tmp_path / "in" / "0.png").rename(tmp_path / "in" / "0.bmp")  # the same bytes
    assert "0 of 4 pictures made now" in tandem(*args)[1]
    for number in (0, 1, 2, "a new one"):
        height, width = opened(tmp_path / "in" / f"{number}.{'bmp' if number == 0 else 'png'}").shape[:2]
        picture(tmp_path / "large" / f"{number}.png", 4 * width, 4 * height)
    assert "0 of 4 pictures made now" in tandem(*args, "--reference", tmp_path / "large")[1]  # is for the sheet alone
    (tmp_path / "large" / "2.png").unlink()
    status, said, _ = tandem(*args, "--reference", tmp_path / "large")
    assert (status, "has nothing for 2.png: 2.png is left out of restore-sheet.png" in said) == (1, True)
    assert len(opened(out / "restore-sheet.png")) < sheet
    with (tmp_path / "in" / "huge.png").open("wb") as file:
        file.truncate(10 * 2**40)  # takes no room on the disk
    status, said, _ = tandem(*args)
    assert (status, "huge.png has 10,995,116,277,760 bytes: no picture" in said, "4 there already" in said) == (
        1,
        True,
        True,
    )
    (tmp_path / "in" / "huge.png").unlink()
    whole = (tmp_path / "in" / "1.png").read_bytes()
    (tmp_path / "in" / "1.png").write_bytes(b"")
    status, said, _ = tandem(*args)
    assert (status, f"1.png is left out; {out / '1.png'} is of an earlier one" in said) == (1, True)
    (tmp_path / "in" / "1.png").write_bytes(whole)
    (out / "0.png").unlink()
    (out / "0.png").mkdir()
    (out / "1.png").unlink()
    status, said, _ = tandem(*args)
    assert (status, "1 of 4 pictures made now, 2 there already, 1 left out" in said) == (1, True)
    assert "0.png is there and no regular file: 0.bmp is left out" in said
    (out / "0.png").rmdir()
    (tmp_path / "in" / ".17.writing.png").write_bytes(b"")  # of somebody who was killed
    assert "1 of 4 pictures made now" in tandem(*args)[1]
    theirs = picture(out / "2.png", 3, 3).read_bytes()  # somebody went on with it
    status, said, _ = tandem(*args)
    assert (status, f"{out / '2.png'} is not what was made (remove it" in said) == (1, True)
    assert (out / "2.png").read_bytes() == theirs
    with Store(out).locked():
        status, _, err = tandem(*args)
    assert (status, err) == (2, f"tandem: {out} is in use: another process restores pictures into it\n")
    status, _, err = tandem(*args, "--seed", 1)
    assert (status, "holds pictures that other settings made (seed was 0, is 1)" in err) == (2, True)
    for damaged in ("{", '{"settings": {}, "pictures": {"0": "cd87"}}', '{"settings": {}, "pictures": {"0": [7]}}'):
        (out / "restore.json").write_text(damaged)
        assert "restore.json cannot be read" in tandem(*args)[2]


def test_a_changed_mask_is_another_question(restorers, tandem, tmp_path) -> None:
    picture(tmp_path / "in" / "a.png", 16, 16)
    hole = np.zeros((16, 16), np.uint8)
    hole[:8] = 255
    Image.fromarray(hole).save(tmp_path / "mask.png")
    args = [
        "restore",
        restorers["palette-all64"],
        tmp_path / "in",
        "--task",
        "inpaint",
        "--mask",
        tmp_path / "mask.png",
    ]
    args += ["-o", tmp_path / "out"]
    assert "1 of 1 pictures made now" in tandem(*args)[1]
    assert "0 of 1 pictures made now" in tandem(*args)[1]
    Image.fromarray(255 - hole).save(tmp_path / "mask.png")
    assert "1 of 1 pictures made now" in tandem(*args)[1]
    after = opened(tmp_path / "out" / "a.png")
    assert np.array_equal(after[:8], opened(tmp_path / "in" / "a.png")[:8])


def test_a_folder_takes_nobody_elses_files_for_its_own(restorers, tandem, tmp_path) -> None:
    for name in ("a", "sheet"):
        picture(tmp_path / "in" / f"{name}.png", 4, 4)
    run, source = restorers["sr3-photos64"], tmp_path / "in"
    theirs = picture(tmp_path / "out" / "a.png", 3, 3)
    before = theirs.read_bytes()
    for output, says in (
        (tmp_path / "out", "a.png is there, and no earlier call made it"),
        (source, "would be overwritten"),
        (theirs, "--output must be a folder"),
    ):
        status, _, err = tandem("restore", run, source, "-o", output)
        assert (status, says in err, err.count("\n")) == (2, True, 1), err
        assert theirs.read_bytes() == before
    assert sorted(p.name for p in source.iterdir()) == ["a.png", "sheet.png"]
    args = ["restore", run, source, "-o", tmp_path / "new"]
    picture(tmp_path / "new" / "restore-sheet.png", 3, 3)
    status, _, err = tandem(*args)
    assert (status, "restore-sheet.png is there, and no earlier call made it" in err) == (2, True)
    (tmp_path / "new" / "restore-sheet.png").unlink()
    picture(tmp_path / "new" / "sheet.png", 3, 3)  # the name of the last picture's answer
    assert "sheet.png is there, and no" in tandem(*args)[2]
    assert not (tmp_path / "new" / "a.png").exists()
    (tmp_path / "new" / "sheet.png").unlink()
    assert tandem(*args)[0] == 0
    assert opened(tmp_path / "new" / "sheet.png").shape == (16, 16, 3)  # an answer, not the contact sheet
    status, said, err = tandem("restore", run, tmp_path / "new", "-o", tmp_path / "again")
    assert "2 of 2 pictures made now" in said, err  # without the contact sheet
    picture(source / "restore-sheet.png", 4, 4)
    status, _, err = tandem("restore", run, source, "-o", tmp_path / "third")
    assert (
        status,
        "restore-sheet.png and the contact sheet would have one name: rename it" in err,
        err.count("\n"),
    ) == (2, True, 1)


def test_names_that_leave_no_room_are_left_out(restorers, tandem, tmp_path) -> None:
    for name in ("a" * 251, "b" * 248, "c"):
        picture(tmp_path / "in" / f"{name}.png", 4, 4)
    status, said, err = tandem("restore", restorers["sr3-photos64"], tmp_path / "in", "-n", 2, "-o", tmp_path / "out")
    assert (status, "3 of 3 pictures could not" in err, "names that are too long" in said) == (1, False, True), err
    assert sorted(path.name[0] for path in (tmp_path / "out").glob("?*-1.png")) == ["b", "c"]


def test_a_picture_in_colour_is_shown_as_the_model_was_told_it(restorers, tandem, tmp_path) -> None:
    source = picture(tmp_path / "in.png", 16, 16)
    args = ["restore", restorers["palette-all64"], source, "--task", "colorize", "-o", tmp_path / "out.png"]
    assert tandem(*args)[0] == 0
    sheet = opened(tmp_path / "out-sheet.png").astype(int)
    given = sheet[:, : contact_sheet.GAP + contact_sheet.BOX]
    assert (np.ptp(given, axis=-1).max(), np.ptp(opened(source).astype(int), axis=-1).max() > 100) == (0, True)


def test_a_wrong_flag_is_no_unreadable_picture(restorers, tandem, tmp_path) -> None:
    picture(tmp_path / "in" / "a.png", 4, 4)
    run, out = restorers["sr3-photos64"], tmp_path / "out"
    for flag, value in (
        ("--schedule", tmp_path / "no.json"), ("--overlap", "nan"), ("--overlap", 0.99), ("--level", "nan"),
        ("--reference", tmp_path / "no.png"), ("--reference", tmp_path / "in" / "a.png"), ("--label", 3),
        ("--side", "left"), ("--times", 2),
    ):  # fmt: skip
        status, _, err = tandem("restore", run, tmp_path / "in", "-o", out, flag, value)
        assert (status, err.count("\n"), out.exists()) == (2, 1, False), (flag, err)
    (tmp_path / "in" / "a.png").write_bytes(b"")
    status, said, err = tandem("restore", run, tmp_path / "in", "-o", out)
    assert (status, "1 of the 1 pictures" in err, "a.png is left out" in said) == (1, True, True)


def test_what_does_not_fit(restorers, trained, tandem, tmp_path) -> None:
    source, small = picture(tmp_path / "in.png"), picture(tmp_path / "small.png", 1, 1)
    Image.fromarray(np.zeros((16, 20), np.uint8)).save(tmp_path / "empty.png")
    Image.fromarray(np.full((9, 20), 255, np.uint8)).save(tmp_path / "short.png")
    Image.fromarray(np.eye(16, 20, dtype=np.uint8)).save(tmp_path / "dark.png")
    clear = np.zeros((16, 20, 4), np.uint8)
    clear[4:8] = 255
    Image.fromarray(clear).save(tmp_path / "clear.png")
    (tmp_path / "link.png").symlink_to(tmp_path / "gone" / "out.png")
    for ending in ("png", "bmp"):
        picture(tmp_path / "masks" / f"in.{ending}")
    (tmp_path / "none").mkdir()
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    palette, sr3 = restorers["palette-all64"], restorers["sr3-photos64"]
    inpaint = [palette, source, "--task", "inpaint"]
    for args, says in (
        ([trained, source], "draws pictures of its own, it restores none: tandem sample"),
        ([sr3, tmp_path / "nowhere.png"], "there is no picture"),
        ([sr3, tmp_path / "none", "--output", tmp_path / "made" / "x"], "there is no picture (.png, "),
        ([palette, source], "knows several tasks: name one with --task: colorize, inpaint, jpeg"),
        ([palette, source, "--task", "uncrop"], "was trained to colorize, inpaint, jpeg, not to uncrop"),
        ([palette, source, "--task", "upscale"], "not to upscale"),
        (inpaint, "inpaint needs --mask M.png"),
        ([*inpaint, "--mask", tmp_path / "empty.png"], "the mask is empty: it marks no pixel"),
        ([*inpaint, "--mask", tmp_path / "short.png"], "the mask is 20 x 9, the picture 20 x 16"),
        ([*inpaint, "--mask", tmp_path / "no.png"], "there is no file"),
        ([*inpaint, "--mask", tmp_path / "dark.png"], "has no white pixel: its lightest is 1 of 255"),
        ([*inpaint, "--mask", tmp_path / "clear.png"], "has transparency, which may mean either"),
        ([sr3, source, "--output", tmp_path / "link.png"], "it is a link into"),
        (
            [palette, tmp_path, "--task", "inpaint", "--mask", tmp_path / "masks", "--output", tmp_path / "masks"],
            "the answers would lie among the pictures of",
        ),
        ([*inpaint, "--mask", tmp_path / "masks"], "has in.bmp and in.png: which is for in.png?"),
        ([sr3, source, "--mask", source], "--mask is for inpaint, not for upscale"),
        ([restorers["palette-uncrop64"], small], "a picture of 9 x 1 is too small"),
        ([sr3, source, "--output", tmp_path / "x.jpg"], "--output must end in .png"),
        ([sr3, source, "--sampler", "euler"], "sampler 'euler' does not exist"),
        ([sr3, source, "-n", 0], "--n must be from 1 to 64, got 0"),
        ([sr3, source, "--overlap", 1.5], "overlap must be from 0 to 0.9, got 1.5"),
        ([sr3, source, "--label", "cat"], "--label 'cat' has no meaning here"),
        ([sr3, source, "--then", restorers["palette-uncrop64"]], "--then is for models that enlarge"),
        ([restorers["palette-uncrop64"], source, "--then", sr3], "--then is for models that enlarge"),
        ([sr3, source, "--then", trained], "--then is for models that enlarge"),
        ([sr3, source, "--spoil", "--reference", source], "leave --reference and --mask out"),
        ([sr3, source, "--output", pipe], "it is there and no regular file"),
        ([sr3, source, "--reference", source], "the reference is 20 x 16, the answer 80 x 64: they must agree"),
        ([sr3, tmp_path / "masks", "--output", tmp_path / "a.png"], "--output must be a folder, where"),
        (
            [restorers["palette-uncrop64"], source, "--side", "all", "--spoil"],
            "for uncropping a picture that goes on: with --spoil the hole is drawn as in training",
        ),
    ):
        status, _, err = tandem(
            "restore", *args, *([] if "--output" in args else ["-o", tmp_path / "made" / "out.png"])
        )
        assert (status, says in err, err.count("\n")) == (2, True, 1), (args, err)
    assert not list((tmp_path / "made").glob("*.png")) if (tmp_path / "made").exists() else True


def test_a_sheet_has_a_place_for_every_picture() -> None:
    small, large = np.full((8, 8, 3), 10, np.uint8), np.full((300, 600, 3), 200, np.uint8)
    rows = [contact_sheet.Row(name="a", given=small, made=[large, small], original=small)]
    page = contact_sheet.sheet(rows)
    box, gap, head, name = contact_sheet.BOX, contact_sheet.GAP, contact_sheet.HEAD, contact_sheet.NAME
    assert page.shape == (head + box + name + gap, gap + 4 * (box + gap), 3)
    middle = head + name + box // 2
    centres = [gap + column * (box + gap) + box // 2 for column in range(4)]
    assert [int(page[middle, x, 0]) for x in centres] == [10, 200, 10, 10]
    assert int(page[head + name + 2, centres[1], 0]) == 255  # a wide picture leaves white above


def test_a_schedule_that_was_searched_for_is_taken(restorers, tandem, tmp_path) -> None:
    run, found = restorers["sr3-photos64"], tmp_path / "schedule.json"
    status, out, err = tandem(
        "sweep", "schedule", run, "--steps", 20, "--images", 8, "--features", "random", "--output", found
    )
    assert status == 0, err
    assert "the model's own schedule: FID" in out
    if "nothing was written" in out:  # the model's own may be the best
        found.write_text(json.dumps(asdict(linear_betas(1e-4, 0.5, 20))))
    assert json.loads(found.read_text())["beta_steps"] == 20
    source = picture(tmp_path / "in.png", 4, 4)
    args = ["restore", run, source, "--steps", 3, "-o"]
    assert tandem(*args, tmp_path / "own.png")[0] == 0
    assert tandem(*args, tmp_path / "found.png", "--schedule", found)[0] == 0
    assert not np.array_equal(opened(tmp_path / "own.png"), opened(tmp_path / "found.png"))
    quick = ("--images", 8, "--steps", 2, "--features", "random", "--no-perceptual", "--classifier", "none")
    assert tandem("eval", run, *quick, "--schedule", found, "--output", tmp_path / "page")[0] == 0
    found.write_text(json.dumps(asdict(ScheduleConfig(kind="cosine", log_snr_max=-99.0, log_snr_min=-100.0))))
    status, _, err = tandem(*args, tmp_path / "x.png", "--schedule", found)
    assert (status, "its levels do not rise from noise to picture" in err, err.count("\n")) == (2, True, 1)
    found.write_text('{"kind": "square"}')
    for command in ([*args, tmp_path / "x.png"], ["eval", run, *quick, "--output", tmp_path / "page"]):
        status, _, err = tandem(*command, "--schedule", found)
        assert (status, "schedule.json cannot be read as a schedule" in err, err.count("\n")) == (2, True, 1)


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--steps", 1], "--steps must be from 2 to 10,000"),
        (["--steps", 2], "no linear schedule of 2 steps reaches noise"),
        (["--images", 4], "--images must be from 8"),
    ],
)
def test_schedules_that_cannot_be_searched_for(args, says: str, restorers, trained, tandem, tmp_path) -> None:
    common = ["--features", "random", "--output", tmp_path / "x.json"]
    status, _, err = tandem("sweep", "schedule", restorers["sr3-photos64"], *args, *common)
    assert (status, says in err) == (2, True)
    assert "draws pictures of its own" in tandem("sweep", "schedule", trained, *common)[2]
    assert not (tmp_path / "x.json").exists()


def test_nothing_that_is_read_is_overwritten(restorers, tandem, tmp_path) -> None:
    run = restorers["sr3-photos64"]
    for name, output, options in (
        ("a.png", "a.png", ()), ("b-sheet.png", "b.png", ()), ("c-2.png", "c.png", ("-n", 2)),
        ("d.png", "e.png", ("--reference", tmp_path / "e.png")),
    ):  # fmt: skip
        source = picture(tmp_path / name, 4, 4)
        picture(tmp_path / "e.png", 16, 16)
        before = {path: path.read_bytes() for path in tmp_path.glob("*.png")}
        status, _, err = tandem("restore", run, source, "-o", tmp_path / output, *options)
        assert (status, "would be overwritten" in err, err.count("\n")) == (2, True, 1)
        assert {path: path.read_bytes() for path in tmp_path.glob("*.png")} == before


def test_a_file_that_nobody_here_made_stays(restorers, tandem, tmp_path) -> None:
    run, source = restorers["sr3-photos64"], picture(tmp_path / "in.png", 4, 4)
    for name, options in (("a.png", ()), ("a-sheet.png", ()), ("a-2.png", ("-n", 2)), ("a-sheet.png", ("-n", 2))):
        theirs = picture(tmp_path / name, 3, 3)
        before = theirs.read_bytes()
        status, _, err = tandem("restore", run, source, "-o", tmp_path / "a.png", *options)
        assert (status, f"{name} is there, and no earlier call made it" in err, err.count("\n")) == (2, True, 1), err
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["in.png", name])
        assert theirs.read_bytes() == before
        theirs.unlink()
    args = ["restore", run, source, "-o", tmp_path / "a.png"]
    assert tandem(*args)[0] == 0
    first = opened(tmp_path / "a.png")
    assert tandem(*args, "--seed", 1)[0] == 0  # its own may be made anew
    assert not np.array_equal(opened(tmp_path / "a.png"), first)


def test_a_panorama_is_shown_in_its_whole_frame(restorers, tandem, tmp_path) -> None:
    source = tmp_path / "in.png"
    Image.fromarray(np.full((16, 16, 3), 250, np.uint8)).save(source)
    args = ["restore", restorers["palette-uncrop64"], source, "--side", "all", "-o", tmp_path / "out.png"]
    assert tandem(*args)[0] == 0
    assert opened(tmp_path / "out.png").shape == (32, 32, 3)
    top, left, size = contact_sheet.HEAD + contact_sheet.NAME, contact_sheet.GAP, contact_sheet.BOX
    given = opened(tmp_path / "out-sheet.png")[top : top + size, left : left + size]
    assert np.unique(given).tolist() == [128, 250]
    assert (given == 250).mean() == 0.25


def test_a_stop_says_what_is_left(restorers, tandem, tmp_path, monkeypatch) -> None:
    def stopped(*args: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(SR3, "draw", stopped)
    picture(tmp_path / "in" / "a.png", 4, 4)
    args = ["restore", restorers["sr3-photos64"]]
    status, said, _ = tandem(*args, tmp_path / "in" / "a.png", "-o", tmp_path / "out.png")
    assert (status, "stopped; nothing was written" in said, (tmp_path / "out.png").exists()) == (130, True, False)
    status, said, _ = tandem(*args, tmp_path / "in", "-o", tmp_path / "out")
    assert (status, "stopped; the same command goes on" in said) == (130, True)


def test_words_about_frames_and_turned_pictures(restorers, tandem, tmp_path) -> None:
    frames = [Image.fromarray(np.full((8, 8, 3), shade, np.uint8)) for shade in (10, 200)]
    frames[0].save(tmp_path / "film.gif", save_all=True, append_images=frames[1:])
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.zeros((8, 12, 3), np.uint8)).save(tmp_path / "turned.jpg", exif=exif)
    for name, word in (("film.gif", "the first of several frames is taken"), ("turned.jpg", "turned upright")):
        status, out, err = tandem("restore", restorers["sr3-photos64"], tmp_path / name, "-o", tmp_path / "out.png")
        assert status == 0, err
        assert word in out
    assert opened(tmp_path / "out.png").shape == (48, 32, 3)


def test_a_film_that_is_cut_anywhere_is_read_or_refused(tmp_path) -> None:
    """Pillow raises IndexError, struct.error and others."""
    noise = np.random.default_rng(0).integers(0, 256, (4, 12, 12, 3), dtype=np.uint8)
    first, *others = [Image.fromarray(frame) for frame in noise]
    first.save(tmp_path / "film.gif", save_all=True, append_images=others)
    whole, model = (tmp_path / "film.gif").read_bytes(), Mock(shape=(3, 8, 8), num_levels=256)
    read = 0
    for length in range(0, len(whole), 7):
        (tmp_path / "cut.gif").write_bytes(whole[:length])
        with contextlib.suppress(ValueError):
            read += picture_files.read(tmp_path / "cut.gif", model, 1000).shape == (3, 12, 12)
    assert 100 < read < len(whole) / 7


def test_a_picture_that_is_too_large_is_refused_by_its_header(restorers, tandem, tmp_path) -> None:
    Image.new("1", (10_000, 9_000)).save(tmp_path / "huge.png")  # a few kB
    status, _, err = tandem("restore", restorers["sr3-photos64"], tmp_path / "huge.png", "-o", tmp_path / "out.png")
    assert (status, "10000 x 9000 pixels are more than" in err, err.count("\n")) == (2, True, 1)


def test_a_regression_has_one_answer(restorers, tandem, tmp_path) -> None:
    (step,), run, source = (
        (restorers["sr3-photos64"] / "checkpoints").glob("0*"),
        tmp_path / "mean",
        tmp_path / "in.png",
    )
    run.mkdir()
    about = json.loads((step / "model.json").read_text())
    about["config"]["model"]["regression"] = True
    (run / "model.json").write_text(json.dumps(about))
    (run / "model.safetensors").write_bytes((step / "model.safetensors").read_bytes())
    args = ["restore", run, picture(source, 4, 4), "-o", tmp_path / "out.png"]
    assert tandem(*args)[0] == 0
    for flags, named in ((["-n", 2], "-n"), (["--steps", 3, "--sampler", "ddim"], "--steps and --sampler")):
        status, _, err = tandem(*args, *flags)
        assert (status, f"one answer, in one step; leave {named} out" in err, err.count("\n")) == (2, True, 1), err
    status, _, err = tandem("sweep", "schedule", run, "--output", tmp_path / "x.json")
    assert (status, "it has no schedule to search for" in err) == (2, True)


def test_weights_that_are_no_numbers_make_no_picture(restorers, tandem, tmp_path) -> None:
    model = generative.load(restorers["sr3-photos64"])
    step = max((restorers["sr3-photos64"] / "checkpoints").glob("0*"))
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "model.json").write_bytes((step / "model.json").read_bytes())
    for value, says in ((float("nan"), "its weights are no finite numbers"), (1e30, "draws is no finite number")):
        bad = {name: tensor * value for name, tensor in model.state_dict().items()}
        (tmp_path / "bad" / "model.safetensors").write_bytes(pack(bad))
        status, _, err = tandem("restore", tmp_path / "bad", picture(tmp_path / "in.png"), "-o", tmp_path / "out.png")
        assert (status, says in err, err.count("\n")) == (2, True, 1), err
    assert not (tmp_path / "out.png").exists()
