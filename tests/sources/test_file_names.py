"""File names with other encodings, Unicode forms and separators."""

from __future__ import annotations

import io
import struct
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import pytest

from images import noise, png, write
from sfumato.data.sources import Listing, ReadOptions, open_source
from sfumato.errors import DataError

from .containers import zipped

CONTENT = png(noise(4, 4, 3))

NAMES: dict[str, list[str]] = {
    "cp437": ["Vögel/Müller.png", "Hündchen/été.png"],
    "cp850": ["avião/maçã.png", "São Tomé/ação.png"],
    "cp1252": ["Vögel/Müller.png", "Hündchen/été.png"],
    "cp1251": ["Кошки/Мурка.png", "Собаки/Шарик.png"],
    "cp866": ["Кошки/Мурка.png", "Собаки/Шарик.png"],
    "cp932": ["猫/写真１.png", "犬/ソ連の表.png"],
    "gbk": ["猫/照片一.png", "飞机/图片.png"],
    "euc-kr": ["고양이/사진.png", "강아지/나비.png"],
    "big5": ["貓/圖片.png", "飛機/照片.png"],
    "utf-8": ["Vögel/été.png", "猫/图片.png"],
}
"""Names by their encoding; the second byte of some characters in cp932 and Big5 is a backslash."""


def encoded_zip(path: Path, names: Mapping[bytes, bytes]) -> Path:
    """A zip file with names of these bytes, not marked as UTF-8, written field by field."""
    body, directory = b"", b""
    for name, extra in names.items():
        sizes = struct.pack("<III", zlib.crc32(CONTENT), len(CONTENT), len(CONTENT))
        offset = len(body)
        body += b"PK\3\4" + struct.pack("<HHHHH", 20, 0, 0, 0, 0x21) + sizes + struct.pack("<HH", len(name), 0)
        body += name + CONTENT
        directory += b"PK\1\2" + struct.pack("<HHHHHH", 20, 20, 0, 0, 0, 0x21) + sizes
        directory += struct.pack("<HHHHHII", len(name), len(extra), 0, 0, 0, 0, offset) + name + extra
    end = struct.pack("<HHHHIIH", 0, 0, len(names), len(names), len(directory), len(body), 0)
    path.write_bytes(body + directory + b"PK\5\6" + end)
    return path


def encoded_tar(path: Path, names: list[str], encoding: str) -> Path:
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT, encoding=encoding) as archive:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = len(CONTENT)
            archive.addfile(member, io.BytesIO(CONTENT))
    return path


def listed(place: Path, **options: str) -> Listing:
    found = open_source(place, ReadOptions(**options)).listing(place.parent / "scratch")  # type: ignore[arg-type]
    assert all(entry.read() == CONTENT for entry in found.entries)
    return found


def names_of(found: Listing) -> set[str]:
    return {entry.name for entry in found.entries}


@pytest.mark.parametrize("encoding", NAMES)
def test_the_encoding_of_names_in_a_zip_is_detected(encoding: str, tmp_path: Path) -> None:
    found = listed(encoded_zip(tmp_path / "x.zip", {name.encode(encoding): b"" for name in NAMES[encoding]}))
    assert names_of(found) == set(NAMES[encoding])
    assert set(found.classes) == {name.partition("/")[0] for name in NAMES[encoding]}
    if encoding == "utf-8":
        assert not found.notices
    else:
        (notice,) = found.notices
        assert (notice.topic, notice.flag) == ("names", "--name-encoding NAME")
        assert encoding.replace("euc-kr", "cp949") in notice.text


@pytest.mark.parametrize("encoding", NAMES)
def test_the_encoding_of_names_in_a_tar_is_detected(encoding: str, tmp_path: Path) -> None:
    found = listed(encoded_tar(tmp_path / "x.tar", NAMES[encoding], encoding))
    assert names_of(found) == set(NAMES[encoding])


def test_a_requested_encoding_gives_no_notice(tmp_path: Path) -> None:
    raw = {name.encode("cp1251"): b"" for name in NAMES["cp1251"]}
    found = listed(encoded_zip(tmp_path / "x.zip", raw), name_encoding="koi8-r")
    assert names_of(found) == {name.encode("cp1251").decode("koi8-r") for name in NAMES["cp1251"]}
    assert not found.notices


@pytest.mark.parametrize(
    ("encoding", "message"), [("klingon", "'klingon' is unknown"), ("ascii", "are not ascii"), ("utf-8", "not utf-8")]
)
def test_a_wrong_encoding_is_rejected(encoding: str, message: str, tmp_path: Path) -> None:
    place = encoded_zip(tmp_path / "x.zip", {"Кошки/1.png".encode("cp1251"): b""})
    with pytest.raises(DataError, match=message):
        listed(place, name_encoding=encoding)


def test_one_name_that_is_not_utf8_determines_the_encoding(tmp_path: Path) -> None:
    names = ["Straße/Müller.png", "Größe/Äpfel.png"]  # in cp1252; other names are also valid UTF-8
    raw = {name.encode("cp1252"): b"" for name in names} | {"Ã¼ben/x.png".encode("cp1252"): b""}
    assert names_of(listed(encoded_zip(tmp_path / "x.zip", raw))) == {*names, "Ã¼ben/x.png"}


def unicode_path(name: str, raw: bytes) -> bytes:
    field = b"\1" + struct.pack("<I", zlib.crc32(raw)) + name.encode()
    return struct.pack("<HH", 0x7075, len(field)) + field


def test_the_unicode_path_of_info_zip_is_used(tmp_path: Path) -> None:
    fresh, stale = "猫/1.png".encode("gbk"), b"dog/2.png"
    place = encoded_zip(
        tmp_path / "x.zip",
        {fresh: unicode_path("猫/1.png", fresh), stale: unicode_path("old.png", b"a name before it was renamed")},
    )
    found = listed(place)
    assert (names_of(found), list(found.notices)) == ({"猫/1.png", "dog/2.png"}, [])


@pytest.mark.parametrize("prefix", ["", "photos\\"])
def test_backslashes_in_a_zip_are_separators(prefix: str, tmp_path: Path) -> None:
    raw = {f"{prefix}{name}".encode(): b"" for name in ("cat\\1.png", "cat\\2.png", "dog\\1.png", "dog\\sub\\2.png")}
    found = listed(encoded_zip(tmp_path / "x.zip", raw))
    assert names_of(found) == {"cat/1.png", "cat/2.png", "dog/1.png", "dog/sub/2.png"}
    assert list(found.classes) == ["cat", "cat", "dog", "dog"]


NFC, NFD = "été", unicodedata.normalize("NFD", "été")


def test_both_unicode_forms_of_a_name_are_one_class(tmp_path: Path) -> None:
    files = {f"{NFC}/1.png": CONTENT, f"{NFD}/2.png": CONTENT, "hiver/1.png": CONTENT}
    for place in (write(tmp_path / "x", files), zipped(tmp_path / "x.zip", files)):
        assert set(listed(place).classes) == {NFC, "hiver"}


@pytest.mark.parametrize(("on_disk", "in_table"), [(NFD, NFC), (NFC, NFD)])
def test_a_table_matches_names_in_the_other_form(on_disk: str, in_table: str, tmp_path: Path) -> None:
    table = f"file_name,colour\n{in_table}/{in_table}.png,red\n".encode()
    files = {f"{on_disk}/{on_disk}.png": CONTENT, "metadata.csv": table}
    for place in (write(tmp_path / "x", files), zipped(tmp_path / "x.zip", files)):
        found = listed(place)
        assert (found.columns, list(found.notices)) == ({"colour": ["red"]}, [])


def test_files_that_differ_only_in_the_form_are_both_read(tmp_path: Path) -> None:
    files = {f"{NFC}.png": CONTENT, f"{NFD}.png": CONTENT}
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    assert len(listed(tmp_path / "x.zip").entries) == 2
