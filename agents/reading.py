"""Files that may be damaged or come from elsewhere: whatever is wrong with one becomes one ValueError that names it.

with json_of(folder / "policy.json", "a policy") as data:
    check_fields(data, {"env_steps": int})
    ...                     # any error in here is one of the file's contents
"""

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Literal, NoReturn, Union, get_args, get_origin, get_type_hints

_LARGEST_BYTES = 2**28
_MOST_DIGITS = 18
"""Of a whole number: those fit 64 bits."""
_WORDS = {
    int: "a whole number",
    float: "a number",
    str: "a text",
    bool: "true or false",
    dict: "a table",
    list: "a list",
}


@contextmanager
def reading(path: Path, what: str) -> Iterator[Path]:
    """Whatever goes wrong inside is one sentence: `path` cannot be read as `what`, and why.

    Raises: ValueError; also where `path` is not there or no regular file: a pipe would keep a reader waiting.
    """
    try:
        if path.exists() and not path.is_file():
            raise ValueError("it is no regular file")
        yield path
    except Exception as error:  # whatever damaged contents make of the code that uses them
        why = f"it has no field {error}" if isinstance(error, KeyError) else first_line(error)
        raise ValueError(f"{path} cannot be read as {what}: {why}") from None


@contextmanager
def json_of(path: Path, what: str) -> Iterator[dict[str, Any]]:
    """The JSON object in a file, with no number in it that is not finite. Raises as `reading`."""
    with reading(path, what):
        if path.stat().st_size > _LARGEST_BYTES:
            raise ValueError(f"it has {path.stat().st_size:,} bytes; allowed: {_LARGEST_BYTES:,}")
        text = path.read_text(encoding="utf-8")
        data = json.loads(text, parse_int=_whole, parse_float=_finite, parse_constant=_no_number)
        if not isinstance(data, dict):
            raise ValueError("it holds no JSON object")
        yield data


def first_line(error: Exception) -> str:
    """What an error says, on one line of moderate length."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return (text.splitlines() or [""])[0][:300]


def check_fields(data: Any, kinds: dict[str, Any], what: str = "it") -> None:
    """Raises ValueError unless `data` is a table that has these fields, each of its kind: what an annotation may say,
    of plain data."""
    if not isinstance(data, dict):
        raise ValueError(f"{what} is no table of fields")
    for name, kind in kinds.items():
        if name not in data:
            raise ValueError(f"{what} has no field {name!r}")
        _check(name, data[name], kind)


def check_types(settings: object, within: str = "") -> None:
    """Raises ValueError unless every field of a dataclass is of the type that its annotation says, inner ones too."""
    hints = get_type_hints(type(settings))
    for name in (field.name for field in fields(settings)):  # type: ignore[arg-type]
        value = getattr(settings, name)
        if is_dataclass(value):
            check_types(value, f"{within}{name}.")
        else:
            _check(within + name, value, hints[name])


def _check(name: str, value: Any, kind: Any) -> None:
    if not _is(value, kind):
        words = _WORDS.get(kind, str(kind).replace("typing.", ""))
        raise ValueError(f"{name} must be {words}, got {repr(value)[:60]}")


def _is(value: Any, kind: Any) -> bool:
    """Whether plain data is of a kind. A whole number is a number too; true and false are none."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return any(_is(value, one) for one in inner)
    if origin is Literal:
        return isinstance(value, str) and value in inner
    if origin is dict:
        return isinstance(value, dict) and all(_is(k, inner[0]) and _is(v, inner[1]) for k, v in value.items())
    if origin is tuple and inner[-1] is not Ellipsis:
        return isinstance(value, tuple) and len(value) == len(inner) and all(map(_is, value, inner))
    if origin in (tuple, list):
        return isinstance(value, origin) and all(_is(one, inner[0]) for one in value)
    if kind is Any:
        return True
    kinds = (int, float) if kind is float else kind
    return isinstance(value, kinds) and (kind is bool or not isinstance(value, bool))


def _whole(digits: str) -> int:
    if len(digits.lstrip("-")) > _MOST_DIGITS:
        raise ValueError(f"the number {digits[:20]}... in it is too large")
    return int(digits)


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"the number {digits[:20]} in it is too large")
    return value


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} in it is no finite number")
