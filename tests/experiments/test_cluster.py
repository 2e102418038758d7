"""The local Ray head: state file, token and ports without Ray, then a real head beside another one."""

import json
import os
import socket
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import asdict
from pathlib import Path

import psutil
import pytest

from experiments import cluster
from experiments.cluster import ClusterError, ClusterInfo


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TANDEM_HOME", str(tmp_path))
    return tmp_path


def info(**changes: object) -> ClusterInfo:
    record: dict = {
        "address": "http://127.0.0.1:1",
        "gcs_address": "127.0.0.1:2",
        "token_path": "/nowhere",
        "temp_dir": "/nowhere",
        "session": 2**22 + 1,
        "processes": [],
    }
    return ClusterInfo(**{**record, **changes})


def test_nothing_is_up(home: Path):
    assert cluster.current() is None
    assert "No local Ray head" in cluster.status()
    assert "No local Ray head" in cluster.down()


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"address": "x"}', json.dumps({**asdict(info()), "processes": [[1]]})]
)
def test_damaged_state_file_is_one_sentence(home: Path, text: str):
    (home / "cluster.json").write_text(text)
    with pytest.raises(ClusterError, match=r"cluster\.json is damaged") as caught:
        cluster.status()
    assert "\n" not in str(caught.value)


def test_reused_pid_is_not_ours(home: Path):
    mine = psutil.Process()
    assert [p.pid for p in cluster.alive(info(processes=[(mine.pid, mine.create_time())]))][:1] == [mine.pid]
    assert cluster.alive(info(processes=[(mine.pid, mine.create_time() - 60)])) == []
    stale = info(processes=[(mine.pid, mine.create_time() - 60)])
    (home / "cluster.json").write_text(json.dumps(asdict(stale)))
    assert cluster.current() is None


def test_down_ends_session_and_descendants_only(home: Path, tmp_path: Path):
    """A stand-in for a head: a shell with a child in another session, which a session id alone would miss."""
    command = ["sh", "-c", f"{sys.executable} -c 'import os, time; os.setsid(); time.sleep(60)' & sleep 60"]
    head = subprocess.Popen(command, start_new_session=True)
    bystander = subprocess.Popen(["sleep", "60"])
    deadline = time.monotonic() + 20
    while not any(os.getsid(p.pid) != head.pid for p in psutil.Process(head.pid).children(recursive=True)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    family = [psutil.Process(head.pid), *psutil.Process(head.pid).children(recursive=True)]
    state = info(
        session=head.pid, temp_dir=str(tmp_path / "ray"), processes=[(p.pid, p.create_time()) for p in family[:1]]
    )
    (home / "cluster.json").write_text(json.dumps(asdict(state)))
    assert "3 processes" in cluster.down()
    head.wait(5)
    assert not any(p.is_running() for p in family)
    assert bystander.poll() is None
    bystander.kill()
    bystander.wait()
    assert cluster.current() is None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"port": -1}, "port -1 does not exist; allowed"),
        ({"dashboard_port": 70000}, "dashboard port 70000"),
        ({"num_cpus": 0}, "num_cpus is 0; allowed"),
        ({"object_store_mb": 10}, "at least 80"),
    ],
)
def test_up_refuses(home: Path, options: dict, words: str):
    with pytest.raises(ValueError, match=words):
        cluster.up(**options)
    assert list(home.iterdir()) == []


def test_up_names_a_taken_port(home: Path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ClusterError, match=f"port {taken.getsockname()[1]} is taken"):
            cluster.up(port=taken.getsockname()[1])
    assert list(home.iterdir()) == []


def test_token_file_is_private_and_kept(home: Path):
    path = cluster._token_file()
    first = path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(first) == 64
    path.chmod(0o644)
    assert cluster._token_file().read_text() == first
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_text(" \n")
    with pytest.raises(ClusterError, match="empty"):
        cluster._token_file()


def _code(url: str, token: str | None) -> int:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def _listeners(processes: list[psutil.Process], port: int) -> set[str]:
    """The addresses on which these processes listen on `port`."""
    sockets = [one for process in processes for one in process.net_connections("tcp") if one.status == "LISTEN"]
    return {one.laddr.ip for one in sockets if one.laddr.port == port}


@pytest.mark.ray
@pytest.mark.slow
def test_real_head_beside_another(ray_head: ClusterInfo, home: Path):
    """A second head, in its own TANDEM_HOME: token asked for, reported when up, and `down` leaves only the first."""
    head = cluster.up(port=0, dashboard_port=0, num_cpus=1, object_store_mb=100)
    assert cluster.up(port=0, dashboard_port=0) == head
    assert head.address in cluster.status()
    assert head.address != ray_head.address
    jobs_url, token = f"{head.address}/api/jobs/", cluster.read_token(head.token_path)
    assert [_code(jobs_url, None), _code(jobs_url, "wrong"), _code(jobs_url, token)] == [401, 403, 200]
    assert _code(jobs_url, cluster.read_token(ray_head.token_path)) == 403
    processes = cluster.alive(head)
    assert len(processes) >= 4
    assert _listeners(processes, int(head.address.rsplit(":", 1)[-1])) == {"127.0.0.1"}
    assert f"({len(processes)} processes)" in cluster.down()
    assert not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in processes)
    assert not Path(head.temp_dir).exists()
    assert cluster.current() is None
    assert len(cluster.alive(ray_head)) >= 4
    assert _code(f"{ray_head.address}/api/jobs/", cluster.read_token(ray_head.token_path)) == 200
