"""The command that makes reports: what it prints, writes and refuses."""

import re

import pytest

from experiments import cli
from tests.experiments.reported import Page, make_run, noisy


def test_the_command_prints_its_tables_and_writes_the_page(tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    make_run(tmp_path / "runs", noisy(offset=5), seed=0)
    make_run(tmp_path / "runs", noisy(offset=5), seed=1)
    (tmp_path / "runs" / ".new-1").mkdir()  # a run in the making
    (tmp_path / "runs" / ".new-1" / "config.json").write_text("{")
    (tmp_path / "runs" / "broken").mkdir()
    (tmp_path / "runs" / "broken" / "config.json").write_text('{"preset": "x", ')
    out = tmp_path / "new" / "report.html"
    again = str(tmp_path / "runs" / "20260101-120000-0")
    assert cli.run(["report", str(tmp_path / "runs"), again, "-o", str(out)]) == 0
    said = capsys.readouterr().out
    assert said.count("lab2d-harvest-acam") == 3  # two runs, and the group
    assert "mean over seeds [95% t interval]" in said
    assert "20260101-120000-1" in said
    assert "300 steps" in said
    assert f"note: {tmp_path / 'runs' / 'broken' / 'config.json'} cannot be read" in said
    assert ".new-1" not in said
    assert f"{out} (0." in said
    assert [path.name for path in out.parent.iterdir()] == ["report.html"]
    assert "broken" in Page(out.read_text()).text


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "no run was named"),
        (["{root}/missing"], "missing does not exist"),
        (["{root}/empty"], "empty holds no run"),
        (["{root}/run/config.json"], "holds no run"),
        (["{root}/run", "{root}/empty"], "empty holds no run"),
        (["{root}/broken"], "config.json cannot be read"),
        (["{root}/list"], "config.json cannot be read as JSON: it holds no JSON object"),
        (["{root}/other"], "it needs a preset and a config"),
        (["{root}/run", "-o", "{root}/report.pdf"], "'report.pdf'; allowed suffixes: .html, .htm"),
        (["{root}/run", "-o", "{root}/folder.html"], "cannot write .*folder.html: Is a directory"),
        (["{root}/run", "-o", "{root}/run/config.json/r.html"], "cannot write .*r.html: "),
        (["{root}/run", "--colour", "red"], "--colour"),
    ],
)
def test_wrong_values_are_answered_in_one_sentence(args, message, tmp_path, capsys) -> None:
    make_run(tmp_path, noisy(), name="run")
    for name, content in (("broken", "{"), ("list", "[]"), ("other", '{"name": "a model"}')):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(content)
    (tmp_path / "empty").mkdir()
    (tmp_path / "folder.html").mkdir()
    before = sorted(tmp_path.rglob("*"))
    assert cli.run(["report", *(arg.format(root=tmp_path) for arg in args)]) == 2
    error = capsys.readouterr().err
    assert re.search(message, error)
    assert error.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before
