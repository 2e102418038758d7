"""Run folders as the `tandem` command leaves them, and a strict reader of a report's page."""

import base64
import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np

from experiments import report_page, report_runs
from experiments.tracking import Tracker

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
    return Page(report_page.build(*report_runs.collect(paths)))
