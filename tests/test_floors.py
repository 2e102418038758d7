"""The floors of the project: an import goes down only, and the lower floors live without Ray or a game engine."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MAY_IMPORT = {
    "envs": set(),
    "agents": set(),
    "generative": set(),
    "marl": {"agents", "envs"},
    "experiments": {"marl", "generative", "agents", "envs"},
}
"""Floor -> the other floors it may import."""
RAY_ONLY_IN = {"envs": set(), "agents": {"agents/rl_module.py"}, "generative": {"generative/ray_train.py"}}
"""Floor -> its files that may import Ray; floors not named may import it anywhere."""
NEVER = {"envs": {"torch", "tensorflow", "jax"}, "agents": {"gfootball", "gfootball_engine", "dmlab2d"},
         "generative": {"gfootball", "gfootball_engine", "dmlab2d"}}  # fmt: skip
"""Floor -> libraries that none of its files may import."""
MODULES = sorted(path for floor in MAY_IMPORT for path in (ROOT / floor).rglob("*.py"))


def imports(source: str) -> list[tuple[int, str]]:
    """(line, top-level package) of every absolute import anywhere in `source`, those inside functions included."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name.split(".")[0]) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.append((node.lineno, node.module.split(".")[0]))
    return found


def violations(name: str, source: str) -> list[str]:
    """What file `name` (relative to the repository) imports against the rules above, one sentence each."""
    floor = name.split("/")[0]
    wrong = []
    for line, package in imports(source):
        if package in {*MAY_IMPORT, "tests"} - {floor} - MAY_IMPORT[floor]:
            wrong.append(f"{name}:{line}: {floor} imports {package}, which is not on a lower floor")
        if package == "ray" and floor in RAY_ONLY_IN and name not in RAY_ONLY_IN[floor]:
            wrong.append(f"{name}:{line}: imports ray; in {floor} only {sorted(RAY_ONLY_IN[floor]) or 'nothing'} may")
        if package in NEVER.get(floor, ()):
            wrong.append(f"{name}:{line}: {floor} imports {package}")
    return wrong


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_down_only(path: Path):
    assert violations(path.relative_to(ROOT).as_posix(), path.read_text()) == []


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("envs/a.py", "import torch.nn as nn"),
        ("envs/a.py", "from agents.policy import Policy"),
        ("envs/a.py", "def f():\n    import ray"),
        ("agents/policy.py", "from ray.rllib.core import Columns"),
        ("agents/a.py", "import numpy, envs.team"),
        ("generative/train.py", "import ray.train"),
        ("generative/a.py", "from marl import returns"),
        ("marl/a.py", "from experiments import cli"),
        ("experiments/a.py", "from tests import conftest"),
    ],
)
def test_checker_sees(name: str, source: str):
    assert len(violations(name, source)) == 1


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("agents/rl_module.py", "from ray.rllib.core import Columns"),
        ("generative/ray_train.py", "import ray.train"),
        ("marl/a.py", "import ray\nfrom agents import Policy\nfrom envs.team import Obs"),
        ("envs/a.py", "from . import team\nfrom .team import Obs\nimport envs.team"),
    ],
)
def test_checker_allows(name: str, source: str):
    assert violations(name, source) == []


def test_every_floor_is_a_package():
    folders = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests"}
    assert folders <= set(MAY_IMPORT), "a new top-level package needs a floor in MAY_IMPORT"


@pytest.mark.parametrize(
    "package", [p for p in ("envs", "agents", "generative") if (ROOT / p / "__init__.py").exists()]
)
def test_import_without_ray_and_engines(package: str):
    # None in sys.modules makes `import name`, and of any submodule, raise ModuleNotFoundError.
    code = (
        "import sys\n"
        "for name in ('ray', 'gfootball', 'gfootball_engine', 'dmlab2d'): sys.modules[name] = None\n"
        f"import {package}\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_envs_do_not_pull_in_torch():
    code = "import sys, envs\nassert 'torch' not in sys.modules and 'ray' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
