"""`tandem bench training`: what it times is whole optimiser steps of the preset's own network."""

import pytest
import torch

from experiments import bench_training, presets
from generative import models


@pytest.mark.parametrize("preset", ["tiny-pd-folder32", "tiny-palette-inpaint64", "tiny-cdm-emoji64"])
def test_a_case_is_the_presets_network_and_trains_it(preset: str) -> None:
    case = bench_training.case(preset, {"bf16": False, "compile": False}, "cpu")
    config = presets.get(preset).make()
    side = config.data.reduced[-1] if config.data.reduced else config.data.size
    made = models.make(config.model, (3, side, side), 256)
    assert case.parameters == sum(parameter.numel() for parameter in made.parameters())
    before = [parameter.clone() for parameter in case.state.model.parameters()]
    case.loop(2)
    assert case.state.step == 2
    assert not all(map(torch.equal, before, case.state.model.parameters()))


def test_the_table_names_presets_and_times(tandem, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    chosen = ["tiny-pd-digits", "tiny-vdm-digits"]
    status, said, _ = tandem("bench", "training", "--presets", *chosen, "--repeats", 1, "--steps", 1)
    assert status == 0
    assert all(name in said for name in (*chosen, "ms per step", "float32"))
    assert "bf16" not in said  # slower on a CPU


@pytest.mark.parametrize(
    ("preset", "sentence"),
    [("football-3v1-acam", "football-3v1-acam trains no diffusion model"), ("nope", "preset 'nope' does not exist")],
)
def test_other_presets_are_refused(preset: str, sentence: str, tandem) -> None:
    status, _, err = tandem("bench", "training", "--presets", preset)
    assert (status, err.count("\n")) == (2, 1)
    assert sentence in err
