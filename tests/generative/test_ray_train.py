"""Training on Ray: as many workers as one likes give the same run, and losing one changes nothing."""

import os
import signal
import threading
import time
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
import torch

import generative
from generative import chain, data, ray_train, train
from generative.checkpoint import Store
from generative.config import OptimSettings, TrainConfig, WatchSettings
from generative.data.config import DataConfig
from generative.nets.unet import UNetConfig
from generative.papers.progressive_distillation import DiffusionConfig
from generative.papers.vdm import VDM

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]

Said = dict[int, dict[str, float]]


STEPS = 200
"""Some seconds, so that a worker can be killed in the middle."""


def longer(config: TrainConfig) -> TrainConfig:
    return replace(config, steps=STEPS, checkpoint_interval_steps=10)


def run(config: TrainConfig, folder: Path, **options: Any) -> tuple[VDM, Said]:
    said: Said = {}
    model = ray_train.train(config, folder, report=lambda step, m: said.setdefault(step, {}).update(m), **options)
    return model, said


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Filled by the first test: the run with two workers."""
    return {"folder": tmp_path_factory.mktemp("undisturbed")}


def test_one_worker_and_two(tiny: TrainConfig, tmp_path: Path, undisturbed: dict[str, Any]):
    config, one = longer(tiny), {}
    train.train(config, tmp_path, report=lambda step, m: one.setdefault(step, {}).update(m))
    views: list[int] = []
    model, two = run(replace(config, workers=2), undisturbed["folder"], look=lambda step, view: views.append(step))
    undisturbed |= {"model": model, "said": two}
    assert set(range(1, STEPS + 1)) <= set(two)
    for step in range(1, STEPS + 1):
        assert two[step]["train/loss"] == pytest.approx(one[step]["train/loss"], rel=1e-3)
        if step <= 20:  # rounding grows with the steps
            assert two[step]["train/loss"] == pytest.approx(one[step]["train/loss"], rel=1e-5)
            assert two[step]["train/grad_norm"] == pytest.approx(one[step]["train/grad_norm"], rel=1e-4)
    assert views == [STEPS]
    assert two[STEPS]["eval/bpd"] > 0
    assert model.meta["step"] == STEPS


def test_killed_worker(tiny: TrainConfig, tmp_path: Path, undisturbed: dict[str, Any]):
    """kill -9 right after the checkpoint of step 20: the run goes on from there and ends with the same weights."""
    killed: list[int] = []
    reached: list[int] = []
    steps: list[int] = []

    def kill() -> None:  # not from `report`: what the driver hears may be a second old, and a second is most of the run
        while not (tmp_path / "checkpoints" / f"{20:012d}").exists():
            time.sleep(0.005)
        killed.append(workers()[-1].pid)
        os.kill(killed[0], signal.SIGKILL)
        reached.append(Store(tmp_path / "checkpoints").newest() or 0)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    report = lambda step, metrics: steps.append(step)  # noqa: E731
    model = ray_train.train(replace(longer(tiny), workers=2, keep_checkpoints=100), tmp_path, report=report)
    killer.join(10)
    assert killed
    assert 20 <= reached[0] < STEPS  # two workers cannot go on without one: what follows is a new group's work
    back = [step for before, step in pairwise(steps) if step <= before and step < STEPS]
    assert all(step % 10 == 1 for step in back)  # the step after a checkpoint, if steps after it were done before
    expected = undisturbed["model"].state_dict()
    assert all(torch.equal(expected[name], value) for name, value in model.state_dict().items())


@pytest.mark.slow
def test_a_chain_of_students_whose_worker_was_killed(tmp_path: Path):
    """kill -9 inside the second stage: the chain ends with the weights of one that was trained without Ray."""
    net = UNetConfig(channels=8, multipliers=(1, 1), blocks=1, attention_resolutions=(), dropout=0.0)
    watch = WatchSettings(interval_s=0, images=4, final_images=4, times=1, samples=2, sample_steps=2)
    teacher = TrainConfig(
        model=DiffusionConfig(net=net), data=DataConfig(name="digits"), optim=OptimSettings(batch=8), watch=watch,
        steps=8, threads=1,
    )  # fmt: skip
    train.train(teacher, tmp_path / "teacher")
    plain = chain.ChainConfig(teacher=str(tmp_path / "teacher"))
    config = replace(
        plain, from_steps=4, updates=40, optim=replace(plain.optim, batch=8), watch=watch, threads=1,
        checkpoint_interval_s=0.05,
    )  # fmt: skip
    expected = chain.distill(config, tmp_path / "plain").state_dict()
    stage = tmp_path / "ray" / "stages" / "000001" / "checkpoints"
    killed: list[int] = []

    def kill() -> None:
        while not list(stage.glob("0*")):
            time.sleep(0.005)
        killed.append(workers()[-1].pid)
        os.kill(killed[0], signal.SIGKILL)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    found = chain.distill(config, tmp_path / "ray", train=ray_train.train).state_dict()
    killer.join(10)
    assert killed
    assert all(torch.equal(value, found[name]) for name, value in expected.items())


def workers() -> list[psutil.Process]:
    """The processes of Ray Train's workers below this one, in the order in which they started."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if "RayTrainWorker" in " ".join(process.cmdline()):
                found.append(process)
    return sorted(found, key=lambda process: process.create_time())


def test_more_workers_than_a_machine_holds(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(ValueError, match=r"1000 workers are too many for this machine's \d+ cores"):
        ray_train.check_workers(1000)
    ray_train.check_workers(2)
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    ray_train.check_workers(1000)


def test_error_in_a_worker_ends_the_run(tiny: TrainConfig, tmp_path: Path):
    """Starting again would not mend a folder that is gone; the sentence is the loop's own."""
    gone = replace(tiny, data=replace(tiny.data, path=str(tmp_path / "nowhere")))
    with pytest.raises(ValueError, match="nowhere"):
        run(gone, tmp_path / "run")


def test_nan_in_a_worker(tiny: TrainConfig, tmp_path: Path):
    """A learning rate that sends the weights to infinity."""
    wild = replace(tiny, steps=200, optim=replace(tiny.optim, learning_rate=1e30, grad_clip=None, warmup_steps=0))
    with pytest.raises(train.NotFinite, match=r"not finite at step \d+; its batch: .*\.png"):
        run(wild, tmp_path)


def test_stopping_saves(tiny: TrainConfig, tmp_path: Path):
    asked: list[int] = []

    def report(step: int, metrics: dict[str, float]) -> None:
        if step >= 3 and not asked:
            asked.append(step)
            signal.raise_signal(signal.SIGTERM)

    endless = replace(tiny, steps=10**6, checkpoint_interval_steps=10**6)
    with pytest.raises(KeyboardInterrupt):
        ray_train.train(endless, tmp_path, report=report)
    reached = generative.load(tmp_path).meta["step"]
    assert reached >= 3
    with pytest.raises(ValueError, match="holds checkpoints of an earlier run"):
        ray_train.train(tiny, tmp_path)
    model, said = run(replace(tiny, steps=reached + 2, checkpoint_interval_steps=None), tmp_path, resume=True)
    assert min(said) > reached
    assert model.meta["step"] == reached + 2


def test_ray_data_reads_every_picture_once(tiny: TrainConfig):
    images = data.load(tiny.data, "train")
    rows = ray_train.decoded(tiny).take_all()
    assert sorted(row["id"] for row in rows) == list(range(len(images)))
    whole = images.batch(range(len(images)))
    for row in rows:
        assert (row["x"] == whole["x"][row["id"]].numpy()).all()
        assert row["label"] == whole["label"][row["id"]]
    assert [row["id"] for row in ray_train.decoded(tiny).take_all()] != [row["id"] for row in rows]


def test_ray_data_trains(tiny: TrainConfig, tmp_path: Path):
    streamed = replace(tiny, data=replace(tiny.data, loader="ray"), workers=2, steps=20)
    _, said = run(streamed, tmp_path)
    assert set(said) == set(range(1, 21))
    with pytest.raises(ValueError, match=r"data.loader ray needs Ray"):
        train.train(replace(streamed, workers=1), tmp_path / "plain")


def test_ray_data_with_too_few_pictures(tiny: TrainConfig, tmp_path: Path):
    greedy = replace(tiny, data=replace(tiny.data, loader="ray"), optim=replace(tiny.optim, batch=200))
    with pytest.raises(ValueError, match="pictures are too few for 200 per worker and step"):
        run(greedy, tmp_path)


def test_samples_from_one_process_and_from_two(undisturbed: dict[str, Any]):
    """Bit for bit, whoever draws them: picture i depends on (seed, i) alone."""
    folder = str(undisturbed["folder"])

    @ray.remote
    def draw(first: int, n: int) -> torch.Tensor:
        torch.set_num_threads(1)
        return generative.load(folder).sample(n, steps=5, seed=3, first=first)

    model = generative.load(folder)
    whole = model.sample(20, steps=5, seed=3)
    halves = ray.get([draw.remote(0, 7), draw.remote(7, 13)])
    assert torch.equal(torch.cat(halves), whole)
    assert not torch.equal(whole, model.sample(20, steps=5, seed=4))
