"""`tandem data`: which sets of pictures (and texts and networks) there are, and fetching one ahead of its use."""

from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

import tyro

from experiments import flags
from experiments.flags import paragraph, say
from experiments.progress import Lines
from generative import data
from generative.data import DataConfig, ImageSet
from generative.data.fetch import FetchError

EXAMPLE = "tandem data list && tandem data get mnist"


@dataclass(frozen=True, kw_only=True)
class DataCommand:
    """Flags of `tandem data`."""

    action: tyro.conf.Positional[Literal["list", "get"]]
    """Show what there is, or fetch a set into the cache."""
    name: tyro.conf.Positional[str | None] = None
    """The set to get."""


def data_command(args: list[str]) -> int:
    """Lists the sets of pictures, or fetches one into the cache ($TANDEM_DATA, or ~/.cache/tandem/data)."""
    command = flags.parse(
        DataCommand, args, prog="tandem data", example=EXAMPLE, about=data_command.__doc__ or ""
    )  # fmt: skip
    if command.action == "list":
        if command.name is not None:
            raise flags.FlagError(f"list takes no name, got {command.name!r}")
        _list()
        return 0
    if command.name is None:
        raise flags.FlagError(f"get needs the name of a set; allowed: {', '.join(_fetched())}")
    with Lines(command.name) as tell:
        place = data.get(command.name, progress=tell)
    say(f"{command.name} is in {place}")
    return 0


def _fetched() -> list[str]:
    return [row.name for row in data.SETS.values() if not row.place]


KINDS = {"pictures": "pictures, for --data.name", "text": "texts", "network": "networks of the metrics"}


def _list() -> None:
    """A paragraph a set: licences and splits are sentences, which a table of seven columns would cut to pieces."""
    width = max(map(len, data.SETS)) + 2
    for kind, heading in KINDS.items():
        say(f"\n{heading}\n")
        for row in data.SETS.values():
            if row.kind == kind:
                _paragraph(row, width)


def _paragraph(row: data.SetRow, width: int) -> None:
    packages = ", ".join(f"{package.registry} {package.label}" for package in row.packages)
    source = "place the files and name them with --data.path" if row.place else f"{packages}; {row.size_mb:.1f} MB"
    facts = {"from": source, "licence": row.licence, "split": row.split}
    paragraph(row.name, width, row.what, [f"{name}: {fact}" for name, fact in facts.items() if fact])


def load_set(config: DataConfig, split: str) -> ImageSet:
    """`generative.data.load`; what has to be fetched is fetched first, with progress. Raises ValueError."""
    row = data.SETS.get(config.name)
    with Lines(config.name) as tell:
        if row and not row.place:
            # Without a network, what was decoded before may be there all the same; if not, `load` raises this again.
            with suppress(FetchError):
                data.get(config.name, progress=tell)
        return data.load(config, split)
