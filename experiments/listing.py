"""What there is: `tandem presets` and `tandem envs`."""

from dataclasses import dataclass, fields

from rich.console import Console
from rich.table import Table

from experiments import flags, halves, presets

HALVES = {halves.MARL: "teams", halves.GENERATIVE: "diffusion models"}


@dataclass(frozen=True)
class _NoFlags:
    """No flags."""


def presets_command(args: list[str]) -> int:
    """Lists the presets with the result to expect."""
    flags.parse(_NoFlags, args, prog="tandem presets", example="tandem presets", about=presets_command.__doc__ or "")
    known = list(presets.all_presets().values())
    width = max(len(preset.name) for preset in known) + 2
    half = ""
    for preset in known:
        if half != (half := halves.name_of(preset.make())):
            flags.say(f"\n{HALVES[half]}\n")
        flags.paragraph(preset.name, width, preset.summary, [f"expected: {preset.expected}"])
    flags.say("\nEach has a twin of a few seconds, tiny-PRESET, to try things out.")
    flags.say(
        "`tandem study agent-centric` also has arms that begin from a pre-training (+pretrain): for one run, "
        "`tandem pretrain`, then `tandem train PRESET --pretrained RUN`."
    )
    return 0


def envs_command(args: list[str]) -> int:
    """Lists the environments and their options."""
    import envs
    from envs.football.levels import LEVEL_TABLE
    from envs.lab2d.levels import LEVELS as LAB2D_TABLE

    flags.parse(_NoFlags, args, prog="tandem envs", example="tandem envs", about=envs_command.__doc__ or "")
    table = Table()
    for heading in ("environment", "players", "opponents"):
        table.add_column(heading)
    for name, level in LEVEL_TABLE.items():
        table.add_row(f"football/{name}", f"1 to {level.left}", f"0 to {level.right}")
    for name, facts in LAB2D_TABLE.items():
        fewest, most = facts.players
        table.add_row(f"lab2d/{name}", str(fewest) if fewest == most else f"{fewest} to {most}", "")
    console = Console()
    console.print(table)
    for suite, config in (("football", envs.FootballConfig), ("lab2d", envs.Lab2dConfig)):
        options = ", ".join(f"{f.name}={f.default!r}" for f in fields(config) if f.name != "level")
        console.print(f"options of {suite}: {options}", highlight=False)
    return 0
