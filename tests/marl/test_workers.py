"""Work in several processes: in order, no more at once than needed, and nobody is left behind."""

import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from itertools import count
from pathlib import Path

import pytest

from marl.workers import spread

ROOT = Path(__file__).parents[2]


def linger(folder: Path) -> None:
    """Says that it is there, and stays."""
    (folder / str(os.getpid())).touch()
    time.sleep(600)


def give_up(job: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def until(true, what):
    deadline = time.monotonic() + 300
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def test_results_are_in_order_and_jobs_are_taken_as_needed():
    taken = count()
    with closing(spread(abs, (-next(taken) for _ in range(10**9)), 2)) as results:
        assert [next(results) for _ in range(5)] == list(range(5))
    assert next(taken) < 10


def test_a_process_that_is_lost_is_one_sentence():
    with pytest.raises(ValueError, match=r"^a process that played was ended from outside \(perhaps for want of memory"):
        list(spread(give_up, [1, 2], 1))


@pytest.fixture
def playing(tmp_path):
    """A process whose two workers are busy, and their numbers."""
    code = f"""
from pathlib import Path
from marl.workers import spread
from tests.marl.test_workers import linger
list(spread(linger, [Path({str(tmp_path)!r})] * 2, 2))
"""
    parent = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    until(lambda: len(list(tmp_path.iterdir())) == 2, "two workers")
    pids = [int(path.name) for path in tmp_path.iterdir()]
    yield parent, pids
    for pid in (parent.pid, *pids):
        if is_alive(pid):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_workers_end_with_their_parent(playing, how):
    parent, pids = playing
    parent.send_signal(how)
    until(lambda: not any(map(is_alive, pids)), "the workers' end")
    said = parent.communicate(timeout=60)[1]
    assert said.count("Traceback") == (how == signal.SIGINT)  # the parent's own KeyboardInterrupt


def test_an_interrupt_while_workers_start_has_no_traceback_of_theirs(tmp_path):
    """The keyboard interrupts all processes of a terminal at once, those too that are still importing."""
    code = f"""
import os, signal, threading, time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from marl.workers import spread
from tests.marl.test_workers import linger

def interrupt():
    time.sleep(0.3)
    os.killpg(0, signal.SIGINT)

submit = ProcessPoolExecutor.submit
def submitted(*args):
    future = submit(*args)
    threading.Thread(target=interrupt).start()
    return future
ProcessPoolExecutor.submit = submitted
try:
    list(spread(linger, [Path({str(tmp_path)!r})], 1))
except KeyboardInterrupt:
    print("interrupted")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, start_new_session=True, timeout=300
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "interrupted\n", "")
    assert list(tmp_path.iterdir()) == []
