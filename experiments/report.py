"""`tandem report`: runs side by side in one HTML page, with tables, curves and pictures."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from experiments import files, flags, marl_eval_json
from experiments.flags import say
from experiments.report_runs import collect
from experiments.report_tables import Table, seeds_table, summary_table
from experiments.report_words import printable

EXAMPLE = "tandem report runs/vdm-photos32 -o report.html"


@dataclass(frozen=True, kw_only=True)
class ReportCommand:
    """Flags of `tandem report`."""

    runs: tyro.conf.Positional[tuple[Path, ...]] = ()
    """Run folders, or folders of runs such as runs/vdm-photos32."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("report.html")
    """The page to write."""
    marl_eval: Path | None = None
    """Also write the teams' evaluations as JSON in marl-eval's layout to this file, for its plots and other tools."""


def report_command(args: list[str]) -> int:
    """Puts runs side by side in one HTML page: tables, curves with confidence intervals, pictures."""
    about = report_command.__doc__ or ""
    command = flags.parse(ReportCommand, args, prog="tandem report", example=EXAMPLE, about=about)
    if not command.runs:
        raise flags.FlagError(f"no run was named; for example: {EXAMPLE}")
    if command.output.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"cannot write a report as {command.output.name!r}; allowed suffixes: .html, .htm")
    runs, notes = collect(command.runs)
    flags.check_writable(command.output)
    evaluations = None
    if command.marl_eval is not None:
        flags.check_writable(command.marl_eval)
        evaluations = marl_eval_json.of_runs(runs)
    for table in [summary_table(runs), *seeds_table(runs)]:
        _print(table)
    for note in notes:
        say(f"note: {printable(note)}")
    from experiments import report_page  # imports matplotlib

    files.write_text(command.output, report_page.build(runs, notes))
    if command.marl_eval is not None:
        files.write_text(command.marl_eval, json.dumps(evaluations) + "\n")
        say(f"{command.marl_eval}: for marl-eval")
    say(f"{command.output} ({command.output.stat().st_size / 1e6:.1f} MB): open it in a browser")
    return 0


def _print(table: Table) -> None:
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    title, head, rows = table
    console = Console()
    fitting = len(head) if console.width >= 110 else 4  # the rest is on the page
    shown = RichTable(title=title)
    for heading in head[:fitting]:
        shown.add_column(heading, overflow="fold", no_wrap=heading in ("run", "training", "seeds"))
    for row in rows:
        lines = [cell if isinstance(cell, str) else "\n".join(filter(None, cell)) for cell in row[:fitting]]
        shown.add_row(*(Text("\n".join(map(printable, line.split("\n")))) for line in lines))
    console.print(shown)
