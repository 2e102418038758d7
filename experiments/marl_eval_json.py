"""The results of a study, or of runs, in the JSON layout of marl-eval (Gorsane et al. 2022, arXiv 2209.10485), for its
plots and for other tools that read it.

    {environment: {task: {algorithm: {run: {"step_0": {"step_count": int, metric: [value of each episode]}, ...,
                                            "absolute_metrics": {metric: [...]}}}}}}

marl-eval refuses runs with different numbers of evaluations or episodes, and commas in names. So every step has as many
episodes as the shortest evaluation, and the absolute metrics have all of the final one. (marl-eval means by these the
best policy's; ours are the last policy's.)
"""

from typing import Any

from experiments.report_groups import groups
from experiments.report_runs import Run


def layout(document: dict[str, Any]) -> dict[str, Any]:
    """The layout of a results document (experiments/study_results.py).

    Raises: ValueError for what marl-eval's loader would refuse.
    """
    found: dict[str, Any] = {}
    for name, data in document["tasks"].items():
        suite, _, task = name.partition("-")
        algorithms: dict[str, Any] = {}
        for cell in sorted(data["cells"], key=lambda cell: (cell["arm"], cell["seed"])):
            algorithms.setdefault(cell["arm"], {})[f"seed_{cell['seed']}"] = _run(cell, data["metric"])
        if algorithms:
            found.setdefault(suite, {})[task] = algorithms
    check(found)
    return found


def of_runs(runs: list[Run]) -> dict[str, Any]:
    """The layout of teams' runs, whatever study they belong to: the task is the level, the algorithm the group's label.

    Raises: ValueError if none has evaluations on the way and at the end, or for what marl-eval's loader would refuse.
    """
    found: dict[str, Any] = {}
    for group in groups(run for run in runs if not run.generative):
        env = group.runs[0].config["env"]
        algorithms = found.setdefault(env["suite"], {}).setdefault(env["level"], {})
        for run in group.seeds:
            if (steps := _evaluations(run)) is not None:
                algorithms.setdefault(group.label.replace(",", ""), {})[f"seed_{run.seed}"] = steps
    found = {suite: {task: runs for task, runs in tasks.items() if runs} for suite, tasks in found.items()}
    found = {suite: tasks for suite, tasks in found.items() if tasks}
    if not found:
        raise ValueError(
            "marl-eval reads finished runs of teams that were evaluated on the way "
            "(--evaluation.interval-env-steps N), and there is none"
        )
    check(found)
    return found


def _evaluations(run: Run) -> dict[str, Any] | None:
    """The run's evaluations with all their numbers; None if it is not finished or was not evaluated on the way."""
    from marl import curve
    from marl.episodes import columns, read_jsonl

    final, points = run.folder / "evaluation.jsonl", curve.read(run.folder)
    if not final.exists() or not points:
        return None
    last = columns(read_jsonl(final))
    shortest = min(len(next(iter(point["episodes"].values()))) for point in points)
    steps: dict[str, Any] = {
        f"step_{number}": {
            "step_count": point["step"],
            **{name: values[:shortest] for name, values in point["episodes"].items() if name in last},
        }
        for number, point in enumerate(points)
    }
    return steps | {"absolute_metrics": last}


def _run(cell: dict[str, Any], metric: str) -> dict[str, Any]:
    shortest = min(len(values) for _, values in cell["curve"])
    steps: dict[str, Any] = {
        f"step_{number}": {"step_count": step, metric: values[:shortest]}
        for number, (step, values) in enumerate(cell["curve"])
    }
    return steps | {"absolute_metrics": {metric: cell["curve"][-1][1]}}


def check(data: dict[str, Any]) -> None:
    """Raises ValueError where a name has a comma, or runs of one task differ in evaluations, metrics or episodes."""
    for suite, tasks in data.items():
        for task, algorithms in tasks.items():
            shapes = {}
            for algorithm, runs in algorithms.items():
                for name in (suite, task, algorithm, *runs):
                    if "," in name:
                        raise ValueError(f"marl-eval takes no comma in a name, got {name!r}")
                for run, steps in runs.items():
                    shapes[f"{algorithm}/{run}"] = _shape(steps)
            odd = [name for name, shape in shapes.items() if shape != next(iter(shapes.values()))]
            if odd:
                raise ValueError(f"marl-eval takes no ragged data: {suite}/{task}/{odd[0]} differs from the first run")


def _shape(steps: dict[str, Any]) -> list[tuple[str, Any]]:
    """What has to be the same in all runs of a task."""
    shape = []
    for name, entry in steps.items():
        lengths = {metric: len(values) for metric, values in entry.items() if metric != "step_count"}
        shape.append((name, (entry.get("step_count"), lengths)))
    return shape
