"""`tandem study agent-centric`: every arm on every task with every seed, from one command that can be killed and run
again, and the page that says what came out."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from agents.reading import json_of
from experiments import files, flags
from experiments.flags import escaped, say
from experiments.presets.study import ARMS, LEARNING_RATE_FACTORS, SIZES, Budget, check_names
from experiments.progress import Steps
from experiments.study_plan import Grid, Node, Rates
from marl.files import alone

EXAMPLE = "tandem study agent-centric --size 2core"
USAGE = "tandem study agent-centric [--size full|2core|tiny] [--tune] [--report-only] [--dry-run] [flags]"
NAMES = ("agent-centric",)
# Environment steps per second of one CPU on the machine of the results, to guess what a study takes.
SPEEDS = {"lab2d": 900.0, "football": 400.0}


@dataclass(frozen=True, kw_only=True)
class StudyCommand:
    """Flags of `tandem study agent-centric`. The same flags again go on with what is not done."""

    size: Literal["full", "2core", "tiny"] = "full"
    """What every cell may spend: "full" is for a cluster, "2core" takes two cores some hours, "tiny" only tries it."""
    tasks: tuple[str, ...] = ()
    """Tasks; all of the size if omitted."""
    arms: tuple[str, ...] = ARMS
    """Arms."""
    seeds: tuple[int, ...] = ()
    """Seeds; those of the size if omitted."""
    runs_dir: Path = Path("runs")
    """Where the study's folder goes: RUNS_DIR/study/agent-centric-SIZE. All nodes of a cluster must see it."""
    tune: bool = False
    """First search each arm's learning rate: the same factors, seeds of its own, a shortened budget. What is found
    stays in tuning.json, which later calls use with or without this flag."""
    output: Path | None = None
    """Folder of the page, figures and numbers; the study's own if omitted."""
    report_only: bool = False
    """Train nothing: write the page from what is done."""
    dry_run: bool = False
    """Print the grid, what is done of it and about how long the rest takes, and stop."""


def study_command(args: list[str]) -> int:
    """Runs a study, or goes on with it, and writes its page."""
    command, grid = parse_study(args)
    if command.dry_run:
        _show(grid)
        return 0
    if command.report_only:
        if not grid.folder.is_dir():
            raise ValueError(f"{grid.folder} does not exist: no study of this size has begun there")
        return _report(grid, command)
    _check_output(grid, command)
    with alone(grid.folder):
        if command.tune and (failed := _tune(grid)):
            return _failed(failed)
        failed = _run(replace(grid, rates=_rates(grid.folder)))
    try:
        _report(replace(grid, rates=_rates(grid.folder)), command)
    finally:  # where nothing is done yet, why counts more than that there is no page
        code = _failed(failed) if failed else 0
    return code


def parse_study(args: list[str]) -> tuple[StudyCommand, Grid]:
    """Flags, and the part of the grid that they name. Raises ValueError for whatever does not fit."""
    name, rest = flags.split_name(args)
    if name is None and not {"-h", "--help"} & set(args):
        raise flags.FlagError(f"no study was named; usage: {USAGE}")
    if name is not None:
        check_names("study", (name,), NAMES)
    command = flags.parse(
        StudyCommand, rest, prog="tandem study agent-centric", example=EXAMPLE, about=study_command.__doc__ or ""
    )
    budgets = SIZES[command.size]
    check_names("task", command.tasks, tuple(budgets))
    check_names("arm", command.arms, ARMS)
    if not command.arms:
        raise ValueError(f"--arms needs at least one arm; allowed: {', '.join(ARMS)}")
    chosen = {task: budgets[task] for task in (command.tasks or budgets)}
    if command.seeds:
        chosen = {task: replace(budget, seeds=command.seeds) for task, budget in chosen.items()}
    folder = (command.runs_dir / "study" / f"{name}-{command.size}").absolute()
    return command, Grid(folder=folder, budgets=chosen, arms=command.arms, rates=_rates(folder))


def _run(grid: Grid) -> dict[str, str]:
    from experiments import study_plan

    return _work(study_plan.nodes(grid), "study")


def _work(nodes: list[Node], what: str) -> dict[str, str]:
    """Does nodes with a bar over the environment steps of their cells. Returns those that failed."""
    from experiments import study_schedule

    total = sum(_weight(node) for node in nodes)
    by_key = {node.key: node for node in nodes}

    with Steps(what, total) as steps:

        def progress(schedule: study_schedule.Schedule) -> None:
            running = [node for node, _, _ in schedule.running.values()]
            done = sum(_weight(by_key[key]) for key in schedule.done)
            done += sum(_steps_so_far(node) for node in running if node.kind == "cell")
            now = ", ".join(node.key for node in running)
            count = f"{len(schedule.done)} of {len(nodes)} done"
            steps.update(min(done, total - 1), f"{count}{', ' * bool(now)}{now}")

        return study_schedule.run(nodes, lambda text: say(escaped(text)), progress)


def _weight(node: Node) -> int:
    return node.config.env_steps if node.kind == "cell" else 0


def _steps_so_far(node: Node) -> int:
    """Environment steps in the last line of a run's metrics."""
    try:
        with (node.folder / "metrics.jsonl").open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - 20_000))
            lines = [line for line in file.read().split(b"\n") if line.strip()]
        return min(int(json.loads(lines[-1])["step"]), node.config.env_steps)
    except (OSError, ValueError, KeyError, IndexError, TypeError):
        return 0


def _rates(folder: Path) -> Rates:
    """Task -> arm -> factor that the search chose; nothing without a search. Raises ValueError if it is damaged."""
    tasks = _search(folder).get("tasks", {})
    return {task: {arm: row["factor"] for arm, row in arms.items()} for task, arms in tasks.items()}


def _search(folder: Path) -> dict[str, Any]:
    """tuning.json; empty without a search. Raises ValueError if it is damaged."""
    path = folder / "tuning.json"
    if not path.exists():
        return {}
    with json_of(path, "the result of a search (remove it to go without one)") as found:
        rows = [row for arms in found["tasks"].values() for row in arms.values()]
        scores = [score for row in rows for scores in row["scores"].values() for score in scores]
        known = all(row["factor"] in LEARNING_RATE_FACTORS for row in rows)
        sized = all(task in found["env_steps"] and list(found["seeds"][task]) for task in found["tasks"])
        if known and sized and np.isfinite(scores).all():
            return found
        raise ValueError("a factor, seed or score is missing or none that a search gives")


def _tune(grid: Grid) -> dict[str, str]:
    """The search. Returns what failed; if nothing did, tuning.json has each arm's best factor and all scores."""
    from experiments import study_cells, study_plan

    nodes = study_plan.tuning_nodes(replace(grid, rates={}))
    failed = _work(nodes, "search")
    if failed:
        return failed
    path = grid.folder / "tuning.json"
    earlier = _search(grid.folder)
    tasks: dict[str, dict[str, Any]] = earlier.get("tasks", {})
    scores: dict[tuple[str, str], dict[float, list[float]]] = {}
    for node in nodes:
        if node.kind == "cell":
            record = json.loads(study_cells.result_path(node).read_text())
            mean = float(np.mean(record["final"][record["metric"]]))
            scores.setdefault((node.task, node.arm), {}).setdefault(float(node.folder.parent.name), []).append(mean)
    for (task, arm), found in scores.items():
        # Of equal scores the one nearest to the preset's own rate.
        best = max(found, key=lambda factor: (np.mean(found[factor]), -abs(np.log(factor))))
        by_factor = {f"{factor:g}": means for factor, means in found.items()}
        tasks.setdefault(task, {})[arm] = {"factor": best, "scores": by_factor}
    steps = earlier.get("env_steps", {}) | {task: budget.tuning_env_steps for task, budget in grid.budgets.items()}
    seeds = earlier.get("seeds", {}) | {task: budget.tuning_seeds for task, budget in grid.budgets.items()}
    document = {"factors": LEARNING_RATE_FACTORS, "env_steps": steps, "seeds": seeds, "tasks": tasks}
    files.write_text(path, json.dumps(document, indent=2) + "\n")
    return {}


def _show(grid: Grid) -> None:
    """The grid: what is done, and about how long the rest takes."""
    from experiments import study_cells, study_plan, study_schedule

    nodes = study_plan.nodes(grid)
    say(f"{grid.folder}")
    for task, budget in grid.budgets.items():
        cells = [node for node in nodes if node.task == task and node.kind == "cell"]
        states = [study_cells.state(node) for node in cells]
        most = max(study_plan.parameters(node.config) for node in cells)  # the others have 1% less at most
        size = sum(bundle["CPU"] for bundle in study_schedule.cpus(cells[0]))
        left = sum(_weight(node) for node, how in zip(cells, states, strict=True) if how != "done")
        hours = left * _with_evaluation(budget) / SPEEDS[task.partition("-")[0]] / 3600
        say(
            f"{task}: {states.count('done')} of {len(cells)} cells done, {states.count('part')} begun; "
            f"{len(budget.seeds)} seeds, {budget.env_steps:,} steps, {most:,} parameters, CPUs of a cell: {size:.0f}; "
            f"about {hours:.1f} hours of one CPU left"
        )
        if stale := states.count("stale"):
            say(f"{task}: {stale} cells are of another configuration and do not count")
    say("the hours are guessed from the speed on the machine of the committed results")
    for kind in ("random", "record", "pretrain", "unseen"):
        of_kind = [study_cells.state(node) for node in nodes if node.kind == kind]
        if of_kind:
            say(f"{kind}: {of_kind.count('done')} of {len(of_kind)} done")


def _with_evaluation(budget: Budget) -> float:
    """By how much evaluations lengthen a cell, counted as episodes of at most 1,000 steps at the speed of training."""
    steps = budget.evaluations * budget.interval_episodes + budget.episodes
    return 1 + min(1.0, 500 * steps / budget.env_steps)


def _output(grid: Grid, command: StudyCommand) -> Path:
    return command.output or grid.folder / "report"


def _check_output(grid: Grid, command: StudyCommand) -> None:
    """Raises ValueError now, rather than at the end of the work, where the page could not be written."""
    from experiments import study_page

    study_page.check(_output(grid, command))


def _report(grid: Grid, command: StudyCommand) -> int:
    from experiments import study_page, study_plan

    page = study_page.write(study_plan.nodes(grid), grid, _output(grid, command), command.size)
    say(f"the page: {page}")
    return 0


def _failed(failed: dict[str, str]) -> int:
    for key, why in failed.items():
        say(escaped(f"{key}: {why}"))
    say(f"{len(failed)} parts of the study failed; the same command goes on with them")
    return 1
