"""Progress of long work: a bar on a terminal, a line a minute in a log."""

import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from experiments.flags import escaped, say

FIRST_LINE_S, LINE_EVERY_S = 1.0, 60.0
REPEATED = re.compile(r"\d+ s$")
"""Lines that only say how long something has been going on."""


class Steps:
    """`with Steps("training", total) as steps: steps.update(done, "return 12.3")`."""

    def __init__(self, what: str, total: float) -> None:
        self.what, self.total = escaped(what), total
        self.bar: Progress | None = None
        if sys.stdout.isatty():
            columns = (
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                TextColumn("{task.percentage:>3.0f}%"),
            )
            self.bar = Progress(*columns, TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
        self.began = self.last = time.monotonic()
        self.said = self.ended = False

    def __enter__(self) -> "Steps":
        if self.bar:
            self.bar.start()
            self.task = self.bar.add_task(self.what, total=self.total)
        return self

    def update(self, done: float, note: str = "") -> None:
        if self.bar:
            self.bar.update(self.task, completed=done, description=f"{self.what} {note}".strip())
        elif self._worth_a_line(done >= self.total > 0):
            self.last, self.said = time.monotonic(), True
            share = 100 * min(1.0, done / self.total) if self.total else 0.0
            say(f"{self.what}: {share:3.0f}% after {self.last - self.began:.0f} s {note}".rstrip())

    def _worth_a_line(self, ended: bool) -> bool:
        """The first after a second, then one a minute and the last: what takes no time needs no line."""
        quiet, before = time.monotonic() - self.last, self.ended
        self.ended = ended
        return quiet >= (LINE_EVERY_S if self.said else FIRST_LINE_S) or (ended and self.said and not before)

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.bar:
            self.bar.stop()


@contextmanager
def goes_on() -> Iterator[None]:
    """For work that keeps what it has done: says so where somebody stops it."""
    try:
        yield
    except KeyboardInterrupt:
        print("stopped; the same command goes on", flush=True)
        raise


class Lines:
    """`with Lines("mnist") as tell: tell("fetching")`: on a terminal one line that changes; in a log every line, but
    of those that only say how far something is (they end in seconds) one a minute."""

    def __init__(self, what: str) -> None:
        self.what, self.status = what, Console().status(what) if sys.stdout.isatty() else None
        self.last = time.monotonic()

    def __enter__(self) -> Callable[[str], None]:
        if self.status:
            self.status.start()
        return self.tell

    def tell(self, line: str) -> None:
        if self.status:
            self.status.update(f"{self.what}: {line}")
        elif not REPEATED.search(line) or time.monotonic() - self.last >= LINE_EVERY_S:
            self.last = time.monotonic()
            say(f"{self.what}: {line}")

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.status:
            self.status.stop()
