"""Flags from typed configurations (tyro), with errors in one sentence instead of a box."""

import contextlib
import dataclasses
import errno
import io
import os
import re
import shlex
import shutil
import sys
import tempfile
import textwrap
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import tyro

T = TypeVar("T")


class FlagError(ValueError):
    """A flag that does not exist or does not fit; the message is one sentence."""


def parse(
    what: Callable[..., T] | type[T], args: list[str], *, prog: str, example: str, default: Any = None, about: str = ""
) -> T:
    """`args` as an instance of the dataclass `what` (or a call of the function `what`).

    `--help` prints the flags with `example`, a command in each of its lines, and exits. Raises FlagError for anything
    that does not fit.
    """
    options: dict[str, Any] = {"prog": prog, "args": args, "config": (tyro.conf.AvoidSubcommands,)}
    examples = "\n\n".join(f"Example: {line}" for line in example.splitlines())
    options["description"] = f"{about}\n\n{examples}" if about else examples
    if default is not None:
        options["default"] = default
    if "--help" in args or "-h" in args:
        return tyro.cli(what, **options)
    said, columns = io.StringIO(), os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "2000"  # keeps each message on one line
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            parsed = tyro.cli(what, **options)
    except SystemExit:
        raise FlagError(f"{_sentence(said.getvalue())} (see `{prog} --help`)") from None
    finally:
        os.environ.pop("COLUMNS") if columns is None else os.environ.update(COLUMNS=columns)
    _check_lists(parsed, args)
    return parsed


def said(prog: str, command: Any, always: tuple[str, ...] = ()) -> str:
    """The command line of a parsed `command`, for a page: flags that are not at their default, and those in `always`;
    run folders as they are called under any --runs-dir. Where it ran and what it wrote is left out."""
    words: list[str] = []
    for field in dataclasses.fields(command):
        value, flag = getattr(command, field.name), field.name.replace("_", "-")
        if field.default is dataclasses.MISSING:  # a positional one
            words += [_run_name(str(one)) for one in (value if isinstance(value, tuple) else [value])]
        elif field.name in ("device", "output") or (value == field.default and field.name not in always):
            continue
        elif isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        elif value not in (None, ()):
            several = value if isinstance(value, tuple) else [value]
            words += [
                f"--{flag}",
                *(str(one).removesuffix(".0") if isinstance(one, float) else str(one) for one in several),
            ]
    return f"{prog} {shlex.join(words)}"


def _run_name(text: str) -> str:
    """runs/WHAT/TIME-SEED for a run folder, else what it was called."""
    path = Path(text)
    return f"runs/{path.resolve().parent.name}/{path.resolve().name}" if (path / "config.json").is_file() else text


def _check_lists(parsed: Any, args: list[str]) -> None:
    """Raises FlagError for a list that was named and left empty: that would mean its default, without a word."""
    named = {arg.partition("=")[0].replace("_", "-") for arg in args}
    for field in dataclasses.fields(parsed) if dataclasses.is_dataclass(parsed) else ():
        flag = "--" + field.name.replace("_", "-")
        if getattr(parsed, field.name) == () and flag in named:
            raise FlagError(f"{flag} needs at least one value")


def _sentence(box: str) -> str:
    """The message inside tyro's box, and the flag that it suggests, on one line."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", box)
    text = " ".join(line.strip("│|+╭╮╰╯ \n") for line in plain.splitlines())
    parts = [part.strip() for part in re.split(r"[-─]{5,}", text)]  # title, message, hints, pointer to --help
    message = parts[1] if len(parts) > 1 else text
    message = re.sub(r"^Missing from .*?: (\S+) .*", r"\1 is missing", message)
    message = re.sub(r"^Error parsing config\.?(\S*): ", "", message).partition(" Got errors:")[0]
    close = re.search(r"Perhaps you meant:\s+(\S+)", text)
    return message.strip(" .") + (f"; perhaps you meant {close.group(1).strip(',')}" if close else "")


def split_name(args: list[str]) -> tuple[str | None, list[str]]:
    """Takes the leading positional NAME off `args`; None if the first argument is a flag or missing."""
    return (args[0], args[1:]) if args and not args[0].startswith("-") else (None, args)


def name_or_resume(args: list[str], what: str, usage: str) -> tuple[str | None, Path | None, list[str]]:
    """(NAME, None, the rest) of `NAME ...`, or (None, RUN, the rest) of `--resume RUN ...`. what: such as "preset".

    Raises FlagError for both or neither.
    """
    name, rest = split_name(args)
    resume, rest = take(rest, "--resume")
    if (name is None) == (resume is None):
        got = f"no {what} was named" if name is None else f"give a {what} or --resume RUN, not both (got {name!r})"
        raise FlagError(f"{got}; usage: {usage}")
    return name, None if resume is None else Path(resume), rest


def take(args: list[str], flag: str) -> tuple[str | None, list[str]]:
    """Takes `flag VALUE` or `flag=VALUE` out of `args`. Raises FlagError if the value is missing."""
    for index, arg in enumerate(args):
        if arg.startswith(flag + "="):
            return arg.partition("=")[2], args[:index] + args[index + 1 :]
        if arg == flag:
            if index + 1 == len(args):
                raise FlagError(f"{flag} needs a value")
            return args[index + 1], args[:index] + args[index + 2 :]
    return None, args


def check_writable(path: Path) -> None:
    """Makes the folder of `path`. Raises ValueError if a file cannot be written there, so that no work is lost."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent):
            pass
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if path.exists() and not path.is_file():
            raise OSError(errno.EEXIST, "it is there and no regular file")
        folder = Path(os.path.realpath(path)).parent
        if not folder.is_dir():
            raise NotADirectoryError(errno.ENOENT, f"it is a link into {folder}, which does not exist")
    except OSError as error:
        raise ValueError(f"cannot write {path}: {error.strerror}") from None


def escaped(text: str) -> str:
    """With an escape for every character that is none to be seen: an error quotes names and contents of files, and a
    terminal would obey what is in them."""
    return "".join(char if char.isprintable() or char in "\n\t" else ascii(char)[1:-1] for char in text)


def say(text: str) -> None:
    """A line for the person, at once; with escapes for what their terminal cannot show, or would obey."""
    encoding = sys.stdout.encoding or "utf-8"
    print(escaped(text).encode(encoding, "backslashreplace").decode(encoding), flush=True)


def paragraph(name: str, width: int, what: str, facts: list[str]) -> None:
    """A name in a column of `width` characters, and beside it what it is and a line for each fact, wrapped to the
    terminal: a table would cut sentences to pieces."""
    columns, indent = max(60, shutil.get_terminal_size().columns), " " * width
    fill = partial(textwrap.fill, width=columns, break_on_hyphens=False)
    say(fill(what, initial_indent=f"{name:<{width}}", subsequent_indent=indent))
    for fact in facts:
        say(fill(fact, initial_indent=indent, subsequent_indent=indent + "  "))
