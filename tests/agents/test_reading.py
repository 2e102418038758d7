"""One sentence that names the file, whatever is wrong with it."""

import json
import os
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from agents.reading import check_fields, check_types, json_of

CONTENTS = {
    "empty": (b"", "Expecting value"),
    "half": (b'{"a": ', "Expecting value"),
    "list": (b"[1]", "it holds no JSON object"),
    "not utf-8": (b'{"a": "\xff"}', "can't decode byte 0xff"),
    "nan": (b'{"a": NaN}', "NaN in it is no finite number"),
    "infinity": (b'{"a": [-Infinity]}', "-Infinity in it is no finite number"),
    "float without end": (b'{"a": 1e400}', "the number 1e400 in it is too large"),
    "integer without end": (
        b'{"a": 1' + b"0" * 400 + b"}",
        r"the number 10000000000000000000\.\.\. in it is too large",
    ),
    "more digits than python reads": (b'{"a": 1' + b"0" * 9000 + b"}", "in it is too large"),
    "deep": (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "recursion"),
    "deep objects": (b'{"a": ' * 100_000 + b"1" + b"}" * 100_000, "recursion"),
}


@pytest.mark.parametrize(("content", "why"), CONTENTS.values(), ids=CONTENTS)
def test_damaged_contents(content, why, tmp_path):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(ValueError, match=rf"a.json cannot be read as a thing: .*{why}") as caught, reader(tmp_path):
        pytest.fail("it was read")
    assert "\n" not in str(caught.value)


def reader(folder):
    return json_of(folder / "a.json", "a thing")


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (os.mkfifo, "it is no regular file"),
        (os.mkdir, "it is no regular file"),
        (lambda path: os.symlink("/dev/zero", path), "it is no regular file"),
        (lambda path: os.symlink("nowhere", path), "No such file"),
        (lambda path: None, "No such file"),
        (lambda path: (path.touch(), os.truncate(path, 2**40)), "1,099,511,627,776 bytes; allowed"),
    ],
)
def test_what_is_no_file(make, why, tmp_path):
    make(tmp_path / "a.json")
    with pytest.raises(ValueError, match=f"a.json cannot be read as a thing: .*{why}"), reader(tmp_path):
        pytest.fail("it was read")


def test_an_error_in_the_use_of_it_names_the_file(tmp_path):
    (tmp_path / "a.json").write_text('{"a": 1}')
    for use, why in [
        (lambda data: data["b"], "it has no field 'b'"),
        (lambda data: data["a"].items(), "'int' object has no attribute 'items'"),
        (lambda data: data["a"] + "", "unsupported operand"),
    ]:
        with pytest.raises(ValueError, match=f"a.json cannot be read as a thing: {why}"), reader(tmp_path) as data:
            use(data)


def test_what_is_whole_comes_back(tmp_path):
    data = {"a": [1, -2.5, True, None, "é"], "b": {"c": 10**17}}
    (tmp_path / "a.json").write_text(json.dumps(data))
    with reader(tmp_path) as found:
        assert found == data


@dataclass(frozen=True)
class Inner:
    rate: float = 0.1


@dataclass(frozen=True)
class Outer:
    inner: Inner = field(default_factory=Inner)
    count: int = 1
    on: bool = False
    name: str | None = None
    mode: Literal["a", "b"] = "a"
    sizes: tuple[int, ...] = (1, 2)
    pair: tuple[float, float] = (1, 2.0)
    table: dict[str, list[float]] = field(default_factory=lambda: {"x": [1, 2.5]})


@pytest.mark.parametrize("good", [Outer(), Outer(inner=Inner(1), name="x", sizes=(), table={})])
def test_a_whole_number_is_a_number_too(good):
    check_types(good)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inner": 3}, "inner must be "),
        ({"inner": Inner(True)}, r"^inner.rate must be a number, got True$"),
        ({"inner": Inner("x")}, r"^inner.rate must be a number, got 'x'$"),  # type: ignore[arg-type]
        ({"count": 1.5}, r"^count must be a whole number, got 1.5$"),
        ({"count": True}, "count must be"),
        ({"on": 1}, r"^on must be true or false, got 1$"),
        ({"name": 3}, r"^name must be str \| None, got 3$"),
        ({"mode": "c"}, r"^mode must be Literal\['a', 'b'\], got 'c'$"),
        ({"mode": []}, "mode must be"),
        ({"sizes": (1, None)}, r"^sizes must be tuple\[int, \.\.\.\], got \(1, None\)$"),
        ({"sizes": [1]}, "sizes must be"),
        ({"pair": (1.0,)}, "pair must be"),
        ({"table": {"x": 3}}, r"^table must be dict\[str, list\[float\]\], got \{'x': 3\}$"),
        ({"table": {"x": ["y" * 1000]}}, r"^table must be dict\S* list\S*, got .{60}$"),
    ],
)
def test_a_field_of_another_type_is_named(change: dict[str, Any], message):
    with pytest.raises(ValueError, match=message):
        check_types(Outer(**change))


def test_a_table_of_fields():
    check_fields({"a": 1, "more": None}, {"a": float})
    for data, message in [
        ([], "a row is no table"),
        ({}, "a row has no field 'a'"),
        ({"a": "1"}, "a must be a number"),
    ]:
        with pytest.raises(ValueError, match=message):
            check_fields(data, {"a": float}, "a row")
