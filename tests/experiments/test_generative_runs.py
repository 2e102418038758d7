"""Whole runs of the generative half through the `tandem` command: train, resume, sample, evaluate."""

import json
import math
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import generative
import generative.data
from experiments import cli, pictures, presets, runs, sample
from experiments.train import RunFailed, train_run
from generative import schedules, watch
from generative.config import TrainConfig
from generative.data import DataConfig, cifar

TAGS = {
    "train/loss", "train/bpd", "train/prior_bpd", "train/diffusion_bpd", "train/reconstruction_bpd", "train/grad_norm",
    "train/learning_rate_network", "eval/bpd", "eval/bpd_se", "time/images_per_s", "time/train_s",
}  # fmt: skip
NAMES = [name for name in presets.all_presets() if name.startswith("vdm-")]


def tiny(picture_folder, side: int = 8, channels: int = 1, **changes) -> TrainConfig:
    config = presets.get("tiny-vdm-folder").make()
    data = DataConfig(name="folder", path=str(picture_folder(side, channels)), holdout=0.2)
    return replace(config, data=data, **changes)


def command(capsys: pytest.CaptureFixture[str], *args: object) -> tuple[int, str, str]:
    try:
        status = cli.run([str(arg) for arg in args])
    except SystemExit as end:  # tyro prints help and exits
        status = end.code or 0
    out = capsys.readouterr()
    return int(status), out.out, out.err


@pytest.fixture(scope="module")
def trained(picture_folder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished tiny run, trained without Ray."""
    config = tiny(picture_folder)
    return train_run("tiny-vdm-folder", config, tmp_path_factory.mktemp("runs"), plain=True)


def lines_of(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def check_outputs(run: Path, steps: int) -> None:
    """What every finished run has: curves, pictures, a checkpoint, its evaluation."""
    reader = EventAccumulator(str(run), size_guidance={"scalars": 0})
    reader.Reload()
    assert set(reader.Tags()["scalars"]) >= TAGS
    assert set(reader.Tags()["images"]) == {"media/samples", "media/denoising", "media/schedule", "media/levels"}
    lines = lines_of(run)
    assert lines[-1]["step"] == steps
    assert all(math.isfinite(line["train/loss"]) for line in lines if "train/loss" in line)
    record = json.loads((run / "config.json").read_text())
    assert record["half"] == "generative"
    measured = json.loads((run / "evaluation.json").read_text())
    assert measured["step"] == steps
    assert measured["eval/bpd"] > 0
    assert generative.load(run).meta["step"] == steps


def test_a_plain_run_leaves_a_whole_folder(trained) -> None:
    check_outputs(trained, 6)
    preset, config = runs.read(trained)
    assert (preset, config.steps, config.data.name) == ("tiny-vdm-folder", 6, "folder")


@pytest.mark.ray
@pytest.mark.slow
def test_a_run_through_ray_leaves_the_same_folder(ray_session, picture_folder, trained, tmp_path) -> None:
    run = train_run("tiny-vdm-folder", tiny(picture_folder), tmp_path)
    check_outputs(run, 6)
    ours, theirs = ([line["train/loss"] for line in lines_of(path) if "train/loss" in line] for path in (run, trained))
    assert ours[-1] == pytest.approx(theirs[-1], abs=1e-4)


def write_cifar10(root: Path, per_file: int) -> Path:
    """The official binary version: records of one label byte and 3,072 bytes of pixels."""
    folder = root / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    pixels = (np.arange(3072) % 200).astype(np.uint8).tobytes()
    for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]:
        (folder / f"{name}.bin").write_bytes(b"".join(bytes([i % 10]) + pixels for i in range(per_file)))
    (folder / "batches.meta.txt").write_text("".join(f"class{i}\n" for i in range(10)))
    return folder


def write_imagenet(root: Path, side: int) -> Path:
    """van den Oord's version: two folders of PNG files."""
    for name in ("train", "valid"):
        folder = root / f"{name}_{side}x{side}"
        folder.mkdir(parents=True)
        for i in range(10):
            Image.fromarray(np.full((side, side, 3), 20 * i, np.uint8)).save(folder / f"{i}.png")
    return root


@pytest.mark.parametrize("name", NAMES)
def test_every_tiny_twin_trains(name, picture_folder, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("TANDEM_DATA", str(tmp_path / "cache"))
    monkeypatch.setattr(watch, "level_losses", partial(watch.level_losses, levels=3))  # most of the time at 64 pixels
    config = presets.get(f"tiny-{name}").make()
    data, side = config.data, {"mnist": 28, "digits": 8}.get(config.data.name, config.data.size)
    if data.name == "cifar10":
        monkeypatch.setattr(cifar, "PER_FILE", 20)
        data = replace(data, path=str(write_cifar10(tmp_path / "set", 20)))
    elif data.name.startswith("imagenet"):
        data = replace(data, path=str(write_imagenet(tmp_path / "set", int(data.name[8:]))))
    else:  # a folder in place of what would be downloaded, or of the person's own
        channels = 1 if data.name in ("mnist", "digits") else 3
        data = DataConfig(name="folder", path=str(picture_folder(side, channels)), flip=data.flip, holdout=0.2)
    run = train_run(f"tiny-{name}", replace(config, data=data), tmp_path / "runs", plain=True)
    check_outputs(run, config.steps)


def test_the_papers_rows_have_its_hyper_parameters() -> None:
    for name, channels, blocks, dropout, attention, batch, kind in (
        ("vdm-cifar10", 128, 32, 0.1, "mid", 128, "linear"),
        ("vdm-cifar10-aug", 256, 32, 0.05, "all", 1024, "learned"),
        ("vdm-imagenet32", 256, 32, 0.1, "mid", 128, "linear"),
        ("vdm-imagenet64", 256, 64, 0.1, "mid", 128, "linear"),
    ):
        config = presets.get(name).make()
        net, optim = config.model.net, config.optim
        assert (net.channels, net.blocks, net.dropout, net.attention) == (channels, blocks, dropout, attention)
        assert (optim.batch, optim.learning_rate, optim.beta2, optim.ema) == (batch, 2e-4, 0.99, 0.9999)
        assert not optim.ema_warmup
        assert not optim.bf16
        assert optim.grad_clip is None
        assert optim.warmup_steps == 100
        assert (config.model.schedule.kind, config.model.schedule.learn_endpoints) == (kind, True)
        assert presets.get(name).expected == presets.NOT_RUN
        replace(config, workers=8)  # the batch divides


def test_a_finished_run_says_so_and_goes_on_with_more_steps(trained, capsys, tmp_path) -> None:
    run = tmp_path / "runs" / "tiny-vdm-folder" / "copy"
    shutil.copytree(trained, run)
    status, _, err = command(capsys, "train", "--resume", run, "--plain")
    assert (status, err) == (2, f"tandem: {run} has done 6 of its 6 steps; give a larger --steps\n")
    status, out, err = command(capsys, "train", "--resume", run, "--plain", "--steps", 9, "--watch.times", 3)
    assert status == 0, err
    assert f"going on with {run} from 6 steps" in out
    check_outputs(run, 9)
    steps = [line["step"] for line in lines_of(run) if "train/loss" in line]
    assert steps == sorted(steps)
    assert runs.read(run)[1].steps == 9


def test_a_stopped_run_saves_what_it_has_and_goes_on(picture_folder, tmp_path, capsys) -> None:
    flags = ["--steps", "100000", "--data.path", str(picture_folder(8, 1)), "--data.size", "None", "--plain"]
    start = [sys.executable, "-m", "experiments.cli", "train", "tiny-vdm-folder", *flags, "--runs-dir", str(tmp_path)]
    with subprocess.Popen(start, stdout=subprocess.PIPE, text=True) as process:
        try:
            deadline = time.monotonic() + 120
            while not (found := list(tmp_path.glob("*/*/metrics.jsonl"))) or not found[0].read_text():
                assert time.monotonic() < deadline
                assert process.poll() is None
                time.sleep(0.1)
            process.send_signal(signal.SIGTERM)
            out, _ = process.communicate(timeout=60)
        finally:
            process.kill()
    run = found[0].parent
    assert process.returncode == 130
    assert f"stopped; go on with: tandem train --resume {run}" in out
    saved = generative.load(run).meta["step"]
    assert saved >= lines_of(run)[-1]["step"] > 0
    status, out, err = command(capsys, "train", "--resume", run, "--steps", saved + 3, "--plain")
    assert status == 0, err
    check_outputs(run, saved + 3)
    steps = [line["step"] for line in lines_of(run) if "train/loss" in line]
    assert steps == sorted(set(steps))


def test_a_run_keeps_what_it_is_when_it_goes_on(trained, capsys) -> None:
    for flag in (
        ("--seed", "5"), ("--model.net.channels", "64"), ("--data.size", "16"), ("--optim.batch", "16"),
        ("--model.schedule.log-snr-max", "9"), ("--data.name", "digits"),
    ):  # fmt: skip
        status, _, err = command(capsys, "train", "--resume", trained, "--steps", "9", *flag)
        assert status == 2
        assert "cannot change when it goes on" in err
        assert err.count("\n") == 1


def test_a_damaged_checkpoint_is_named_before_training(trained, capsys, tmp_path) -> None:
    run = tmp_path / "a" / "b" / "copy"
    shutil.copytree(trained, run)
    weights = next(run.glob("checkpoints/*/train.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-1])
    status, _, err = command(capsys, "train", "--resume", run, "--steps", "9", "--plain")
    assert status == 2
    assert "train.safetensors is damaged" in err


def test_a_loss_that_is_not_finite_is_one_sentence(picture_folder, tmp_path, capsys) -> None:
    flags = ["--optim.learning-rate", "1e30", "--steps", "50", "--runs-dir", tmp_path / "runs", "--plain"]
    folder = ["--data.path", picture_folder(8, 1), "--data.size", "None"]
    status, out, err = command(capsys, "train", "tiny-vdm-folder", *folder, *flags)
    assert status == 1
    assert err.count("\n") == 1
    assert "is not finite at step" in err
    assert ".png" in err  # the pictures of the batch
    assert "go on from the last checkpoint with: tandem train --resume" in err
    assert "Traceback" not in out + err


def test_an_error_that_is_a_bug_keeps_its_traceback(picture_folder, tmp_path, monkeypatch) -> None:
    import generative.train

    def broken(*args, **kwargs):
        raise KeyError("a bug")

    monkeypatch.setattr(generative.train, "train", broken)
    with pytest.raises(RunFailed, match=r"(?s)Traceback.*a bug.*tandem train --resume"):
        train_run("tiny-vdm-folder", tiny(picture_folder), tmp_path, plain=True)


def test_samples_are_the_models_own_and_do_not_depend_on_the_number(trained, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(sample, "AT_ONCE", 3)
    grid, raw = tmp_path / "grid.png", tmp_path / "raw.npz"
    status, out, err = command(
        capsys, "sample", trained, "-n", 5, "--steps", 4, "--sampler", "ddim", "--seed", 7, "-o", grid, "--npz", raw
    )
    assert status == 0, err
    assert "5 pictures, 4 steps of ddim, seed 7" in out
    model = generative.load(trained)
    expected = model.sample(5, steps=4, sampler="ddim", seed=7)
    with np.load(raw) as found:
        assert np.array_equal(found["pictures"], expected.numpy())
        assert found["num_levels"] == 256
    assert np.array_equal(np.asarray(Image.open(grid)), pictures.grid(expected, 256))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["grid.png", "raw.npz"]


def test_a_class_conditional_model_takes_names_and_numbers(picture_folder, tmp_path, capsys) -> None:
    config = tiny(picture_folder)
    net = replace(config.model.net, classes=2)
    run = train_run("tiny-vdm-folder", replace(config, model=replace(config.model, net=net)), tmp_path, plain=True)
    found = {}
    for label in ("dark", "0", "light"):
        args = ["sample", run, "-n", 2, "--steps", 2, "-o", tmp_path / "x.png", "--npz", tmp_path / f"{label}.npz"]
        assert command(capsys, *args, "--label", label)[0] == 0
        found[label] = np.load(tmp_path / f"{label}.npz")["pictures"]
    assert np.array_equal(found["dark"], found["0"])
    model = generative.load(run)
    expected = model.sample(2, steps=2, label=torch.tensor([1, 1])).numpy()
    assert np.array_equal(found["light"], expected)
    _, _, err = command(capsys, "sample", run, "--label", "blue")
    assert "label 'blue' does not exist; allowed: dark, light, or 0 to 1" in err
    net = replace(net, classes=3)
    with pytest.raises(ValueError, match=r"model.net.classes is 3, but folder has 2 classes"):
        train_run("x", replace(config, model=replace(config.model, net=net)), tmp_path / "no", plain=True)


def test_eval_prints_bits_and_writes_them_by_picture(trained, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "150")
    lines = tmp_path / "bits.jsonl"
    status, out, err = command(
        capsys, "eval", trained, "--images", 6, "--times", 2, "--num-steps", 4, "--output", lines, "--seed", 3
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


def test_eval_under_other_schedules(trained, capsys, monkeypatch) -> None:
    """Each row is watch.evaluate with that schedule; any of them has the bound's ends."""
    monkeypatch.setenv("COLUMNS", "150")
    args = ["--images", 6, "--times", 4, "--no-codecs", "--no-baselines", "--schedules", "--seed", 3]
    status, out, err = command(capsys, "eval", trained, *args)
    assert status == 0, err
    model, images = generative.load(trained), generative.data.load(runs.read(trained)[1].data, "test")
    high, low = (end.item() for end in model.ends())
    cosine = schedules.Cosine(log_snr_max=high, log_snr_min=low)
    for name, schedule in (("the model's own", None), ("cosine", cosine)):
        found = watch.evaluate(model, images, times=4, count=6, seed=3, num_steps=0, schedule=schedule)
        row = next(line for line in out.splitlines() if line.startswith(f"│ {name} "))
        assert f"{found.bpd():.4f}" in row
        assert f"{found.estimator_variance():.3f}" in row


def test_eval_compares_samples_with_test_pictures(trained, capsys) -> None:
    args = ["--images", 4, "--times", 1, "--no-codecs", "--no-baselines", "--samples", 8, "--sample-steps", 2]
    status, out, err = command(capsys, "eval", trained, *args, "--features", "random")
    assert status == 0, err
    assert out.index("KID") < out.index("FID")
    assert "floor" in out
    assert "random convolutions (sha256" in out
    assert "nearest training picture: median distance" in out


@pytest.mark.ray
@pytest.mark.slow
def test_a_sweep_trains_a_run_for_each_seed(ray_session, picture_folder, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "150")
    flags = ["--data.path", picture_folder(8, 1), "--data.size", "None", "--data.holdout", "0.2", "--seeds", "3", "4"]
    status, out, err = command(capsys, "sweep", "tiny-vdm-folder", *flags, "--runs-dir", tmp_path)
    assert status == 0, out + err
    found = {runs.read(path)[1].seed for path in tmp_path.glob("tiny-vdm-folder/*-*")}
    assert found == {3, 4}
    assert "bpd on held-out data" in out


WRONG = [
    (["train", "tiny-vdm-cifar10"], "cifar10 needs --data.path"),
    (["train", "tiny-vdm-folder", "--data.path", "/nope"], "/nope"),
    (["train", "vdm-digits", "--model.net.channel", "3"], "perhaps you meant --model.net.channels"),
    (["train", "vdm-digits", "--optim.learning-rate", "-1"], "learning_rate must be positive and finite, got -1.0"),
    (["train", "vdm-digits", "--optim.batch", "100", "--workers", "3"], "optim.batch must be a multiple of workers"),
    (["train", "vdm-digits", "--plain", "--workers", "2"], "--workers must be 1 then, got 2"),
    (["train", "vdm-digits", "--data.name", "nope"], "there is no set 'nope'"),
    (["train", "vdm-digits", "--model.schedule.kind", "x"], "invalid choice 'x'"),
    (["train", "vdm-digits", "--clip-steps", "3"], "--clip-steps"),
    (["sweep", "vdm-digits", "--workers", "2"], "a sweep trains each seed in one process; --workers must be 1, got 2"),
    (["sample", "/nope"], "/nope holds no model"),
    (["sample"], "RUN is missing"),
    (["data", "get", "nope"], "there is no set 'nope'"),
    (["data", "get"], "get needs the name of a set; allowed: "),
    (["data", "get", "cifar10"], "cifar10 is not fetched"),
    (["data", "list", "x"], "list takes no name, got 'x'"),
    (["submit", "train", "vdm-digits", "--steps", "-1"], "steps must be positive"),
]


@pytest.mark.parametrize(("args", "said"), WRONG)
def test_a_wrong_value_is_one_sentence_and_writes_nothing(args, said, capsys, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    status, out, err = command(capsys, *args)
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
        (["sample", "--steps", "0"], "--steps must be at least 1, got 0"),
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
def test_a_wrong_value_beside_a_run_writes_nothing(trained, args, said, capsys, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    status, out, err = command(capsys, args[0], trained, *args[1:])
    assert status == 2
    assert err.count("\n") == 1
    assert said in err
    assert "Traceback" not in out + err
    assert list(tmp_path.iterdir()) == []


def test_cuda_without_a_gpu_is_refused_before_there_is_a_folder(picture_folder, capsys, tmp_path) -> None:
    if torch.cuda.is_available():
        return
    folder = ["--data.path", picture_folder(8, 1), "--data.size", "None"]
    flags = ["--device", "cuda", "--plain", "--runs-dir", tmp_path / "runs"]
    status, _, err = command(capsys, "train", "tiny-vdm-folder", *folder, *flags)
    assert status == 2
    assert "torch sees no GPU" in err
    assert list(tmp_path.iterdir()) == []


def test_data_list_names_every_set(capsys) -> None:
    out = command(capsys, "data", "list")[1]
    for name, row in generative.data.SETS.items():
        assert name in out
        assert all(package.version in out for package in row.packages)


def test_each_half_does_without_the_other_and_sampling_without_ray() -> None:
    code = (
        "import sys\n"
        "for name in {blocked}: sys.modules[name] = None\n"
        "import experiments.cli, experiments.evaluate, {modules}\n"
        "assert not {absent} & set(sys.modules), {absent} & set(sys.modules)\n"
    )
    measure = "experiments.data, experiments.evaluate_generative, experiments.sample_quality, experiments.sample"
    for modules, blocked, absent in (
        (f"{measure}, experiments.train_generative", ("ray", "gymnasium", "tensorboard"), {"marl", "agents", "envs"}),
        ("experiments.evaluate_marl, experiments.video, experiments.train_marl", ("ray",), {"generative"}),
    ):
        filled = code.format(blocked=blocked, modules=modules, absent=absent)
        done = subprocess.run([sys.executable, "-c", filled], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr


def test_dry_run_names_the_half_and_reads_back(capsys, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    out = command(capsys, "train", "vdm-cifar10", "--workers", "8", "--dry-run")[1]
    shown = json.loads(out)
    assert shown["half"] == "generative"
    config = runs.config_from_json(shown["config"], shown["half"])
    assert config == replace(presets.get("vdm-cifar10").make(), workers=8)
    assert list(tmp_path.iterdir()) == []
