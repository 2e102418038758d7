"""A folder is held by one process."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from marl import files


def test_one_at_a_time_and_nothing_is_left(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    with files.alone(folder):
        with pytest.raises(ValueError, match=rf"^another process is at work in {folder}; wait for it, or give"):
            files.alone(folder).__enter__()
        (folder / "mine").write_text("")
    assert [path.name for path in folder.iterdir()] == ["mine"]
    with files.alone(folder):
        pass


def test_the_lock_of_a_killed_process_holds_nobody_up(tmp_path: Path) -> None:
    code = f"""
import os
import subprocess
import sys
from marl import files
with files.alone(files.Path({str(tmp_path)!r})):
    os.kill(os.getpid(), 9)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    assert (tmp_path / files.LOCK).exists()
    with files.alone(tmp_path):
        pass


def test_a_lock_that_was_removed_meanwhile_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = os.open

    def late(path, flags, *mode):  # whoever held it ends, and another takes the folder, after we opened the old lock
        handle = opened(path, flags, *mode)
        path.unlink()
        path.write_text("")
        return handle

    monkeypatch.setattr(os, "open", late)
    with pytest.raises(ValueError, match="another process is at work"):
        files.alone(tmp_path).__enter__()
    assert (tmp_path / files.LOCK).exists()


def test_what_cannot_be_held_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"^cannot write to .*file: File exists$"):
        files.alone(tmp_path / "file").__enter__()
    (tmp_path / "letter").write_text("mine")
    (tmp_path / files.LOCK).symlink_to("letter")
    with pytest.raises(ValueError, match=r"^cannot write to .*: Too many levels of symbolic links$"):
        files.alone(tmp_path).__enter__()
    assert (tmp_path / "letter").read_text() == "mine"


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EIO])
def test_a_file_system_without_locks_stops_nobody(tmp_path: Path, monkeypatch, number: int) -> None:
    def refuse(handle: int, how: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", refuse)
    held = files.alone(tmp_path)
    if number == errno.EIO:
        with pytest.raises(ValueError, match=r"^cannot lock .*: Input/output error$"):
            held.__enter__()
    else:
        with held:
            pass
