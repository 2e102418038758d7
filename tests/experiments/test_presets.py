"""Presets: each is a valid configuration, says what to expect, and its tiny twin runs."""

import json
from dataclasses import replace

import pytest

from experiments import halves, presets, runs
from experiments.train import train_run

NAMES = list(presets.all_presets())
TEAMS = [name for name in NAMES if halves.name_of(presets.get(name).make()) == halves.MARL]


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_survives_its_own_json(name) -> None:
    preset = presets.get(name)
    config = preset.make()
    record = json.loads(json.dumps(runs.describe(name, config)))
    assert runs.config_from_json(record["config"], record.get("half", "marl")) == config
    assert preset.expected == presets.NOT_RUN or "tandem" in preset.expected


def test_arms_differ_in_nothing_but_exchange_and_auxiliary_loss() -> None:
    plain = runs.config_to_json(presets.get("lab2d-harvest-acam").make())
    for arm, network, weight in (
        ("independent", "independent", 0.0),
        ("meanpool", "meanpool", 0.0),
        ("acam+aux", "acam", 0.1),
    ):
        other = runs.config_to_json(presets.get(f"lab2d-harvest-{arm}").make())
        assert other["network"].pop("arm") == network
        assert other["prediction"].pop("coeff") == weight
        expected = {**plain, "network": dict(plain["network"]), "prediction": dict(plain["prediction"])}
        del expected["network"]["arm"], expected["prediction"]["coeff"]
        assert other == expected


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.engine
@pytest.mark.parametrize("name", TEAMS)
def test_tiny_twin_runs_three_iterations(name, ray_session, tmp_path) -> None:
    preset = presets.get(f"tiny-{name}")
    config = preset.make()
    run = train_run(preset.name, config, tmp_path, clip_steps=3)
    lines = (run / "metrics.jsonl").read_text().splitlines()
    assert len(lines) == 4  # three iterations, one evaluation


@pytest.mark.ray
@pytest.mark.engine
@pytest.mark.parametrize("name", ["lab2d-harvest-acam", "football-3v1-acam"])
def test_tiny_twin_runs_with_impala(name, ray_session, tmp_path) -> None:
    preset = presets.get(f"tiny-{name}")
    run = train_run(preset.name, replace(preset.make(), algorithm="impala"), tmp_path, clip_steps=0)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] >= 192
    assert f"eval/{preset.metric}" in lines[-1]
    assert any("train/policy_lag" in line for line in lines)
