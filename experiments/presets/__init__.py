"""Every preset by name. A preset is a complete configuration with what to expect of it and how that is known."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

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
    """The configuration: a `TrainConfig` of the half that the preset belongs to (`experiments.halves.of`)."""
    metric: str
    """The number of an evaluation that the preset is about."""
    tiny: Callable[[Any], Any]
    """Shrinks a configuration to a few seconds, for continuous integration."""


def all_presets() -> dict[str, Preset]:
    """Name -> preset, in the order in which they are listed."""
    return {row["name"]: Preset(**{"expected": NOT_RUN, **row}) for rows in _rows() for row in rows}


def _rows() -> Iterator[Iterator[dict[str, Any]]]:
    """Half by half, each imported when its turn comes."""
    from experiments.presets import teams

    yield teams.rows()
    from experiments.presets import cascades, few_steps, image_to_image, pictures

    yield pictures.rows()
    yield few_steps.rows()
    yield image_to_image.rows()
    yield cascades.rows()


def get(name: str) -> Preset:
    """The preset `name`; "tiny-NAME" is its twin for continuous integration. Raises ValueError with what exists."""
    plain = name.removeprefix("tiny-")
    found = next((row for rows in _rows() for row in rows if row["name"] == plain), None)
    if found is None:
        raise ValueError(f"preset {name!r} does not exist; allowed: {', '.join(all_presets())}")
    preset = Preset(**{"expected": NOT_RUN, **found})
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
