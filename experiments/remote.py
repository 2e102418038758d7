"""The commands around a Ray cluster: cluster, submit, jobs, logs, stop."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from rich.console import Console
from rich.table import Table

from experiments import cluster, flags, jobs
from experiments.distill import parse_distill
from experiments.flags import say
from experiments.pretrain import parse_pretrain
from experiments.study import parse_study
from experiments.train import parse_train


@dataclass(frozen=True, kw_only=True)
class ClusterCommand:
    """Flags of `tandem cluster`."""

    action: tyro.conf.Positional[Literal["up", "status", "down"]]
    """What to do with the local head."""
    port: int = 6379
    """Port of Ray's control store; 0 picks a free one."""
    dashboard_port: int = 8265
    """Port of dashboard and job server; 0 picks a free one."""
    num_cpus: int | None = None
    """CPUs to offer; all of the machine's if omitted."""


def cluster_command(args: list[str]) -> int:
    """A token-protected Ray head on this machine, for development."""
    command = flags.parse(
        ClusterCommand,
        args,
        prog="tandem cluster",
        example="tandem cluster up && tandem submit train lab2d-harvest-acam",
        about=cluster_command.__doc__ or "",
    )
    if command.action == "up":
        say("starting a Ray head, 10 to 60 seconds")
        say(str(cluster.up(port=command.port, dashboard_port=command.dashboard_port, num_cpus=command.num_cpus)))
    else:
        say(cluster.status() if command.action == "status" else cluster.down())
    return 0


SUBMIT = "tandem submit [--address URL] train|pretrain PRESET [flags] | distill RUN [flags] | study NAME [flags]"
SUBMIT_EXAMPLE = "tandem submit train lab2d-harvest-acam --seed 1"
WHERE = "Without --address the head of `tandem cluster up` is used, or what RAY_API_SERVER_ADDRESS names."


SUBMITTED: dict[str, Callable[[list[str]], Any]] = {
    "train": parse_train, "pretrain": parse_pretrain, "distill": parse_distill, "study": parse_study,
}  # fmt: skip
"""Command that can be a job -> what reads its flags: a typing error is cheaper here than on the cluster."""


def submit_command(args: list[str]) -> int:
    """Runs a training, a pre-training, a chain of students or a whole study as a job on a Ray cluster."""
    address, rest = None, list(args)
    while rest and rest[0].startswith("-"):
        if rest[0] in ("-h", "--help"):
            say(f"usage: {SUBMIT}\n\n{submit_command.__doc__}\n{WHERE}\n\nExample: {SUBMIT_EXAMPLE}")
            return 0
        flag, equals, value = rest[0].partition("=")
        if flag == "--address" and not equals and not rest[1:]:
            raise flags.FlagError(f"--address needs a value; usage: {SUBMIT}")
        if flag != "--address":
            raise flags.FlagError(f"{rest[0]!r} is not a flag of submit; usage: {SUBMIT}")
        address, rest = (value, rest[1:]) if equals else (rest[1], rest[2:])
    if not rest or rest[0] not in SUBMITTED:
        got = " ".join(rest) or "nothing"
        raise flags.FlagError(f"only train, pretrain, distill and study can be submitted, got {got!r}; usage: {SUBMIT}")
    elsewhere = any(arg.split("=")[0] == "--resume" for arg in rest)  # a run may be there only
    elsewhere |= rest[0] == "distill" and address is not None and len(rest) > 1 and not Path(rest[1]).exists()
    if rest[0] == "study" or not elsewhere:
        SUBMITTED[rest[0]](rest[1:])
    logging.getLogger("ray").setLevel(logging.WARNING)
    job_id = jobs.submit(rest, address=address)
    where = f" --address {address}" if address else ""
    say(f"submitted {job_id}\nfollow it: tandem logs {job_id} --follow{where}    stop it: tandem stop {job_id}{where}")
    return 0


@dataclass(frozen=True, kw_only=True)
class JobsCommand:
    """Flags of `tandem jobs`."""

    address: str | None = None
    """Dashboard of the cluster, such as http://127.0.0.1:8265; the local head if omitted."""


def jobs_command(args: list[str]) -> int:
    """Lists the jobs of the cluster."""
    command = flags.parse(
        JobsCommand, args, prog="tandem jobs", example="tandem jobs", about=jobs_command.__doc__ or ""
    )
    table = Table()
    for heading in ("job", "status", "started", "seconds", "command"):
        table.add_column(heading, no_wrap=heading == "job", overflow="fold")  # an id must stay whole to be copied
    for job in jobs.jobs(address=command.address):
        started = time.strftime("%m-%d %H:%M:%S", time.localtime(job.started_s)) if job.started_s else ""
        seconds = f"{(job.ended_s or time.time()) - job.started_s:.0f}" if job.started_s else ""
        shown = job.entrypoint.partition("-m experiments.cli ")[2]
        table.add_row(job.job_id, job.status, started, seconds, f"tandem {shown}" if shown else job.entrypoint)
    Console().print(table)
    return 0


@dataclass(frozen=True, kw_only=True)
class LogsCommand:
    """Flags of `tandem logs`."""

    job: tyro.conf.Positional[str]
    """Id of the job, as `tandem jobs` shows it."""
    follow: Annotated[bool, tyro.conf.arg(aliases=["-f"])] = False
    """Keep printing until the job ends; the exit status is then 0 only if it succeeded."""
    address: str | None = None
    """Dashboard of the cluster; the local head if omitted."""


def logs_command(args: list[str]) -> int:
    """Prints what a job has printed."""
    command = flags.parse(
        LogsCommand, args, prog="tandem logs", example="tandem logs raysubmit_4LamXRuQpYdSMg7J --follow",
        about=logs_command.__doc__ or "",
    )  # fmt: skip
    for piece in jobs.logs(command.job, follow=command.follow, address=command.address):
        print(piece, end="", flush=True)
    if not command.follow:
        return 0
    status = jobs.status(command.job, address=command.address)
    say(f"\njob {command.job}: {status.status}")
    return 0 if status.status == "SUCCEEDED" else 1


@dataclass(frozen=True, kw_only=True)
class StopCommand:
    """Flags of `tandem stop`."""

    job: tyro.conf.Positional[str]
    """Id of the job, as `tandem jobs` shows it."""
    address: str | None = None
    """Dashboard of the cluster; the local head if omitted."""


def stop_command(args: list[str]) -> int:
    """Stops a job; a training run saves a checkpoint first."""
    command = flags.parse(
        StopCommand,
        args,
        prog="tandem stop",
        example="tandem stop raysubmit_4LamXRuQpYdSMg7J",
        about=stop_command.__doc__ or "",
    )
    asked = jobs.stop(command.job, address=command.address)
    say(f"asked {command.job} to stop" if asked else f"{command.job} had ended already")
    return 0
