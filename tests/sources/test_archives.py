"""Unusual, broken and malicious zip and tar files."""

from __future__ import annotations

import io
import re
import stat
import tarfile
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest

from images import PHOTOS, noise, npy, photo_files, png
from sfumato.data.sources import BadImageError, entry
from sfumato.errors import DataError

from .containers import listing, pixels, tarred, zipped

CONTENT = png(noise(4, 4, 3))


def names(found: object) -> list[str]:
    return [entry.name for entry in found.entries]  # type: ignore[attr-defined]


def reasons(found: object) -> dict[str, str]:
    return {file.name: file.reason for file in found.unusable}  # type: ignore[attr-defined]


@pytest.mark.parametrize("pack", [zipped, tarred])
@pytest.mark.parametrize(
    "name", ["../x.png", "a/../../x.png", "/etc/x.png", "..\\x.png", "\\x.png", "C:/x.png", "C:\\x.png"]
)
def test_a_path_outside_the_archive_is_reported(pack: object, name: str, tmp_path: Path) -> None:
    found = listing(pack(tmp_path / "x", {"a.png": CONTENT, name: CONTENT}), tmp_path)  # type: ignore[operator]
    assert names(found) == ["a.png"]
    ((unusable, reason),) = reasons(found).items()
    assert unusable.endswith("x.png")
    assert reason == "its path is outside the archive"


@pytest.mark.parametrize("pack", [zipped, tarred])
@pytest.mark.parametrize(
    "name", ["__MACOSX/a.png", "x/__MACOSX/._a.png", ".hidden.png", "a/.b/c.png", "notes.txt", ".git/metadata.csv"]
)
def test_hidden_and_other_files_are_not_images(pack: object, name: str, tmp_path: Path) -> None:
    found = listing(pack(tmp_path / "x", {"a.png": CONTENT, name: CONTENT}), tmp_path)  # type: ignore[operator]
    assert names(found) == ["a.png"]
    assert not found.unusable


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_of_repeated_names_the_last_is_used(kind: str, tmp_path: Path) -> None:
    first, last = png(noise(4, 4, 3)), png(noise(4, 4, 3, seed=1))
    if kind == "zip":
        with zipfile.ZipFile(tmp_path / "x", "w") as archive:
            archive.writestr("a.png", first)
            archive.writestr("b.png", first)
            archive.writestr("a.png", last)
    else:
        tarred(tmp_path / "x", {"a.png": first, "b.png": first, "./a.png": last})
    found = listing(tmp_path / "x", tmp_path)
    assert names(found) == ["a.png", "b.png"]
    assert found.entries[0].read() == last


def test_images_are_sorted(tmp_path: Path) -> None:
    found = listing(zipped(tmp_path / "x", dict.fromkeys(["b.png", "a/2.png", "a.png", "a/10.png"], CONTENT)), tmp_path)
    assert names(found) == ["a.png", "a/10.png", "a/2.png", "b.png"]


def test_the_common_folder_of_all_classes_is_ignored(tmp_path: Path) -> None:
    found = listing(zipped(tmp_path / "x", {"x/cat/1.png": CONTENT, "x/dog/1.png": CONTENT}), tmp_path)
    assert list(found.classes) == ["cat", "dog"]


def test_metadata_is_relative_to_its_folder(tmp_path: Path) -> None:
    table = b"file_name,colour\na.png,red\nb.png,blue\n"
    files = {"x/a.png": CONTENT, "x/metadata.csv": table, "x/b.png": CONTENT}
    for pack in (zipped, tarred):
        found = listing(pack(tmp_path / "archive", files), tmp_path)
        assert found.columns == {"colour": ["red", "blue"]}
        assert not found.notices


def encrypted(content: bytes) -> bytes:
    """Marks the members of a zip file as encrypted."""
    damaged = bytearray(content)
    for magic, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = damaged.find(magic)
        while at >= 0:
            damaged[at + flags] |= 1
            at = damaged.find(magic, at + 4)
    return bytes(damaged)


def test_an_encrypted_zip_is_reported(tmp_path: Path) -> None:
    path = zipped(tmp_path / "x.zip", photo_files())
    path.write_bytes(encrypted(path.read_bytes()))
    for one in listing(path, tmp_path).entries:
        with pytest.raises(BadImageError, match="it is encrypted"):
            one.read()


def test_an_unknown_compression_is_reported(tmp_path: Path) -> None:
    path = zipped(tmp_path / "x.zip", {"a.png": CONTENT})
    content = bytearray(path.read_bytes())
    for magic, method in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        content[content.find(magic) + method] = 97
    path.write_bytes(content)
    with pytest.raises(BadImageError, match="its compression is unknown"):
        listing(path, tmp_path).entries[0].read()


def test_damage_within_a_zip_is_reported(tmp_path: Path) -> None:
    path = zipped(tmp_path / "x.zip", photo_files(), zipfile.ZIP_STORED)
    content = bytearray(path.read_bytes())
    content[content.find(b"IDAT") + 8] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(BadImageError, match="damaged within the archive"):
        pixels(listing(path, tmp_path).entries)


@pytest.mark.parametrize("suffix", ["png", "npy"])
def test_a_decompression_bomb_is_not_unpacked(suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = bytes(2_000_001) if suffix == "png" else npy(np.zeros((1000, 1001, 2), np.uint8))
    path = zipped(tmp_path / "x.zip", {f"x.{suffix}": content})
    assert path.stat().st_size < 10_000
    monkeypatch.setattr(entry, "MOST_BYTES", 1_000_000)
    with pytest.raises(BadImageError, match="MiB"):
        listing(path, tmp_path).entries[0].read(1_000_000)


def test_an_array_larger_than_memory_is_rejected(tmp_path: Path) -> None:
    header = npy(np.zeros((4, 4), np.uint8)).replace(b"(4, 4), }" + b" " * 16, b"(4444444, 4444444), }    ")
    path = zipped(tmp_path / "x.zip", {"x.npy": header})
    with pytest.raises(BadImageError, match="more than 1024 MiB"):
        listing(path, tmp_path).entries[0].read()


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_arrays_of_objects_are_never_unpickled(pack: object, tmp_path: Path) -> None:
    content = io.BytesIO()
    np.save(content, np.array([[Trap(str(tmp_path / "planted"))]], object), allow_pickle=True)
    found = listing(pack(tmp_path / "x", {"x.npy": content.getvalue()}), tmp_path)  # type: ignore[operator]
    with pytest.raises(BadImageError, match="never unpickled"):
        found.entries[0].read()
    assert not (tmp_path / "planted").exists()


class Trap:
    """Creates a file when it is unpickled."""

    def __init__(self, place: str) -> None:
        self.place = place

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (self.place, "w")


def special(kind: bytes, target: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo("cat/link.png")
    member.type, member.linkname = kind, target
    return member


@pytest.mark.parametrize(
    ("kind", "target"),
    [(tarfile.SYMTYPE, "/etc/passwd"), (tarfile.LNKTYPE, "cat/0.png"), (tarfile.SYMTYPE, "../../secret.png")],
)
def test_links_in_a_tar_are_reported(kind: bytes, target: str, tmp_path: Path) -> None:
    with tarfile.open(tarred(tmp_path / "x.tar", photo_files()), "a") as archive:
        archive.addfile(special(kind, target))
    found = listing(tmp_path / "x.tar", tmp_path)
    assert names(found) == list(PHOTOS)
    assert reasons(found) == {"cat/link.png": "it is a link or a sparse file"}


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE])
def test_devices_in_a_tar_are_ignored(kind: bytes, tmp_path: Path) -> None:
    with tarfile.open(tarred(tmp_path / "x.tar", photo_files()), "a") as archive:
        archive.addfile(special(kind))
    assert names(listing(tmp_path / "x.tar", tmp_path)) == list(PHOTOS)


def test_a_link_in_a_zip_is_not_followed(tmp_path: Path) -> None:
    member = zipfile.ZipInfo("x.png")
    member.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr(member, "/etc/passwd")
    assert listing(tmp_path / "x.zip", tmp_path).entries[0].read() == b"/etc/passwd"


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("kind", ["zip", "tar.gz", "tar.xz", "tar.bz2"])
def test_a_truncated_archive_is_rejected(kind: str, share: float, tmp_path: Path) -> None:
    path = tmp_path / f"x.{kind}"
    files = photo_files() | {"zebra/0.png": png(noise(60, 60, 3))}
    whole = (zipped(path, files) if kind == "zip" else tarred(path, files, kind[4:])).read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(DataError, match=rf"{re.escape(str(path))} .*Copy it again"):
        listing(path, tmp_path / "scratch")


def test_a_truncated_tar_gives_complete_images_or_is_rejected(tmp_path: Path) -> None:
    path = tarred(tmp_path / "x.tar", photo_files())
    whole, images = path.read_bytes(), {image.tobytes() for image in PHOTOS.values()}
    counts = set()
    for end in range(100, len(whole), 300):
        path.write_bytes(whole[:end])
        try:
            entries = listing(path, tmp_path).entries
        except DataError:
            continue
        assert {image.tobytes() for image in pixels(entries)} <= images
        counts.add(len(entries))
    assert counts <= {1, 2, 3, 4}
    assert 4 in counts


@pytest.mark.parametrize("kind", ["zip", "tar", "tgz", "tar.xz", "tar.bz2"])
@pytest.mark.parametrize("content", [b"", b"no archive at all", b"\x1f\x8b", b"BZh9", b"\xfd7zXZ\x00", b"PK\x03\x04"])
def test_other_content_is_rejected(kind: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"x.{kind}"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"Copy it again"):
        listing(path, tmp_path / "scratch")


def test_an_archive_without_members_has_no_images(tmp_path: Path) -> None:
    assert not listing(zipped(tmp_path / "x.zip", {}), tmp_path).entries
    assert not listing(tarred(tmp_path / "x.tar", {}), tmp_path).entries


def test_a_compressed_tar_that_is_a_bomb_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sfumato.data.sources.decompress.UNSUSPICIOUS", 1000)
    path = tarred(tmp_path / "x.tar.gz", {"a.png": bytes(10_000_000)}, "gz")
    with pytest.raises(DataError, match=r"more than 100 times its size, as .* bomb does\. If you trust it, unpack it"):
        listing(path, tmp_path / "scratch")


def test_a_member_of_a_zip_that_is_a_bomb_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sfumato.data.sources.archives.LARGE_MEMBER", 1000)
    members = {
        "a.png": CONTENT,
        "z.png": bytes(1_000_000),
        "labels.csv": b"file_name,label\n" + b"a.png,red\n" * 100_000,
    }
    found = listing(zipped(tmp_path / "x.zip", members), tmp_path)
    monkeypatch.setattr(zipfile.ZipFile, "open", None)  # the member is not opened
    (bomb,) = [entry for entry in found.entries if entry.name == "z.png"]
    with pytest.raises(BadImageError, match="unpacks to more than 100 times its size, as a decompression bomb does"):
        bomb.read()


def test_a_lack_of_disk_space_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sfumato.data.sources.decompress.SPARE_DISK", 1 << 62)
    with pytest.raises(DataError, match=r"GB that are free\. Free space, or choose another --cache"):
        listing(tarred(tmp_path / "x.tar.gz", photo_files(), "gz"), tmp_path / "scratch")


def test_names_can_be_any_text(tmp_path: Path) -> None:
    weird = ["-x.png", "a\nb.png", "[red]x[/red].png", "\x1b[31m.png", "ünïcödé 🙂.png", "x'y\".png"]
    assert names(listing(zipped(tmp_path / "x.zip", dict.fromkeys(weird, CONTENT)), tmp_path)) == sorted(weird)
    assert names(listing(tarred(tmp_path / "x.tar", dict.fromkeys(weird, CONTENT)), tmp_path)) == sorted(weird)


def test_unreadable_metadata_in_an_archive_is_reported(tmp_path: Path) -> None:
    path = zipped(tmp_path / "x.zip", {"a.png": CONTENT, "metadata.csv": b"file_name\na.png\n"})
    path.write_bytes(encrypted(path.read_bytes()))
    with pytest.raises(DataError, match=r"metadata\.csv cannot be read: it is encrypted"):
        listing(path, tmp_path)


def test_the_checksum_of_a_member_is_checked(tmp_path: Path) -> None:
    path = zipped(tmp_path / "x.zip", {"a.npy": npy(noise(4, 4))}, zipfile.ZIP_STORED)
    content = path.read_bytes()
    path.write_bytes(content.replace(zlib.crc32(npy(noise(4, 4))).to_bytes(4, "little"), b"\1\2\3\4"))
    with pytest.raises(BadImageError, match="not a NumPy array, or it is truncated"):
        listing(path, tmp_path).entries[0].read()
