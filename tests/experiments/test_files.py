"""Files are written whole or not at all, and only over files."""

import os
from pathlib import Path

import pytest

from experiments import files


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
