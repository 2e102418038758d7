"""Configurations: what does not fit is refused in a sentence, and JSON brings the same one back."""

import json
import re
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
        (TrainConfig, {"threads": 10**9}, "threads must be at most 4,096, got 1,000,000,000"),
        (OptimSettings, {"batch": 10**12}, "batch must be at most 16,777,216"),
        (WatchSettings, {"samples": 10**9}, "samples must be at most 65,536"),
        (TrainConfig, {"keep_checkpoints": 0}, "keep_checkpoints must be positive"),
        (WatchSettings, {"final_images": 0}, "final_images must be positive"),
        (WatchSettings, {"interval_s": float("inf")}, "interval_s must be finite"),
        (OptimSettings, {"grad_clip": 0.0}, "grad_clip must be positive"),
        (OptimSettings, {"ema": 1.0}, "beta1, beta2 and ema must be below 1"),
        (OptimSettings, {"cuda_graphs": True}, "cuda_graphs needs compile"),
        (OptimSettings, {"cuda_graphs": True, "compile": True, "micro_batches": 2}, "micro_batches 1"),
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


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        (("steps",), 1.5, "steps must be int, got 1.5"),
        (("seed",), True, "seed must be int, got True"),
        (("threads",), "2", "threads must be int | None, got '2'"),
        (("data", "flip"), 1, "data.flip must be bool, got 1"),
        (("data", "loader"), "fast", "data.loader must be Literal"),
        (("optim", "batch"), 8.0, "optim.batch must be int, got 8.0"),
        (("model", "net", "fourier"), [6.5], "model.net.fourier must be tuple"),
        (("optim", "learning_rate"), 1, None),
        (("time_s",), 3, None),
        (("model", "net", "fourier"), [6, 7], None),
    ],
)
def test_types_out_of_a_file(path: tuple[str, ...], value: Any, says: str | None):
    """config.json is edited by hand at times: a wrong type is told where it stands, not where it first hurts."""
    data = to_json(TrainConfig())
    place = data
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    if says is None:
        from_json(data)
        return
    with pytest.raises(ValueError, match=re.escape(says)):
        from_json(data)
