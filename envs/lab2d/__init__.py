"""DMLab2D levels as teams that are stepped together. Importing this package imports no engine."""

from envs.lab2d.config import LEVELS, Lab2dConfig

__all__ = ["LEVELS", "Lab2dConfig"]
