"""`tandem reproduce`: plans that parse, jobs in an order that their needs allow, and on again after a stop."""

import json
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from experiments import reproduce, train
from experiments.evaluate_chain import ChainEvalCommand
from experiments.evaluate_restoration import RestorationEvalCommand
from experiments.flags import parse
from experiments.reproduce import Queue
from experiments.reproduce_plans import BUDGETS, PLANS, Job
from experiments.sample import SampleCommand
from experiments.sweep_aug_level import AugLevelCommand

JOBS = [
    Job(name="teacher", command="train a --plain"),
    Job(name="student", command="distill {teacher} --plain"),
    Job(name="other", command="train b --plain --data.path {data}"),
    Job(name="page", command="eval {student} {other} --output {output}/page"),
]
PLACES = {"output": "out", "data": "pictures"}


class Fake:
    """Stands for processes: says what a training says, ends after `polls` polls with the status that is set for it."""

    def __init__(self, fails: tuple[str, ...] = (), polls: int = 1, forever: tuple[str, ...] = ()) -> None:
        self.fails, self.polls, self.forever = fails, polls, forever
        self.begun: list[list[str]] = []
        self.now = self.most = 0

    def __call__(self, command: list[str], *, stdout: Any, **_: Any) -> Any:
        words = command[3:]
        self.begun.append(words)
        self.now += 1
        self.most = max(self.most, self.now)
        if words[0] in ("train", "distill") and "--resume" not in words:
            stdout.write(f"run folder: runs/{words[1].replace('/', '-')}\nsome more\n".encode())
        if words[1] in self.fails:
            stdout.write(b"tandem: no room left\n")
        return _Process(self, 2 if words[1] in self.fails else 0, words[1] in self.forever)


class _Process:
    def __init__(self, fake: Fake, status: int, forever: bool) -> None:
        self.fake, self.status, self.left, self.forever = fake, status, fake.polls, forever
        self.returncode: int | None = None

    def poll(self) -> int | None:
        self.left -= 1
        if self.left <= 0 and not self.forever and self.returncode is None:
            self.returncode = self.status
            self.fake.now -= 1
        return self.returncode

    def terminate(self) -> None:
        self.returncode = 130

    def wait(self) -> int:
        assert self.returncode is not None, "it was not asked to end"
        return self.returncode


def bench(folder: Path, fake: Fake, jobs: list[Job] = JOBS) -> Queue:
    return Queue(jobs, folder, PLACES, "runs", start=fake)


def test_each_job_begins_when_what_it_needs_is_finished(tmp_path: Path) -> None:
    fake = Fake(polls=2)
    assert bench(tmp_path, fake).work(beside=2) == 0
    assert fake.most == 2
    assert fake.begun == [
        ["train", "a", "--plain", "--runs-dir", "runs"],
        ["train", "b", "--plain", "--data.path", "pictures", "--runs-dir", "runs"],
        ["distill", "runs/a", "--plain", "--runs-dir", "runs"],
        ["eval", "runs/runs-a", "runs/b", "--output", "out/page"],
    ]


def test_what_failed_is_named_and_tried_again_by_the_next_call(tmp_path: Path, capsys) -> None:
    assert bench(tmp_path, Fake(fails=("a",))).work(beside=1) == 1
    said = capsys.readouterr().out
    assert "teacher failed: tandem: no room left" in said
    assert "not begun, since they need what failed: student, page" in said
    assert json.loads((tmp_path / "jobs.json").read_text())["other"]["done"]
    fake = Fake()
    assert bench(tmp_path, fake).work(beside=1) == 0
    assert [words[0] for words in fake.begun] == ["train", "distill", "eval"]


def test_a_stopped_training_goes_on_in_its_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("runs/a").mkdir(parents=True)
    timer = threading.Timer(0.5, lambda: signal.raise_signal(signal.SIGTERM))
    timer.start()
    assert bench(tmp_path, Fake(forever=("a",))).work(beside=1) == 130
    fake = Fake()
    assert bench(tmp_path, fake).work(beside=1) == 0
    assert fake.begun[0] == ["train", "--resume", "runs/a", "--plain"]
    assert fake.begun[1][:2] == ["distill", "runs/a"]


def test_a_run_is_found_though_the_power_went_before_it_was_noted(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("runs/a").mkdir(parents=True)
    killed = bench(tmp_path, Fake(forever=("a",)))
    killed._begin(JOBS[0])
    fake = Fake()
    assert bench(tmp_path, fake).work(beside=1) == 0
    assert fake.begun[0] == ["train", "--resume", "runs/a", "--plain"]


def test_another_command_of_the_same_name_begins_anew(tmp_path: Path) -> None:
    assert bench(tmp_path, Fake(), JOBS[:1]).work(beside=1) == 0
    fake = Fake()
    assert bench(tmp_path, fake, [Job(name="teacher", command="train a --plain --steps 9")]).work(beside=1) == 0
    assert fake.begun == [["train", "a", "--plain", "--steps", "9", "--runs-dir", "runs"]]


def test_another_folder_of_pictures_or_of_pages_begins_anew(tmp_path: Path) -> None:
    assert bench(tmp_path, Fake()).work(beside=1) == 0
    fake, places = Fake(), {"output": "out", "data": "more pictures"}
    assert Queue(JOBS, tmp_path, places, "runs", start=fake).work(beside=1) == 0
    assert [words[0] for words in fake.begun] == ["train", "eval"]  # the page is of the new run
    fake = Fake()
    assert Queue(JOBS, tmp_path, places | {"output": "elsewhere"}, "runs", start=fake).work(beside=1) == 0
    assert fake.begun == [["eval", "runs/runs-a", "runs/b", "--output", "elsewhere/page"]]


@pytest.mark.parametrize(
    "damaged",
    ["[]", '{"teacher"', '{"teacher": {"command": "train a --plain", "run": 3}}', '{"teacher": {"commands": ""}}'],
)
def test_a_damaged_file_is_named(damaged: str, tmp_path: Path) -> None:
    (tmp_path / "jobs.json").write_text(damaged)
    with pytest.raises(ValueError, match=r"jobs\.json cannot be read as what is finished"):
        bench(tmp_path, Fake())


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("page", PLANS)
def test_every_command_of_a_plan_is_one_that_the_commands_take(page: str, budget: str) -> None:
    jobs = list(PLANS[page](BUDGETS[budget]))
    names = [job.name for job in jobs]
    assert len(set(names)) == len(names)
    for number, job in enumerate(jobs):
        assert set(job.needs) <= set(names[:number])
        verb, *words = job.command.replace("{classes}", "7").split()
        words = [word.translate(str.maketrans("{}", "__")) for word in words]
        if verb == "train":
            train.parse_train(words)
        elif verb == "eval":
            parse(ChainEvalCommand if page.startswith("few") else RestorationEvalCommand, words, prog="", example="")
        elif verb == "sweep":
            parse(AugLevelCommand, words[1:], prog="", example="")
        elif verb == "sample":
            parse(SampleCommand, words, prog="", example="")
        else:
            assert verb == "distill"


def test_the_classes_of_a_folder_are_counted(tmp_path: Path) -> None:
    for name in ("train/cat", "train/dog", "train/owl", "test/cat", "other"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "a.png").touch()
    assert reproduce._classes(tmp_path) == "3"


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        ([], "no page was named; allowed: few-steps-mnist"),
        (["nope"], "page 'nope' does not exist; allowed: few-steps-mnist"),
        (["palette", "--beside", "0"], "--beside must be from 1 to 256, got 0"),
        (["cascade-folder"], "pages of folders need --data"),
        (["palette", "--output", "/proc/x"], "cannot write /proc/x"),
        (["cascade-folder", "--data", "nowhere"], "--data must name a folder, nowhere is missing"),
    ],
)
def test_bad_flags_are_one_sentence_and_nothing_is_written(args, sentence, tandem, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    status, _, err = tandem("reproduce", *args)
    assert (status, err.count("\n")) == (2, 1)
    assert sentence in err
    assert not list(tmp_path.iterdir())


def test_a_dry_run_prints_the_commands(tandem, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    status, out, _ = tandem("reproduce", "sr3-photos64", "--dry-run")
    assert status == 0
    assert "sr3-photos64: tandem train sr3-photos64 --plain --steps 6000" in out
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_real_commands_leave_a_model_and_its_pictures(tmp_path: Path, monkeypatch, tandem) -> None:
    jobs = [
        Job(name="model", command="train tiny-pd-digits --plain"),
        Job(name="pictures", command="sample {model} -n 4 --steps 4 -o {output}/grid.png"),
    ]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(reproduce.PLANS, "palette", lambda budget: iter(jobs))
    monkeypatch.setenv("PYTHONPATH", str(Path(reproduce.__file__).parents[1]))
    assert tandem("reproduce", "palette")[0] == 0
    assert (tmp_path / "results" / "grid.png").stat().st_size > 0
    assert json.loads((tmp_path / "runs/reproduce/jobs.json").read_text())["model"]["run"].startswith("runs/tiny")
