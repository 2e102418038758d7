"""Configurations: what does not fit is refused in a sentence, and JSON brings the same one back."""

import json
from dataclasses import replace
from typing import Any

import pytest

from generative.config import OptimSettings, TrainConfig, WatchSettings, from_json, to_json
from generative.nets.unet import UNetConfig
from generative.papers.vdm import VDMConfig


@pytest.mark.parametrize(
    ("cls", "fields", "says"),
    [
        (TrainConfig, {"steps": 0}, "steps must be positive and finite, got 0"),
        (TrainConfig, {"time_s": -1.0}, "time_s must be positive and finite, got -1.0"),
        (TrainConfig, {"time_s": float("nan")}, "time_s must be positive and finite, got nan"),
        (TrainConfig, {"threads": 0}, "threads must be positive and finite, got 0"),
        (TrainConfig, {"checkpoint_interval_steps": 0}, "checkpoint_interval_steps must be positive"),
        (TrainConfig, {"seed": -1}, "seed must be finite and not negative, got -1"),
        (TrainConfig, {"seed": 2**32}, r"seed must be below 2\^32"),
        (
            TrainConfig,
            {"workers": 3},
            r"optim.batch must be a multiple of .* \(3\), got 128",
        ),
        (TrainConfig, {"keep_checkpoints": 0}, "keep_checkpoints must be positive"),
        (WatchSettings, {"final_images": 0}, "final_images must be positive"),
        (WatchSettings, {"interval_s": float("inf")}, "interval_s must be finite"),
        (OptimSettings, {"grad_clip": 0.0}, "grad_clip must be positive"),
        (OptimSettings, {"ema": 1.0}, "beta1, beta2 and ema must be below 1"),
        (OptimSettings, {"learning_rate": float("nan")}, "learning_rate must be positive and finite, got nan"),
    ],
)
def test_what_does_not_fit(cls: type, fields: dict[str, Any], says: str):
    with pytest.raises(ValueError, match=says):
        cls(**fields)


@pytest.mark.parametrize("net", [UNetConfig(channels=16, multipliers=(1, 2)), None])
def test_json_brings_it_back(net: UNetConfig | None):
    config = TrainConfig(model=VDMConfig(net=net) if net else VDMConfig(), seed=3)
    assert from_json(json.loads(json.dumps(to_json(config)))) == config
    assert from_json(to_json(replace(config, steps=7))).steps == 7
    with pytest.raises(ValueError, match="TrainConfig has no field 'speed'"):
        from_json({**to_json(config), "speed": 1})
