"""Cascades: every stage is kept, nothing is made twice, and what stops a run changes nothing."""

import hashlib
import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import generative
import generative.data
from experiments import cascade, cascade_judge, presets
from experiments.train import train_run
from generative import config as configs
from generative import noise, watch
from generative.augmentations import GaussianNoise
from generative.data import DataConfig
from generative.metrics import features
from generative.metrics.kid import kid
from generative.papers.cascade import CascadeStage
from generative.resize import resize_levels
from generative.schedules import linear_betas


@pytest.fixture(scope="module")
def stages(picture_folder, tmp_path_factory) -> list[Path]:
    """Finished runs of a few steps: a base of 4 x 4 pictures in two classes, and stages to 8 x 8 and 16 x 16."""
    data, made = DataConfig(name="folder", path=str(picture_folder(16, 1)), holdout=0.3), []
    for name, reduced, low in (("cdm-folder8", (8, 4), None), ("cdm-folder16", (8,), 4), ("cdm-folder32", (), 8)):
        config = presets.get(f"tiny-{name}").make()
        fields = {} if low is None else {"low": low, "inference_steps": 2}
        model = replace(config.model, net=replace(config.model.net, classes=2), **fields)
        config = replace(config, data=replace(data, reduced=reduced), model=model)
        made.append(train_run(f"tiny-{name}", config, tmp_path_factory.mktemp("runs"), plain=True))
    return made


def draw(stages: list[Path], n: int, folder: Path, **options) -> list[torch.Tensor]:
    models = [generative.load(run) for run in stages]
    settings = [cascade.Stage(steps=2, sampler=model.sampler, level=0.3 * i) for i, model in enumerate(models)]
    return cascade.draw(models, settings, n, folder, seed=3, **options)


def test_pictures_go_through_the_stages(stages, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(cascade, "BLOCK", 4)
    base, middle, last = draw(stages, 6, tmp_path)
    assert (base.shape, middle.shape, last.shape) == ((6, 1, 4, 4), (6, 1, 8, 8), (6, 1, 16, 16))
    first, second, third = (generative.load(run) for run in stages)
    label = torch.arange(6) % 2
    options = {"steps": 2, "sampler": "ddim", "schedule": first.sampling_schedule}
    assert base.equal(first.sample(6, seed=noise.mix(3, 0), label=label, **options))
    by_hand = second.restore(base, seed=noise.mix(3, 1), label=label, level=0.3, draw={"steps": 2})  # pyright: ignore
    assert middle.equal(by_hand)
    assert last.equal(third.restore(middle, seed=noise.mix(3, 2), label=label, level=0.6, draw={"steps": 2}))  # pyright: ignore


def test_no_split_and_no_interruption_changes_a_picture(stages, tmp_path, monkeypatch) -> None:
    whole = draw(stages, 7, tmp_path / "whole")
    monkeypatch.setattr(cascade, "BLOCK", 2)
    assert all(a.equal(b) for a, b in zip(whole, draw(stages, 7, tmp_path / "split"), strict=True))
    fewer = draw(stages, 3, tmp_path / "grown")
    assert all(a.equal(b[:3]) for a, b in zip(fewer, whole, strict=True))
    assert draw(stages, 7, tmp_path / "grown")[-1].equal(whole[-1])
    keys = {json.loads((p / "about.json").read_text())["stage"]: p for p in (tmp_path / "split").iterdir()}
    shutil.rmtree(keys[2])  # killed after the second stage
    (keys[1] / f"{6:012d}.npz").unlink()  # or in the middle of it

    def never(*args, **options):
        raise AssertionError("the base is there")

    model = type(generative.load(stages[0]))
    monkeypatch.setattr(model, "sample", never)
    assert draw(stages, 7, tmp_path / "split")[-1].equal(whole[-1])


def test_a_base_that_stops_early(stages, tandem, tmp_path) -> None:
    """At s = 1 it does not begin: what is enlarged is the noise that it starts from, whatever it would have drawn."""
    args = ["sample", *stages, "-n", 3, "--steps", 2, "--levels", 1, 0, "--truncated", "-o", tmp_path / "grid.png"]
    status, _, err = tandem(*args)
    assert status == 0, err
    about = {json.loads((p / "about.json").read_text())["stage"]: p for p in (tmp_path / "grid-stages").iterdir()}
    middle = np.load(about[1] / f"{0:012d}.npz")["pictures"]
    left = torch.from_numpy(np.load(about[0] / f"{0:012d}.npz")["pictures"])
    first, second, _ = (generative.load(run) for run in stages)
    sources = noise.per_example(noise.mix(noise.mix(0, 0), noise.SAMPLES), range(3))
    z = noise.normal(sources, (3, *first.shape), device="cpu", dtype=torch.float32)
    assert left.equal(z)  # kept as it is, without loss
    assert isinstance(second, CascadeStage)
    assert isinstance(second.augmentation, GaussianNoise)
    level = second.augmentation.log_snr(torch.ones(3, dtype=torch.float64))
    cond = second.handed(z, level) | {"label": torch.arange(3) % 2}
    by_hand = second.draw(cond, steps=2, seed=noise.mix(0, 1))
    assert torch.from_numpy(middle).equal(by_hand)
    assert tandem(*args[:6], "--stage-steps", 2, 4, 8, *args[8:])[0] == 0
    about = [json.loads(path.read_text()) for path in (tmp_path / "grid-stages").glob("*/about.json")]
    assert sorted((one["stage"], one["steps"]) for one in about) == [(0, 2), (1, 2), (1, 4), (2, 2), (2, 8)]
    settings = [cascade.Stage(steps=2, sampler="ddim", truncated=True)] * 2
    with pytest.raises(ValueError, match="only the stage after the base takes what"):
        cascade.draw([first, second], settings, 3, tmp_path)


def test_the_curve_of_a_base_that_stops_early(stages, tandem, tmp_path) -> None:
    args = ["sweep", "aug-level", *stages[:2], "--truncated", "--levels", 0, 0.5, "--samples", 12, "--steps", 2]
    status, _, err = tandem(*args, "--features", "random", "--classifiers", 0, "--output", tmp_path)
    assert status == 0, err
    assert [row["consistency"] for row in json.loads((tmp_path / "aug-level.json").read_text())] == [None] * 3
    assert "the base stopped at it" in (tmp_path / "aug-level.md").read_text()


def test_a_stage_may_have_a_schedule_that_was_searched_for(stages, tandem, tmp_path) -> None:
    found = tmp_path / "schedule.json"
    found.write_text(json.dumps(asdict(linear_betas(1e-4, 0.5, 20))))
    args = ["sample", *stages, "-n", 3, "--steps", 3, "-o", tmp_path / "grid.png", "--schedules", found, "own"]
    status, _, err = tandem(*args, "--npz", tmp_path / "raw.npz")
    assert status == 0, err
    models = [generative.load(run) for run in stages]
    settings = [cascade.Stage(steps=3, sampler=model.sampler) for model in models]
    plain = cascade.draw(models, settings, 3, tmp_path / "plain")
    settings[1] = replace(settings[1], schedule=linear_betas(1e-4, 0.5, 20))
    searched = cascade.draw(models, settings, 3, tmp_path / "plain")
    assert searched[0].equal(plain[0])
    assert not searched[1].equal(plain[1])
    assert np.array_equal(np.load(tmp_path / "raw.npz")["pictures"], searched[2].numpy())


def test_an_enlarged_picture_is_enlarged_further_with_noise_of_its_own(stages, tandem, tmp_path) -> None:
    _, second, third = stages
    source, out = tmp_path / "in.png", tmp_path / "out.png"
    k = np.random.default_rng(0).integers(0, 256, (4, 4), dtype=np.uint8)
    Image.fromarray(k).save(source)
    args = ["restore", second, source, "--label", 1, "--then", third, "-o", out, "--level", 0.2]
    assert tandem(*args, "--then-levels", 0.4)[0] == 0
    label, models = torch.tensor([1]), [generative.load(run) for run in (second, third)]
    given = torch.from_numpy(k)[None, None]
    for number, (model, level) in enumerate(zip(models, (0.2, 0.4), strict=True)):
        assert isinstance(model, CascadeStage)
        given = model.restore(given, seed=noise.mix(0, number, 0), label=label, level=level)
    assert np.array_equal(np.asarray(Image.open(out)), given[0, 0].numpy())
    for odd, says in (((2.0,), "level must be from 0 to 1.0"), ((0.1, 0.2), "--then-levels needs a number for each")):
        status, _, err = tandem(*args, "--then-levels", *odd)
        assert (status, says in err, err.count("\n")) == (2, True, 1), err


def test_a_schedule_is_searched_for_at_a_level(stages, tandem, tmp_path) -> None:
    args = ["sweep", "schedule", stages[1], "--steps", 20, "--images", 8, "--features", "random"]
    said = [tandem(*args, "--level", level, "--output", tmp_path / "x.json")[1] for level in (0, 0.6)]
    own = [line for one in said for line in one.splitlines() if line.startswith("the model's own schedule")]
    assert len(set(own)) == 2
    status, _, err = tandem(*args, "--level", 7, "--output", tmp_path / "x.json")
    assert (status, "level must be from 0 to 1.0" in err, err.count("\n")) == (2, True, 1)


def test_stages_of_sr3_after_a_base(stages, restorers, picture_folder, tmp_path, tandem) -> None:
    """4 x 4 colour pictures of a base, enlarged by SR3 to 16 x 16."""
    config = presets.get("tiny-cdm-folder8").make()
    data = DataConfig(name="folder", path=str(picture_folder(16, 3)), holdout=0.4, reduced=(4,))
    config = replace(config, data=data, model=replace(config.model, net=replace(config.model.net, classes=2)))
    base = train_run("tiny-cdm-folder8", config, tmp_path, plain=True)
    sr3 = restorers["sr3-photos64"]
    first, second = generative.load(base), generative.load(sr3)
    settings = [cascade.Stage(steps=2, sampler=model.sampler) for model in (first, second)]
    small, large = cascade.draw([first, second], settings, 3, tmp_path / "drawn", seed=3)
    label = torch.arange(3) % 2
    options = {"steps": 2, "sampler": "ddim", "schedule": first.sampling_schedule}
    assert small.equal(first.sample(3, seed=noise.mix(3, 0), label=label, **options))
    assert large.equal(second.restore(small, seed=noise.mix(3, 1), draw={"steps": 2}))  # pyright: ignore
    status, _, err = tandem("sample", stages[0], sr3, "-n", 2, "-o", tmp_path / "x.png")  # one channel, not three
    assert (status, err.count("\n")) == (2, 1)


def test_stages_that_know_other_pictures_are_named(stages, tandem, tmp_path) -> None:
    for name, reduced in (("0", [8, 4]), ("1", [8]), ("direct", [4])):
        run = shutil.copytree(stages[int(name == "1")], tmp_path / name)
        (about,) = run.glob("checkpoints/0*/model.json")
        changed = json.loads(about.read_text())
        changed["config"]["data"] |= {"size": 16, "reduced": reduced}
        about.write_text(json.dumps(changed))
        manifest = json.loads((about.parent / "manifest.json").read_text())
        digest = hashlib.sha256(about.read_bytes()).hexdigest()
        manifest["model.json"] = {"bytes": about.stat().st_size, "sha256": digest}
        (about.parent / "manifest.json").write_text(json.dumps(manifest))
    for base, told in (("direct", True), ("0", False)):
        args = ["sample", tmp_path / base, tmp_path / "1", "-n", 1, "--steps", 1, "-o", tmp_path / "grid.png"]
        status, out, err = tandem(*args)
        assert (status, "train both with the same (--data.reduced)" in out) == (0, told), err


def test_other_settings_never_meet(stages, tmp_path) -> None:
    draw(stages, 3, tmp_path)
    assert len(list(tmp_path.iterdir())) == 3
    draw(stages, 3, tmp_path, label=1)
    assert len(list(tmp_path.iterdir())) == 6
    for damaged in tmp_path.glob("*/000000000000.npz"):
        damaged.write_bytes(damaged.read_bytes()[:50])
    with pytest.raises(ValueError, match="drawn anew"):
        draw(stages, 3, tmp_path)


def test_sample_draws_a_cascade(stages, tandem, tmp_path) -> None:
    args = ["sample", *stages, "-n", 5, "--steps", 2, "--levels", 0.1, 0.2, "-o", tmp_path / "grid.png"]
    status, out, err = tandem(*args, "--npz", tmp_path / "raw.npz")
    assert status == 0, err
    assert "5 pictures, 3 stages, seed 0" in out
    with np.load(tmp_path / "raw.npz") as file:
        assert file["pictures"].shape == (5, 1, 16, 16)
    assert len(list((tmp_path / "grid-stages").iterdir())) == 3


def test_the_curve_over_levels_comes_from_one_base(stages, tandem, tmp_path, monkeypatch) -> None:
    scored, accuracy_score = [], cascade_judge.accuracy_score

    def watched(*args, **options):
        scored.append(args[:4])
        return accuracy_score(*args, **options)

    monkeypatch.setattr(cascade_judge, "accuracy_score", watched)
    args = ["sweep", "aug-level", *stages, "--levels", 0, 0.5, "--samples", 12, "--steps", 2, "--features", "random"]
    status, _, err = tandem(*args, "--classifiers", 2, "--output", tmp_path)
    assert status == 0, err
    rows = json.loads((tmp_path / "aug-level.json").read_text())
    assert [row["level"] for row in rows] == [0, 0.5, -1]
    assert all(list(row["accuracy_scores"]) == ["top-1"] for row in rows)
    assert all(0 <= score <= 1 for row in rows for score in row["accuracy_scores"]["top-1"])
    assert [len(row["accuracy_scores"]["top-1"]) for row in rows] == [2, 2, 2]
    about = [json.loads((p / "about.json").read_text())["stage"] for p in (tmp_path / "stages").iterdir()]
    assert sorted(about) == [0, 1, 2, 2]
    page = (tmp_path / "aug-level.md").read_text()
    assert "The lowest KID of these levels is at s = " in page
    last, net = generative.load(stages[-1]), features.random_features()
    data = configs.from_json(last.meta["config"]).data
    sets = [generative.data.load(data, split) for split in ("test", "train")]
    real, known = (images.batch(watch.chosen(images, many)) for images, many in zip(sets, (5000, 12), strict=True))
    folders = {json.loads((p / "about.json").read_text())["level"]: p for p in (tmp_path / "stages").iterdir()
               if json.loads((p / "about.json").read_text())["stage"] == 2}  # fmt: skip
    (before,) = (p for p in (tmp_path / "stages").iterdir() if json.loads((p / "about.json").read_text())["stage"] == 1)
    given = torch.from_numpy(np.load(before / f"{0:012d}.npz")["pictures"])
    assert all(args[2].equal(real["x"]) and args[3].equal(real["label"]) for args in scored)  # tested on real ones
    assert scored[-1][0].equal(known["x"])
    assert scored[-1][1].equal(known["label"])
    at = [features.extract(net, x) for x in (real["x"], known["x"])]
    names = [[f"{which} {i}" for i in range(len(x))] for which, x in zip(("test", "train"), at, strict=True)]
    assert rows[-1]["kid"] == pytest.approx(kid(at[1], at[0], names[1], names[0]).value, rel=1e-4)
    for row in rows[:2]:
        made = torch.from_numpy(np.load(folders[row["level"]] / f"{0:012d}.npz")["pictures"])
        small = resize_levels(made, (8, 8), 256).double() - given.double()
        assert row["consistency"] == pytest.approx(1e5 * float((small / 255).square().mean()))
        assert any(args[0].equal(made) and args[1].equal(torch.arange(12) % 2) for args in scored)
        mine = features.extract(net, made)
        assert row["kid"] == pytest.approx(kid(mine, at[0], names[1], names[0]).value, rel=1e-4)
    for name in ("curve.png", "pictures.png"):
        assert (tmp_path / name).stat().st_size > 1000
    before = len(scored)
    assert tandem(*args, "--classifiers", 2, "--output", tmp_path)[0] == 0
    assert len(scored) == before  # what was trained once is not trained again
    assert json.loads((tmp_path / "aug-level.json").read_text()) == rows
    assert tandem(*args, "--classifiers", 3, "--output", tmp_path)[0] == 0
    assert len(scored) == before + 3


def test_what_is_no_cascade(stages, restorers, tandem, tmp_path) -> None:
    first, second, third = stages
    for args, says in (
        (
            ["sample", first, third],
            "the stages do not fit: one draws pictures of 1x4x4 of 256 levels, the next takes 1x8x8",
        ),
        (["sample", second, third], "this model makes pictures of pictures"),
        (["sample", first, first], "a stage after the first enlarges pictures"),
        (["sample", first, restorers["sr3-photos64"]], "the stages do not fit"),
        (
            ["sample", first, second, "--levels", 0.1, 0.2],
            "--levels needs one number for each stage after the first, 1",
        ),
        (["sample", first, second, "--levels", 2], "level must be from 0 to 1.0, what training went to, got 2.0"),
        (["sample", first, "--levels", 0.1], "--levels, --stage-steps, --schedules, --truncated and"),
        (["sample", first, second, "--schedule", "own"], "--schedule is for a single model"),
        (["sample", first, second, "--schedules", "own", "own"], "--schedules needs a file, or own, for each stage"),
        (["sample", first, second, "--schedules", "nowhere"], "nowhere cannot be read as a schedule"),
        (
            ["sample", first, "--stage-steps", 2],
            "--stage-steps, --schedules, --truncated and --store are for",
        ),
        (["sample", *stages, "--stage-steps", 2, 3], "--stage-steps needs a number for each of the 3 stages, got 2"),
        (["sweep", "aug-level", *stages, "--stage-steps", 2, 3], "--stage-steps needs a number for each of the 3"),
        (["sample", first, "--truncated"], "--schedules, --truncated and --store are for a"),
        (["sweep", "aug-level", *stages, "--truncated"], "--truncated is for a base and one stage"),
        (["sample", first, second, "--label", "blue"], "label 'blue' does not exist"),
        (["sample", first, second, "--label", "9" * 5000], "does not exist; allowed: "),
        (["sample", first, second, "--store", tmp_path / "o" / "x.png"], "--store must be a folder of its own"),
        (["sample", first, second, "--store", first / "config.json"], "--store must be a folder of its own"),
        (["sweep", "aug-level", first], "a cascade has two runs or more"),
        (["sweep", "aug-level", first, second, "--levels", 3], "--levels must be numbers from 0 to 1"),
        (["sweep", "aug-level", first, second, "--levels", 0.2, 0.1], "--levels must rise, each once, got 0.2 0.1"),
        (["sweep", "aug-level", first, second, "--levels", 0, 0.1, 0.1], "--levels must rise, each once"),
        (
            ["sweep", "aug-level", first, second, "--stage-steps", 0, 1],
            "--stage-steps must be from 1 to 1,000,000, got 0",
        ),
        (["sweep", "aug-level", first, second, "--samples", 2], "--samples must be from 8 to 100,000, got 2"),
        (["sweep", "aug-level", first, second, "--before", 0.1], "--before needs 0 levels"),
    ):
        out = ["--output", tmp_path / "o" / "x.png"]
        status, _, err = tandem(*args, *out)
        assert (status, says in err, err.count("\n")) == (2, True, 1), (args, err)
