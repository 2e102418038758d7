"""Does one piece of work of a study (a `Node` of experiments/study_plan.py), and tells whether it is done.

Each piece ends with one file that is written whole: no file, not done. A piece that was killed goes on from what it has
(a cell and a pre-training from their newest checkpoint). A file that was made for another configuration does not count.
"""

import contextlib
import hashlib
import json
import os
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import envs
from agents.reading import check_fields, json_of
from experiments import files, halves, presets, runs
from experiments.presets.study import TASKS
from experiments.study_plan import PRETRAIN, Node, digest, parameters
from experiments.train import RunFailed, train_run
from marl import TrainConfig

FORMAT = "tandem-study-1"
BEGUN = "begun.json"
"""Beside what a cell, recording or pre-training has so far: what it is made for."""
State = Literal["done", "part", "absent", "stale"]
"""Of a node: done; begun; not begun; there, but made for another configuration."""
_FILES = {"random": "random.json", "record": "recorded.json", "pretrain": "result.json", "cell": "result.json",
          "unseen": "unseen.json"}  # fmt: skip


_FIELDS: dict[str, dict[str, Any]] = {
    "random": {"episodes": dict},
    "record": {},
    "pretrain": {},
    "unseen": {"unseen": dict},
    "cell": {
        "config": dict, "pretraining": str, "parameters": int, "env_steps": int, "train_s": float, "starts": int,
        "git_sha": str, "curve": list, "final": dict,
    },
}  # fmt: skip
"""Kind of node -> what the rest of the study needs of its result."""


def result_path(node: Node) -> Path:
    """The file that is written last."""
    return node.folder / _FILES[node.kind]


def fingerprint(node: Node) -> str:
    """A name for what decides the result of a node."""
    if node.kind == "cell":
        return _of_cell(node.config, _of_pretraining(node))
    if node.kind == "random":
        return _short([envs.to_json(node.config.env), node.episodes])
    if node.kind == "unseen":
        about = [digest(node.config), node.episodes, sorted(TASKS[node.task].unseen_env.items()), node.opponents]
        return _short([*about, *(_outcome(node.folder.parents[2] / key) for key in _players(node))])
    return _of_pretraining(node, recording=node.kind == "record")


def _players(node: Node) -> list[str]:
    """Keys of the cells whose policies meet in a node."""
    return [node.key.removesuffix("/unseen"), *(key for _, key in node.opponents)]


def _outcome(cell: Path) -> str:
    """A name for the result of a cell, which changes if it is trained anew; empty before it is done."""
    path = cell / _FILES["cell"]
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16] if path.is_file() else ""


def _of_cell(config: TrainConfig, pretraining: str) -> str:
    return _short([digest(config), pretraining if config.pretrained else ""])


def _of_pretraining(node: Node, recording: bool = False) -> str:
    config, budget = node.config, node.budget
    parts: list[Any] = [envs.to_json(config.env), node.seed, budget.record_episodes, TASKS[node.task].recorders]
    if not recording:
        parts += [asdict(config.network), asdict(config.prediction)["kinds"], budget.pretrain_steps]
    return _short(parts)


def _short(parts: list[Any]) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def read_result(node: Node) -> dict[str, Any]:
    """What the last file of a node says. Raises ValueError in one sentence for a damaged one."""
    metric = presets.get(f"{node.task}-acam").metric
    with json_of(result_path(node), "a result of the study") as record:
        check_fields(record, {"fingerprint": str, **_FIELDS[node.kind]})
        if node.kind == "random":
            _check_values(record["episodes"], metric)
        for name, values in record["unseen"].items() if node.kind == "unseen" else ():
            _check_values(values, metric, name)
        if node.kind == "cell":
            _check_values(record["final"], metric)
            for point in record["curve"]:
                check_fields(point, {"step": int, "episodes": dict}, "a point of the curve")
                _check_values(point["episodes"], metric)
    return record


def _check_values(episodes: dict[str, Any], metric: str, what: str = "an evaluation") -> None:
    """Raises ValueError unless episodes have their numbers."""
    check_fields(episodes, {metric: list[float]}, what)
    if not episodes[metric]:
        raise ValueError(f"{what} has no episode")


def state(node: Node) -> State:
    """How far a node is. What a cell was made for is read with the present code, so a setting that is new in the code,
    and does by default what was done before, changes nothing."""
    try:
        if os.path.lexists(result_path(node)):
            return "done" if _is_for(node, read_result(node)) else "stale"
        if node.kind in ("random", "unseen") or not node.folder.exists():
            return "absent"
        return "part" if _is_begun_for(node) else "stale"
    except (OSError, ValueError):
        return "stale"


def _is_for(node: Node, record: dict[str, Any]) -> bool:
    if node.kind != "cell":
        return record["fingerprint"] == fingerprint(node)
    return _of_cell(runs.config_from_json(record["config"]), record["pretraining"]) == fingerprint(node)


def _is_begun_for(node: Node) -> bool:
    name = "pretraining" if node.kind == "cell" else "fingerprint"
    begun = {name: ""}
    if node.kind != "cell" or (node.folder / BEGUN).exists():  # a cell's folder is there a moment before the file in it
        with json_of(node.folder / BEGUN, "what a piece of the study is for") as begun:
            check_fields(begun, {name: str})
    if node.kind != "cell":
        return begun["fingerprint"] == fingerprint(node)
    return _of_cell(runs.read(node.folder)[1], begun["pretraining"]) == fingerprint(node)


def set_aside(node: Node) -> Path | None:
    """Moves what was made for another configuration out of the way, to a hidden name beside it. Returns where."""
    if node.kind in ("random", "unseen"):
        return None  # a single file, which is replaced
    number = 1
    while (target := node.folder.with_name(f".{node.folder.name}-other-{number}")).exists():
        number += 1
    return node.folder.rename(target)


def work(node: Node) -> str:
    """Does a node, in a process of its own. Returns "" or why it failed; all output goes into log.txt."""
    logs = node.folder.parent / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    do = {"random": _random, "record": _record, "pretrain": _pretrain, "cell": _cell, "unseen": _unseen}[node.kind]
    name = node.key.replace("/", "-")
    with (logs / f"{name}.txt").open("a") as log, contextlib.redirect_stdout(log):
        try:
            do(node)
        except Exception as error:
            traceback.print_exc(file=log)
            # A failed training is explained to people who would go on with that run; here its cause is enough.
            cause = error.__context__ if isinstance(error, RunFailed) and error.__context__ else error
            lines = [line for line in str(cause).splitlines() if line.strip()]
            return f"{type(cause).__name__}: {(lines or [''])[-1][:300]} (see {log.name})"
    return ""


def _write(node: Node, record: dict[str, Any]) -> None:
    about = {"format": FORMAT, "kind": node.kind, "task": node.task, "arm": node.arm, "seed": node.seed}
    path = result_path(node)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({**about, "fingerprint": fingerprint(node), **record}, allow_nan=False)
    files.write_text(path, text + "\n")


def _begin(node: Node) -> None:
    node.folder.mkdir(parents=True, exist_ok=True)
    begun = {"fingerprint": fingerprint(node), "pretraining": _of_pretraining(node)}
    files.write_text(node.folder / BEGUN, json.dumps(begun) + "\n")


def _values(episodes: list[Any]) -> dict[str, list[float]]:
    """Episodes as {name: [value of each]}."""
    return {name: [episode.values()[name] for episode in episodes] for name in episodes[0].values()}


def _random(node: Node) -> None:
    from marl.evaluation import evaluate

    _write(node, {"episodes": _values(evaluate("random", node.config.env, episodes=node.episodes))})


def _cell(node: Node) -> None:
    from marl import checkpoint, curve
    from marl.evaluation import read_jsonl

    config, run = node.config, node.folder
    preset = f"{node.task}-{node.arm.replace(PRETRAIN, '')}"
    if not run.exists():
        runs.create_at(run, preset, config, ["tandem", "study", "agent-centric"])
        _begin(node)
    half = halves.of(config)
    done = half.position(config, run)
    if done is None or not half.finished(config, run, done):
        with (run / "starts.txt").open("a") as starts:
            starts.write(f"{runs.git_sha()} {done or 0}\n")
        train_run(preset, config, run.parent, resume=run, clip_steps=0)
    newest = checkpoint.newest(run)
    assert newest is not None
    progress = checkpoint.progress_of(newest)
    _write(
        node,
        {
            "config": runs.config_to_json(config),
            "pretraining": _of_pretraining(node) if config.pretrained else "",
            "metric": presets.get(preset).metric,
            "parameters": parameters(config),
            "env_steps": progress["env_steps"],
            "train_s": progress["train_s"],
            "starts": len((run / "starts.txt").read_text().splitlines()),
            "git_sha": runs.git_sha(),
            "versions": runs.versions(),
            # A run that was killed before its first checkpoint is evaluated at the same step again; the later counts.
            "curve": list({point["step"]: point for point in curve.read(run)}.values()),
            "final": _values(read_jsonl(run / "evaluation.jsonl")),
        },
    )


def _unseen(node: Node) -> None:
    import agents
    from marl.evaluation import evaluate

    config, root = node.config, node.folder.parents[2]
    policy = agents.load(node.folder)
    options: dict[str, Any] = {"episodes": node.episodes, "deterministic": config.evaluation.deterministic}
    found = {}
    for name, env in TASKS[node.task].unseen(config.env).items():
        found[name] = _values(evaluate(policy, env, **options))
    for name, key in node.opponents:
        found[f"self-play, {name}"] = _values(evaluate(policy, config.env, opponent=root / key, **options))
    _write(node, {"unseen": found})


def _record(node: Node) -> None:
    from marl import recording

    _begin(node)
    recorders, episodes = TASKS[node.task].recorders, node.budget.record_episodes
    recording.record(recorders, node.config.env, node.folder / "data", episodes=episodes, seed=node.seed)
    _write(node, {"players": recorders, "recorded_episodes": episodes})


def _pretrain(node: Node) -> None:
    from marl import pretrain, recording
    from marl.pretrain_config import PretrainConfig

    _begin(node)
    data = node.folder.parents[1] / "recordings" / node.folder.name / "data"
    try:
        recording.open_recording(data)
    except ValueError as error:  # it counts as done, so the study alone would never record it again
        raise ValueError(f"remove {data.parent} to record anew: {error}") from None
    settings = PretrainConfig(
        data=str(data.absolute()),
        env=node.config.env,
        network=node.config.network,
        kinds=node.config.prediction.kinds,
        steps=node.budget.pretrain_steps,
        seed=node.seed,
        device="cpu",
    )
    pretrain.pretrain(settings, node.folder / "run", resume=True)
    _write(node, {"steps": node.budget.pretrain_steps})
