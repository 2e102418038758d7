"""The results of a study, or of runs, in the JSON layout of marl-eval (Gorsane et al. 2022, arXiv 2209.10485), for its
plots and for other tools that read it.

    {environment: {task: {algorithm: {run: {"step_0": {"step_count": int, metric: [value of each episode]}, ...,
                                            "absolute_metrics": {metric: [...]}}}}}}

marl-eval refuses runs with different numbers of evaluations or episodes, algorithms with different numbers of runs,
tasks of one environment that differ in any of these or in their metrics, and commas in names. So every task is an
environment of its own, an algorithm has the seeds that all algorithms of its task have, and every step as many episodes
as the shortest evaluation; the final evaluation is the last step, and the absolute metrics have all of its episodes.
(marl-eval means by these the best policy's; ours are the last policy's.) Its `data_process_pipeline` counts runs and
looks for metrics over everything that it is given: where tasks differ, give it one environment at a time,
`{name: data[name]}`.
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
        algorithms: dict[str, Any] = {}
        for cell in sorted(data["cells"], key=lambda cell: (cell["arm"], cell["seed"])):
            points = [(step, {data["metric"]: values}) for step, values in cell["curve"]]
            algorithms.setdefault(cell["arm"], {})[f"seed_{cell['seed']}"] = _steps(points)
        if shared := _shared(algorithms):
            found[name] = {name.partition("-")[2]: shared}
    check(found)
    return found


def _shared(algorithms: dict[str, Any]) -> dict[str, Any]:
    """The runs of seeds that all algorithms have; nothing if there is no such seed."""
    seeds = [name for name in next(iter(algorithms.values()), {}) if all(name in runs for runs in algorithms.values())]
    return {algorithm: {seed: runs[seed] for seed in seeds} for algorithm, runs in algorithms.items()} if seeds else {}


def of_runs(runs: list[Run]) -> dict[str, Any]:
    """The layout of teams' runs, whatever study they belong to: the task is the level, the algorithm the group's label.

    Raises: ValueError if none has evaluations on the way and at the end, if the groups of a level have no seed in
    common, or for what marl-eval's loader would refuse.
    """
    levels: dict[tuple[str, str], dict[str, Any]] = {}
    for group in groups(run for run in runs if not run.generative):
        env = group.runs[0].config["env"]
        for run in group.seeds:
            if (steps := _evaluations(run)) is not None:
                algorithms = levels.setdefault((env["suite"], env["level"]), {})
                algorithms.setdefault(group.label.replace(",", ""), {})[f"seed_{run.seed}"] = steps
    found: dict[str, Any] = {}
    for (suite, level), algorithms in levels.items():
        if not (shared := _shared(algorithms)):
            raise ValueError(
                f"marl-eval compares runs of the same seeds, and {', '.join(algorithms)} on {level} have none in common"
            )
        found[f"{suite}-{level}"] = {level: shared}
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
    end = max(run.steps, points[-1]["step"])
    return _steps([(point["step"], point["episodes"]) for point in points if point["step"] < end] + [(end, last)])


def _steps(points: list[tuple[int, dict[str, list[float]]]]) -> dict[str, Any]:
    """A run from its evaluations (environment steps, {metric: value of each episode}), of which the last is the final
    one. Metrics that the final one has not are left out."""
    last = points[-1][1]
    shortest = min(_count(episodes) for _, episodes in points)
    steps: dict[str, Any] = {
        f"step_{number}": {
            "step_count": step,
            **{name: values[:shortest] for name, values in episodes.items() if name in last},
        }
        for number, (step, episodes) in enumerate(points)
    }
    return steps | {"absolute_metrics": last}


def _count(episodes: dict[str, list[float]]) -> int:
    return len(next(iter(episodes.values())))


def check(data: dict[str, Any]) -> None:
    """Raises ValueError where a name has a comma, or runs of one environment differ in evaluations, metrics or
    episodes, or its algorithms in their number of runs."""
    for env, tasks in data.items():
        shapes, counts = {}, {}
        for task, algorithms in tasks.items():
            for algorithm, runs in algorithms.items():
                _check_names(env, task, algorithm, *runs)
                counts[f"{env}/{task}/{algorithm}"] = len(runs)
                shapes |= {f"{env}/{task}/{algorithm}/{run}": _shape(steps) for run, steps in runs.items()}
        if odd := _odd(counts):
            raise ValueError(f"marl-eval takes as many runs of each algorithm: {odd} has {counts[odd]}, the first not")
        if odd := _odd(shapes):
            raise ValueError(f"marl-eval takes no ragged data: {odd} differs from the first run")


def _check_names(*names: str) -> None:
    for name in names:
        if "," in name:
            raise ValueError(f"marl-eval takes no comma in a name, got {name!r}")


def _odd(found: dict[str, Any]) -> str | None:
    """The first name whose value is not that of the very first."""
    return next((name for name, value in found.items() if value != next(iter(found.values()))), None)


def _shape(steps: dict[str, Any]) -> list[tuple[str, Any]]:
    """What has to be the same in all runs of an environment."""
    shape = []
    for name, entry in steps.items():
        lengths = {metric: len(values) for metric, values in entry.items() if metric != "step_count"}
        shape.append((name, (entry.get("step_count"), lengths)))
    return shape
