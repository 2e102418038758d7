"""Files are written whole or not at all, and only over files; a folder is held by one process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from marl import files


def test_a_page_is_written_whole_or_not_at_all(tmp_path, monkeypatch) -> None:
    page = tmp_path / "report.html"
    page.write_text("the page before")

    def full(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(ValueError, match=r"cannot write .*report.html: No space left on device"):
        files.write_text(page, "<!doctype html>")
    assert page.read_text() == "the page before"
    assert list(tmp_path.iterdir()) == [page]


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "page").write_text("before")
    (tmp_path / "link").symlink_to(tmp_path / "real" / "page")
    files.write_text(tmp_path / "link", "after")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "page").read_text() == "after"


def test_what_is_no_file_is_left_alone(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "."):
        with pytest.raises(ValueError, match="it is there and no regular file"):
            files.write_text(tmp_path / name, "text")
    assert (tmp_path / "pipe").is_fifo()
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]


def test_an_error_in_the_block_leaves_nothing(tmp_path: Path) -> None:
    def half() -> None:
        with files.whole(tmp_path / "a.npz") as temporary:
            assert temporary.suffix == ".npz"
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        half()
    assert list(tmp_path.iterdir()) == []


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
