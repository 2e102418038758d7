"""Rules for the fields of configurations and for counts, each with its sentence."""

MOST = {"episodes": 100_000, "pairs": 10_000, "episodes_per_part": 10_000, "num_envs": 1000, "workers": 256}
"""Largest counts. The episodes of an evaluation are all kept until its end, for their intervals; a part of a recording
is read whole; every environment has an engine of its own, and every process some."""


def positive(owner: object, *names: str) -> None:
    """Raises ValueError unless each field is above 0 and finite."""
    for name in names:
        if not 0 < getattr(owner, name) < float("inf"):  # NaN fails too
            raise ValueError(f"{name} must be positive and finite, got {getattr(owner, name)}")


def not_negative(owner: object, *names: str) -> None:
    """Raises ValueError unless each field is at least 0 and finite."""
    for name in names:
        if not 0 <= getattr(owner, name) < float("inf"):
            raise ValueError(f"{name} must be finite and not negative, got {getattr(owner, name)}")


def fraction(owner: object, *names: str) -> None:
    """Raises ValueError unless each field is between 0 and 1, both included."""
    for name in names:
        if not 0 <= getattr(owner, name) <= 1:
            raise ValueError(f"{name} must be between 0 and 1, got {getattr(owner, name)}")


def within(name: str, value: int, least: int, most: int | None = None) -> None:
    """Raises ValueError unless least <= value <= most."""
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")
    if most is not None and value > most:
        raise ValueError(f"{name} must be at most {most:,}, got {value:,}")
