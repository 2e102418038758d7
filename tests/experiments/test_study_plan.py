"""The plan of a study: equal arms, needs before what needs them, and names for what decides a result."""

import itertools
from dataclasses import replace
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

import agents
from envs.fakes import make_spec
from experiments import presets, study_plan
from experiments.presets.study import ARMS, LEARNING_RATE_FACTORS, SIZES, TUNING_SEEDS, Budget
from experiments.study_plan import Grid, Node

TINY = SIZES["tiny"]["lab2d-harvest"]


@pytest.fixture(autouse=True)
def _without_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts parameters for an invented environment."""
    spec = make_spec(gym.spaces.Box(-1, 1, (4, 90), np.float32), players=4, others=("opponent", "ball"), actions=7)
    monkeypatch.setattr(study_plan, "spec_of", lambda env: agents.ObservationSpec.from_team(spec))
    study_plan.matched.cache_clear()


@pytest.fixture
def grid(tmp_path: Path) -> Grid:
    return Grid(folder=tmp_path, budgets={"lab2d-harvest": TINY}, rates={})


def cells(nodes: list[Node]) -> list[Node]:
    return [node for node in nodes if node.kind == "cell"]


@pytest.mark.parametrize("task", ["lab2d-harvest", "football-3v1"])
def test_arms_have_the_same_parameters_budget_and_evaluations(task, tmp_path) -> None:
    budget = Budget(env_steps=10_000, seeds=(0, 1))
    found = cells(study_plan.nodes(Grid(folder=tmp_path, budgets={task: budget}, rates={})))
    assert [(node.arm, node.seed) for node in found] == [(arm, seed) for seed in (0, 1) for arm in ARMS]
    counts = [study_plan.parameters(node.config) for node in found]
    acam = study_plan.parameters(presets.get(f"{task}-acam").make())
    assert max(abs(count - acam) for count in counts) <= 0.01 * acam
    assert (
        len({(node.config.env_steps, node.config.evaluation, node.config.ppo, node.config.env) for node in found}) == 1
    )


def test_the_closest_width_is_taken() -> None:
    plain = study_plan._sized("football-3v1-independent", TINY)
    target = study_plan.parameters(study_plan._sized("football-3v1-acam", TINY))
    distance = {
        hidden: abs(study_plan.parameters(replace(plain, network=replace(plain.network, hidden=hidden))) - target)
        for hidden in range(240, 340)
    }
    assert study_plan.matched(plain, target).network.hidden == min(distance, key=lambda hidden: distance[hidden])


def test_what_cannot_be_matched_is_said() -> None:
    plain = study_plan._sized("lab2d-harvest-independent", TINY)
    with pytest.raises(ValueError, match="cannot have as many parameters as acam"):
        study_plan.matched(plain, 1000)


def test_everything_comes_after_what_it_needs(grid) -> None:
    seen: set[str] = set()
    for node in study_plan.nodes(grid):
        assert set(node.needs) <= seen
        seen.add(node.key)
    assert len(seen) == 1 + 2 * 2 + 2 * len(ARMS)  # random, recording and pre-training per seed, cells


def test_arms_with_pretraining_start_from_that_of_their_seed(grid) -> None:
    by_key = {node.key: node for node in study_plan.nodes(grid)}
    for arm in ("acam+pretrain", "acam+aux+pretrain"):
        node = by_key[f"lab2d-harvest/{arm}/1"]
        assert node.needs == ("lab2d-harvest/pretrained/1",)
        assert node.config.pretrained == str(grid.folder / "lab2d-harvest" / "pretrained" / "1" / "run")
        assert node.config.prediction.coeff == (0.1 if "aux" in arm else 0)
        assert by_key[node.needs[0]].config.network == node.config.network
        assert by_key[node.needs[0]].needs == ("lab2d-harvest/recordings/1",)
    assert by_key["lab2d-harvest/acam/1"].config.pretrained is None


def test_no_pretraining_without_an_arm_that_needs_it(grid) -> None:
    kinds = {node.kind for node in study_plan.nodes(replace(grid, arms=("acam", "acam+aux")))}
    assert kinds == {"random", "cell"}


@pytest.mark.parametrize("seeds", [TUNING_SEEDS[:1], TUNING_SEEDS])
def test_the_search_is_the_same_for_every_arm(grid, seeds) -> None:
    budgets = {task: replace(budget, num_tuning_seeds=len(seeds)) for task, budget in grid.budgets.items()}
    found = cells(study_plan.tuning_nodes(replace(grid, budgets=budgets)))
    tried = sorted((node.seed, node.arm, float(node.folder.parent.name)) for node in found)
    assert tried == sorted(itertools.product(seeds, ARMS, LEARNING_RATE_FACTORS))
    assert {node.config.env_steps for node in found} == {TINY.tuning_env_steps}
    assert len({node.folder for node in found}) == len(found)
    default = presets.get("lab2d-harvest-acam").make().ppo.learning_rate
    for node in found:
        assert node.config.ppo.learning_rate == pytest.approx(default * float(node.folder.parent.name))
        assert node.config.evaluation.seed == node.seed
        assert node.needs == ((f"tuning/lab2d-harvest/pretrained/{node.seed}",) if "+pretrain" in node.arm else ())


def test_what_the_search_chose_is_used(grid) -> None:
    chosen = replace(grid, rates={"lab2d-harvest": {"acam": 3.0}})
    rates = {node.arm: node.config.ppo.learning_rate for node in cells(study_plan.nodes(chosen))}
    assert rates["acam"] == pytest.approx(3 * rates["meanpool"])


def test_generalisation_is_against_opponents_of_the_other_task(tmp_path) -> None:
    budget = Budget(env_steps=10_000, seeds=(0,))
    both = {"football-5v5": budget, "football-5v5-selfplay": budget, "football-3v1": budget}
    arms = ("independent", "acam")
    nodes = study_plan.nodes(Grid(folder=tmp_path, budgets=both, arms=arms, rates={}))
    unseen = {node.key: node for node in nodes if node.kind == "unseen"}
    assert set(unseen) == {f"{task}/{arm}/0/unseen" for task in ("football-5v5", "football-3v1") for arm in arms}
    node = unseen["football-5v5/acam/0/unseen"]
    assert node.opponents == tuple((arm, f"football-5v5-selfplay/{arm}/0") for arm in arms)
    assert node.needs == ("football-5v5/acam/0", *(key for _, key in node.opponents))


def test_a_digest_names_what_decides_a_result(grid) -> None:
    config = cells(study_plan.nodes(grid))[0].config
    for same in (
        replace(config, checkpoint_interval_s=1.0, keep_checkpoints=9, device="auto"),
        replace(config, impala=replace(config.impala, learning_rate=1e-5)),
    ):
        assert study_plan.digest(same) == study_plan.digest(config)
    for other in (
        replace(config, env_steps=config.env_steps + 1),
        replace(config, seed=config.seed + 1),
        replace(config, pretrained="somewhere"),
        replace(config, ppo=replace(config.ppo, learning_rate=1e-5)),
        replace(config, runners=replace(config.runners, num_envs=7)),
    ):
        assert study_plan.digest(other) != study_plan.digest(config)
    paths = {study_plan.digest(replace(config, pretrained=path)) for path in ("/here", "/there")}
    assert len(paths) == 1


def test_sizes_are_large_enough_to_answer() -> None:
    """At least five seeds on a DMLab2D task and three on a football task, on two cores."""
    small = SIZES["2core"]
    assert max(len(budget.seeds) for task, budget in small.items() if task.startswith("lab2d")) >= 5
    assert max(len(budget.seeds) for task, budget in small.items() if task.startswith("football")) >= 3


@pytest.mark.parametrize(
    ("seeds", "what"), [((), "different numbers"), ((1, 1), "different"), ((TUNING_SEEDS[-1],), "search's own")]
)
def test_impossible_seeds_are_refused(seeds, what) -> None:
    with pytest.raises(ValueError, match=what):
        Budget(env_steps=1, seeds=seeds)
