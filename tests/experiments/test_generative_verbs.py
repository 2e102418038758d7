"""`tandem sample`, `eval` and `data` on a tiny run, and what the generative half answers to wrong values."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import generative
import generative.data
from experiments import pictures, runs, sample
from experiments.train import train_run
from generative import schedules, watch


def test_samples_are_the_models_own_and_do_not_depend_on_the_number(trained, tmp_path, tandem, monkeypatch) -> None:
    monkeypatch.setattr(sample, "AT_ONCE", 3)
    grid, raw = tmp_path / "grid.png", tmp_path / "raw.npz"
    status, out, err = tandem(
        "sample", trained, "-n", 5, "--steps", 4, "--sampler", "ddim", "--seed", 7, "-o", grid, "--npz", raw
    )
    assert status == 0, err
    assert "5 pictures, 4 steps of ddim, seed 7" in out
    model = generative.load(trained)
    expected = model.sample(5, steps=4, sampler="ddim", seed=7, schedule=schedules.cosine_like(model.schedule))
    with np.load(raw) as found:
        assert np.array_equal(found["pictures"], expected.numpy())
        assert found["num_levels"] == 256
    assert np.array_equal(np.asarray(Image.open(grid)), pictures.grid(expected, 256))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["grid.png", "raw.npz"]
    assert tandem("sample", trained, "-n", 2, "--steps", 4, "--schedule", "own", "-o", grid, "--npz", raw)[0] == 0
    with np.load(raw) as found:
        assert np.array_equal(found["pictures"], model.sample(2, steps=4).numpy())


def test_a_class_conditional_model_takes_names_and_numbers(tiny, tmp_path, tandem) -> None:
    config = tiny()
    net = replace(config.model.net, classes=2)
    run = train_run("tiny-vdm-folder", replace(config, model=replace(config.model, net=net)), tmp_path, plain=True)
    found = {}
    for label in ("dark", "0", "light"):
        args = ["sample", run, "-n", 2, "--steps", 2, "-o", tmp_path / "x.png", "--npz", tmp_path / f"{label}.npz"]
        assert tandem(*args, "--label", label)[0] == 0
        found[label] = np.load(tmp_path / f"{label}.npz")["pictures"]
    assert np.array_equal(found["dark"], found["0"])
    model = generative.load(run)
    cosine = schedules.cosine_like(model.schedule)
    expected = model.sample(2, steps=2, label=torch.tensor([1, 1]), schedule=cosine).numpy()
    assert np.array_equal(found["light"], expected)
    _, _, err = tandem("sample", run, "--label", "blue")
    assert "label 'blue' does not exist; allowed: dark, light, or 0 to 1" in err
    net = replace(net, classes=3)
    with pytest.raises(ValueError, match=r"model.net.classes is 3, but folder has 2 classes"):
        train_run("x", replace(config, model=replace(config.model, net=net)), tmp_path / "no", plain=True)


def test_eval_prints_bits_and_writes_them_by_picture(trained, tmp_path, tandem, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "150")
    lines = tmp_path / "bits.jsonl"
    status, out, err = tandem(
        "eval", trained, "--images", 6, "--times", 2, "--num-steps", 4, "--output", lines, "--seed", 3
    )
    assert status == 0, err
    for row in (
        "model, continuous time", "model, 4 steps", "prior", "diffusion", "reconstruction",
        "png, each picture", "webp, one mosaic", "factorised histograms", "Gaussian",
    ):  # fmt: skip
        assert row in out
    records = [json.loads(line) for line in lines.read_text().splitlines()]
    assert len(records) == 6
    model, images = generative.load(trained), generative.data.load(runs.read(trained)[1].data, "test")
    chosen = torch.arange(6) * len(images) // 6
    expected = model.elbo(images.batch(chosen)["x"], seed=3, times=2)
    assert [record["picture"] for record in records] == images.keys(chosen)
    for part in ("prior", "diffusion", "reconstruction"):
        found = [record["bits"][f"model, continuous time:{part}"] for record in records]
        assert found == pytest.approx(getattr(expected, part).tolist(), rel=1e-6)
    mean = expected.bits.mean().item() / 64
    assert f"{mean:.4f}" in out
    assert records[0]["bits"]["png, each picture"] % 8 == 0
    kept = json.loads((trained / "evaluation.json").read_text())
    sizes = [record["bits"]["png, each picture"] for record in records]
    assert kept["codecs"]["png"] == pytest.approx(sum(sizes) / 6 / 64)
    assert kept["codec_images"] == 6
    assert kept["eval/bpd"] > 0  # the run's own evaluation stays


def test_eval_under_other_schedules(trained, tandem, monkeypatch) -> None:
    """Each row is watch.evaluate with that schedule; any of them has the bound's ends."""
    monkeypatch.setenv("COLUMNS", "150")
    args = ["--images", 6, "--times", 4, "--no-codecs", "--no-baselines", "--schedules", "--seed", 3]
    status, out, err = tandem("eval", trained, *args)
    assert status == 0, err
    model, images = generative.load(trained), generative.data.load(runs.read(trained)[1].data, "test")
    high, low = (end.item() for end in model.ends())
    cosine = schedules.Cosine(log_snr_max=high, log_snr_min=low)
    for name, schedule in (("the model's own", None), ("cosine", cosine)):
        found = watch.evaluate(model, images, times=4, count=6, seed=3, num_steps=0, schedule=schedule)
        row = next(line for line in out.splitlines() if line.startswith(f"│ {name} "))
        assert f"{found.bpd():.4f}" in row
        assert f"{found.estimator_variance():.3f}" in row


def test_eval_compares_samples_with_test_pictures(trained, tandem) -> None:
    args = ["--images", 4, "--times", 1, "--no-codecs", "--no-baselines", "--samples", 8, "--sample-steps", 2]
    status, out, err = tandem("eval", trained, *args, "--features", "random")
    assert status == 0, err
    assert out.index("KID") < out.index("FID")
    assert "floor" in out
    assert "random convolutions (sha256" in out
    assert "nearest training picture: median distance" in out


WRONG = [
    (["train", "tiny-vdm-cifar10"], "cifar10 needs --data.path"),
    (["train", "tiny-vdm-folder", "--data.path", "/nope"], "/nope"),
    (["train", "vdm-digits", "--model.net.channel", "3"], "perhaps you meant --model.net.channels"),
    (["train", "vdm-digits", "--optim.learning-rate", "-1"], "learning_rate must be positive and finite, got -1.0"),
    (["train", "vdm-digits", "--optim.batch", "100", "--workers", "3"], "optim.batch must be a multiple of workers"),
    (["train", "vdm-digits", "--plain", "--workers", "2"], "--workers must be 1 then, got 2"),
    (["train", "vdm-digits", "--data.name", "nope"], "there is no set 'nope'"),
    (["train", "vdm-digits", "--model.schedule.kind", "x"], "invalid choice 'x'"),
    (["train", "vdm-digits", "--storage", "nope://x"], "storage 'nope://x' cannot be used"),
    (["train", "vdm-digits", "--storage", "/proc/x"], "cannot write /proc/x/checkpoint"),
    (["train", "vdm-digits", "--plain", "--model.net.channels", "30000"], "numbers: to train them takes"),
    (["train", "vdm-digits", "--clip-steps", "3"], "--clip-steps"),
    (["sweep", "vdm-digits", "--workers", "2"], "a sweep trains each seed in one process; --workers must be 1, got 2"),
    (["sample", "/nope"], "/nope holds no model"),
    (["sweep", "schedule"], "RUN is missing"),
    (["sample"], "no run was named; for example"),
    (["data", "get", "nope"], "there is no set 'nope'"),
    (["data", "get"], "get needs the name of a set; allowed: "),
    (["data", "get", "cifar10"], "cifar10 is not fetched"),
    (["data", "list", "x"], "list takes no name, got 'x'"),
    (["submit", "train", "vdm-digits", "--steps", "-1"], "steps must be positive"),
]


@pytest.mark.parametrize(("args", "said"), WRONG)
def test_a_wrong_value_is_one_sentence_and_writes_nothing(args, said, tandem, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    status, out, err = tandem(*args)
    assert status == 2
    assert err.startswith("tandem: ")
    assert err.count("\n") == 1
    assert said in err
    assert "Traceback" not in out + err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["sample", "--sampler", "euler"], "sampler 'euler' does not exist; allowed: ancestral, ddim, heun, dpm++"),
        (["sample", "-n", "0"], "--n must be at least 1, got 0"),
        (["sample", "--steps", "0"], "--steps must be from 1 to 1,000,000, got 0"),
        (["sample", "-o", "x.jpg"], "cannot write 'x.jpg'; allowed suffix: .png"),
        (["sample", "--npz", "x.npy"], "cannot write 'x.npy'; allowed suffix: .npz"),
        (["sample", "-o", "/proc/x/y.png"], "cannot write /proc/x/y.png"),
        (["sample", "--label", "3"], "the model was trained without classes"),
        (["eval", "--images", "9999"], "--images must be at most"),
        (["eval", "--times", "0"], "--times must be at least 1, got 0"),
        (["eval", "--samples", "2"], "--samples must be 0, or at least 4 for KID and FID, got 2"),
        (["eval", "--episodes", "3"], "--episodes"),
        (["eval", "--samples", "8", "--features", "/nope"], "/nope is no TorchScript file"),
        (["eval", "--output", "/proc/x/y.jsonl"], "cannot write /proc/x/y.jsonl"),
        (["eval", "--data-path", "/nope"], "/nope"),
        (["video"], "is of the generative half: it has no environment"),
    ],
)
def test_a_wrong_value_beside_a_run_writes_nothing(trained, args, said, tandem, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    status, out, err = tandem(args[0], trained, *args[1:])
    assert status == 2
    assert err.count("\n") == 1
    assert said in err
    assert "Traceback" not in out + err
    assert list(tmp_path.iterdir()) == []


def test_data_list_names_every_set(tandem) -> None:
    out = tandem("data", "list")[1]
    for name, row in generative.data.SETS.items():
        assert name in out
        assert all(package.version in out for package in row.packages)


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["sample", "RUN", "-n", 10**9], "-n must be at most 67,108,864 for pictures of this size"),
        (["sample", "RUN", "--steps", 10**9], "--steps must be from 1 to 1,000,000, got 1000000000"),
        (["eval", "RUN", "--num-steps", 10**24], "--num-steps must be at most 1,000,000"),
        (["eval", "RUN", "--times", 10**12], "--times must be at most 1,000,000"),
        (["sample", "x" * 5000], "x"),
        (["eval", "x" * 5000], "File name too long"),
    ],
)
def test_more_than_can_be(trained, tandem, args, says) -> None:
    status, _, err = tandem(*[trained if arg == "RUN" else arg for arg in args])
    assert status in (1, 2)
    assert says in err
    assert "Traceback" not in err
