"""Names, units and quantities in `tandem report`, as people read them."""

import re
import textwrap
from typing import Any

NAMES = {"bpd": "total", "diffusion_bpd": "diffusion", "reconstruction_bpd": "reconstruction", "prior_bpd": "prior"}
CODECS = {"png": "PNG", "webp": "WebP lossless", "jxl": "JPEG XL"}
UNITS = (
    (r".*env_steps_per_s", "environment steps per second"),
    (r".*images_per_s", "pictures per second"),
    (r".*_s", "seconds"),
    (r".*bpd", "bits per dimension"),
    (r".*entropy|kl", "nats"),
    (r".*return(_mean)?", "return per episode"),
    (r"episode_length", "environment steps"),
    (r"learning_rate.*", "step size"),
    (r"grad_norm", "norm of the gradient"),
    (r"estimator_variance", "(bits per dimension)²"),
)
"""What the axis of a tag's chart says, by the tag's last part."""


def printable(text: str) -> str:
    """The text with ? for control characters and broken ones, which terminals and SVG do not take."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def duration(seconds: float) -> str:
    """Seconds as a person would say them."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if minutes else f"{seconds:.3g} s"
    return f"{minutes // 60} h {minutes % 60} min"


def compact(value: float, _: Any = None) -> str:
    """A number on an axis: 50k, 1.5M, 2e-05."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= size:
            return f"{value / size:.4g}{unit}"
    return f"{value:.4g}"


def unit_of_time(seconds: float) -> tuple[str, float]:
    """The unit for a time of that length, and its seconds."""
    return ("h", 3600.0) if seconds >= 3 * 3600 else ("min", 60.0) if seconds >= 180 else ("s", 1.0)


def codec(name: str) -> str:
    """A codec's name for people; a mosaic is all pictures in one."""
    plain, mosaic = re.subn(r"[-_]mosaic$", "", name)
    return CODECS.get(plain.lower(), plain) + ", one mosaic" * mosaic


def unit_of(tag: str) -> str:
    """What the y axis of a tag's chart says."""
    name = printable(tag.rpartition("/")[2])
    unit = next((unit for pattern, unit in UNITS if re.fullmatch(pattern, name)), name.replace("_", " "))
    return textwrap.fill(unit, 28, max_lines=2)
