"""Every kind of model that a run can train, by its configuration."""

from typing import Any

from generative.model import PictureModel
from generative.papers.cascade import CascadeConfig, CascadeStage
from generative.papers.palette import Palette, PaletteConfig
from generative.papers.progressive_distillation import Diffusion, DiffusionConfig
from generative.papers.sr3 import SR3, SR3Config
from generative.papers.vdm import VDM, VDMConfig

ModelConfig = VDMConfig | DiffusionConfig | SR3Config | PaletteConfig | CascadeConfig
_MODELS: dict[type[Any], type[Any]] = {
    VDMConfig: VDM,
    DiffusionConfig: Diffusion,
    SR3Config: SR3,
    PaletteConfig: Palette,
    CascadeConfig: CascadeStage,
}


def make(config: ModelConfig, shape: tuple[int, int, int], num_levels: int) -> PictureModel:
    """The model of pictures (C, H, W) of so many levels. Raises ValueError for a network that does not fit them."""
    return _MODELS[type(config)](config, shape, num_levels)
