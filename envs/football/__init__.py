"""Google Research Football as a team environment. Importing this package imports no engine."""

from envs.football.config import LEVELS, FootballConfig
from envs.football.features import feature_names

__all__ = ["LEVELS", "FootballConfig", "feature_names"]
