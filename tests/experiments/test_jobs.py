"""Ray jobs: addresses, paths and tokens without Ray, then real jobs on a real head."""

import contextlib
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from experiments import cluster, jobs
from experiments.cluster import ClusterError, ClusterInfo


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No head, no addresses, no token."""
    for name in ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TANDEM_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def web_server() -> Iterator[str]:
    """The address of a server that knows nothing of Ray."""

    class NotFound(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(404)

        def log_message(self, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), NotFound)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_address_order(nowhere: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(ValueError, match="tandem cluster up"):
        jobs.find_address()
    monkeypatch.setenv("RAY_ADDRESS", "http://two:8265/")
    assert jobs.find_address() == "http://two:8265"
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "https://one")
    assert jobs.find_address() == "https://one"
    assert jobs.find_address("http://mine") == "http://mine"
    with pytest.raises(ValueError, match=r"address '127.0.0.1:6379' is no dashboard; allowed: a URL"):
        jobs.find_address("127.0.0.1:6379")


def test_local_paths_become_absolute(nowhere: Path):
    here = str(nowhere)
    assert jobs._absolute_paths(["train", "p"], local=True) == ["train", "p", "--runs-dir", f"{here}/runs"]
    args = ["train", "p", "--runs-dir", "a/b", "--resume=runs/x", "--seed", "1"]
    assert jobs._absolute_paths(args, local=True) == [
        "train", "p", "--runs-dir", f"{here}/a/b", f"--resume={here}/runs/x", "--seed", "1",
    ]  # fmt: skip
    args = ["train", "p", "--data.path", "pictures", "--storage=s3://bucket/x", "--runs-dir=/r"]
    assert jobs._absolute_paths(args, local=True) == [*args[:3], f"{here}/pictures", *args[4:]]
    with pytest.raises(ValueError, match=r"--data.path 'pictures' has no meaning on another machine"):
        jobs._absolute_paths(args, local=False)


def test_remote_paths_must_mean_something_there(nowhere: Path):
    kept = ["train", "p", "--runs-dir", "s3://bucket/runs", "--resume=/data/run"]
    assert jobs._absolute_paths(kept, local=False) == kept
    for args in (["train", "p"], ["train", "p", "--runs-dir=out"]):
        with pytest.raises(ValueError, match=r"--runs-dir '\w+' has no meaning on another machine"):
            jobs._absolute_paths(args, local=False)


def test_source_copy_is_packages_only(tmp_path: Path):
    jobs._copy_source(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} <= set(jobs.PACKAGES)
    assert (tmp_path / "experiments" / "jobs.py").read_text() == Path(jobs.__file__).read_text()
    assert not list(tmp_path.rglob("__pycache__"))


@pytest.mark.parametrize(("working_dir", "env", "sha"), [
    (None, None, "abc"), (None, {"TANDEM_GIT_SHA": "mine"}, "mine"), ("s3://bucket/other.zip", None, None),
])  # fmt: skip
def test_the_copy_of_this_source_says_its_commit(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch, working_dir: str | None, env: dict[str, str] | None, sha: str | None
):
    sent: list[dict[str, Any]] = []
    monkeypatch.setattr(jobs.runs, "git_sha", lambda: "abc")
    monkeypatch.setattr(jobs, "_session", lambda *args: contextlib.nullcontext())
    monkeypatch.setattr(jobs, "_send", lambda client, entrypoint, runtime_env: sent.append(runtime_env))
    jobs.submit([], address="http://one", entrypoint="true", working_dir=working_dir, env=env)
    assert sent[0]["env_vars"].get("TANDEM_GIT_SHA") == sha


def test_token_order(nowhere: Path, monkeypatch: pytest.MonkeyPatch):
    assert jobs._token("http://a", None) is None
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(nowhere / "t"))
    with pytest.raises(ClusterError, match="cannot be read"):
        jobs._token("http://a", None)
    (nowhere / "t").write_text("from-file\n")
    assert jobs._token("http://a", None) == "from-file"
    monkeypatch.setenv("RAY_AUTH_TOKEN", "from-env")
    assert jobs._token("http://a", None) == "from-env"
    assert jobs._token("http://a", nowhere / "t") == "from-file"


def test_unreachable_is_one_sentence(nowhere: Path):
    address = f"http://127.0.0.1:{cluster.free_port()}"
    with pytest.raises(jobs.ClusterUnreachable, match=f"no Ray job server answers at {address}") as caught:
        jobs.jobs(address=address)
    assert "\n" not in str(caught.value)


def test_other_server_is_one_sentence(nowhere: Path, web_server: str, monkeypatch: pytest.MonkeyPatch):
    # Ray's client lets this variable win over its argument; an explicit address must win over both.
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://127.0.0.1:9")
    with pytest.raises(jobs.ClusterUnreachable, match=f"at {web_server}.*404") as caught:
        jobs.submit(["train", "p", "--runs-dir", "/tmp/r"], address=web_server)
    assert "\n" not in str(caught.value)


def _ended(job_id: str) -> str:
    deadline = time.monotonic() + 120
    while (state := jobs.status(job_id).status) not in jobs.ENDED:
        assert time.monotonic() < deadline, f"{job_id} is still {state}"
        time.sleep(0.5)
    return state


@pytest.mark.ray
@pytest.mark.slow
class TestOnRealHead:
    def test_job_runs_our_source_and_is_followed(self, ray_head: ClusterInfo, tmp_path: Path):
        program = (
            "import os, time, ray, experiments.jobs as j\n"
            "ray.init(log_to_driver=False)\n"
            "task = ray.remote(lambda: (os.path.dirname(__import__('experiments').__file__), os.environ['COLOUR']))\n"
            "print('HERE', os.getcwd()); print('SOURCE', j.__file__); print('TASK', *ray.get(task.remote()))\n"
            "time.sleep(2); print('LAST WORD')\n"
        )
        script = tmp_path / "program.py"
        script.write_text(program)
        job_id = jobs.submit(
            [], env={"COLOUR": "teal"}, entrypoint=f"{sys.executable} -c \"exec(open('{script}').read())\""
        )
        pieces = list(jobs.logs(job_id, follow=True))
        text = "".join(pieces)
        words = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line.strip()}
        cwd = words["HERE"][0]
        assert words["SOURCE"] == [f"{cwd}/experiments/jobs.py"]
        assert words["TASK"] == [f"{cwd}/experiments", "teal"]
        assert "LAST WORD" in text
        assert cwd.startswith(ray_head.temp_dir)
        assert _ended(job_id) == "SUCCEEDED"
        assert "LAST WORD" in "".join(jobs.logs(job_id))

    def test_arguments_reach_the_command_line(
        self, ray_head: ClusterInfo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "src" / "experiments").mkdir(parents=True)
        (tmp_path / "src" / "experiments" / "cli.py").write_text("import sys; print(sys.executable, sys.argv[1:])")
        job_id = jobs.submit(["train", "a preset"], working_dir=tmp_path / "src")
        assert _ended(job_id) == "SUCCEEDED"
        expected = f"{sys.executable} {['train', 'a preset', '--runs-dir', f'{tmp_path}/runs']}"
        assert expected in "".join(jobs.logs(job_id, follow=True))

    def test_failure_is_reported(self, ray_head: ClusterInfo):
        job_id = jobs.submit([], entrypoint="echo so long; exit 3")
        assert _ended(job_id) == "FAILED"
        assert "so long" in "".join(jobs.logs(job_id))
        assert "3" in jobs.status(job_id).message

    def test_stop_and_list(self, ray_head: ClusterInfo):
        job_id = jobs.submit([], entrypoint="sleep 300")
        deadline = time.monotonic() + 300  # a loaded machine takes its time
        while jobs.status(job_id).status != "RUNNING":
            assert time.monotonic() < deadline
            time.sleep(0.5)
        assert jobs.stop(job_id) is True
        assert _ended(job_id) == "STOPPED"
        assert jobs.stop(job_id) is False
        (listed,) = [job for job in jobs.jobs() if job.job_id == job_id]
        assert listed.status == "STOPPED"
        assert listed.entrypoint == "sleep 300"
        assert listed.started_s is not None
        assert listed.ended_s is not None
        assert abs(listed.started_s - time.time()) < 600
        assert 0 <= listed.ended_s - listed.started_s < 120

    def test_unknown_job(self, ray_head: ClusterInfo):
        for call in (jobs.status, jobs.stop, lambda job_id: list(jobs.logs(job_id, follow=True))):
            with pytest.raises(jobs.UnknownJob, match="job 'raysubmit_no' is not on"):
                call("raysubmit_no")

    def test_wrong_and_missing_token(self, ray_head: ClusterInfo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        (tmp_path / "token").write_text("0" * 64)
        with pytest.raises(jobs.TokenRefused, match=f"{ray_head.address} refuses the token given") as caught:
            jobs.jobs(token_path=tmp_path / "token")
        assert "\n" not in str(caught.value)
        with pytest.raises(jobs.TokenRefused):
            jobs.submit([], entrypoint="true", token_path=tmp_path / "token")
        assert jobs.jobs(token_path=ray_head.token_path) is not None
