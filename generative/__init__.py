"""Diffusion models on one Gaussian core. Works, and samples, on a machine without Ray."""
