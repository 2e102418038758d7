"""Whole runs of the generative half: every tiny twin, Ray, resume, faults, a sweep."""

import json
import math
import os
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
from experiments import presets, runs
from experiments.train import RunFailed, train_run
from generative import watch
from generative.checkpoint import Store
from generative.data import DataConfig, cifar

TAGS = {
    "train/loss", "train/bpd", "train/prior_bpd", "train/diffusion_bpd", "train/reconstruction_bpd", "train/grad_norm",
    "train/learning_rate_network", "eval/bpd", "eval/bpd_se", "time/images_per_s", "time/train_s",
}  # fmt: skip
NAMES = [name for name in presets.all_presets() if name.startswith("vdm-")]


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
def test_a_run_through_ray_leaves_the_same_folder(tiny, ray_session, trained, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(trained)
    config = tiny()  # Ray's workers run in folders of their own: a relative path must reach them absolute
    config = replace(config, data=replace(config.data, path=os.path.relpath(config.data.path)))
    run = train_run("tiny-vdm-folder", config, tmp_path)
    check_outputs(run, 6)
    assert Path(runs.read(run)[1].data.path).is_absolute()
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


def test_a_finished_run_says_so_and_goes_on_with_more_steps(trained, tandem, tmp_path) -> None:
    run = tmp_path / "runs" / "tiny-vdm-folder" / "copy"
    shutil.copytree(trained, run)
    status, _, err = tandem("train", "--resume", run, "--plain")
    assert (status, err) == (2, f"tandem: {run} has done 6 of its 6 steps; give a larger --steps\n")
    status, out, err = tandem("train", "--resume", run, "--plain", "--steps", 9, "--watch.times", 3)
    assert status == 0, err
    assert f"going on with {run} from 6 steps" in out
    check_outputs(run, 9)
    steps = [line["step"] for line in lines_of(run) if "train/loss" in line]
    assert steps == sorted(steps)
    assert runs.read(run)[1].steps == 9


def test_a_run_in_training_is_left_as_it_is(trained, tandem, tmp_path) -> None:
    """Its configuration too: the training at work would go on with the old one, and a later one with the new."""
    run = tmp_path / "runs" / "tiny-vdm-folder" / "copy"
    shutil.copytree(trained, run)
    before = (run / "config.json").read_text()
    with Store(run).locked():
        status, _, err = tandem("train", "--resume", run, "--plain", "--steps", 9)
    assert (status, err) == (2, f"tandem: {run} is in use: another process trains this run\n")
    assert (run / "config.json").read_text() == before


def test_a_stopped_run_saves_what_it_has_and_goes_on(picture_folder, tmp_path, tandem) -> None:
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
    status, out, err = tandem("train", "--resume", run, "--steps", saved + 3, "--plain")
    assert status == 0, err
    check_outputs(run, saved + 3)
    steps = [line["step"] for line in lines_of(run) if "train/loss" in line]
    assert steps == sorted(set(steps))


def test_a_run_keeps_what_it_is_when_it_goes_on(trained, tandem) -> None:
    for flag in (
        ("--seed", "5"), ("--model.net.channels", "64"), ("--data.size", "16"), ("--optim.batch", "16"),
        ("--model.schedule.log-snr-max", "9"), ("--data.name", "digits"),
    ):  # fmt: skip
        status, _, err = tandem("train", "--resume", trained, "--steps", "9", *flag)
        assert status == 2
        name = flag[0].removeprefix("--").replace("-", "_")
        assert f"{name} of {trained} cannot change when it goes on; it is" in err
        assert err.count("\n") == 1


def test_what_a_run_was_trained_as_stands_in_its_checkpoint(trained, tandem, tmp_path) -> None:
    """An edited config.json is not what the weights are of, even where they would fit."""
    run = tmp_path / "runs" / "tiny-vdm-folder" / "copy"
    shutil.copytree(trained, run)
    record = json.loads((run / "config.json").read_text())
    record["config"]["model"]["schedule"]["log_snr_max"] = 9.0
    (run / "config.json").write_text(json.dumps(record))
    status, _, err = tandem("train", "--resume", run, "--plain", "--steps", 9)
    assert (status, "model.schedule.log_snr_max of" in err, "asked was 9.0" in err) == (2, True, True)


def test_a_damaged_checkpoint_is_named_before_training(trained, tandem, tmp_path) -> None:
    run = tmp_path / "a" / "b" / "copy"
    shutil.copytree(trained, run)
    weights = next(run.glob("checkpoints/*/train.safetensors"))
    whole = weights.read_bytes()
    for content, said in (
        (whole[:-1] + bytes([whole[-1] ^ 1]), "train.safetensors is damaged"),
        (whole[:-1], "no checkpoint in"),
    ):
        weights.write_bytes(content)
        status, _, err = tandem("train", "--resume", run, "--steps", "9", "--plain")
        assert status == 2
        assert said in err
        assert err.count("\n") == 1
    assert lines_of(run) == lines_of(trained)


def test_a_loss_that_is_not_finite_is_one_sentence(picture_folder, tmp_path, tandem) -> None:
    flags = ["--optim.learning-rate", "1e30", "--steps", "50", "--runs-dir", tmp_path / "runs", "--plain"]
    folder = ["--data.path", picture_folder(8, 1), "--data.size", "None"]
    status, out, err = tandem("train", "tiny-vdm-folder", *folder, *flags)
    assert status == 1
    assert err.count("\n") == 1
    assert "is not finite at step" in err
    assert ".png" in err  # the pictures of the batch
    assert "go on from the last checkpoint with: tandem train --resume" in err
    assert "Traceback" not in out + err


def test_an_error_that_is_a_bug_keeps_its_traceback(tiny, tmp_path, monkeypatch) -> None:
    import generative.train

    def broken(*args, **kwargs):
        raise KeyError("a bug")

    monkeypatch.setattr(generative.train, "train", broken)
    with pytest.raises(RunFailed, match=r"(?s)Traceback.*a bug.*tandem train --resume"):
        train_run("tiny-vdm-folder", tiny(), tmp_path, plain=True)


@pytest.mark.ray
@pytest.mark.slow
def test_a_sweep_trains_a_run_for_each_seed(ray_session, picture_folder, tmp_path, tandem, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "150")
    flags = ["--data.path", picture_folder(8, 1), "--data.size", "None", "--data.holdout", "0.2", "--seeds", "3", "4"]
    status, out, err = tandem("sweep", "tiny-vdm-folder", *flags, "--runs-dir", tmp_path)
    assert status == 0, out + err
    found = {runs.read(path)[1].seed for path in tmp_path.glob("tiny-vdm-folder/*-*")}
    assert found == {3, 4}
    assert "bpd on held-out data" in out


def test_cuda_without_a_gpu_is_refused_before_there_is_a_folder(picture_folder, tandem, tmp_path) -> None:
    if torch.cuda.is_available():
        return
    folder = ["--data.path", picture_folder(8, 1), "--data.size", "None"]
    flags = ["--device", "cuda", "--plain", "--runs-dir", tmp_path / "runs"]
    status, _, err = tandem("train", "tiny-vdm-folder", *folder, *flags)
    assert status == 2
    assert "torch sees no GPU" in err
    assert list(tmp_path.iterdir()) == []


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


def test_dry_run_names_the_half_and_reads_back(tandem, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    out = tandem("train", "vdm-cifar10", "--workers", "8", "--dry-run")[1]
    shown = json.loads(out)
    assert shown["half"] == "generative"
    config = runs.config_from_json(shown["config"], shown["half"])
    assert config == replace(presets.get("vdm-cifar10").make(), workers=8)
    assert list(tmp_path.iterdir()) == []
