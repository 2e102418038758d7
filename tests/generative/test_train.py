"""The loop: learning, going on after a stop bit by bit, micro-batches, NaN, and the folder of another run."""

import shutil
import signal
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import generative
from generative import checkpoint, train, training
from generative.checkpoint import Store
from generative.config import OptimSettings, TrainConfig
from generative.papers.vdm import VDM


def same(one: VDM, other: VDM) -> bool:
    states = one.state_dict(), other.state_dict()
    return all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def run(config: TrainConfig, folder: Path, **options: Any) -> tuple[VDM, dict[int, dict[str, float]]]:
    """The model, and what was reported at each step."""
    said: dict[int, dict[str, float]] = {}
    model = train.train(config, folder, report=lambda step, m: said.setdefault(step, {}).update(m), **options)
    return model, said


def test_it_learns(tiny: TrainConfig, tmp_path: Path):
    _, said = run(replace(tiny, steps=150), tmp_path)
    first = sum(said[step]["train/bpd"] for step in range(1, 11)) / 10
    last = sum(said[step]["train/bpd"] for step in range(141, 151)) / 10
    assert last < 0.8 * first
    parts = ("prior_bpd", "diffusion_bpd", "reconstruction_bpd")
    assert said[5]["train/bpd"] == pytest.approx(sum(said[5][f"train/{part}"] for part in parts))


def test_same_seed_same_weights(tiny: TrainConfig, tmp_path: Path):
    model, said = run(tiny, tmp_path / "a")
    again, _ = run(tiny, tmp_path / "b")
    other, _ = run(replace(tiny, seed=1), tmp_path / "c")
    assert same(model, again)
    assert not same(model, other)
    assert sorted(said) == list(range(1, 13))


@pytest.mark.parametrize("options", [{}, {"channels_last": True}, {"micro_batches": 2}, {"decay": "cosine"}])
def test_going_on_is_as_if_undisturbed(tiny_with_dropout: TrainConfig, tmp_path: Path, options: dict[str, Any]):
    """Cut at a checkpoint in the middle, which a killed run leaves: with "cosine", of a run of the same length."""
    config = replace(tiny_with_dropout, optim=replace(tiny_with_dropout.optim, **options), keep_checkpoints=9)
    whole, said = run(config, tmp_path / "whole")
    run(config, tmp_path / "halves")
    for step in (10, 12):
        shutil.rmtree(tmp_path / "halves" / "checkpoints" / f"{step:012d}")
    model, later = run(config, tmp_path / "halves", resume=True)
    assert same(whole, model)
    assert {step: m["train/loss"] for step, m in later.items()} == {s: said[s]["train/loss"] for s in range(6, 13)}


def test_what_is_loaded_is_what_was_trained(tiny: TrainConfig, tmp_path: Path):
    model, _ = run(tiny, tmp_path)
    loaded = generative.load(tmp_path)
    assert same(model, loaded)
    assert loaded.meta == model.meta
    assert loaded.meta["step"] == 12
    assert torch.equal(model.sample(3, steps=2), loaded.sample(3, steps=2))


def test_micro_batches_change_nothing_but_rounding(tiny: TrainConfig, tmp_path: Path):
    _, whole = run(tiny, tmp_path / "one")
    _, pieces = run(replace(tiny, optim=replace(tiny.optim, micro_batches=4)), tmp_path / "four")
    for step in whole:
        assert pieces[step]["train/loss"] == pytest.approx(whole[step]["train/loss"], rel=1e-4)
        assert pieces[step]["train/grad_norm"] == pytest.approx(whole[step]["train/grad_norm"], rel=1e-3)


def test_checkpoints_and_what_is_kept(tiny: TrainConfig, tmp_path: Path):
    run(tiny, tmp_path)
    assert Store(tmp_path / "checkpoints").steps() == [10, 12]


def test_average_follows_by_hand(tiny: TrainConfig):
    state = training.Training(tiny, (1, 8, 8), 256, (), "cpu")
    batch = {"x": torch.randint(0, 256, (8, 1, 8, 8), dtype=torch.uint8), "label": torch.zeros(8).long()}
    expected = {name: value.clone() for name, value in state.model.named_parameters()}
    for step in range(1, 4):
        state.update(state.model, batch)
        decay = min(0.9999, step / (9 + step))
        for name, value in state.model.named_parameters():
            expected[name] = decay * expected[name] + (1 - decay) * value
    for name, value in state.average.named_parameters():
        torch.testing.assert_close(value, expected[name])


def test_update_is_torch_adamw_by_hand(tiny: TrainConfig):
    """The first AdamW step from gradients taken by autograd, with decay, clipping and warm-up written out."""
    optim = OptimSettings(batch=8, grad_clip=0.1, weight_decay=0.5, warmup_steps=4, learning_rate=1e-2)
    state = training.Training(replace(tiny, optim=optim), (1, 8, 8), 256, (), "cpu")
    before = {name: value.detach().clone() for name, value in state.model.named_parameters()}
    batch = {"x": torch.randint(0, 256, (8, 1, 8, 8), dtype=torch.uint8), "label": torch.zeros(8).long()}
    norm = state.update(state.model, batch)["grad_norm"]
    assert norm > optim.grad_clip  # type: ignore[operator]
    for name, value in state.model.named_parameters():
        kind = "network" if name.startswith("denoise") else "schedule"
        peak = {"network": optim.learning_rate, "schedule": optim.schedule_learning_rate}[kind]
        decay = optim.weight_decay if value.ndim >= 2 and kind == "network" else 0.0
        if value.grad is None:
            assert torch.equal(value, before[name])
            continue
        rate = peak / 4
        expected = before[name] * (1 - rate * decay) - rate * value.grad / (value.grad.abs() + optim.adam_eps)
        torch.testing.assert_close(value.detach(), expected, rtol=1e-4, atol=1e-6)


def test_learning_rates():
    optim = OptimSettings(warmup_steps=10, decay="cosine")
    factor = [training.learning_rate_factor(optim, step, 110) for step in (0, 9, 10, 60, 110, 500)]
    assert factor == pytest.approx([0.1, 1, 1, 0.505, 0.01, 0.01])
    assert training.learning_rate_factor(OptimSettings(warmup_steps=0), 7, 10) == 1


def test_time_limit(tiny: TrainConfig, tmp_path: Path):
    model, _ = run(replace(tiny, steps=10**6, time_s=0.3, checkpoint_interval_steps=10**6), tmp_path)
    assert 1 <= model.meta["step"] < 10**4
    assert Store(tmp_path / "checkpoints").newest() == model.meta["step"]
    again, _ = run(replace(tiny, steps=10**6, time_s=0.3), tmp_path, resume=True)
    assert again.meta["step"] == model.meta["step"]


def test_ctrl_c_saves(tiny: TrainConfig, tmp_path: Path):
    """The signal comes in the middle of an update; the run ends after it, with a checkpoint, and can go on."""
    endless = replace(tiny, steps=10**6, checkpoint_interval_steps=10**6)

    def report(step: int, metrics: dict[str, float]) -> None:
        if step == 7:
            signal.raise_signal(signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        train.train(endless, tmp_path, report=report)
    assert Store(tmp_path / "checkpoints").newest() == 8
    assert signal.getsignal(signal.SIGTERM) is before
    model, _ = run(replace(tiny), tmp_path, resume=True)
    whole, _ = run(tiny, tmp_path / "whole")
    assert same(model, whole)


def test_signals_are_the_main_threads():
    seen: list[bool] = []

    def elsewhere() -> None:
        with train.interrupts() as asked:
            seen.append(asked.is_set())

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert seen == [False]


def test_nan_stops_with_the_step_and_the_pictures(tiny: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    plain = VDM.losses

    def broken(self: VDM, batch: Any, source: Any) -> dict[str, torch.Tensor]:
        terms = plain(self, batch, source)
        return terms | {"loss": terms["loss"] * (float("nan") if source.step == 7 else 1.0)}

    monkeypatch.setattr(VDM, "losses", broken)
    with pytest.raises(
        train.NotFinite, match=r"not finite at step 7; its batch: .*\.png.*checkpoint of step 5 is kept"
    ):
        run(replace(tiny, report_interval_s=3600), tmp_path)
    monkeypatch.undo()
    model, _ = run(tiny, tmp_path, resume=True)
    whole, _ = run(tiny, tmp_path / "whole")
    assert same(model, whole)


def test_a_ruined_state_is_never_saved(tiny: TrainConfig, tmp_path: Path):
    """Step 1 is good, and so is its checkpoint; the update of step 2 ruins the weights, as the next loss would show."""
    run(replace(tiny, steps=1), tmp_path)
    wild = replace(tiny, checkpoint_interval_steps=1, optim=replace(tiny.optim, learning_rate=1e25, warmup_steps=0))
    with pytest.raises(train.NotFinite, match="the checkpoint of step 1 is kept"):
        train.train(wild, tmp_path, resume=True)
    assert Store(tmp_path / "checkpoints").steps() == [1]
    model, _ = run(tiny, tmp_path, resume=True)
    assert model.meta["step"] == 12


def test_one_training_at_a_time(tiny: TrainConfig, tmp_path: Path):
    with (
        Store(tmp_path / "checkpoints").locked(),
        pytest.raises(ValueError, match="checkpoints is in use: another process trains this run"),
    ):
        run(tiny, tmp_path)
    assert run(tiny, tmp_path)[0].meta["step"] == 12


def test_a_full_disk_leaves_the_last_checkpoint(tiny: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device", str(path))

    run(replace(tiny, steps=5), tmp_path)
    monkeypatch.setattr(checkpoint, "write_through", full)
    with pytest.raises(OSError, match="No space left"):
        run(tiny, tmp_path, resume=True)
    assert Store(tmp_path / "checkpoints").newest() == 5
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == [".lock", "000000000005"]


def test_folder_of_another_run(tiny: TrainConfig, tmp_path: Path):
    run(replace(tiny, steps=1), tmp_path)
    with pytest.raises(ValueError, match="holds checkpoints of an earlier run"):
        run(tiny, tmp_path)


def test_resume_with_another_model(tiny: TrainConfig, tiny_with_dropout: TrainConfig, tmp_path: Path):
    run(replace(tiny, steps=1), tmp_path)
    wider = replace(tiny, model=replace(tiny.model, net=replace(tiny.model.net, channels=16)))
    with pytest.raises(ValueError, match="is of another model"):
        run(wider, tmp_path, resume=True)


def test_wrong_values(tiny: TrainConfig, tmp_path: Path):
    with pytest.raises(ValueError, match="plain loop trains with one worker, got 2"):
        train.train(replace(tiny, workers=2), tmp_path)
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="device cuda was asked for, but torch sees no GPU"):
            train.train(replace(tiny, device="cuda"), tmp_path)
    with pytest.raises(ValueError, match=r"optim.batch must be a multiple of .* \(3\), got 8"):
        replace(tiny, optim=replace(tiny.optim, micro_batches=3))


def test_checkpoints_under_a_url(tiny: TrainConfig, tmp_path: Path):
    away = replace(tiny, storage=f"memory://{tmp_path.name}/away")
    model, _ = run(replace(away, steps=5), tmp_path)
    assert not (tmp_path / "checkpoints").exists()
    model, _ = run(away, tmp_path, resume=True)
    assert same(model, generative.load(away.storage or ""))
    whole, _ = run(tiny, tmp_path / "whole")
    assert same(model, whole)


@pytest.mark.parametrize("options", [{"bf16": True}, {"channels_last": True}])
def test_options_train(tiny: TrainConfig, tmp_path: Path, options: dict[str, Any]):
    _, plain = run(tiny, tmp_path / "plain")
    _, said = run(replace(tiny, optim=replace(tiny.optim, **options)), tmp_path / "other")
    assert said[12]["train/loss"] == pytest.approx(plain[12]["train/loss"], rel=0.05)
