"""What tells one model from another."""

from dataclasses import dataclass, field, make_dataclass, replace

import torch

from generative.model import stated
from generative.nets.unet import UNetConfig
from generative.papers.progressive_distillation import Diffusion, DiffusionConfig


@dataclass(frozen=True, kw_only=True)
class Inner:
    width: int
    depth: int = 2


@dataclass(frozen=True, kw_only=True)
class Outer:
    inner: Inner = field(default_factory=lambda: Inner(width=3))
    rate: float = 0.5


def test_an_option_that_is_added_changes_nothing_for_those_who_do_not_use_it() -> None:
    longer = make_dataclass("Outer", [("new", int, field(default=7))], bases=(Outer,), frozen=True, kw_only=True)
    assert stated(longer()) == stated(Outer())
    assert stated(longer(new=8)) != stated(Outer())
    assert stated(Outer(inner=Inner(width=3, depth=4))) == (
        "Outer",
        (("inner", ("Inner", (("width", 3), ("depth", 4)))),),
    )


def test_what_decides_samples_is_in_the_fingerprint() -> None:
    net = UNetConfig(channels=8, multipliers=(1,), blocks=1, attention_resolutions=(), dropout=0.0)
    config = DiffusionConfig(net=net)

    def made(config: DiffusionConfig, shape: tuple[int, int, int] = (1, 4, 4), num_levels: int = 256) -> Diffusion:
        torch.manual_seed(0)
        return Diffusion(config, shape, num_levels)

    one = made(config)
    assert one.fingerprint() == made(config).fingerprint()
    assert one.fingerprint() == made(config).to(memory_format=torch.channels_last).fingerprint()  # pyright: ignore
    others = [
        made(replace(config, weighting="snr")),
        made(config, (1, 4, 8)),
        made(config, num_levels=17),
        made(config),
    ]
    with torch.no_grad():
        next(others[-1].parameters()).flatten()[0] += 1e-6
    assert len({one.fingerprint(), *(other.fingerprint() for other in others)}) == 5
