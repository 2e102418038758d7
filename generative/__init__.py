"""Diffusion models on one Gaussian core.

    model = generative.load("runs/vdm-digits/TIME-SEED")
    pictures = model.sample(64, steps=256, sampler="ddim")     # uint8 [64, C, H, W]
    bits = model.elbo(pictures).bits                           # [64], with prior, diffusion and reconstruction

Importing this package imports neither Ray nor a data set. Training: `generative.train.train` (plain torch, one process)
and `generative.ray_train.train`.
"""

from generative.loading import load

__all__ = ["load"]
