"""Sets of pictures, fetched once from package registries or read from the user's folders, with fixed splits."""

from generative.data.config import DataConfig
from generative.data.images import ImageSet
from generative.data.sets import SETS, SetRow, get, load

__all__ = ["SETS", "DataConfig", "ImageSet", "SetRow", "get", "load"]
