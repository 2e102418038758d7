"""Every kind of model that a run can train, by its configuration."""

from generative.model import PictureModel
from generative.papers.progressive_distillation import Diffusion, DiffusionConfig
from generative.papers.vdm import VDM, VDMConfig

ModelConfig = VDMConfig | DiffusionConfig


def make(config: ModelConfig, shape: tuple[int, int, int], num_levels: int) -> PictureModel:
    """The model of pictures (C, H, W) of so many levels. Raises ValueError for a network that does not fit them."""
    return VDM(config, shape, num_levels) if isinstance(config, VDMConfig) else Diffusion(config, shape, num_levels)
