"""Command lines as a page prints them, and progress as a terminal shows it."""

import io
import shlex
from pathlib import Path

from experiments import flags, progress
from experiments.evaluate_chain import ChainEvalCommand
from experiments.evaluate_restoration import RestorationEvalCommand
from experiments.sweep_aug_level import AugLevelCommand

ASKED = {
    AugLevelCommand: "a b --levels 0 0.25 --before 0.1 --truncated --samples 12 --stage-steps 4 8 --classifiers 0",
    RestorationEvalCommand: "'a run' --task jpeg --no-perceptual --answers 2 --answers-images 5 --sampler ddim",
    ChainEvalCommand: "a --samples 9 --steps 4 1 --methods distilled ddim --features net-1.0 --tune-samples 7",
}


def test_a_said_command_is_parsed_as_what_it_says():
    for kind, line in ASKED.items():
        asked = flags.parse(kind, shlex.split(line), prog="tandem x", example="")
        words = shlex.split(flags.said("tandem x", asked, ("seed",)))
        assert words[:2] == ["tandem", "x"]
        assert flags.parse(kind, words[2:], prog="tandem x", example="") == asked
        assert "--seed" in words


def test_defaults_and_places_are_left_out_and_run_folders_are_named_as_usual(tmp_path: Path):
    run = tmp_path / "elsewhere" / "cdm-mnist8" / "20260101-120000-0"
    run.mkdir(parents=True)
    (run / "config.json").write_text("{}")
    asked = flags.parse(
        AugLevelCommand, [str(run), "other", "--output", "/x", "--samples", "1000"], prog="tandem x", example=""
    )
    assert flags.said("tandem x", asked) == "tandem x runs/cdm-mnist8/20260101-120000-0 other"


def test_progress_says_names_that_a_terminal_cannot_show(monkeypatch):
    monkeypatch.setattr(progress, "FIRST_LINE_S", 0.0)
    file = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(file, encoding="latin-1", write_through=True))
    with progress.Steps("\u65e5\x1b]0;x.png", 2) as steps:
        steps.update(1)
    assert file.getvalue().startswith(rb"\u65e5\x1b]0;x.png:  50% after 0 s")
