"""`tandem distill` and `tandem eval` of chains on a small model of digits, with features that need no download."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import generative
from experiments import chain_page, chain_scores, distill, evaluate_chain, jobs, presets, runs
from experiments.chain_scores import Judge, Row, Scores
from experiments.distill import parse_distill
from generative import chain_manifest, models, process
from generative import config as configs
from generative.chain import can_be_distilled, plan
from generative.config import OptimSettings, TrainConfig, WatchSettings
from generative.metrics import features
from generative.metrics.fid import fid
from generative.metrics.kid import kid
from generative.nets.unet import UNetConfig
from generative.papers.progressive_distillation import DiffusionConfig
from generative.train import train

Tandem = Callable[..., tuple[int, str, str]]
NET = UNetConfig(channels=8, multipliers=(1, 1), blocks=1, attention_resolutions=(), dropout=0.0)
WATCH = WatchSettings(interval_s=0, images=4, final_images=4, times=1, samples=4, sample_steps=2)
QUICK = ("--plain", "--updates", "2", "--last-updates", "2", "--threads", "1")


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a small model of digits, as `tandem train pd-digits` leaves it."""
    config = TrainConfig(model=DiffusionConfig(net=NET), optim=OptimSettings(batch=8), watch=WATCH, steps=40, threads=1)
    run = runs.create(tmp_path_factory.mktemp("runs"), "pd-digits", config, ["tandem", "train", "pd-digits"])
    train(config, run)
    return run


@pytest.fixture(scope="module")
def distilled(teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _distil(teacher, tmp_path_factory.mktemp("chains"))


def _distil(teacher: Path, where: Path, *flags: str) -> Path:
    from experiments import cli

    assert cli.run(["distill", str(teacher), "--runs-dir", str(where), "--from-steps", "8", *QUICK, *flags]) == 0
    return max((where / "pd-digits-distill").iterdir())


@pytest.fixture(scope="module")
def eps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of a model that predicts eps."""
    config = TrainConfig(
        model=DiffusionConfig(net=NET, prediction="eps", weighting="snr"), optim=OptimSettings(batch=8), watch=WATCH,
        steps=2, threads=1,
    )  # fmt: skip
    run = runs.create(tmp_path_factory.mktemp("runs"), "pd-digits", config, ["tandem"])
    train(config, run)
    return run


@pytest.fixture
def chain(distilled: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(distilled, tmp_path / "chain"))


def test_a_chain_is_a_run_folder_with_a_curve_and_a_grid_for_each_number_of_steps(distilled: Path) -> None:
    lines = [json.loads(line) for line in (distilled / "metrics.jsonl").read_text().splitlines()]
    sampler_steps = {line["step"]: line["chain/sampler_steps"] for line in lines if "chain/sampler_steps" in line}
    assert max(sampler_steps) == 2 + 2 + 2
    assert [sampler_steps[step] for step in (2, 4, 6)] == [4, 2, 1]
    named = sorted(path.name for path in (distilled / "media").rglob("*samples_in*"))
    assert [name.partition("samples_in_")[2].partition("_")[0] for name in named] == ["1", "2", "4"]
    assert json.loads((distilled / "config.json").read_text())["kind"] == "distill"
    assert generative.load(distilled).taught_steps == 1


def test_grids_of_all_stages_start_from_the_same_noise(distilled: Path) -> None:
    seeds = {
        chain_manifest.student(distilled, steps).meta["config"]["watch"]["seed"] for steps in (4, 2, 1)
    }  # fmt: skip
    assert seeds == {0}
    assert len({chain_manifest.student(distilled, n).meta["config"]["seed"] for n in (4, 2, 1)}) == 3


def test_going_on_with_a_finished_chain_changes_nothing(chain: Path, tandem: Tandem) -> None:
    before = generative.load(chain).state_dict()
    code, said, _ = tandem("distill", "--resume", chain, "--plain")
    assert code == 0
    assert f"all 3 stages of {chain} are done: nothing is left to do" in said
    assert all(torch.equal(value, before[name]) for name, value in generative.load(chain).state_dict().items())


@pytest.mark.parametrize(("flags", "student"), [((), 1), (("--steps", 4), 4), (("--steps", 2), 2)])
def test_samples_of_a_chain_are_those_of_the_student_with_such_steps(
    flags: tuple, student: int, distilled: Path, tmp_path: Path, tandem: Tandem
) -> None:
    files = ("-o", tmp_path / "grid.png", "--npz", tmp_path / "grid.npz")
    assert tandem("sample", distilled, "-n", 3, *flags, *files)[0] == 0
    expected = chain_manifest.student(distilled, student).sample(3)
    assert np.load(tmp_path / "grid.npz")["pictures"].tolist() == expected.tolist()


def test_a_chain_has_no_samples_of_other_steps(distilled: Path, tmp_path: Path, tandem: Tandem) -> None:
    code, _, err = tandem("sample", distilled, "--steps", 3, "-o", tmp_path / "grid.png")
    assert code == 2
    assert "has no finished student with 3 steps; it has 4, 2, 1" in err
    assert not any(tmp_path.iterdir())


def test_a_dry_run_names_the_stages_and_writes_nothing(teacher: Path, tandem: Tandem, tmp_path: Path) -> None:
    code, said, _ = tandem("distill", teacher, "--from-steps", 8, "--updates", 3, "--dry-run", "--runs-dir", tmp_path)
    assert code == 0
    assert [line for line in said.splitlines() if line.startswith("stage")] == [
        "stage 000004: 3 optimiser steps, from 0",
        "stage 000002: 6 optimiser steps, from 3",
        "stage 000001: 6 optimiser steps, from 9",
    ]
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    "flags",
    [[], ["--from-steps", "2"], ["--from-steps", "8192"], ["--from-steps", "64", "--to", "32"],
     ["--optim.batch", "4"], ["--from-steps", "8", "--last-updates", "5"]],
)  # fmt: skip
def test_a_chain_costs_what_its_teacher_did(flags: list[str], teacher: Path) -> None:
    """A gradient is two forward passes: a step of training has three, a student's five: its teacher answers twice."""
    _, command = parse_distill([str(teacher), *flags])
    model = generative.load(teacher)
    model.meta["step"] = 4000
    batch, stages = command.config.optim.batch, plan(command.config, Path(), model)
    passes, students = 3 * 4000 * 8, sum(1 + (stage.steps <= 2) for stage in stages)
    cost = sum(5 * stage.config.steps * batch for stage in stages)
    assert cost <= passes < cost + 5 * batch * students


def test_a_conversion_is_a_quarter_of_what_a_chain_may_cost(eps: Path) -> None:
    _, command = parse_distill([str(eps)])
    model = generative.load(eps)
    model.meta["step"] = 4000
    first, *students = plan(command.config, Path(), model)
    assert 4 * first.config.steps == pytest.approx(3 * 4000 / 4, abs=4)
    assert sum(5 * stage.config.steps for stage in students) == pytest.approx(3 * 4000 * 3 / 4, rel=0.03)
    assert first.config.optim.warmup_steps == first.config.steps // 10
    assert first.config.model.net.dropout == 0


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["distill"], "no run was named"),
        (["distill", "{nowhere}"], "holds no model"),
        (["distill", "{teacher}", "--from-steps", "8", "--to", "3"], "8 steps cannot be halved to 3"),
        (["distill", "{teacher}", "--updates", "0"], "updates must be positive"),
        (["distill", "{teacher}", "--workers", "2", "--plain"], "--workers must be 1"),
        (["distill", "{teacher}", "--optim.decay", "sideways"], "decay"),
        (["distill", "--resume", "{nowhere}"], "is not a run folder"),
        (["distill", "--resume", "{teacher}"], "not of `tandem distill`"),
        (["distill", "--resume", "{chain}", "--seed", "3"], "seed of {chain} cannot change"),
        (["train", "--resume", "{chain}"], "it is of `tandem distill`"),
    ],
)
def test_what_cannot_be_distilled_is_one_sentence(
    args: list[str], said: str, teacher: Path, distilled: Path, tmp_path: Path, tandem: Tandem
) -> None:
    names = {"teacher": str(teacher), "chain": str(distilled), "nowhere": str(tmp_path / "nowhere")}
    before = sorted(distilled.rglob("*"))
    code, _, err = tandem(
        *(arg.format(**names) for arg in args), *(["--runs-dir", tmp_path] * ("--resume" not in args))
    )
    assert code == 2
    assert said.format(**names) in err
    assert len(err.strip().splitlines()) == 1
    assert sorted(distilled.rglob("*")) == before
    assert not any(tmp_path.iterdir())


def _state(run: Path) -> dict[str, bytes]:
    return {str(path.relative_to(run)): path.read_bytes() for path in run.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--checkpoint-interval-s", "nan"], "checkpoint_interval_s must be"),
        (["--threads", "-1"], "threads must be"),
        (["--max-restarts", "-5"], "max_restarts must"),
        (["--device", "cuda"], "cuda"),
        (["--watch.samples", "0"], "samples must be positive"),
    ],
)
def test_a_refused_flag_leaves_a_chain_as_it_is(flags: list[str], said: str, chain: Path, tandem: Tandem) -> None:
    before = _state(chain)
    code, _, err = tandem("distill", "--resume", chain, "--plain", *flags)
    assert (code, said in err, len(err.strip().splitlines())) == (2, True, 1)
    assert _state(chain) == before


def _edit(path: Path, change: Callable[[dict], object]) -> None:
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        ("config.json", lambda d: d["config"].update(from_steps=16), "another configuration"),
        ("config.json", lambda d: d["config"].update(to=2), "another configuration"),
        ("config.json", lambda d: d["config"].update(updates=9), "another configuration"),
        ("config.json", lambda d: d["config"].update(teacher="/elsewhere"), "starts from"),
        ("chain.json", lambda d: d["stages"].reverse(), "cannot be read as a chain"),
        ("chain.json", lambda d: d["stages"].pop(0), "names another teacher of stage 000002"),
        ("chain.json", lambda d: d["stages"].append(d["stages"][-1]), "cannot be read as a chain"),
        ("chain.json", lambda d: d["stages"][0].update(steps=2**40), "cannot be read as a chain"),
        ("chain.json", lambda d: d["stages"][0].update(steps=True), "cannot be read as a chain"),
        ("chain.json", lambda d: d["stages"][0].update(updates=-5), "cannot be read as a chain"),
        ("chain.json", lambda d: d["stages"][0].update(updates=10**400), "cannot be read as a chain"),
        ("chain.json", lambda d: d["stages"][0].update(updates=77), "names stages that are not this chain's"),
        ("chain.json", lambda d: d["stages"][0].update(loss=float("nan")), "cannot be read as a chain"),
        ("chain.json", lambda d: d["config"]["optim"].update(batch=0), "cannot be read as a chain"),
    ],
)
def test_a_chain_that_disagrees_with_itself_is_left_as_it_is(
    file: str, change: Callable[[dict], object], said: str, chain: Path, tandem: Tandem
) -> None:
    _edit(chain / file, change)
    before = _state(chain)
    code, _, err = tandem("distill", "--resume", chain, "--plain")
    assert (code, said in err, len(err.strip().splitlines())) == (2, True, 1), err
    if "cannot be read" in said:
        code, _, err = tandem("eval", chain, *EVAL)
        assert (code, said in err, len(err.strip().splitlines())) == (2, True, 1), err
    assert _state(chain) == before


def test_a_damaged_student_is_noticed_before_anything_takes_time(
    chain: Path, tandem: Tandem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate_chain, "_judge", lambda *_: pytest.fail("pictures were judged first"))
    (weights,) = (chain / "stages" / "000002" / "checkpoints").glob("*/model.safetensors")
    weights.write_bytes(weights.read_bytes()[:1000])
    code, _, err = tandem("eval", chain, *EVAL)
    assert (code, "stages/000002 holds no model" in err, len(err.strip().splitlines())) == (2, True, 1), err


def test_a_checkpoint_under_another_steps_name_is_noticed(chain: Path, tandem: Tandem) -> None:
    _edit(chain / "chain.json", lambda d: d["stages"].pop())
    checkpoints = chain / "stages" / "000001" / "checkpoints"
    (checkpoints / f"{2:012d}").rename(checkpoints / f"{9999:012d}")
    code, _, err = tandem("distill", "--resume", chain, "--plain")
    assert code == 1
    assert "cannot be gone on from: it is of step 2" in err


def test_a_chain_without_its_manifest_is_left_as_it_is(chain: Path, tandem: Tandem) -> None:
    (chain / "chain.json").unlink()
    before = _state(chain)
    code, _, err = tandem("distill", "--resume", chain, "--plain")
    assert (code, "holds a training without chain.json" in err, len(err.strip().splitlines())) == (2, True, 1)
    assert _state(chain) == before


@pytest.mark.parametrize(
    ("name", "side", "channels", "multipliers", "attention", "heads"),
    [
        ("pd-cifar10", 32, 256, (1, 1, 1), {8, 16}, {"heads": 1}),
        ("pd-imagenet64", 64, 192, (1, 2, 3, 4), {8, 16, 32}, {"head_channels": 64}),
        ("pd-lsun128", 128, 64, (1, 2, 4, 6, 8), {8, 16, 32}, {"head_channels": 64}),
    ],
)
def test_the_papers_rows_have_its_hyper_parameters(
    name: str, side: int, channels: int, multipliers: tuple[int, ...], attention: set[int], heads: dict[str, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """App E: the teacher, and its students."""
    small = name == "pd-cifar10"
    config = presets.get(name).make()
    net, optim = config.model.net, config.optim
    assert (net.channels, net.multipliers, net.blocks, net.dropout) == (channels, multipliers, 3, 0.2 if small else 0.1)
    assert set(net.attention_resolutions) == attention
    assert {field: getattr(net, field) for field in heads} == heads
    assert (net.scale_shift, net.resample_in_block) == (True, True)
    assert (config.model.prediction, config.model.weighting) == ("x0" if small else "both", "truncated_snr")
    taught = (128, 2e-4, 1e-3) if small else (2048, 3e-4, 0)
    assert (optim.batch, optim.learning_rate, optim.weight_decay) == taught
    assert (optim.warmup_steps, optim.ema, optim.ema_warmup, optim.grad_clip) == (1000, 0.9999, False, 1.0)
    assert config.data.flip
    with torch.device("meta"):
        model = models.make(config.model, (3, side, side), 256)
    fast = replace(config, optim=replace(optim, bf16=True))
    model.meta = {"config": configs.to_json(fast), "step": config.steps}
    monkeypatch.setattr(generative, "load", lambda teacher: model)
    monkeypatch.setattr(distill, "_preset", lambda teacher: name)
    stages = plan(distill.defaults("teacher"), Path(), model)
    assert [stage.steps for stage in stages] == [2**i for i in range(12 if small else 9, -1, -1)]
    assert [stage.config.steps for stage in stages] == [50_000] * (len(stages) - 2) + [100_000] * 2
    for student in (stage.config for stage in stages):
        assert (student.model.net, student.model.prediction) == (replace(net, dropout=0.0), config.model.prediction)
        assert student.optim.learning_rate == (5e-5 if small else 1e-4)
        assert (student.optim.weight_decay, student.optim.warmup_steps, student.optim.ema) == (0, 0, 0)
        assert not student.optim.bf16, "the teacher's rounding would be noise in what a student learns"
        assert (student.optim.decay, student.optim.grad_clip, student.optim.batch) == ("linear", 1.0, taught[0])


def test_a_chain_says_what_it_costs(teacher: Path, tandem: Tandem, tmp_path: Path) -> None:
    flags = ["--from-steps", 4, "--updates", 6, "--last-updates", 9, "--dry-run", "--runs-dir", tmp_path]
    _, said, _ = tandem("distill", teacher, *flags)
    assert f"the chain costs {5 * (9 + 9) / (3 * 40):.2f} of what training the teacher did" in said


@pytest.mark.parametrize("preset", ["sr3-photos64", "palette-all64"])
def test_a_model_of_pictures_given_pictures_begins_no_chain(preset: str, restorers, tandem: Tandem) -> None:
    code, _, err = tandem("distill", restorers[preset], "--plain")
    assert (code, "this one makes pictures of pictures" in err, len(err.strip().splitlines())) == (2, True, 1)


def test_samples_are_of_the_student_that_the_chain_names(chain: Path, tandem: Tandem, tmp_path: Path) -> None:
    (old, new) = (chain / "stages" / name / "checkpoints" for name in ("000001", "000004"))
    shutil.rmtree(old)
    shutil.copytree(new, old)
    code, _, err = tandem("sample", chain, "-o", tmp_path / "grid.png")
    assert (code, "000001 is not the one that" in err) == (2, True)


@pytest.mark.parametrize("file", ["chain.json", "teacher/model.json", "teacher/model.safetensors"])
def test_a_pipe_keeps_nobody_waiting(file: str, chain: Path, tandem: Tandem) -> None:
    (chain / file).unlink()
    os.mkfifo(chain / file)
    code, _, err = tandem("distill", "--resume", chain, "--plain")
    assert (code, len(err.strip().splitlines())) == (2, 1)
    assert "regular file" in err


def test_a_pipe_for_a_lock_is_as_good_as_a_file(chain: Path, tandem: Tandem) -> None:
    (chain / ".lock").unlink()
    os.mkfifo(chain / ".lock")
    code, out, _ = tandem("distill", "--resume", chain, "--plain")
    assert (code, "are done" in out) == (0, True)


def test_a_run_that_cannot_begin_leaves_no_folder(teacher: Path, tmp_path: Path, tandem: Tandem) -> None:
    bad = Path(shutil.copytree(teacher, tmp_path / "bad"))
    for path in bad.glob("checkpoints/*/model.safetensors"):
        path.write_bytes(path.read_bytes()[:-4] + np.float32("nan").tobytes())
        _edit(path.parent / "manifest.json", lambda d, p=path: d[p.name].update(
            sha256=hashlib.sha256(p.read_bytes()).hexdigest()))  # fmt: skip
    for run, flags, said in (
        (teacher, ["--device", "cuda"], "cuda"), (bad, [], "its weights are no finite numbers"),
    ):  # fmt: skip
        code, _, err = tandem("distill", run, "--plain", *flags, "--runs-dir", tmp_path / "runs")
        assert (code, said in err, len(err.strip().splitlines())) == (2, True, 1), err
        assert not (tmp_path / "runs").exists()


def test_eval_of_what_is_no_chain_makes_no_folder(chain: Path, tmp_path: Path, tandem: Tandem) -> None:
    code, _, err = tandem("eval", chain, tmp_path / "nowhere", *EVAL)
    assert (code, "nowhere/chain.json cannot be read as a chain" in err) == (2, True)
    assert not (tmp_path / "nowhere").exists()


def test_the_run_of_a_submitted_chain_is_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    sent = jobs._absolute_paths(["distill", "runs/a", "--to", "2"], local=True)
    assert sent == ["distill", f"{tmp_path}/runs/a", "--to", "2", "--runs-dir", f"{tmp_path}/runs"]
    with pytest.raises(ValueError, match="distill 'runs/a' has no meaning on another machine"):
        jobs._absolute_paths(["distill", "runs/a"], local=False)


class Pixels(torch.nn.Module):
    """Distances that a test can compute itself."""

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return (x - y).abs().flatten(1).mean(1)


@pytest.fixture(scope="module")
def judge() -> Judge:
    return Judge(features.random_features(), None, _spread_of("test", 40), "digits", 17)


def test_scores_are_those_of_the_samples_beside_real_pictures(chain: Path, judge: Judge) -> None:
    row = Scores(chain, judge, "cpu").score("distilled", 2, seed=3, samples=20, tune=8)
    drawn = chain_manifest.student(chain, 2).sample(20, seed=3, steps=2)
    found, real = (features.extract(judge.net, x, num_levels=17) for x in (drawn, _spread_of("test", 40)))
    assert row.fid == pytest.approx(fid(found, real), rel=1e-6)
    expected = kid(found, real, [f"drawn {i}" for i in range(20)], [f"real {i}" for i in range(40)])
    assert (row.kid, row.kid_se) == pytest.approx((expected.value, expected.se), rel=1e-6)
    assert (row.setting, row.samples, row.lpips) == ("", 20, None)


def test_crops_of_one_photograph_are_no_pairs(judge: Judge) -> None:
    real, drawn = _spread_of("test", 40), _spread_of("train", 12)
    photos = [f"photo {i // 4}" for i in range(40)]
    grouped = Judge(judge.net, None, real, "digits", 17, groups=photos, trained=(drawn, photos[:12]))
    a, b = (features.extract(judge.net, x, num_levels=17) for x in (drawn, real))
    expected = kid(a, b, [str(i) for i in range(12)], photos)
    assert grouped.kid(drawn) == pytest.approx((expected.value, expected.se))
    assert grouped.kid(drawn)[0] != pytest.approx(judge.kid(drawn)[0], rel=1e-3)
    assert grouped.name != judge.name  # scores of before are no rows of this table
    floor = kid(a, b, photos[:12], photos)
    assert grouped.floor is not None
    assert grouped.floor[1:] == pytest.approx((floor.value, floor.se))


def _spread_of(part: str, count: int) -> torch.Tensor:
    """Pictures at equal distances in a set."""
    from generative import data
    from generative.data.config import DataConfig

    images = data.load(DataConfig(), part)
    return images.batch([i * len(images) // count for i in range(count)])["x"]


def test_what_was_measured_is_not_measured_again(chain: Path, judge: Judge, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = Scores(chain, judge, "cpu")
    first = [scores.score(method, 2, seed=0, samples=8, tune=8) for method in chain_scores.METHODS]
    monkeypatch.setattr(Scores, "_draw", lambda *_: pytest.fail("drawn again"))
    monkeypatch.setattr(Judge, "kid", lambda *_: pytest.fail("measured again"))
    again = Scores(chain, judge, "cpu")
    assert [again.score(method, 2, seed=0, samples=8, tune=8) for method in chain_scores.METHODS] == first


def test_a_setting_is_chosen_on_other_noise(chain: Path, judge: Judge) -> None:
    scores = Scores(chain, judge, "cpu")
    row = scores.score("ancestral", 4, seed=0, samples=8, tune=12)
    tried = [one for one in scores.rows() if one.seed == chain_scores.TUNING]
    assert [one.setting for one in tried] == list(chain_scores.SETTINGS["ancestral"])
    assert {one.samples for one in tried} == {12}
    assert row.setting == min(tried, key=lambda one: one.kid).setting


def test_with_one_step_the_level_of_the_only_answer_is_chosen(chain: Path, judge: Judge) -> None:
    scores = Scores(chain, judge, "cpu")
    row = scores.score("heun", 1, seed=0, samples=8, tune=12)
    tried = [one for one in scores.rows() if (one.seed, one.steps, one.method) == (chain_scores.TUNING, 1, "heun")]
    assert {one.setting for one in tried} == set(chain_scores.SETTINGS["heun"])
    assert row.setting == min(tried, key=lambda one: one.kid).setting


def test_at_one_step_every_undistilled_sampler_gives_the_same_pictures(chain: Path, judge: Judge) -> None:
    scores = Scores(chain, judge, "cpu")
    drawn = [scores.pictures(method, "", 1, 0, 8) for method in ("ddim", "heun", "ancestral")]
    assert all(torch.equal(drawn[0], other) for other in drawn[1:])


def test_even_levels_go_from_noise_to_data() -> None:
    t = torch.linspace(1, 0, 5, dtype=torch.float64)
    found = chain_scores.even_log_snr(t)
    assert found.diff().tolist() == [5.0] * 4
    assert process.alpha_sigma(found[0])[0] < 0.01
    assert process.alpha_sigma(found[-1])[1] < 0.01


def test_scores_of_other_weights_are_not_taken_for_these(chain: Path, teacher: Path, judge: Judge, tmp_path) -> None:
    row = Scores(chain, judge, "cpu").score("distilled", 2, seed=0, samples=8, tune=8)
    other = _distil(teacher, tmp_path, "--seed", "5")
    shutil.copytree(chain / "scores", other / "scores")
    found = Scores(other, judge, "cpu").score("distilled", 2, seed=0, samples=8, tune=8)
    assert found.weights != row.weights
    assert len(list((other / "scores").glob("distilled-2-*.npz"))) == 2


def test_the_distance_is_to_the_undistilled_models_picture_from_the_same_noise(
    chain: Path, judge: Judge, monkeypatch: pytest.MonkeyPatch
) -> None:
    from generative.metrics import lpips

    net = Pixels()
    monkeypatch.setattr(lpips, "distance", lambda net, x, y, **_: net(x.float(), y.float()))
    seeing = Judge(judge.net, net, _spread_of("test", 40), "digits", 17)
    scores = Scores(chain, seeing, "cpu")
    row = scores.score("distilled", 2, seed=1, samples=8, tune=8)
    mine, whole = (
        model.sample(8, seed=1, steps=steps).float()
        for model, steps in ((chain_manifest.student(chain, 2), 2), (generative.load(chain / "teacher"), 8))
    )
    assert row.lpips == pytest.approx(float((mine - whole).abs().mean()), rel=1e-5)
    assert scores.score("ddim", 8, seed=1, samples=8, tune=8).lpips == 0


@pytest.mark.parametrize("text", ["{", "[]\n", '{"method": "ddim"}\n', "NaN\n"])
def test_damaged_scores_are_one_sentence(text: str, chain: Path, judge: Judge) -> None:
    scores = Scores(chain, judge, "cpu")
    (chain / "scores").mkdir(exist_ok=True)
    (chain / "scores" / "rows.jsonl").write_text(text)
    with pytest.raises(ValueError, match=r"rows.jsonl cannot be read as scores: ") as caught:
        scores.rows()
    assert "\n" not in str(caught.value)


def test_damaged_samples_are_one_sentence(chain: Path, judge: Judge) -> None:
    scores = Scores(chain, judge, "cpu")
    scores.score("ddim", 2, seed=0, samples=8, tune=8)
    (file,) = (chain / "scores").glob("ddim-2-*.npz")
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(ValueError, match=r"npz cannot be read as samples"):
        scores.pictures("ddim", "", 2, 0, 8)


EVAL = ("--samples", 8, "--tune-samples", 8, "--real", 40, "--features", "random")


def test_eval_of_a_chain_writes_a_page_with_every_method(
    chain: Path, judge: Judge, tandem: Tandem, tmp_path: Path
) -> None:
    code, _, err = tandem("eval", chain, *EVAL, "--output", tmp_path / "page")
    assert (code, err.count("Traceback")) == (0, 0)
    page = (tmp_path / "page" / "few-steps.md").read_text()
    assert "| steps | distilled | ddim | heun | dpm++ | ancestral |" in page
    assert page.startswith(f"# Few steps: {tmp_path.name}\n")
    rows = Scores(chain, _judge_of(chain), "cpu").rows()
    assert {(row.method, row.steps) for row in rows if row.seed == 0} == {
        *((m, n) for m in chain_scores.METHODS for n in (4, 2, 1)), *((m, 8) for m in chain_scores.METHODS[1:])
    }  # fmt: skip
    whole = next(row for row in rows if (row.method, row.steps, row.seed) == ("ddim", 8, 0))
    student = next(row for row in rows if (row.method, row.steps) == ("distilled", 4))
    assert student.fid
    assert whole.fid
    training = _spread_of("train", 8)
    floor = fid(
        features.extract(judge.net, training, num_levels=17),
        features.extract(judge.net, _spread_of("test", 40), num_levels=17),
    )
    above = (student.fid - floor) / (whole.fid - floor)
    assert f"| 4 | {student.fid / whole.fid:.3f} | {above:.3f} |" in page
    others = [row for row in rows if (row.steps, row.seed) == (4, 0) and row.method != "distilled"]
    best = min(others, key=lambda row: row.kid)
    (by_kid,) = [line for line in page.partition("by KID")[2].splitlines() if line.startswith("| 4 | ")][:1]
    assert by_kid.startswith(f"| 4 | {student.kid / whole.kid:.3f} |")
    # Heun calls the network twice a step but for the last: with two steps it calls it three times, with four seven.
    as_dear = [
        r for r in rows if r.seed == 0 and r.method != "distilled" and r.steps <= (2 if r.method == "heun" else 4)
    ]
    cheap = min(as_dear, key=lambda row: row.kid)
    ends = [
        f"{named} | {student.kid - rival.kid:.5f} | {int(student.kid < rival.kid)} of 1 better |"
        for named, rival in ((best.method, best), (f"{cheap.method} with {cheap.steps}", cheap))
    ]
    assert by_kid.endswith("| " + " ".join(ends))
    from PIL import Image

    for name in ("scores.png", "strip.png"):
        Image.open(tmp_path / "page" / name).verify()
    # 8 steps of DDIM, students of 4, 2, 1, DDIM with as few; 8 pictures of 8 x 8 in each row.
    height, width = np.asarray(Image.open(tmp_path / "page" / "strip.png")).shape[:2]
    assert height / width == pytest.approx(7 / 8, rel=0.05)
    placed = evaluate_chain.ChainEvalCommand(chains=(chain,), data_path="pets/cats")
    assert evaluate_chain.title(placed, Scores(chain, judge, "cpu")) == f"{tmp_path.name}, pictures of cats"


def _judge_of(chain: Path) -> Judge:
    return Judge(features.random_features(), None, torch.zeros(4, 1, 8, 8, dtype=torch.uint8), "digits", 17)


def test_several_chains_are_one_table_with_intervals(
    chain: Path, teacher: Path, tandem: Tandem, tmp_path: Path
) -> None:
    other = _distil(teacher, tmp_path / "other", "--seed", "1")
    args = ("--methods", "distilled", "ddim", "ancestral", "--steps", 8, 2, "--output", tmp_path / "page")
    code, _, _ = tandem("eval", chain, other, *EVAL, *args)
    assert code == 0
    first, second = (Scores(run, _judge_of(run), "cpu").rows() for run in (chain, other))
    assert {row.seed for row in first} == {0, chain_scores.TUNING}
    assert {row.seed for row in second} == {1}  # the choice was made once, the teacher being the same
    assert all(row.fid is None for row in first if row.seed == chain_scores.TUNING)  # its KID chooses
    values = [
        next(r.fid for r in rows if r.method == "distilled" and r.steps == 2 and r.fid) for rows in (first, second)
    ]
    mean, half = mean_interval(values)
    assert f"{mean:.2f} ± {half:.2f}" in (tmp_path / "page" / "few-steps.md").read_text()


def mean_interval(values: list[float]) -> tuple[float, float]:
    """SciPy's own mean and half width."""
    from scipy.stats import t

    low, high = t.interval(0.95, len(values) - 1, np.mean(values), np.std(values, ddof=1) / np.sqrt(len(values)))
    return float(np.mean(values)), (high - low) / 2


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--samples", "3"], "--samples must be at least 4"),
        (["--methods", "euler"], "method 'euler' does not exist"),
        (["--steps", "0"], "--steps must be from 1"),
        (["--methods", "distilled", "--steps", "3"], "has no student with such --steps; it has 4, 2, 1"),
        (["--seed", "1000000"], "--seed must be below 1,000,000"),
        (["{chain}"], "a chain is named twice"),
        (["{shorter}"], "its students are"),
        (["{copy}"], "two of the chains are the same"),
    ],
)
def test_a_wrong_value_is_one_sentence(
    args: list[str], said: str, chain: Path, teacher: Path, tmp_path: Path, tandem: Tandem
) -> None:
    if args == ["{shorter}"]:
        args = [str(_distil(teacher, tmp_path / "short", "--to", "2"))]
    if args == ["{copy}"]:
        args = [str(shutil.copytree(chain, tmp_path / "copy"))]
    options = [arg.format(chain=chain) for arg in args]
    code, _, err = tandem(
        "eval", chain, *(options if args[0][0] != "-" else []), *EVAL, *(options * (args[0][0] == "-"))
    )
    assert code == 2
    assert said in err
    assert len(err.strip().splitlines()) == 1
    assert not (chain / "scores" / "rows.jsonl").exists()


def test_a_chain_at_work_is_left_alone(chain: Path, tandem: Tandem) -> None:
    from generative.checkpoint import Store

    with Store(chain / "scores").locked():
        code, _, err = tandem("eval", chain, *EVAL)
    assert code == 2
    assert "another" in err


def test_compute_is_counted_in_forward_passes(distilled: Path) -> None:
    assert chain_scores.compute(distilled) == (3 * 8 * 40, 5 * 8 * (2 + 2 + 2))


def test_heun_is_beside_a_student_with_as_many_steps_and_with_as_many_calls() -> None:
    def row(method: str, steps: int, fid: float) -> chain_scores.Row:
        return chain_scores.Row(
            method=method, setting="", steps=steps, seed=0, samples=8, weights="", judge="", fid=fid, kid=fid / 10,
            kid_se=0.0, lpips=None,
        )  # fmt: skip

    rows = [row("distilled", 4, 10), row("ddim", 8, 9), row("ddim", 4, 11), row("heun", 4, 8), row("heun", 2, 12)]
    _, table = chain_page.compared([rows], "fid", 8, 5.0)
    cells = [cell.strip() for cell in table.splitlines()[2].strip("|").split("|")]
    assert cells[:3] == ["4", "1.111", "1.250"]
    assert cells[3:6] == ["heun", "2.00", "0 of 1 better"]
    assert cells[6:] == ["ddim with 4", "-1.00", "1 of 1 better"]
    assert chain_page.nearer([rows]) == []  # no LPIPS was measured
    assert chain_page.nearer([[rows[0], *(replace(r, lpips=0.1) for r in rows[1:])]]) == []  # an earlier call did
    far = [replace(r, lpips=r.fid / 10) for r in rows]
    _, table = chain_page.nearer([far])
    assert table.splitlines()[2:] == ["| 4 | heun | 0.2000 | 0 of 1 better | ddim with 4 | -0.1000 | 1 of 1 better |"]


def test_a_student_is_compared_with_what_it_halved(eps: Path, tmp_path: Path, judge: Judge, tandem: Tandem) -> None:
    """A model of eps is converted first: undistilled means what that gave, and its own samples are a row beside."""
    assert not can_be_distilled(generative.load(eps))
    made = _distil(eps, tmp_path / "chains", "--convert-updates", "3")
    scores = Scores(made, judge, "cpu")
    assert scores.teacher.config.prediction == "v"
    assert scores.all_steps == 8
    args = ("--methods", "distilled", "ddim", "--steps", 8, 2, "--output", tmp_path / "page")
    assert tandem("eval", made, *EVAL, *args)[0] == 0
    page = (tmp_path / "page" / "few-steps.md").read_text()
    assert "| steps | distilled | ddim | original |" in page
    assert "so it was converted first" in page
    (file,) = (made / "scores").glob("original-8-*.npz")
    drawn = generative.load(eps).sample(8, seed=0, steps=8, sampler="ddim")
    assert np.load(file)["pictures"].tolist() == drawn.numpy().tolist()


def test_drawing_tells_how_far_it_is_within_a_batch(chain: Path, judge: Judge, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[float] = []
    monkeypatch.setattr(chain_scores.Steps, "update", lambda steps, done, note="": told.append(done))
    monkeypatch.setattr(chain_scores, "AT_ONCE", 4)
    Scores(chain, judge, "cpu").pictures("heun", "", 2, 77, 6)
    assert told == [2, 4, 4, 5, 6, 6]


def test_rows_of_a_table_are_complete() -> None:
    row = Row(
        method="ddim", setting="", steps=2, seed=0, samples=8, weights="a", judge="b", fid=2.0, kid=0.1, kid_se=0.0,
        lpips=None,
    )  # fmt: skip
    lines = chain_page.table([[row, replace(row, steps=4, fid=1.0)], [replace(row, fid=4.0)]], "fid", 1)
    mean, half = mean_interval([2.0, 4.0])
    assert lines == [["steps", "ddim"], ["4", "1.0"], ["2", f"{mean:.1f} ± {half:.1f}"]]


@pytest.mark.slow
def test_a_chain_that_was_killed_with_its_process_ends_with_the_same_weights(teacher: Path, tmp_path: Path) -> None:
    """kill -9 inside the second stage; the same command with --resume goes on."""
    flags = ["--plain", "--threads", "1", "--from-steps", "8", "--updates", "30", "--checkpoint-interval-s", "0.05"]
    command = [sys.executable, "-m", "experiments.cli", "distill"]
    runs_dirs = [tmp_path / name for name in ("undisturbed", "killed")]
    begun = [
        subprocess.Popen([*command, str(teacher), *flags, "--runs-dir", str(where)], stdout=subprocess.DEVNULL)
        for where in runs_dirs
    ]
    second = "pd-digits-distill/*/stages/000002/checkpoints/*"
    deadline = time.monotonic() + 100
    while not list(runs_dirs[1].glob(second)):
        assert time.monotonic() < deadline
        assert begun[1].poll() is None
        time.sleep(0.01)
    begun[1].kill()
    begun[1].wait()
    (killed,) = (runs_dirs[1] / "pd-digits-distill").iterdir()
    assert [row["steps"] for row in chain_manifest.read_manifest(killed)["stages"]] == [4]
    subprocess.run([*command, "--resume", str(killed), "--plain"], check=True, stdout=subprocess.DEVNULL, timeout=100)
    assert begun[0].wait(100) == 0
    (undisturbed,) = (runs_dirs[0] / "pd-digits-distill").iterdir()
    for steps in (4, 2, 1):
        one, other = (chain_manifest.student(run, steps).state_dict() for run in (undisturbed, killed))
        assert all(torch.equal(value, other[name]) for name, value in one.items())
    curve = [json.loads(line) for line in (killed / "metrics.jsonl").read_text().splitlines()]
    steps = [line["step"] for line in curve if "train/loss" in line]
    assert steps == sorted(steps)
    assert steps[-1] == 30 + 60 + 60
