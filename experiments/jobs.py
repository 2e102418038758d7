"""Training as Ray jobs: submit, list, follow and stop, on the local head of `tandem cluster up` or any Ray cluster.

A job is the same command line that runs here, `python -m experiments.cli train ...`, in a copy of this source.
"""

import asyncio
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments import cluster, runs

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

SOURCE = Path(__file__).resolve().parents[1]
PACKAGES = ("envs", "agents", "marl", "generative", "experiments")
"""What a job needs of `SOURCE`; runs, tests, virtual environments and caches stay here."""
PATH_FLAGS = (
    "--runs-dir", "--resume", "--data.path", "--storage", "--data", "--pretrained", "--opponent.policy",
    "--output",
)  # fmt: skip
"""Flags that take a path: relative ones would land in the job's own folder, which Ray deletes."""
ENDED = ("SUCCEEDED", "FAILED", "STOPPED")


class ClusterUnreachable(RuntimeError):
    """Nothing that is a Ray job server answers at the address."""


class TokenRefused(RuntimeError):
    """The cluster asks for a token and got none, or the wrong one."""


class JobRejected(RuntimeError):
    """The cluster did not take the job."""


class UnknownJob(ValueError):
    """No job of that id is on the cluster."""


@dataclass(frozen=True, kw_only=True)
class JobInfo:
    """One job."""

    job_id: str
    """What `logs` and `stop` take, such as "raysubmit_4LamXRuQpYdSMg7J"."""
    status: str
    """PENDING, RUNNING, SUCCEEDED, FAILED or STOPPED."""
    entrypoint: str
    """The command that it runs."""
    started_s: float | None
    """Start, seconds since 1970; None while it waits."""
    ended_s: float | None
    """End, seconds since 1970; None while it runs."""
    message: str
    """Ray's own words on the status."""


def submit(
    args: list[str],
    *,
    address: str | None = None,
    working_dir: str | Path | None = None,
    env: dict[str, str] | None = None,
    token_path: str | Path | None = None,
    entrypoint: str | None = None,
) -> str:
    """Sends a job to the cluster and returns its id.

    Args:
        args: arguments of `tandem`, such as ["train", "lab2d-harvest-acam", "--seed", "1"]. Paths after `PATH_FLAGS`
            become absolute; without --runs-dir the job writes to ./runs here (local head only).
        address: dashboard, such as "http://127.0.0.1:8265". Without it: RAY_API_SERVER_ADDRESS, RAY_ADDRESS, else the
            local head.
        working_dir: folder, or URL of a zip, that the job runs in; a copy of this project's packages if None.
        env: environment variables of the job.
        token_path: file with the cluster's token. Without it: the local head's own for its address, else what
            RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH say.
        entrypoint: a shell command to run instead of `tandem` with `args`.
    Raises: ValueError for a wrong address or path; ClusterUnreachable, TokenRefused, JobRejected.
    """
    address = find_address(address)
    local = _is_local(address)
    if entrypoint is None:
        python = sys.executable if local else "python"
        entrypoint = shlex.join([python, "-m", "experiments.cli", *_absolute_paths(args, local=local)])
    with tempfile.TemporaryDirectory(prefix="tandem-job-") as staging:
        env_vars = {"PYTHONUNBUFFERED": "1"}
        if working_dir is None:  # the copy has no .git to ask
            env_vars["TANDEM_GIT_SHA"] = runs.git_sha()
        folder = str(working_dir) if working_dir is not None else _copy_source(Path(staging))
        runtime_env: dict[str, Any] = {"working_dir": folder, "env_vars": env_vars | (env or {})}
        with _session(address, token_path) as client:
            return _send(client, entrypoint, runtime_env)


def jobs(*, address: str | None = None, token_path: str | Path | None = None) -> list[JobInfo]:
    """All jobs of the cluster, the oldest first. Raises as `submit`."""
    with _session(find_address(address), token_path) as client:
        found = [_info(details) for details in client.list_jobs() if details.submission_id]
    return sorted(found, key=lambda job: job.started_s or float("inf"))


def status(job_id: str, *, address: str | None = None, token_path: str | Path | None = None) -> JobInfo:
    """One job. Raises as `submit`, and UnknownJob."""
    with _session(find_address(address), token_path, job_id) as client:
        return _info(client.get_job_info(job_id))


def logs(
    job_id: str, *, follow: bool = False, address: str | None = None, token_path: str | Path | None = None
) -> Iterator[str]:
    """Yields what the job has printed, in pieces; with `follow`, until it ends. Raises as `status`, once asked."""
    with _session(find_address(address), token_path, job_id) as client:
        if not follow or client.get_job_info(job_id).status in ENDED:
            yield client.get_job_logs(job_id)
        else:
            yield from _drain(client.tail_job_logs(job_id))


def stop(job_id: str, *, address: str | None = None, token_path: str | Path | None = None) -> bool:
    """Asks the job to end (it is killed if it does not). Returns False if it had ended before. Raises as `status`."""
    with _session(find_address(address), token_path, job_id) as client:
        return client.stop_job(job_id)


def find_address(address: str | None = None) -> str:
    """The job server to talk to. Raises ValueError if there is none or it is no http(s) URL."""
    named = address or os.environ.get("RAY_API_SERVER_ADDRESS") or os.environ.get("RAY_ADDRESS")
    if named:
        if not named.startswith(("http://", "https://")):
            raise ValueError(f"address {named!r} is no dashboard; allowed: a URL such as http://127.0.0.1:8265")
        return named.rstrip("/")
    head = cluster.current()
    if head is None:
        raise ValueError("no cluster to talk to: start one with `tandem cluster up`, or name one with --address")
    return head.address


def _is_local(address: str) -> bool:
    head = cluster.current()
    return head is not None and head.address == address


def _absolute_paths(args: list[str], *, local: bool) -> list[str]:
    """`args` with absolute paths after `PATH_FLAGS`, and with --runs-dir in any case."""
    done: list[str] = []
    for arg in args:
        flag, equals, value = arg.partition("=")
        if equals and flag in PATH_FLAGS:
            done.append(f"{flag}={_absolute(flag, value, local=local)}")
        elif done and done[-1] in PATH_FLAGS:
            done.append(_absolute(done[-1], arg, local=local))
        elif done == ["distill"] and not arg.startswith("-"):  # the run to distil
            done.append(_absolute("distill", arg, local=local))
        else:
            done.append(arg)
    if not any(arg.partition("=")[0] == "--runs-dir" for arg in done):
        done += ["--runs-dir", _absolute("--runs-dir", "runs", local=local)]
    return done


def _absolute(flag: str, value: str, *, local: bool) -> str:
    if "://" in value or Path(value).is_absolute():
        return value
    if not local:
        raise ValueError(
            f"{flag} {value!r} has no meaning on another machine; give an absolute path or a URL the cluster can write"
        )
    return str(Path(value).absolute())


def _copy_source(to: Path) -> str:
    for package in PACKAGES:
        if (SOURCE / package).is_dir():
            shutil.copytree(SOURCE / package, to / package, ignore=shutil.ignore_patterns("__pycache__", ".*", "*.sh"))
    return str(to)


def _token(address: str, token_path: str | Path | None) -> str | None:
    head = cluster.current()
    if token_path is None and head is not None and head.address == address:
        token_path = head.token_path
    if token_path is None and os.environ.get("RAY_AUTH_TOKEN"):
        return os.environ["RAY_AUTH_TOKEN"]
    token_path = token_path or os.environ.get("RAY_AUTH_TOKEN_PATH")
    return cluster.read_token(token_path) if token_path else None


@contextmanager
def _session(address: str, token_path: str | Path | None, job_id: str | None = None) -> "Iterator[JobSubmissionClient]":
    """A connected client, with Ray's exceptions turned into this module's; `job_id` must exist if given."""
    import aiohttp
    import requests
    from ray.exceptions import AuthenticationError

    token = _token(address, token_path)
    try:
        client = _connect(address, token)
        if job_id is not None and job_id not in {job.submission_id for job in client.list_jobs()}:
            raise UnknownJob(f"job {job_id!r} is not on {address}; `tandem jobs` lists those that are")
        yield client
    except AuthenticationError:
        what = "refuses the token given" if token else "asks for a token"
        raise TokenRefused(f"{address} {what}; name the file with the right one in RAY_AUTH_TOKEN_PATH") from None
    except (ConnectionError, requests.RequestException, aiohttp.ClientError) as error:
        raise ClusterUnreachable(f"no Ray job server answers at {address} ({type(error).__name__})") from None


def _connect(address: str, token: str | None) -> "JobSubmissionClient":
    from ray.job_submission import JobSubmissionClient

    # Trap: in Ray both variables win over the argument, so an explicit address would be ignored.
    variables = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")
    saved = {name: os.environ.pop(name) for name in variables if name in os.environ}
    try:
        return JobSubmissionClient(address, headers={"Authorization": f"Bearer {token}"} if token else None)
    except RuntimeError as error:  # A server that is no job server.
        raise ClusterUnreachable(f"no Ray job server answers at {address} ({_last_line(error)})") from None
    finally:
        os.environ.update(saved)


def _send(client: "JobSubmissionClient", entrypoint: str, runtime_env: dict[str, Any]) -> str:
    try:
        return client.submit_job(entrypoint=entrypoint, runtime_env=runtime_env)
    except RuntimeError as error:  # With the server's whole traceback as its message.
        raise JobRejected(f"the cluster did not take the job: {_last_line(error)}") from None


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def _drain(pieces: AsyncIterator[str]) -> Iterator[str]:
    """An asynchronous iterator as a plain one."""

    async def following() -> str | None:
        return await anext(pieces, None)

    with asyncio.Runner() as runner:
        while (piece := runner.run(following())) is not None:
            yield piece


def _info(details: Any) -> JobInfo:
    def seconds(milliseconds: int | None) -> float | None:
        return milliseconds / 1000 if milliseconds else None

    return JobInfo(
        job_id=details.submission_id,
        status=str(getattr(details.status, "value", details.status)),
        entrypoint=details.entrypoint,
        started_s=seconds(details.start_time),
        ended_s=seconds(details.end_time),
        message=details.message or "",
    )
