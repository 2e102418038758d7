"""Every preset by name. A preset is a complete configuration with what to expect of it and how that is known."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from envs.team import one_of
from experiments.presets import teams

NOT_RUN = "not yet run"


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A named configuration."""

    name: str
    summary: str
    """One line for `tandem presets`."""
    expected: str
    """The metric to expect and the command it comes from, or "not yet run"."""
    make: Callable[[], Any]
    """The configuration."""
    metric: str
    """The number of an evaluation that the preset is about."""
    tiny: Callable[[Any], Any]
    """Shrinks a configuration to a few seconds, for continuous integration."""


def all_presets() -> dict[str, Preset]:
    """Name -> preset, in the order in which they are listed."""
    return {row["name"]: Preset(**{"expected": NOT_RUN, **row}) for row in teams.rows()}


def get(name: str) -> Preset:
    """The preset `name`; "tiny-NAME" is its twin for continuous integration. Raises ValueError with what exists."""
    presets = all_presets()
    plain = name.removeprefix("tiny-")
    one_of("preset", plain if plain in presets else name, list(presets))
    preset = presets[plain]
    if plain == name:
        return preset
    return Preset(
        name=name,
        summary=f"{plain}, a few seconds long",
        expected=NOT_RUN,
        make=lambda: preset.tiny(preset.make()),
        metric=preset.metric,
        tiny=preset.tiny,
    )
