"""`tandem eval` of models that restore pictures: the table, what is kept, and what makes none."""

import hashlib
import json
import shutil
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
import torch

import generative
from experiments import restoring, runs
from experiments.restoring import spoiled
from experiments.simple_methods import mean_known, nearest_known, simple
from generative import watch
from generative.checkpoint import pack, unpack
from generative.degradations import compressed
from generative.metrics import restoration
from generative.papers.sr3 import SR3
from generative.schedules import linear_betas

SIX = [0, 1, 2, 4, 5, 6]
"""Of eight, evenly spread."""
QUICK = ("--images", 8, "--steps", 2, "--features", "random", "--no-perceptual", "--classifier", "none")


def test_a_table_of_an_enlarger(restorers, tandem, tmp_path) -> None:
    out = tmp_path / "page"
    args = ["eval", restorers["sr3-photos64"], *QUICK, "--output", out]
    status, _, err = tandem(*args)
    assert status == 0, err
    rows = {row["name"]: row for row in json.loads((out / "restoration.json").read_text())}
    assert list(rows) == ["tiny-sr3-photos64", "bicubic", "originals (floor)"]
    ours, bicubic, floor = rows.values()
    assert bicubic["psnr"][0] > ours["psnr"][0]  # after six steps of training
    assert ours["consistency"][0] > bicubic["consistency"][0] > 0
    assert floor["psnr"] is None
    page = (out / "restoration.md").read_text()
    assert "| bicubic |" in page
    assert "PSNR, dB | SSIM | consistency, 1e-5 | KID | FID" in page
    assert sorted(p.name for p in out.iterdir()) == ["answers", "restoration.json", "restoration.md", "sheet.png"]
    (stored,) = (out / "answers").iterdir()
    with np.load(stored) as file:
        answers = file["pictures"]
    assert answers.shape == (8, 3, 16, 16)
    np.savez(stored, pictures=np.full_like(answers, 7))  # what is there is not made again
    assert tandem(*args)[0] == 0
    again = json.loads((out / "restoration.json").read_text())[0]
    assert again["psnr"] != ours["psnr"]
    assert tandem(*args, "--answers", 2, "--answers-images", 4)[0] == 0
    assert json.loads((out / "restoration.json").read_text())[0]["psnr"] == again["psnr"]  # one more adds to it
    (other,) = set((out / "answers").iterdir()) - {stored}
    with np.load(other) as file:
        second = file["pictures"]
    assert second.shape == (4, 3, 16, 16)
    assert not np.array_equal(second, answers[:4])  # noise of its own
    np.savez(stored, pictures=answers[:, :1])
    status, _, err = tandem(*args)
    assert (status, "pictures (remove it to have them drawn anew)" in err, err.count("\n")) == (2, True, 1)


def test_answers_to_another_question_are_others(restorers, tandem, tmp_path) -> None:
    """Whatever decides an answer decides where it is kept; what decides the table alone does not."""
    out, run = tmp_path / "page", tmp_path / "runs" / "tiny-sr3-photos64" / "copy"
    shutil.copytree(restorers["sr3-photos64"], run)
    (tmp_path / "linear.json").write_text(json.dumps(asdict(linear_betas(1e-4, 0.5, 20))))
    weights, about = (next(run.glob(f"checkpoints/*/{name}")) for name in ("model.safetensors", "manifest.json"))

    def more(*flags: Any) -> int:
        before = len(list((out / "answers").glob("*"))) if out.exists() else 0
        status, _, err = tandem("eval", run, *QUICK, *flags, "--output", out)
        assert status == 0, err
        return len(list((out / "answers").iterdir())) - before

    assert more() == 1
    for flags in (("--seed", 1), ("--steps", 3), ("--sampler", "ddim"), ("--schedule", tmp_path / "linear.json")):
        assert more(*flags) == 1, flags
    assert more("--reference", "test") == 0
    changed = {name: tensor * 1.01 for name, tensor in unpack(weights.read_bytes(), "").items()}
    weights.write_bytes(pack(changed))
    manifest = json.loads(about.read_text())
    data = weights.read_bytes()
    manifest["model.safetensors"] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    about.write_text(json.dumps(manifest))
    assert more() == 1


def test_what_was_drawn_before_an_interruption_is_kept(restorers, tandem, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(restoring, "AT_ONCE", 4)
    restore, calls = SR3.restore, []

    def stopped(self: SR3, *args: Any, **options: Any) -> torch.Tensor:
        calls.append(options["first"])
        if len(calls) == 2:
            raise KeyboardInterrupt
        return restore(self, *args, **options)

    monkeypatch.setattr(SR3, "restore", stopped)
    args = ["eval", restorers["sr3-photos64"], *QUICK, "--output"]
    assert tandem(*args, tmp_path / "cut")[0] == 130
    assert tandem(*args, tmp_path / "cut")[0] == 0
    assert calls == [0, 4, 4]
    assert tandem(*args, tmp_path / "whole")[0] == 0
    pages = [(tmp_path / name / "restoration.json").read_text() for name in ("cut", "whole")]
    assert pages[0] == pages[1]


@pytest.mark.parametrize(
    ("task", "simple_name"),
    [("colorize", "grey"), ("jpeg", "as decoded"), ("inpaint", "OpenCV, Telea"), ("uncrop", "nearest known pixel")],
)
def test_every_task_has_a_simple_method(task: str, simple_name: str, restorers, tandem, tmp_path) -> None:
    run = restorers["palette-uncrop64" if task == "uncrop" else "palette-all64"]
    try:
        import cv2  # noqa: F401
    except ImportError:
        simple_name = simple_name.replace("OpenCV, Telea", "mean of what is known")
    status, _, err = tandem("eval", run, "--task", task, *QUICK, "--output", tmp_path)
    assert status == 0, err
    names = [row["name"] for row in json.loads((tmp_path / "restoration.json").read_text())]
    assert simple_name in names


class Mean(torch.nn.Module):
    """A classifier of two classes, dark and light, by the mean of a picture."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean = x.mean(dim=(1, 2, 3)) - 117
        return torch.stack([-mean, mean], 1)


def test_classes_of_answers_beside_those_of_the_originals(restorers, tandem, tmp_path) -> None:
    torch.jit.script(Mean()).save(str(tmp_path / "mean.pt"))
    quick = [*QUICK[:-1], tmp_path / "mean.pt"]
    args = ["eval", restorers["sr3-photos64"], *quick, "--answers", 3, "--answers-images", 6, "--output", tmp_path]
    status, _, err = tandem(*args)
    assert status == 0, err
    ours, bicubic, floor = json.loads((tmp_path / "restoration.json").read_text())
    config = runs.read(restorers["sr3-photos64"])[1]
    images = generative.data.load(config.data, "test")
    originals = images.batch(watch.chosen(images, 8))
    known = (originals["x"].double().mean((1, 2, 3)) > 117).long()
    assert floor["accuracy"][0] == pytest.approx((known == originals["label"]).double().mean())
    stored = [next((tmp_path / "answers").glob(f"*-photos64-{k}-*.npz")) for k in (1, 2, 3)]
    first, *others = (torch.from_numpy(np.load(path)["pictures"]) for path in stored)
    found = torch.stack([first[SIX], *others])
    mine = (first.double().mean((1, 2, 3)) > 117).long()
    assert ours["accuracy"][0] == pytest.approx((mine == originals["label"]).double().mean())
    assert ours["agreement"][0] == pytest.approx((mine == known).double().mean())
    assert floor["agreement"] is None
    assert bicubic["inception_score"] == pytest.approx(floor["inception_score"], rel=0.05)  # the same means
    assert 1 <= floor["inception_score"] <= 2
    assert ours["ssim_between"][0] == pytest.approx(float(restoration.diversity(found).mean()))
    assert bicubic["ssim_between"] is None
    known = originals["x"][SIX].numpy().astype(float)
    error = [((np.round(found[:, i].numpy().mean(0)) - known[i]) ** 2).mean() for i in range(6)]
    assert ours["mean_psnr"][0] == pytest.approx(np.mean(10 * np.log10(255**2 / np.array(error))))
    assert bicubic["mean_psnr"][0] != bicubic["psnr"][0]  # it is of six of the eight pictures
    assert floor["mean_psnr"] is None
    assert "mean of 3 answers of 6 pictures, evenly spread" in (tmp_path / "restoration.md").read_text()


def test_a_generalist_stands_beside_a_specialist(restorers, tandem, tmp_path) -> None:
    other = shutil.copytree(restorers["palette-all64"], tmp_path / "elsewhere" / "run")
    status, _, err = tandem(
        "eval",
        restorers["palette-all64"],
        other,
        "--task",
        "jpeg",
        *QUICK,
        "--answers",
        2,
        "--output",
        tmp_path / "page",
    )
    assert status == 0, err
    rows = json.loads((tmp_path / "page" / "restoration.json").read_text())
    assert [row["name"] for row in rows[:2]] == ["tiny-palette-all64", "elsewhere"]
    assert rows[0]["psnr"] == rows[1]["psnr"]  # the same weights


def test_the_paper_s_own_tests(restorers, tandem, tmp_path) -> None:
    args = ["eval", restorers["palette-all64"], "--task", "jpeg", "--degradation", "q5", *QUICK]
    status, _, err = tandem(*args, "--output", tmp_path)
    assert status == 0, err
    assert "--degradation q5 --images 8 --steps 2 " in (tmp_path / "restoration.md").read_text()
    model = generative.load(restorers["palette-all64"])
    k = torch.randint(0, 256, (3, 3, 16, 16), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    given, mask = spoiled(model, "jpeg", k, seed=0, how="q5")  # pyright: ignore[reportArgumentType]
    assert mask is None
    assert all(np.array_equal(a, compressed(b, 5)) for a, b in zip(given.numpy(), k.numpy(), strict=True))


def test_what_real_pictures_are_compared_with(restorers, tandem, tmp_path) -> None:
    rows = {}
    for split in ("train", "test"):
        args = ["eval", restorers["sr3-photos64"], *QUICK, "--reference", split, "--reference-images", 8]
        assert tandem(*args, "--output", tmp_path / split)[0] == 0
        rows[split] = json.loads((tmp_path / split / "restoration.json").read_text())[-1]
    assert rows["test"]["fid"] == pytest.approx(0, abs=1e-3)  # the originals against themselves
    assert rows["train"]["fid"] > 0.01
    page = (tmp_path / "test" / "restoration.md").read_text()
    assert "8 pictures of the test split, which may hold originals" in page
    assert "--steps 2 --seed 0 --reference test --reference-images 8 " in page


def test_what_makes_no_table(restorers, trained, tandem, tmp_path) -> None:
    sr3, palette = restorers["sr3-photos64"], restorers["palette-all64"]
    (tmp_path / "young").mkdir()
    shutil.copy(palette / "config.json", tmp_path / "young")
    for args, says in (
        ([palette], "knows several tasks: name one with --task: colorize, inpaint, jpeg"),
        ([sr3, "--task", "jpeg"], "was trained to upscale, not to jpeg"),
        ([sr3, sr3], "a run is named twice"),
        ([sr3, palette], "was trained to colorize, inpaint, jpeg, not to upscale"),
        ([sr3, trained], "they make no table together"),
        ([sr3, "--images", 4], "--images must be from 8 to 1,000,000, got 4"),
        ([sr3, "--degradation", "q5"], "upscale has no degradation 'q5'; allowed: none, leave it out"),
        ([palette, "--task", "inpaint", "--degradation", "q5"], "allowed: freeform, centre"),
        ([sr3, "--sampler", "euler"], "sampler 'euler' does not exist"),
        ([sr3, tmp_path / "nowhere"], "holds no model"),
        ([tmp_path / "young", "--task", "jpeg"], "young holds no model: no model.json and no whole checkpoint"),
    ):
        status, _, err = tandem("eval", *args, "--output", tmp_path / "page")
        assert (status, says in err, err.count("\n")) == (2, True, 1), (args, err)


def test_simple_methods_by_hand() -> None:
    k = np.arange(12, dtype=np.uint8).reshape(3, 4, 1)
    hole = np.zeros((3, 4), bool)
    hole[:, 2:] = True
    assert nearest_known(k, hole)[..., 0].tolist() == [[0, 1, 1, 1], [4, 5, 5, 5], [8, 9, 9, 9]]
    assert mean_known(k, hole)[..., 0].tolist() == [[0, 1, 4, 4], [4, 5, 4, 4], [8, 9, 4, 4]]
    low = torch.full((1, 3, 2, 2), 50, dtype=torch.uint8)
    assert bool((simple("upscale", low, None, 3)["bicubic"] == 50).all())
    assert simple("upscale", low, None, 3)["bicubic"].shape == (1, 3, 6, 6)
