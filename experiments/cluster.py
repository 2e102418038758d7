"""A token-protected local Ray head for development: `tandem cluster up | status | down`.

Dashboard and job server listen on 127.0.0.1 only. Ray opens the ports of its GCS, raylet and agents on every interface;
they ask for the token, its metrics pages apart. The head has its own token, temporary folder and ports, so it lives
beside any other Ray on the machine, and `down` ends exactly the processes that `up` started (`ray stop` would end every
Ray here).
What runs is written down in ~/.tandem/cluster.json (or in the folder that TANDEM_HOME names).
"""

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

LOCALHOST = "127.0.0.1"
START_TIMEOUT_S = 240
"""`ray start` takes 20 s on a quiet machine with 2 cores and over a minute on a loaded one."""


class ClusterError(RuntimeError):
    """The local head cannot be started, read or ended; the message is one sentence."""


@dataclass(frozen=True, kw_only=True)
class ClusterInfo:
    """A running local head, as the state file records it."""

    address: str
    """Dashboard and job server, such as "http://127.0.0.1:8265"; what `tandem submit --address` takes."""
    gcs_address: str
    """What `ray.init(address=...)` and `ray start --address=...` take, such as "127.0.0.1:6379"."""
    token_path: str
    """File with the token (mode 600)."""
    temp_dir: str
    """Ray's logs and sockets; removed by `down`."""
    session: int
    """Session id of every process that `ray start` left behind."""
    processes: list[tuple[int, float]]
    """(pid, start time) of those processes; the start time tells a reused pid."""

    def __str__(self) -> str:
        return (
            f"Ray head at {self.address} ({len(alive(self))} processes; logs in {self.temp_dir}).\n"
            "`tandem submit`, `jobs`, `logs` and `stop` find it by themselves. For Ray's own commands:\n"
            f"  export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH={self.token_path} "
            f"RAY_API_SERVER_ADDRESS={self.address}"
        )


def home() -> Path:
    """The folder of token and state file."""
    return Path(os.environ.get("TANDEM_HOME") or Path.home() / ".tandem").absolute()


def current() -> ClusterInfo | None:
    """The head that `up` started, None if there is none (any more). Raises ClusterError for a damaged state file."""
    path = home() / "cluster.json"
    try:
        record = json.loads(path.read_text())
        record["processes"] = [(int(pid), float(started)) for pid, started in record["processes"]]
        record["session"] = int(record["session"])
        info = ClusterInfo(**record)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError) as error:
        raise ClusterError(
            f"{path} is damaged ({type(error).__name__}: {error}); delete it and end its Ray by hand"
        ) from None
    return info if alive(info) else None


def up(
    *, port: int = 6379, dashboard_port: int = 8265, num_cpus: int | None = None, object_store_mb: int = 512
) -> ClusterInfo:
    """Starts a head, or returns the one that is already up (its ports may differ from those asked for).

    Args: port: of the GCS; 0 picks a free one. dashboard_port: of dashboard and job server; 0 picks a free one.
        num_cpus: CPUs that Ray may hand out, all of the machine's if None. object_store_mb: shared memory in MiB.
    Raises: ValueError for a number out of range; ClusterError if a port is taken or Ray does not start.
    """
    _check(port=port, dashboard_port=dashboard_port, num_cpus=num_cpus, object_store_mb=object_store_mb)
    if (running := current()) is not None:
        return running
    port, dashboard_port = _port("port", port), _port("dashboard port", dashboard_port)
    if port == dashboard_port:
        raise ValueError(f"port and dashboard port are both {port}; they must differ")
    token_path = _token_file()
    # Short, because the path of a Unix socket below it may have 107 characters at most.
    temp_dir = Path(tempfile.mkdtemp(prefix="tandem-ray-", dir="/tmp"))
    options = {
        "node-ip-address": LOCALHOST,
        "port": port,
        "dashboard-host": LOCALHOST,
        "dashboard-port": dashboard_port,
        # Ray's defaults for the next two are fixed numbers, which another Ray on this machine may have taken;
        # without its agent a head accepts no job.
        "dashboard-agent-listen-port": free_port(),
        "ray-client-server-port": free_port(),
        "object-store-memory": object_store_mb * 2**20,
        "temp-dir": temp_dir,
    }
    if num_cpus is not None:
        options["num-cpus"] = num_cpus
    session = _ray_start(options, token_path, temp_dir)
    info = ClusterInfo(
        address=f"http://{LOCALHOST}:{dashboard_port}",
        gcs_address=f"{LOCALHOST}:{port}",
        token_path=str(token_path),
        temp_dir=str(temp_dir),
        session=session,
        processes=[(process.pid, process.create_time()) for process in _in_session(session)],
    )
    _write_private(home() / "cluster.json", json.dumps(asdict(info), indent=1))
    try:
        _wait_until_it_answers(info, options["dashboard-agent-listen-port"])
    except ClusterError:
        _end(info)
        raise
    return info


def status() -> str:
    """One sentence, or a few lines with the address and what to export."""
    info = current()
    return str(info) if info else "No local Ray head is up; start one with `tandem cluster up`."


def down() -> str:
    """Ends the head and everything it started (running jobs too). Returns one sentence."""
    info = current()
    if info is None:
        (home() / "cluster.json").unlink(missing_ok=True)
        return "No local Ray head is up."
    ended = _end(info)
    return f"Ended the Ray head at {info.address} ({ended} processes)."


def alive(info: ClusterInfo) -> list[psutil.Process]:
    """The recorded processes that still run, and everything that grew out of them."""
    roots = []
    for pid, started in info.processes:
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            if abs(process.create_time() - started) < 1 and process.status() != psutil.STATUS_ZOMBIE:
                roots.append(process)
    found = {process.pid: process for process in roots}
    # A process of our session keeps its id from being reused, so the session is ours as long as one root lives.
    for process in _in_session(info.session) if roots else []:
        found[process.pid] = process
    for process in list(found.values()):
        with suppress(psutil.NoSuchProcess):
            found.update({child.pid: child for child in process.children(recursive=True)})
    return list(found.values())


def free_port() -> int:
    """A TCP port on 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((LOCALHOST, 0))
        return probe.getsockname()[1]


def read_token(path: str | Path) -> str:
    """The token in file `path`. Raises ClusterError if there is none."""
    try:
        token = Path(path).read_text().strip()
    except OSError as error:
        raise ClusterError(f"token file {str(path)!r} cannot be read: {error.strerror}") from None
    if not token:
        raise ClusterError(f"token file {str(path)!r} is empty")
    return token


def _check(*, port: int, dashboard_port: int, num_cpus: int | None, object_store_mb: int) -> None:
    for name, value in (("port", port), ("dashboard port", dashboard_port)):
        if not 0 <= value < 65536:
            raise ValueError(f"{name} {value} does not exist; allowed: 0 (any free one) to 65535")
    if num_cpus is not None and num_cpus < 1:
        raise ValueError(f"num_cpus is {num_cpus}; allowed: 1 or more")
    if object_store_mb < 80:
        raise ValueError(f"object_store_mb is {object_store_mb}; Ray needs at least 80")


def _port(name: str, port: int) -> int:
    if port == 0:
        return free_port()
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOCALHOST, port))
        except OSError:
            raise ClusterError(
                f"{name} {port} is taken (another Ray?); choose another, or 0 for any free one"
            ) from None
    return port


def _write_private(path: Path, text: str) -> None:
    """Writes whole or not at all, readable by its owner only from the first byte on."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    partial.replace(path)


def _token_file() -> Path:
    path = home() / "token"
    if not path.exists():
        _write_private(path, secrets.token_hex(32))
    path.chmod(0o600)
    read_token(path)
    return path


def _ray_start(options: dict[str, object], token_path: Path, temp_dir: Path) -> int:
    """Runs `ray start --head` in a session of its own. Returns that session's id; on failure nothing is left."""
    # RAY_AUTH_TOKEN would win over our token file, RAY_ADDRESS over our address.
    env = {key: value for key, value in os.environ.items() if key not in ("RAY_AUTH_TOKEN", "RAY_ADDRESS")}
    env |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token_path), "RAY_USAGE_STATS_ENABLED": "0"}
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--disable-usage-stats"]
    command += [f"--{name}={value}" for name, value in options.items()]
    log = temp_dir / "ray_start.log"
    with log.open("w") as file:
        starter = subprocess.Popen(
            command, env=env, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            code = starter.wait(START_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            code = None
    if code != 0:
        _kill(_in_session(starter.pid))
        words = [line.strip() for line in log.read_text().splitlines() if line.strip()]
        what = f"ended with status {code}" if code is not None else f"did not return within {START_TIMEOUT_S} s"
        raise ClusterError(f"`ray start` {what}; see {log} ({words[-1] if words else 'empty'})")
    return starter.pid


def _wait_until_it_answers(info: ClusterInfo, agent_port: object) -> None:
    """The job server and the agent that runs jobs come up a few seconds after `ray start` returns."""
    deadline = time.monotonic() + START_TIMEOUT_S
    for url in (f"{info.address}/api/version", f"http://{LOCALHOST}:{agent_port}/api/local_raylet_healthz"):
        while not _answers(url, read_token(info.token_path)):
            if time.monotonic() > deadline or not alive(info):
                raise ClusterError(f"{url} does not answer; Ray's logs are in {info.temp_dir}")
            time.sleep(0.5)


def _answers(url: str, token: str) -> bool:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(request, timeout=5):
            return True
    except OSError:  # Refused, timed out, or an HTTP error status.
        return False


def _in_session(session: int) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with suppress(ProcessLookupError, PermissionError, psutil.Error):
            if os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def _end(info: ClusterInfo) -> int:
    """Ends every process of the head, then forgets it. Returns how many there were."""
    ended: set[int] = set()
    for _ in range(5):  # Again, because a dying raylet may just have started one more.
        processes = alive(info)
        ended |= {process.pid for process in processes}
        _kill(processes)
    if left := alive(info):
        raise ClusterError(f"processes {[process.pid for process in left]} of the Ray head do not end")
    (home() / "cluster.json").unlink(missing_ok=True)
    shutil.rmtree(info.temp_dir, ignore_errors=True)
    return len(ended)


def _kill(processes: list[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    _, stubborn = psutil.wait_procs(processes, timeout=5)
    for process in stubborn:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(stubborn, timeout=5)
