import io
import shutil
import subprocess
import tarfile
import zipfile

import pytest

from generative.data import archives
from tests.generative.data.made import deb_bytes, tar_bytes, wheel_bytes

FILES = {"usr/share/a.jpg": b"12345", "usr/share/b.txt": b"", "usr/lib/c.bin": bytes(1000)}


def keep_all(path: str) -> bool:
    return True


@pytest.mark.parametrize("mode", ["w:xz", "w:gz", "w"])
def test_debian_packages(tmp_path, mode):
    (tmp_path / "x.deb").write_bytes(deb_bytes(FILES, mode))
    assert dict(archives.read(tmp_path / "x.deb", keep_all)) == FILES
    assert dict(archives.read(tmp_path / "x.deb", lambda path: path.endswith(".jpg"))) == {"usr/share/a.jpg": b"12345"}


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="dpkg-deb is not here")
@pytest.mark.parametrize("compression", ["xz", "gzip", "zstd", "none"])
def test_debian_packages_made_by_dpkg(tmp_path, compression):
    tree = tmp_path / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    control = "Package: x\nVersion: 1\nArchitecture: all\nMaintainer: x\nDescription: x\n"
    (tree / "DEBIAN" / "control").write_text(control)
    for name, content in FILES.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(content)
    (tree / "usr/link").symlink_to("share/a.jpg")
    command = ["dpkg-deb", f"-Z{compression}", "-b", str(tree), str(tmp_path / "x.deb")]
    built = subprocess.run(command, capture_output=True)
    if built.returncode:
        pytest.skip(f"this dpkg-deb knows no {compression}")
    assert dict(archives.read(tmp_path / "x.deb", keep_all)) == FILES


def test_wheels_and_tars(tmp_path):
    (tmp_path / "x.whl").write_bytes(wheel_bytes(FILES))
    (tmp_path / "x.tgz").write_bytes(tar_bytes(FILES))
    wanted = FILES.__contains__
    assert dict(archives.read(tmp_path / "x.whl", wanted)) == FILES
    assert dict(archives.read(tmp_path / "x.tgz", wanted)) == FILES


def test_links_in_a_tar_are_left_out(tmp_path):
    with tarfile.open(tmp_path / "x.tgz", "w:gz") as archive:
        link = tarfile.TarInfo("package/link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
        real = tarfile.TarInfo("package/real.png")
        real.size = 2
        archive.addfile(real, io.BytesIO(b"ok"))
    assert dict(archives.read(tmp_path / "x.tgz", keep_all)) == {"package/real.png": b"ok"}


@pytest.mark.parametrize("path", ["../evil", "/etc/passwd", "a/../../b", "", "a\\..\\b", "a\0b"])
def test_a_path_that_leads_out_is_refused(path):
    with pytest.raises(ValueError, match="must be relative"):
        archives.clean(path)


def test_unknown_kind(tmp_path):
    (tmp_path / "x.rar").write_bytes(b"Rar!" + bytes(50))
    with pytest.raises(ValueError, match="no wheel"):
        dict(archives.read(tmp_path / "x.rar", keep_all))


@pytest.mark.parametrize("kind", ["whl", "tgz", "deb"])
def test_cut_short(tmp_path, kind):
    content = {"whl": wheel_bytes, "tgz": tar_bytes, "deb": deb_bytes}[kind]({"a": bytes(range(256)) * 100})
    for share in (0.3, 0.6, 0.9):
        (tmp_path / "x").write_bytes(content[: int(len(content) * share)])
        with pytest.raises(ValueError, match="damaged"):
            dict(archives.read(tmp_path / "x", keep_all))


def test_an_encrypted_zip_is_a_sentence(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("a", b"hello")
    content = bytearray((tmp_path / "x.zip").read_bytes())
    content[6] |= 1  # the flag of encryption, in the member's header and in the directory
    content[content.rindex(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "x.zip").write_bytes(content)
    with pytest.raises(ValueError, match=r"damaged.*encrypted"):
        dict(archives.read(tmp_path / "x.zip", keep_all))
