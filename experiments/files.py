"""Files are written whole or not at all, and a folder is worked in by one process at a time (see `marl.files`)."""

from marl.files import alone, whole, write_text

__all__ = ["alone", "whole", "write_text"]
