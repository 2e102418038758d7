"""`tandem reproduce`: the trainings and tables behind pages of results, side by side, and on again after a crash.

RUNS_DIR/reproduce/jobs.json    what is finished, and the run folder of what has begun
RUNS_DIR/reproduce/NAME.log     what each command printed
"""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import tyro

from agents.reading import check_types, reading
from experiments import files, flags
from experiments.flags import say
from experiments.progress import Steps
from experiments.reproduce_plans import BUDGETS, PLANS, Job
from generative.checkpoint import Store
from generative.data.folder import find
from generative.train import interrupts

EXAMPLE = "tandem reproduce sr3-photos64 palette --budget cpu --beside 2"
RUN_FOLDER = re.compile(r"^run folder: (\S.*)$", re.MULTILINE)
RESUMED = ("train", "distill")
"""Commands that go on with --resume RUN; the others find by themselves what they have done."""


@dataclass(kw_only=True)
class Known:
    """What jobs.json says of a job."""

    command: str
    run: str | None = None
    """The run folder that it began."""
    done: bool = False


@dataclass(frozen=True, kw_only=True)
class ReproduceCommand:
    """Flags of `tandem reproduce`."""

    pages: tyro.conf.Positional[tuple[str, ...]]
    """few-steps-mnist, few-steps-photos32, few-steps-folder32, sr3-photos64, sr3-photos128, palette, cascade-mnist,
    cascade-emoji or cascade-folder; those of folders need --data."""
    budget: Literal["small", "cpu", "gpu"] = "cpu"
    """How much is trained and measured: each training takes a core of a CPU about a quarter of an hour, an hour or an
    hour and a half; those of gpu are four times as long, for minutes on a large GPU."""
    beside: int = 1
    """Commands that run at the same time: the cores of a CPU; a dozen on a large GPU (with NVIDIA's MPS)."""
    data: Path | None = None
    """A folder of class folders of pictures, for the pages of folders."""
    output: Path = Path("results")
    """Folder of the pages."""
    runs_dir: Path = Path("runs")
    """Where run folders go."""
    dry_run: bool = False
    """Print the commands and stop."""


def reproduce_command(args: list[str]) -> int:
    """Trains and measures what pages of results are about, each command in a process of its own.

    A call that was stopped goes on where it was when it is repeated: finished commands are not run again, trainings go
    on from their last checkpoint.
    """
    command = flags.parse(
        ReproduceCommand, args, prog="tandem reproduce", example=EXAMPLE, about=reproduce_command.__doc__ or ""
    )  # fmt: skip
    jobs = planned(command)
    if command.dry_run:
        for job in jobs:
            say(f"{job.name}: tandem {job.command}")
        return 0
    folder = command.runs_dir / "reproduce"
    for place in (command.output / "page", folder / "jobs.json"):  # makes their folders
        flags.check_writable(place)
    with Store(folder).locked("works off its jobs"):
        places = {"output": str(command.output), "data": str(command.data), "classes": _classes(command.data)}
        return Queue(jobs, folder, places, str(command.runs_dir)).work(command.beside)


def planned(command: ReproduceCommand) -> list[Job]:
    """The jobs of the pages asked for, each once. Raises ValueError for what does not fit."""
    if not command.pages:
        raise flags.FlagError(f"no page was named; allowed: {', '.join(PLANS)}")
    if odd := [page for page in command.pages if page not in PLANS]:
        raise ValueError(f"page {odd[0]!r} does not exist; allowed: {', '.join(PLANS)}")
    if not 1 <= command.beside <= 256:
        raise ValueError(f"--beside must be from 1 to 256, got {command.beside}")
    found = {job.name: job for page in command.pages for job in PLANS[page](BUDGETS[command.budget])}
    if command.data is None and any("{data}" in job.command for job in found.values()):
        raise ValueError("pages of folders need --data, a folder of class folders of pictures")
    if command.data is not None and not command.data.is_dir():
        raise ValueError(
            f"--data must name a folder, {command.data} is {'a file' if command.data.exists() else 'missing'}"
        )
    return list(found.values())


def _classes(data: Path | None) -> str:
    """How many class folders there are."""
    return str(len({picture.label for picture in find(data)[0] if picture.label is not None}) if data else 0)


class Queue:
    """Works jobs off, several at a time; keeps in jobs.json how far they are."""

    def __init__(
        self, jobs: list[Job], folder: Path, places: dict[str, str], runs_dir: str,
        start: Callable[..., subprocess.Popen[bytes]] = subprocess.Popen,
    ) -> None:  # fmt: skip
        """places: what stands for {output} and {data}. Raises ValueError if jobs.json is damaged."""
        self.jobs, self.folder, self.places, self.runs_dir, self.start = jobs, folder, places, runs_dir, start
        self.path = folder / "jobs.json"
        self.known: dict[str, Known] = {}
        if self.path.exists():
            with reading(self.path, "what is finished"):
                self.known = {name: Known(**entry) for name, entry in json.loads(self.path.read_text()).items()}
                for entry in self.known.values():
                    check_types(entry)
        anew: set[str] = set()
        for job in jobs:
            known, command = self.known.get(job.name), " ".join(self._words(job, places))
            # With another --data or --output it is another command; and what is made of other runs is made anew.
            if known is None or known.command != command or anew & set(job.needs):
                self.known[job.name] = Known(command=command)
                anew.add(job.name)
            elif not known.done and (folder / f"{job.name}.log").exists():
                self._find_run(job.name)  # we may have died before it was noted
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.failed: dict[str, str] = {}

    def work(self, beside: int) -> int:
        """Until nothing is left that could be done. Returns 0, or 1 if a command failed; 130 after Ctrl-C or SIGTERM,
        when every training has saved a checkpoint."""
        with interrupts() as asked, Steps("reproducing", len(self.jobs)) as steps:
            try:
                while not asked.is_set() and (self.running or self._ready()):
                    for job in self._ready()[: max(0, beside - len(self.running))]:
                        self._begin(job)
                    time.sleep(0.2)
                    for name in [name for name, process in self.running.items() if process.poll() is not None]:
                        self._end(name)
                    done = sum(self.known[job.name].done for job in self.jobs)
                    steps.update(done, f"{done} of {len(self.jobs)}, now: {', '.join(self.running) or 'nothing'}")
                stopped = asked.is_set()
            finally:  # also where jobs.json cannot be written: nothing goes on unseen
                self._stop()
        if stopped:
            say("stopped; the same command goes on")
            return 130
        left = [job.name for job in self.jobs if not self.known[job.name].done and job.name not in self.failed]
        for name, why in self.failed.items():
            say(f"{name} failed: {why} (all of it: {self.folder / name}.log)")
        if left:
            say(f"not begun, since they need what failed: {', '.join(left)}")
        return int(bool(self.failed))

    def _ready(self) -> list[Job]:
        """Jobs that could begin."""
        return [
            job
            for job in self.jobs
            if not self.known[job.name].done
            and job.name not in self.running
            and job.name not in self.failed
            and all(self.known[name].done for name in job.needs)
        ]

    def arguments(self, job: Job) -> list[str]:
        """What follows `tandem`: on with the run that was begun, if one was."""
        verb, run = job.command.split()[0], self.known[job.name].run
        if verb in RESUMED and run is not None and Path(run).is_dir():
            return [verb, "--resume", run, "--plain"]
        runs = {name: str(self.known[name].run) for name in job.needs} | self.places
        words = self._words(job, runs)
        return [*words, "--runs-dir", self.runs_dir] if verb in RESUMED else words

    @staticmethod
    def _words(job: Job, values: dict[str, str]) -> list[str]:
        """The command's words, with what is known in place of names in braces."""
        return [
            re.sub(r"{([\w-]+)}", lambda found: values.get(found[1], found[0]), word) for word in job.command.split()
        ]

    def _begin(self, job: Job) -> None:
        command = [sys.executable, "-m", "experiments.cli", *self.arguments(job)]
        self._write()
        settings = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        with (self.folder / f"{job.name}.log").open("ab" if self.known[job.name].run else "wb") as log:
            # In a session of its own: Ctrl-C must reach it once, from us.
            self.running[job.name] = self.start(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=settings,
                start_new_session=True,
            )  # fmt: skip

    def _end(self, name: str) -> None:
        """Notes how a command ended."""
        status = self.running.pop(name).returncode
        if status == 0:
            self.known[name].done = True
        else:
            self.failed[name] = (self._said(name).strip().splitlines() or [f"exit status {status}"])[-1]
        self._find_run(name)
        self._write()

    def _find_run(self, name: str) -> None:
        if (found := RUN_FOLDER.search(self._said(name))) is not None:
            self.known[name].run = found[1]

    def _write(self) -> None:
        files.write_text(self.path, json.dumps({name: asdict(known) for name, known in self.known.items()}, indent=2))

    def _said(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def _stop(self) -> None:
        """Asks every command to end, and waits: trainings save a checkpoint first."""
        for process in self.running.values():
            process.terminate()
        for name, process in self.running.items():
            process.wait()
            self._find_run(name)
        self._write()
