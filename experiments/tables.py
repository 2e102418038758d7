"""Tables of the pages that commands write, and the same tables on the terminal."""

from rich.console import Console
from rich.table import Table


def markdown(head: list[str], body: list[list[str]]) -> str:
    """Markdown, a line for each row."""
    lines = [head, ["---"] * len(head), *body]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def show(title: str, head: list[str], body: list[list[str]]) -> None:
    """The table on the terminal, numbers to the right."""
    printed = Table(title=title)
    for heading in head:
        printed.add_column(heading, justify="right", overflow="fold")
    for line in body:
        printed.add_row(*line)
    Console().print(printed)
