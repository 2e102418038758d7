"""Writes unet.npz: what the U-Net of the authors of ADM (github.com/openai/guided-diffusion) answers, with our weights.

Run in the repository root: PYTHONPATH=. python tests/generative/nets/golden/make_unet.py PATH_OF_THEIR_CHECKOUT
Made with their commit 22e0df8 on torch 2.13. Their embedding of the time step is replaced by our sinusoid (theirs puts
the cosines first and has other frequencies); all else is theirs. It also prints the sizes of their networks.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from generative.nets.layers import Block, sinusoid

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), sys.argv[1]]

from guided_diffusion import unet as adm  # noqa: E402  # pyright: ignore
from test_unet import GOLDEN, PUBLISHED, filled, problem  # noqa: E402  # pyright: ignore


def theirs(config: Any, shape: tuple[int, int, int]) -> Any:
    """Their network of one of our configurations."""
    return adm.UNetModel(
        image_size=shape[1],
        in_channels=shape[0] + config.cond_channels,
        model_channels=config.channels,
        out_channels=config.out_channels or shape[0],
        num_res_blocks=config.blocks,
        attention_resolutions=tuple(shape[1] // side for side in config.attention_resolutions),
        channel_mult=config.multipliers,
        num_classes=config.classes or None,
        num_heads=config.heads,
        num_head_channels=config.head_channels or -1,
        use_scale_shift_norm=config.scale_shift,
        resblock_updown=config.resample_in_block,
        use_new_attention_order=True,
    )


def copy(target: Any, source: Any) -> None:
    """The weights of one layer."""
    target.weight.data = source.weight.data.reshape(target.weight.shape)
    if target.bias is not None:
        target.bias.data = torch.zeros_like(target.bias) if source.bias is None else source.bias.data.clone()


def copy_step(target: Any, source: Any) -> None:
    """The weights of one residual block, attention block or resampling step."""
    if isinstance(target, adm.ResBlock):
        source = source.res if isinstance(source, Block) else source
        pairs = [(target.in_layers[0], source.norm_1), (target.in_layers[2], source.conv_1)]
        pairs += [(target.out_layers[0], source.norm_2), (target.out_layers[3], source.conv_2)]
        pairs += [(target.emb_layers[1], source.condition)]
        if not isinstance(target.skip_connection, nn.Identity):
            pairs.append((target.skip_connection, source.shortcut))
    elif isinstance(target, adm.AttentionBlock):
        attention = source.attention
        pairs = [(target.norm, attention.norm), (target.qkv, attention.qkv), (target.proj_out, attention.out)]
    else:
        pairs = [(target.op if isinstance(target, adm.Downsample) else target.conv, source.conv)]
    for pair in pairs:
        copy(*pair)


def copy_all(target: Any, source: Any) -> None:
    """The weights of our network into theirs."""
    copy(target.time_embed[0], source.embed.linear_1)
    copy(target.time_embed[2], source.embed.linear_2)
    target.label_emb.weight.data = source.embed.labels.weight.data
    copy(target.input_blocks[0][0], source.conv_in)
    copy(target.out[0], source.norm_out)
    copy(target.out[2], source.conv_out)
    steps = [step for group in [*target.input_blocks[1:], target.middle_block, *target.output_blocks] for step in group]
    ours = iter([*source.down, *source.mid, *source.up])
    current: Any = None
    for step in steps:  # an attention block belongs to the residual block before it
        current = current if isinstance(step, adm.AttentionBlock) else next(ours)
        copy_step(step, current)
    assert next(ours, None) is None


def main() -> None:
    """Writes the file."""
    for name, config, shape, _ in PUBLISHED:
        with torch.device("meta"):
            print(f"{name}: {sum(parameter.numel() for parameter in theirs(config, shape).parameters()):,}")
    outputs = {}
    adm.timestep_embedding = sinusoid
    for name in GOLDEN:
        source = filled(name)
        target = theirs(source.config, (3, 8, 8)).eval()
        copy_all(target, source)
        z, log_snr, cond = problem()
        low, high = source.embed.log_snrs
        position = ((high - log_snr) / (high - low) * 1000).float()
        seen = torch.cat([z, cond["image"]], 1) if source.config.cond_channels else z
        outputs[name] = target(seen, position, cond["label"]).detach().numpy()
        print(name, "differs by", np.abs(outputs[name] - source(z, log_snr, cond).detach().numpy()).max())
    np.savez_compressed(HERE / "unet.npz", **outputs)


if __name__ == "__main__":
    main()
