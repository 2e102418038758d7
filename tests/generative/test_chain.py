"""Chains of students: their stages, going on after a kill to the bit, and files that are not what the manifest says."""

import json
import random
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import generative
from generative import chain, chain_manifest
from generative import config as configs
from generative.chain import ChainConfig
from generative.config import OptimSettings, TrainConfig, WatchSettings
from generative.nets.unet import UNetConfig
from generative.papers.progressive_distillation import DiffusionConfig
from generative.train import train
from generative.training import Training

NET = UNetConfig(channels=8, multipliers=(1, 1), blocks=1, attention_resolutions=(), dropout=0.1)
WATCH = WatchSettings(interval_s=0, images=4, final_images=4, times=1, samples=2, sample_steps=2)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of a small model of digits."""
    run = tmp_path_factory.mktemp("teacher")
    config = TrainConfig(model=DiffusionConfig(net=NET), optim=OptimSettings(batch=8), watch=WATCH, steps=8, threads=1)
    train(replace(config, data=replace(config.data, name="digits")), run)
    return run


def settings(start: Path, **changes: Any) -> ChainConfig:
    plain = ChainConfig(teacher=str(start))
    optim = replace(plain.optim, batch=8)
    return replace(
        plain, **{"from_steps": 8, "updates": 4, "last_updates": 6, "optim": optim, "watch": WATCH, "threads": 1,
                  "checkpoint_interval_s": 1e-9, "report_interval_s": 1e-9, **changes}
    )  # fmt: skip


@pytest.fixture(scope="module")
def whole(teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("chains") / "whole"
    chain.distill(settings(teacher), run)
    return run


def weights(run: Path, steps: int) -> dict[str, torch.Tensor]:
    return chain_manifest.student(run, steps).state_dict()


def test_a_chain_has_a_student_for_every_halving(teacher: Path, tmp_path: Path) -> None:
    said: dict[int, dict[str, float]] = {}
    looks = []
    last = chain.distill(
        settings(teacher), tmp_path / "run", report=lambda step, m: said.setdefault(step, {}).update(m),
        look=lambda step, view: looks.append((step, len(view.samples))),
    )  # fmt: skip
    assert last.config.num_steps == 1
    assert last.sample(2).shape == (2, 1, 8, 8)
    assert sorted(said) == list(range(1, 17))  # one curve over 4 + 6 + 6 updates
    assert [said[step]["chain/sampler_steps"] for step in (4, 5, 16)] == [4, 2, 1]
    assert looks == [(4, 2), (10, 2), (16, 2)]
    rates = [said[step]["train/learning_rate_network"] for step in (1, 4, 5, 16)]
    assert rates == pytest.approx([2e-4, 2e-4 / 4, 2e-4, 2e-4 / 6])
    manifest = chain_manifest.read_manifest(tmp_path / "run")
    assert [(row["steps"], row["updates"]) for row in manifest["stages"]] == [(4, 4), (2, 6), (1, 6)]
    assert [chain_manifest.student(tmp_path / "run", steps).config.num_steps for steps in (4, 2, 1)] == [4, 2, 1]


def test_a_student_starts_with_its_teachers_weights(teacher: Path, whole: Path, tmp_path: Path) -> None:
    for stage, before in zip(chain.plan(settings(teacher), whole, generative.load(whole / "teacher")),
                             ("teacher", "stages/000004", "stages/000002"), strict=True):  # fmt: skip
        begun = Training(stage.config, (1, 8, 8), 17, (), "cpu")
        expected = generative.load(whole / before).denoise.state_dict()
        assert all(torch.equal(value, expected[name]) for name, value in begun.model.denoise.state_dict().items())
        assert not begun.optimizer.state


def test_each_student_learns_from_the_one_before(whole: Path) -> None:
    configs = [chain_manifest.student(whole, steps).meta["config"] for steps in (4, 2, 1)]
    assert [Path(config["teacher"]).name for config in configs] == ["teacher", "000004", "000002"]
    assert all(config["model"]["net"]["dropout"] == 0 for config in configs)


class Killed(Exception):
    pass


@pytest.mark.parametrize("at", random.Random(5).sample(range(1, 16), 4))
def test_a_chain_that_was_killed_ends_with_the_same_weights(
    teacher: Path, whole: Path, tmp_path: Path, at: int
) -> None:
    def report(step: int, metrics: dict[str, float]) -> None:
        if step >= at:
            raise Killed

    with pytest.raises(Killed):
        chain.distill(settings(teacher), tmp_path / "run", report=report)
    chain.distill(settings(teacher), tmp_path / "run", resume=True)
    for steps in (4, 2, 1):
        one, other = weights(whole, steps), weights(tmp_path / "run", steps)
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_chain_that_was_killed_after_a_stages_last_checkpoint_goes_on(
    teacher: Path, whole: Path, tmp_path: Path
) -> None:
    """Then there is nothing left to train in the stage, but it has no row in the manifest yet."""

    def look(step: int, view: Any) -> None:
        raise Killed

    with pytest.raises(Killed):
        chain.distill(settings(teacher), tmp_path / "run", look=look)
    assert chain_manifest.read_manifest(tmp_path / "run")["stages"] == []
    chain.distill(settings(teacher), tmp_path / "run", resume=True)
    mine, undisturbed = (chain_manifest.read_manifest(run)["stages"] for run in (tmp_path / "run", whole))
    assert [row["loss"] for row in mine] == [row["loss"] for row in undisturbed]
    assert [row["sha256"] for row in mine] != []
    assert all(row["train_s"] > 0 for row in mine)
    one, other = weights(whole, 1), weights(tmp_path / "run", 1)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_what_is_no_chain_is_left_alone(teacher: Path, whole: Path, tmp_path: Path) -> None:
    run = copied(whole, tmp_path)
    (run / chain_manifest.MANIFEST).unlink()
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    for folder in (run, teacher):
        with pytest.raises(ValueError, match=r"holds a training without chain.json"):
            chain.distill(settings(teacher), folder, resume=True)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_each_stage_is_tied_to_its_teacher(whole: Path) -> None:
    manifest = chain_manifest.read_manifest(whole)
    hashes = [manifest["teacher"]["sha256"], *(row["sha256"] for row in manifest["stages"])]
    assert [row["teacher_sha256"] for row in manifest["stages"]] == hashes[:-1]


def test_a_row_that_names_another_teacher_is_noticed(teacher: Path, whole: Path, tmp_path: Path) -> None:
    run = copied(whole, tmp_path)
    manifest = chain_manifest.read_manifest(run)
    manifest["stages"][1]["teacher_sha256"] = "f" * 64
    (run / chain_manifest.MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match=r"names another teacher of stage 000002 than the one in .*000004"):
        chain.distill(settings(teacher), run, resume=True)


def test_a_stage_of_another_chain_is_not_gone_on_with(teacher: Path, whole: Path, tmp_path: Path) -> None:
    chain.distill(settings(teacher, seed=1), tmp_path / "other")
    run = copied(whole, tmp_path)
    manifest = chain_manifest.read_manifest(run)
    manifest["stages"].pop()
    (run / chain_manifest.MANIFEST).write_text(json.dumps(manifest))
    shutil.rmtree(run / "stages" / "000001")
    shutil.copytree(tmp_path / "other" / "stages" / "000001", run / "stages" / "000001")
    with pytest.raises(ValueError, match=r"000001 holds a training that is not this chain's: its seed is another"):
        chain.distill(settings(teacher), run, resume=True)
    assert chain_manifest.read_manifest(run) == manifest


def test_a_stage_that_another_teacher_began_is_not_gone_on_with(teacher: Path, whole: Path, tmp_path: Path) -> None:
    """A begun stage of a chain that differs in nothing but the weights of the model that it starts from."""

    def report(step: int, metrics: dict[str, float]) -> None:
        if step >= 3:
            raise Killed

    def killed(start: Path, run: Path) -> Path:
        with pytest.raises(Killed):
            chain.distill(settings(start), run, report=report)
        return run / "stages" / "000004"

    config = configs.from_json(generative.load(teacher).meta["config"])
    train(replace(config, seed=1), tmp_path / "teacher")
    mine, theirs = killed(teacher, tmp_path / "mine"), killed(tmp_path / "teacher", tmp_path / "theirs")
    shutil.rmtree(mine)
    shutil.copytree(theirs, mine)
    with pytest.raises(ValueError, match=r"teacher.sha256 is not the hash of this stage's teacher in .*chain.json"):
        chain.distill(settings(teacher), tmp_path / "mine", resume=True)
    shutil.rmtree(mine)
    chain.distill(settings(teacher), tmp_path / "mine", resume=True)
    one, other = weights(whole, 1), weights(tmp_path / "mine", 1)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_what_each_stage_was_trained_with_is_noted(whole: Path) -> None:
    rows = chain_manifest.read_manifest(whole)["stages"]
    assert [row["optim"]["batch"] for row in rows] == [8] * 3
    assert [row["generator"] for row in rows] == [{"seed": row["seed"], "step": row["updates"]} for row in rows]


def test_a_model_that_lies_where_the_teacher_would_is_left_alone(teacher: Path, tmp_path: Path) -> None:
    (tmp_path / "run" / "teacher").mkdir(parents=True)
    (tmp_path / "run" / "teacher" / "model.json").write_text("mine")
    with pytest.raises(ValueError, match=r"model.json is there, and of another model than"):
        chain.distill(settings(teacher), tmp_path / "run", resume=True)
    assert (tmp_path / "run" / "teacher" / "model.json").read_text() == "mine"


def test_updates_that_leave_nothing_for_the_others_are_refused(teacher: Path, vdm: Path) -> None:
    for start, changes in ((teacher, {"last_updates": 1000}), (vdm, {"convert_updates": 1000, "last_updates": None})):
        model = generative.load(start)
        with pytest.raises(ValueError, match="these updates leave nothing of what the teacher's training cost"):
            chain.plan(settings(start, **{"updates": None, **changes}), Path(), model)
        chain.plan(settings(start, **{"updates": 1, **changes}), Path(), model)


@pytest.mark.parametrize(("weighting", "of_students"), [("snr_plus_one", "snr_plus_one"), ("snr", "truncated_snr")])
def test_students_have_their_teachers_weighting_where_it_weighs_noise(
    teacher: Path, weighting: Any, of_students: str
) -> None:
    for log_snr_min in (-20.0, -10.0):  # the second needs a conversion
        model = generative.load(teacher)
        base = model.meta["config"]["model"]
        base["weighting"], base["schedule"]["log_snr_min"] = weighting, log_snr_min
        model.config = configs.from_json(model.meta["config"]).model
        stages = chain.plan(settings(teacher, convert_updates=3), Path(), model)
        assert len(stages) == 3 + (log_snr_min > -15)
        assert {stage.config.model.weighting for stage in stages} == {of_students}  # pyright: ignore


def test_another_teacher_is_refused(teacher: Path, whole: Path, tmp_path: Path) -> None:
    other = shutil.copytree(teacher, tmp_path / "other")
    with pytest.raises(ValueError, match="holds a chain that starts from"):
        chain.distill(settings(Path(other)), whole, resume=True)


@pytest.mark.parametrize("file", ["model.json", "model.safetensors"])
def test_an_edited_teacher_is_noticed(teacher: Path, whole: Path, tmp_path: Path, file: str) -> None:
    run = copied(whole, tmp_path)
    data = (run / "teacher" / file).read_bytes()
    edited = data.replace(b'"v"', b'"x0"') if file == "model.json" else data[:-1] + bytes([data[-1] ^ 1])
    assert edited != data
    (run / "teacher" / file).write_bytes(edited)
    with pytest.raises(ValueError, match="teacher is not the one that"):
        chain.distill(settings(teacher), run, resume=True)


def test_a_finished_chain_is_left_alone(teacher: Path, whole: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in whole.rglob("*.safetensors")}
    chain.distill(settings(teacher), whole, resume=True)
    assert {path: path.stat().st_mtime_ns for path in whole.rglob("*.safetensors")} == before


def test_the_teacher_is_frozen(teacher: Path, tmp_path: Path, whole: Path) -> None:
    """What becomes of the teacher's run afterwards changes nothing."""
    moved = tmp_path / "moved"
    shutil.copytree(teacher, moved)
    with pytest.raises(Killed):
        chain.distill(settings(moved), tmp_path / "run", report=lambda step, m: (_ for _ in ()).throw(Killed))
    shutil.rmtree(moved)
    chain.distill(settings(moved), tmp_path / "run", resume=True)
    one, other = weights(whole, 1), weights(tmp_path / "run", 1)
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="module")
def vdm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from generative.nets.vdm_unet import VDMUNetConfig
    from generative.papers.vdm import VDMConfig

    net, run = VDMUNetConfig(channels=8, blocks=1, dropout=0.1), tmp_path_factory.mktemp("vdm")
    config = TrainConfig(model=VDMConfig(net=net), optim=OptimSettings(batch=8), watch=WATCH, steps=2, threads=1)
    train(replace(config, data=replace(config.data, name="digits")), run)
    return run


@pytest.mark.parametrize("at", [2, 5])
def test_a_chain_that_was_killed_while_it_converted_or_after(vdm: Path, tmp_path: Path, at: int) -> None:
    chosen = settings(vdm, convert_updates=3, from_steps=4, to=2)

    def report(step: int, metrics: dict[str, float]) -> None:
        if step >= at:
            raise Killed

    with pytest.raises(Killed):
        chain.distill(chosen, tmp_path / "run", report=report)
    killed, whole = chain.distill(chosen, tmp_path / "run", resume=True), chain.distill(chosen, tmp_path / "whole")
    assert all(torch.equal(value, whole.state_dict()[name]) for name, value in killed.state_dict().items())


def test_a_model_that_predicts_eps_is_converted_first(vdm: Path, tmp_path: Path) -> None:
    chosen = settings(vdm, convert_updates=3, from_steps=4, to=2)
    assert chain.distill(chosen, tmp_path / "run").config.num_steps == 2
    rows = chain_manifest.read_manifest(tmp_path / "run")["stages"]
    assert [(row["stage"], row["updates"]) for row in rows] == [("convert", 3), ("000002", 6)]
    converted = generative.load(tmp_path / "run" / "stages" / "convert")
    assert (converted.config.prediction, converted.config.num_steps) == ("v", 0)


def copied(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "copy"))


@pytest.mark.parametrize("part", ["teacher", "stages/000004", "stages/000001"])
def test_files_that_are_not_the_manifests_are_refused(teacher: Path, whole: Path, tmp_path: Path, part: str) -> None:
    run = copied(whole, tmp_path)
    manifest = chain_manifest.read_manifest(run)
    row = manifest["teacher"] if part == "teacher" else next(r for r in manifest["stages"] if r["stage"] in part)
    row["sha256"] = "0" * 64
    (run / chain_manifest.MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match=rf"the model in .*{part} is not the one that .*chain.json names"):
        chain.distill(settings(teacher), run, resume=True)


def test_a_finished_student_that_is_gone_is_said(teacher: Path, whole: Path, tmp_path: Path) -> None:
    run = copied(whole, tmp_path)
    shutil.rmtree(run / "stages" / "000002")
    with pytest.raises(ValueError, match="000002 holds no model"):
        chain.distill(settings(teacher), run, resume=True)


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 100_000, '{"format": "other"}', '{"format": "tandem-chain-1"}'])
def test_a_chain_that_cannot_be_read_holds_no_model(whole: Path, tmp_path: Path, text: str) -> None:
    run = copied(whole, tmp_path)
    (run / chain_manifest.MANIFEST).write_text(text)
    with pytest.raises(ValueError, match=r"chain.json cannot be read as a chain|without a finished student") as odd:
        generative.load(run)
    assert "Error(" not in str(odd.value), "people read this, not a class"


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 100_000, '{"format": "other"}', '{"format": "tandem-chain-1"}'])
def test_a_damaged_manifest_is_one_sentence(teacher: Path, whole: Path, tmp_path: Path, text: str) -> None:
    run = copied(whole, tmp_path)
    (run / chain_manifest.MANIFEST).write_text(text)
    with pytest.raises(ValueError, match=r"chain.json cannot be read as a chain") as odd:
        chain.distill(settings(teacher), run, resume=True)
    assert "Error(" not in str(odd.value), "people read this, not a class"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"teacher": ""}, "a chain needs a teacher"),
        ({"teacher": "/nowhere"}, "/nowhere holds no model"),
        ({"from_steps": 8, "to": 3}, "8 steps cannot be halved to 3"),
        ({"updates": 0}, "updates must be positive"),
    ],
)
def test_what_cannot_be_distilled_is_refused_and_nothing_is_written(
    teacher: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        chain.distill(settings(teacher, **changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_loading_a_chain_gives_its_last_student(whole: Path, tmp_path: Path) -> None:
    assert generative.load(whole).config.num_steps == 1
    run = copied(whole, tmp_path)
    shutil.rmtree(run / "stages" / "000001")
    shutil.copytree(run / "stages" / "000002", run / "stages" / "000001")
    with pytest.raises(ValueError, match=r"stages/000001 is not the one that .*chain.json names"):
        generative.load(run)
    manifest = chain_manifest.read_manifest(whole)
    assert [row["steps"] for row in manifest["stages"]] == [4, 2, 1]


def test_a_chain_that_began_before_a_setting_existed_is_still_the_same(
    teacher: Path, whole: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(whole, tmp_path / "run")
    manifest = json.loads((run / "chain.json").read_text())
    del manifest["config"]["optim"]["cuda_graphs"]
    (run / "chain.json").write_text(json.dumps(manifest))
    chain.check(settings(teacher), run)
    for value, said in (
        (0.9, "holds a chain with another configuration"),
        ("x", "chain.json cannot be read as a chain:"),
    ):
        manifest["config"]["optim"]["beta2"] = value
        (run / "chain.json").write_text(json.dumps(manifest))
        with pytest.raises(ValueError, match=said):
            chain.check(settings(teacher), run)


def test_another_configuration_or_a_second_chain_is_refused(teacher: Path, whole: Path) -> None:
    with pytest.raises(ValueError, match="holds a chain with another configuration"):
        chain.distill(settings(teacher, updates=5), whole, resume=True)
    with pytest.raises(ValueError, match="holds a chain already"):
        chain.distill(settings(teacher), whole)


def test_a_student_can_go_on_where_a_chain_ended(whole: Path, tmp_path: Path) -> None:
    student = whole / "stages" / "000002"
    assert chain.distill(settings(student, from_steps=2), tmp_path / "run").config.num_steps == 1
    with pytest.raises(ValueError, match="the teacher takes 2 steps; --from-steps must be that, got 8"):
        chain.distill(settings(student), tmp_path / "other")
