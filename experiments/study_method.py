"""The section of a study's page that says how it was run: commands, budgets, tuning, source."""

from typing import Any

import numpy as np

from experiments.presets.study import ARMS, LEARNING_RATE_FACTORS, SIZES, TASKS
from experiments.study_results import TaskScores


def text(document: dict[str, Any], tasks: list[TaskScores], folder: str) -> str:
    """The section in Markdown. folder: of the numbers, beside the page."""
    lines = [*(f"    {command}" for command in commands(document)), ""]
    for task in tasks:
        lines.append("- " + _budget(document["tasks"][task.task], task))
    lines.append("- " + _tuning(document["tuning"], list(document["tasks"])))
    lines.append(
        "- Parameters: `hidden` of `independent` and `meanpool` is chosen so that each has as many as `acam` within "
        "1%; all arms have the predictor's heads, which without `+aux` shape nothing."
    )
    cells = [cell for data in document["tasks"].values() for cell in data["cells"]]
    again = sum(cell["starts"] > 1 for cell in cells)
    shas = sorted({cell["git_sha"][:12] for cell in cells})
    hours = sum(cell["train_s"] for cell in cells) / 3600
    lines.append(
        f"- {len(cells)} cells, {hours:.1f} hours of training in all; {again} "
        f"were interrupted and went on from a checkpoint. Source: {', '.join(shas)}."
    )
    lines.append(
        f"- Every number: [{folder}/results.json]({folder}/results.json); for marl-eval, a task at a time: "
        f"[{folder}/marl-eval.json]({folder}/marl-eval.json). This page again: the command with `--report-only`."
    )
    return "\n".join(lines) + "\n"


def commands(document: dict[str, Any]) -> list[str]:
    """What to type for all that the document holds: the searches, and then the study."""
    tasks, arms = tuple(document["tasks"]), tuple(document["arms"])
    searched: dict[tuple[str, ...], list[str]] = {}
    for task in tasks:
        rows = (document["tuning"] or {"tasks": {}})["tasks"].get(task, {})
        if found := tuple(arm for arm in arms if arm in rows):
            searched.setdefault(found, []).append(task)
    searches = [_command(document, tuple(some), of) + " --tune" for of, some in searched.items()]
    return [*searches, _command(document, tasks, arms)]


def _command(document: dict[str, Any], tasks: tuple[str, ...], arms: tuple[str, ...]) -> str:
    """With the flags that are not the size's own."""
    size = SIZES[document["size"]]
    seeds = {task: tuple(document["tasks"][task]["budget"]["seeds"]) for task in tasks}
    flags = f"tandem study agent-centric --size {document['size']}"
    if tasks != tuple(size):
        flags += f" --tasks {' '.join(tasks)}"
    if arms != ARMS:
        flags += f" --arms {' '.join(arms)}"
    if any(task not in size or seeds[task] != size[task].seeds for task in tasks):  # then they are the same for all
        flags += f" --seeds {' '.join(map(str, seeds[tasks[0]]))}"
    return flags


def _budget(data: dict[str, Any], task: TaskScores) -> str:
    budget = data["budget"]
    seeds, players = ", ".join(map(str, budget["seeds"])), " and ".join(data["recorders"])
    every = budget["env_steps"] // budget["evaluations"]
    return (
        f"{task.title}: {budget['env_steps']:,} environment steps for every arm; seeds {seeds}; "
        f"{budget['interval_episodes']} held-out episodes every {every:,} steps, {budget['episodes']} at the end (the "
        f"same episodes for every arm and seed). The arms with `+pretrain` start from {budget['pretrain_steps']:,} "
        f"gradient steps on {budget['record_episodes']} recorded episodes of {players}, without actions or rewards, a "
        "recording and a pre-training of their own for each seed; these episodes are not counted in the environment "
        f"steps. {_rewards(data)}{TASKS[task.task].note}".rstrip()
    )


def _rewards(data: dict[str, Any]) -> str:
    """The options of the environment that shape what training is paid; nothing where all are off."""
    options = ", ".join(f"`{name}` {value}" for name, value in data.get("rewards", {}).items())
    return f"Rewards of training: {options}; the scores here are counted without them. " if options else ""


def _tuning(tuning: dict[str, Any] | None, tasks: list[str]) -> str:
    before = "".join(f" {task}: the preset's settings were found {TASKS[task].settings}." for task in tasks)
    if not tuning:
        return (
            "Tuning in the study: none for any arm; all have the learning rate and every other setting of the task's "
            f"preset.{before}"
        )
    factors = ", ".join(f"{factor:g}" for factor in LEARNING_RATE_FACTORS)
    said = (
        f"Tuning in the study, the same for every arm: learning rate times {factors}, each with seeds that are none of "
        "the study's and held-out episodes of their own; the best mean of the final evaluation taken. The auxiliary "
        "loss's weight is the preset's."
    )
    for task in tasks:
        if task not in tuning["tasks"]:
            said += f" {task}: no search; every arm has the preset's rate."
            continue
        chosen = "; ".join(
            f"{arm} {row['factor']:g} ({', '.join(f'{np.mean(means):.3g}' for means in row['scores'].values())})"
            for arm, row in tuning["tasks"][task].items()
        )
        seeds = tuning["seeds"][task]
        which = f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"
        said += f" {task}, {tuning['env_steps'][task]:,} steps, {which}, chosen (mean scores): {chosen}."
    return said + before
