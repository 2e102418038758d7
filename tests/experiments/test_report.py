"""Reports: numbers against closed forms and SciPy, pages against a strict reading, and every kind of broken run."""

import base64
import json
import math
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from scipy import stats

from experiments import cli, report, report_page
from experiments.tracking import Tracker
from marl.evaluation import Episode, write_jsonl

RNG = np.random.default_rng(0)
TEAM = {
    "env": {"suite": "lab2d", "level": "commons_harvest", "players": 4},
    "ppo": {"learning_rate": 1e-3},
    "env_steps": 300,
}
DIFFUSION = {"model": {"num_steps": 0}, "data": {"name": "digits", "size": None}, "steps": 300}


def make_run(root: Path, points: dict[int, dict[str, float]], *, seed=0, half="marl", name=None, **record) -> Path:
    """A run folder as the `tandem` command leaves it. points: {step: metrics}."""
    marl = half == "marl"
    facts = {
        "preset": "lab2d-harvest-acam" if marl else "vdm-digits",
        "config": {**(TEAM if marl else DIFFUSION), "seed": seed},
        "seed": seed,
        "git_sha": "0123456789abcdef-dirty",
        "versions": {"python": "3.11.2", "torch": "2.13.0"},
        "command": ["tandem", "train", "x", "--seed", str(seed)],
        **({} if marl else {"half": half}),
        **record,
    }
    folder = root / (name or f"20260101-120000-{seed}")
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(facts))
    tracker = Tracker(folder)
    for step, metrics in points.items():
        tracker.scalars(step, metrics)
    tracker.close()
    return folder


def noisy(steps=(100, 200, 300), offset=0.0) -> dict[int, dict[str, float]]:
    return {
        step: {"eval/per_capita_return": offset + RNG.normal(), "time/train_s": step / 2, "train/entropy": 1.5}
        for step in steps
    }


class Page(HTMLParser):
    """Fails on a tag that is not closed in its turn. Collects tags, texts, and addresses."""

    VOID = ("meta", "img", "br", "link")

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open, self.tags, self.texts, self.addresses, self.alts = [], [], [], [], []
        self.feed(html)
        self.close()
        assert self.open == []
        self.text = " ".join(" ".join(self.texts).split())

    def handle_starttag(self, tag, attrs) -> None:
        self.tags.append(tag)
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names))
        assert not [name for name in names if name.startswith("on")]
        self.addresses += [value for name, value in attrs if name in ("src", "href")]
        self.alts += [value for name, value in attrs if name == "alt"]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data) -> None:
        if self.open and self.open[-1] != "style":
            self.texts.append(data)

    def images(self, kind: str) -> list[bytes]:
        start = f"data:{kind};base64,"
        return [base64.b64decode(a[len(start) :], validate=True) for a in self.addresses if a.startswith(start)]


def build(*paths: Path) -> Page:
    return Page(report_page.build(*report.collect(paths)))


def test_curves_are_what_was_written(tmp_path) -> None:
    values = RNG.normal(size=7)
    steps = np.arange(7) * 10
    run = make_run(
        tmp_path, {int(s): {"train/x": v, "time/train_s": s / 4} for s, v in zip(steps, values, strict=True)}
    )
    read = report.read(run)
    assert np.array_equal(read.curves["train/x"].x, steps)
    assert np.array_equal(read.curves["train/x"].y, values)
    drawn = report.line(report.groups([read])[0], "train/x", unit_s=60.0)
    assert drawn is not None
    assert np.allclose(drawn.curve.x, steps / 4 / 60)
    assert np.array_equal(drawn.curve.y, values)
    assert (read.steps, read.notes) == (60, [])


def test_damaged_lines_are_left_out_and_counted(tmp_path) -> None:
    run = make_run(tmp_path, {10: {"train/x": 1.0}, 20: {"train/x": 2.0}})
    with (run / "metrics.jsonl").open("ab") as file:
        file.write(b'{"step": 30, "train/x": NaN, "train/y": 5.0, "train/z": "much", "train/w": true}\n')
        file.write(b'{"step": 20, "train/x": 2.5}\n')  # written again after a resume: the later counts
        file.write(b'[1, 2]\n{"train/x": 3.0}\n{"step": Infinity, "train/x": 1}\n\xff\xfe\n{"step": 40, "tra')
    read = report.read(run)
    assert {tag: (curve.x.tolist(), curve.y.tolist()) for tag, curve in read.curves.items()} == {
        "train/x": ([10.0, 20.0], [1.0, 2.5]),
        "train/y": ([30.0], [5.0]),
    }
    assert read.notes == [
        "5 damaged lines of metrics.jsonl left out",
        "1 line of metrics.jsonl with values that are no finite numbers, left out",
    ]


def test_interval_over_seeds_is_students() -> None:
    values = RNG.normal(3, 2, (4, 5))
    mean, low, high = report.t_interval(values)
    for i in range(5):
        column = values[:, i]
        expected = stats.t.interval(0.95, 3, loc=column.mean(), scale=stats.sem(column))
        assert np.allclose((low[i], high[i]), expected)
        assert mean[i] == pytest.approx(sum(column) / 4)


def test_seeds_are_averaged_where_all_have_data(tmp_path) -> None:
    for seed, steps in ((0, (110, 200, 300)), (1, (100, 200)), (2, (50, 150, 250))):
        make_run(tmp_path, {step: {"train/x": float(seed + step)} for step in steps}, seed=seed)
    runs, _ = report.collect([tmp_path])
    group = report.groups(runs)[0]
    drawn = report.line(group, "train/x")
    assert drawn is not None
    # The points of the seed that has fewest, and the ends of what all have reached; seeds are linear in between.
    assert drawn.curve.x.tolist() == [110, 200]
    assert np.allclose(drawn.curve.y, [111, 201])
    half = stats.t.ppf(0.975, 2) * 1.0 / math.sqrt(3)  # the seeds' values are 1 apart
    assert drawn.low is not None
    assert np.allclose(drawn.low, drawn.curve.y - half)
    assert (drawn.count, len(drawn.behind)) == (" (n = 3)", 3)
    lonely = report.line(report.Group("a", "a", group.runs[:1]), "train/x")
    assert lonely is not None
    assert (lonely.count, lonely.low) == ("", None)
    assert report.line(group, "train/y") is None


def test_seeds_that_share_no_step_have_no_mean(tmp_path) -> None:
    make_run(tmp_path, {10: {"train/x": 1.0}}, seed=0)
    make_run(tmp_path, {20: {"train/x": 2.0}, 30: {"train/x": 2.0}}, seed=1)
    drawn = report.line(report.groups(report.collect([tmp_path])[0])[0], "train/x")
    assert drawn is not None
    assert (len(drawn.curve.x), len(drawn.behind)) == (0, 2)
    assert "seeds" not in build(tmp_path).alts[0]


def test_only_seeds_of_one_configuration_are_averaged(tmp_path) -> None:
    faster = {**TEAM, "ppo": {"learning_rate": 2e-3}}
    make_run(tmp_path, noisy(), seed=0)
    make_run(tmp_path, noisy((100, 200)), seed=0, name="20260102-120000-0")  # newer, but it did not go so far
    make_run(tmp_path, noisy(), seed=10)
    make_run(tmp_path, noisy(), seed=2)
    make_run(tmp_path, noisy(), seed=3, name="z", config={**faster, "seed": 3})
    first, second = report.groups(report.collect([tmp_path])[0])
    assert [run.folder.name for run in first.seeds] == ["20260101-120000-0", "20260101-120000-2", "20260101-120000-10"]
    assert (first.label, second.short) == ("lab2d-harvest-acam, learning_rate 0.001", "learning_rate 0.002")
    (_, _, rows), *_ = report.seeds_table(first.runs + second.runs)
    means = [run.results["per_capita_return"].mean for run in first.seeds]
    low, high = stats.t.interval(0.95, 2, loc=np.mean(means), scale=stats.sem(means))
    assert rows == [
        [first.label, "3 (0, 2, 10)", f"per_capita_return {report.Estimate(float(np.mean(means)), low, high)}"]
    ]


def test_long_curves_are_means_of_bins() -> None:
    x = np.sort(RNG.uniform(0, 1000, 500))
    curve = report.Curve(x, RNG.normal(size=500))
    short = report.thin(curve, 10)
    edges = np.linspace(x[0], x[-1], 11)
    for i in range(10):
        inside = (x >= edges[i]) & ((x < edges[i + 1]) | (i == 9))
        assert short.x[i] == pytest.approx(x[inside].mean())
        assert short.y[i] == pytest.approx(curve.y[inside].mean())
    assert report.thin(curve, 500) is curve


def test_the_episodes_at_the_end_are_the_result(tmp_path) -> None:
    run = make_run(
        tmp_path, {100: {"eval/return_mean": 9.0}, 200: {"train/entropy": 1.0}}, preset="football-empty-goal"
    )
    returns, scored = RNG.normal(5, 2, 40), np.arange(40) % 4 > 0
    episodes = [
        Episode(
            number=i, seed=i, length=10 + i % 3, return_mean=float(returns[i]), metrics={"scored": float(scored[i])}
        )
        for i in range(40)
    ]
    write_jsonl(run / "evaluation.jsonl", episodes)
    read = report.read(run)
    assert (read.metric, read.source) == ("scored", "40 held-out episodes")
    got, expected = read.results["scored"], stats.binomtest(30, 40).proportion_ci(method="wilson")
    assert (got.mean, got.low, got.high) == pytest.approx((0.75, expected.low, expected.high))
    got, expected = (
        read.results["return_mean"],
        stats.t.interval(0.95, 39, loc=returns.mean(), scale=stats.sem(returns)),
    )
    assert (got.low, got.high) == pytest.approx(expected)
    (_, _, rows) = report.summary_table([read])
    assert rows[0][3] == ("scored 0.75 [0.60, 0.86]", "40 held-out episodes")


def test_an_evaluation_before_the_run_went_on_says_so(tmp_path) -> None:
    run = make_run(tmp_path, {100: {"eval/return_mean": 2.0}, 200: {"train/entropy": 1.0}})
    write_jsonl(run / "evaluation.jsonl", [Episode(number=0, seed=0, length=5, return_mean=2.0, metrics={})])
    assert report.read(run).source == "1 held-out episode, after 100 steps"


@pytest.mark.parametrize("content", ["", "{}\n", '{"number": 0, "seed": 0, "return_mean": "a", "episode_length": 3}\n'])
def test_damaged_episodes_are_noted_and_the_last_evaluation_counts(content, tmp_path) -> None:
    run = make_run(
        tmp_path, {100: {f"eval/per_capita_return{end}": v for end, v in (("", 5), ("_low", 4), ("_high", 7))}}
    )
    (run / "evaluation.jsonl").write_text(content)
    read = report.read(run)
    assert read.results == {"per_capita_return": report.Estimate(5, 4, 7)}
    assert read.source == "the last evaluation"
    assert len(read.notes) == 1
    assert "cannot be read as" in read.notes[0]


def test_bits_of_test_pictures_and_codecs(tmp_path) -> None:
    run = make_run(tmp_path, {300: {"eval/bpd": 4.0, "time/train_s": 90.0}}, half="generative")
    parts = {"prior": 0.001, "diffusion": 1.95, "reconstruction": 0.05}
    codecs = {"png": 5.2, "webp": 4.75, "webp_mosaic": 4.5, "jxl": None}
    data = {"bpd": 2.001, "se": 0.01, "parts": parts, "codecs": codecs, "images": 1234}
    (run / "evaluation.json").write_text(json.dumps(data))
    read = report.read(run)
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


def test_the_evaluation_at_the_end_of_training_is_read(tmp_path) -> None:
    run = make_run(tmp_path, {400: {"train/bpd": 4.0}}, half="generative")
    tags = {"step": 300, "eval/bpd": 3.0, "eval/bpd_se": 0.1, "eval/prior_bpd": 0.5, "eval/diffusion_bpd": 2.5}
    (run / "evaluation.json").write_text(json.dumps(tags))
    read = report.read(run)
    assert read.results["bpd"].high == pytest.approx(3.196, abs=1e-3)
    assert read.results["prior_bpd"].mean == 0.5
    assert read.source == "test pictures, after 300 steps"
    (run / "evaluation.json").write_text('{"bpd": "low"}')
    read = report.read(run)
    assert (read.results["bpd"].mean, read.source) == (4.0, "in training")
    assert read.notes == [f"{run / 'evaluation.json'} has no bits per dimension"]


def test_an_interval_of_a_curve_is_the_evaluations_own(tmp_path) -> None:
    ends = {100: (1.0, 0.5, 2.0), 200: (2.0, 1.5, 2.25)}
    points = {
        s: {"eval/a": v[0], "eval/a_low": v[1], "eval/a_high": v[2], "eval/b": 3.0, "eval/b_se": 0.5}
        for s, v in ends.items()
    }
    read = report.read(make_run(tmp_path, points))
    low, high = report.bounds(read.curves, "eval/a") or (None, None)
    assert (list(low), list(high)) == ([0.5, 1.5], [2.0, 2.25])
    low, _ = report.bounds(read.curves, "eval/b") or (None, None)
    assert np.allclose(low, stats.norm.interval(0.95, 3, 0.5)[0])
    assert report_page.tags_of([read]) == ["eval/a", "eval/b"]
    del read.curves["eval/a_low"]
    assert report.bounds(read.curves, "eval/a") is None


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
        (["{root}/list"], "config.json cannot be read: it holds no JSON object"),
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


def test_a_page_is_written_whole_or_not_at_all(tmp_path, monkeypatch) -> None:
    page = tmp_path / "report.html"
    page.write_text("the page before")

    def full(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(ValueError, match=r"cannot write .*report.html: No space left on device"):
        report.write(page, "<!doctype html>")
    assert page.read_text() == "the page before"
    assert list(tmp_path.iterdir()) == [page]


def test_runs_are_found_below_folders_and_links(tmp_path) -> None:
    run = make_run(tmp_path / "elsewhere" / "preset", {})
    (run / "checkpoints" / "1").mkdir(parents=True)
    shutil.copy(run / "config.json", run / "checkpoints" / "1" / "config.json")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "linked").symlink_to(tmp_path / "elsewhere" / "preset")
    (tmp_path / "runs" / "circle").symlink_to(tmp_path / "runs")
    assert [path.name for path in report.find(tmp_path / "elsewhere")] == [run.name]
    found, _ = report.collect([tmp_path / "runs", run])
    assert [one.folder.name for one in found] == [run.name]


@pytest.mark.parametrize(
    ("estimate", "text"),
    [
        (report.Estimate(3.56789, 3.5123, 3.6234), "3.568 [3.512, 3.623]"),
        (report.Estimate(151.2, 143.1, 159.3), "151.2 [143.1, 159.3]"),
        (report.Estimate(25131.2, 23000.0, 27000.0), "25,131 [23,000, 27,000]"),
        (report.Estimate(0.00042), "0.00042"),
        (report.Estimate(123456.7), "123,457"),
        (report.Estimate(1.0, 1.0, 1.0), "1"),
    ],
)
def test_intervals_decide_the_digits(estimate, text) -> None:
    assert str(estimate) == text


def test_the_first_steps_do_not_squeeze_the_rest() -> None:
    from matplotlib.figure import Figure

    x = np.arange(100.0)
    axes = Figure().add_subplot()
    curve = report.Curve(x, np.where(x < 3, 50.0, 3 + 0.1 * np.sin(x)))
    report_page._scale(axes, [report.Line(label="a", colour=0, curve=curve)], [], log=False)
    low, high = axes.get_ylim()
    assert 2.8 < low < 2.9
    assert 3.1 < high < 3.3
    assert axes.texts[0].get_text() == "first steps, up to 50, cut off"
    few = Figure().add_subplot()
    short = report.Curve(x[:3], np.array([50.0, 3.0, 3.1]))
    report_page._scale(few, [report.Line(label="a", colour=0, curve=short)], [], log=False)
    assert few.get_ylim()[1] > 50
    assert not few.texts


def test_times_of_steps_stand_on_the_upper_axis() -> None:
    from matplotlib.figure import Figure

    axes = Figure().add_subplot()
    axes.set_xlim(0, 1000)
    report_page._time_axis(axes, report.Curve(np.array([0.0, 500.0, 1000.0]), np.array([0.0, 600.0, 2400.0])))
    top = axes.child_axes[0]
    ticks = dict(zip([tick.get_text() for tick in top.get_xticklabels()], top.get_xticks(), strict=True))
    assert ticks["10"] == pytest.approx(500)  # 10 minutes at step 500, 30 more for the second half
    assert ticks["40"] == pytest.approx(1000)
    assert top.get_xlabel() == "training time (min)"
