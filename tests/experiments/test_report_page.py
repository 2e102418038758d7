"""The pages of reports against a strict reading."""

import json
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from scipy import stats

from experiments import cli, report_runs
from experiments.tracking import Tracker
from tests.experiments.reported import RNG, TEAM, Page, build, make_run, noisy


def test_bits_of_test_pictures_and_codecs(tmp_path) -> None:
    run = make_run(tmp_path, {300: {"eval/bpd": 4.0, "time/train_s": 90.0}}, half="generative")
    parts = {"prior": 0.001, "diffusion": 1.95, "reconstruction": 0.05}
    codecs = {"png": 5.2, "webp": 4.75, "webp_mosaic": 4.5, "jxl": None}
    data = {"bpd": 2.001, "se": 0.01, "parts": parts, "codecs": codecs, "images": 1234}
    (run / "evaluation.json").write_text(json.dumps(data))
    read = report_runs.read(run)
    assert (read.results["bpd"].low, read.results["bpd"].high) == pytest.approx(stats.norm.interval(0.95, 2.001, 0.01))
    assert read.results["prior_bpd"].mean == 0.001
    assert read.codecs == {"png": 5.2, "webp": 4.75, "webp_mosaic": 4.5}
    page = build(run)
    assert "2.001 [1.981, 2.021]" in page.text
    assert "1,234 test pictures" in page.text
    assert "WebP lossless, one mosaic" in page.text
    over_time = next(svg for svg in page.images("image/svg+xml") if b"training time (s)" in svg)
    assert b"<!-- WebP lossless, one mosaic: 4.500 -->" in over_time  # Matplotlib writes every text beside its outline
    assert b"PNG: 5.200" in over_time


def test_pictures_are_inlined_byte_by_byte(tmp_path) -> None:
    run = make_run(tmp_path, noisy())
    tracker = Tracker(run)
    pictures = {tag: RNG.integers(0, 255, (8, 24, 3), np.uint8) for tag in ("attention", "old", "samples", "zebra")}
    paths = [tracker.image(tag, 200, pictures[tag]) for tag in ("samples", "attention", "zebra")]
    tracker.image("samples", 100, pictures["old"])
    tracker.close()
    (run / "media" / "levels-000000000200.png").write_bytes(paths[0].read_bytes()[:60])  # cut short
    (run / "media" / "notes.png").write_bytes(b"no step in its name")
    page = build(run)
    assert page.images("image/png") == [path.read_bytes() for path in paths]
    assert [alt for alt in page.alts if alt.endswith("200 steps")] == [
        f"{tag} after 200 steps" for tag in ("samples", "attention", "zebra")
    ]
    assert "media/levels-000000000200.png is not shown" in page.text


def test_the_page_stands_alone_and_is_well_formed(tmp_path) -> None:
    make_run(tmp_path / "a", {**noisy(), 400: {"eval/per_capita_return": 1.0}}, seed=0)
    make_run(tmp_path / "a", noisy(), seed=1)
    make_run(tmp_path / "b", {10: {"eval/bpd": 3.0, "eval/bpd_se": 0.1, "time/train_s": 3.0}}, half="generative")
    make_run(tmp_path / "c", {}, seed=7)
    page = build(tmp_path)
    assert all(address.startswith(("data:image/", "#")) for address in page.addresses)
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    charts = page.images("image/svg+xml")
    assert len(charts) == 2 + 1 + 1 + 1 + 1  # entropy, return, seconds; bpd over time and over steps; seconds
    for chart in charts:
        ElementTree.fromstring(chart)
        assert b"http" not in re.sub(
            rb'(xmlns(:\w+)?|rdf:\w+|PUBLIC)="[^"]*"|<!DOCTYPE[^>]*>|<metadata>.*?</metadata>', b"", chart, flags=re.S
        )
    assert len(page.alts) == len(charts)
    for text in (
        "lab2d/commons_harvest, 4 players",
        "digits",
        "no metrics yet",
        "per_capita_return",
        "bpd 3.00 [2.80, 3.20]",
    ):
        assert text in page.text
    assert "tandem train x --seed 7" in page.text
    assert "0123456789abcdef-dirty" in page.text
    assert "python 3.11.2, torch 2.13.0" in page.text
    assert (
        json.dumps({**TEAM, "seed": 0}, indent=2).split()
        == page.text[page.text.index('{ "env"') :].split()[: len(json.dumps({**TEAM, "seed": 0}, indent=2).split())]
    )


HOSTILE = "<script>alert('1')</script>&amp;\"$\\frac{$_`x`\u202e\ud800\x00\n--><img src=x onerror=alert(2)>"


def test_hostile_names_are_text(tmp_path, capsys) -> None:
    config = {HOSTILE: HOSTILE, "env": {"suite": HOSTILE, "level": HOSTILE, "players": HOSTILE}}
    facts = {
        "preset": HOSTILE,
        "seed": HOSTILE,
        "git_sha": HOSTILE,
        "versions": {HOSTILE: HOSTILE},
        "command": [HOSTILE],
    }
    folder = "<script>alert(3)<"
    for name, more in ((folder, {}), ("b", {HOSTILE: 1})):
        run = make_run(tmp_path, {}, name=name, config={**config, **more}, **facts)
        rows = [{"step": step, HOSTILE: 1.0, f"train/_{HOSTILE}": step} for step in (1, 2)]
        (run / "metrics.jsonl").write_text("\n".join([*map(json.dumps, rows), "{"]))  # with a damaged line, for a note
    page = build(tmp_path)
    assert not {"script"} & set(page.tags)
    assert all(address.startswith(("data:", "#")) for address in page.addresses)
    assert "<script>alert('1')</script>&amp;\"$\\frac{$_" in page.text
    assert folder in page.text
    for chart in page.images("image/svg+xml"):
        ElementTree.fromstring(chart)
    assert cli.run(["report", str(tmp_path), "-o", str(tmp_path / "r.html")]) == 0
    Page((tmp_path / "r.html").read_text(encoding="utf-8"))
    assert not set("\x00\u202e\ud800") & set(capsys.readouterr().out)
