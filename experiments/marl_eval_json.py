"""The results of a study in the JSON layout of marl-eval (Gorsane et al. 2022, arXiv 2209.10485), for its plots and for
other tools that read it.

    {environment: {task: {algorithm: {run: {"step_0": {"step_count": int, metric: [value of each episode]}, ...,
                                            "absolute_metrics": {metric: [...]}}}}}}

marl-eval refuses runs with different numbers of evaluations or episodes, and commas in names. So every step has as many
episodes as the shortest evaluation, and the absolute metrics have all of the final one. (marl-eval means by these the
best policy's; ours are the last policy's.)
"""

from typing import Any


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
