"""Rules for the fields of configurations, each with its sentence."""


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
