"""Football and DMLab2D as teams that are stepped together.

    env = envs.make("lab2d/commons_harvest", players=4)             # PettingZoo ParallelEnv, for people
    env = envs.make_team("football/academy_3_vs_1_with_keeper")     # TeamEnv, for training

`names()` lists every environment; the options of each are the fields of `envs.football.FootballConfig` and
`envs.lab2d.Lab2dConfig`. Importing this package imports no engine.
"""

from dataclasses import asdict, fields, replace
from typing import Any

from envs.football.config import LEVELS as FOOTBALL_LEVELS
from envs.football.config import FootballConfig
from envs.lab2d.config import LEVELS as LAB2D_LEVELS
from envs.lab2d.config import Lab2dConfig
from envs.parallel import TeamParallelEnv
from envs.team import EngineMissing, Obs, TeamEnv, TeamSpec, one_of

EnvConfig = FootballConfig | Lab2dConfig

__all__ = [
    "EngineMissing", "EnvConfig", "FootballConfig", "Lab2dConfig", "Obs", "TeamEnv", "TeamParallelEnv", "TeamSpec",
    "config", "for_evaluation", "from_json", "make", "make_team", "names", "to_json",
]  # fmt: skip


def names() -> list[str]:
    """Every environment, as "suite/level"."""
    return [f"football/{level}" for level in FOOTBALL_LEVELS] + [f"lab2d/{level}" for level in LAB2D_LEVELS]


def config(name: str, **options: Any) -> EnvConfig:
    """The typed configuration of environment `name`. Raises ValueError for a name or option that does not exist."""
    suites = {"football": FootballConfig, "lab2d": Lab2dConfig}
    suite, _, level = name.partition("/")
    if suite not in suites or not level:
        raise ValueError(
            f"environment {name!r} does not exist; allowed: football/LEVEL or lab2d/LEVEL (see `tandem envs`)"
        )
    for option in options:
        one_of(f"option of {suite}", option, [f.name for f in fields(suites[suite])])
    return suites[suite](level=level, **options)


def to_json(settings: EnvConfig) -> dict[str, Any]:
    """`settings` as plain data: {"suite": ..., "level": ..., option: value}."""
    return {"suite": "football" if isinstance(settings, FootballConfig) else "lab2d", **asdict(settings)}


def from_json(data: dict[str, Any]) -> EnvConfig:
    """The inverse of `to_json`. Raises ValueError as `config`, and for data of another form."""
    try:
        options = {key: value for key, value in data.items() if key not in ("suite", "level")}
        return config(f"{data['suite']}/{data['level']}", **options)
    except KeyError as error:
        raise ValueError(f"the description of an environment has no field {error}") from None
    except (TypeError, AttributeError) as error:
        raise ValueError(f"not the description of an environment: {error}") from None


def for_evaluation(settings: EnvConfig) -> EnvConfig:
    """The same environment without the help of training: every football reset is a real one, and nobody is paid for
    cleaning."""
    if isinstance(settings, FootballConfig):
        return replace(settings, reset_pool=0)
    return replace(settings, clean_bonus=0.0) if isinstance(settings, Lab2dConfig) else settings


def make_team(env: str | EnvConfig, **options: Any) -> TeamEnv:
    """The environment for training. `env` is a name or a configuration; options override its fields.

    Raises: ValueError for a name, option or value that does not exist; EngineMissing where the engine is not installed.
    """
    settings = config(env, **options) if isinstance(env, str) else replace(env, **options)
    return settings.build()


def make(env: str | EnvConfig, **options: Any) -> TeamParallelEnv:
    """The same environment as a PettingZoo ParallelEnv. Arguments and errors as `make_team`."""
    return TeamParallelEnv(make_team(env, **options))
