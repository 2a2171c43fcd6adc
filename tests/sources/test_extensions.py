"""Files that are not images by name, and files of unknown type."""

from __future__ import annotations

from pathlib import Path

import pytest

from images import noise, photo_files, png, write
from sfumato.data import load_images
from sfumato.data.sources import open_source
from sfumato.errors import DataError

from .containers import tarred, zipped

CONTENT = png(noise(4, 4, 3))

OPENED = ["a.HEIC", "a.jxl", "a.dcm", "IM000001", "a.dng", "a.bin", "a.svg", "scan.nii.gz", "IMG.0001", "png"]
JUNK = ["Thumbs.db", "desktop.ini", ".DS_Store", "._a.png", ".hidden/a.png", "a.xmp", "IMG_1.AAE", "Picasa.ini"]
COUNTED = {
    "a.txt": "txt",
    "README": "txt",
    "LICENSE.md": "md",
    "a.JSON": "json",
    "labels.xml": "xml",
    "a.yaml": "yaml",
    "a.pdf": "pdf",
    "IMG_1.MOV": "mov",
    "a.mp3": "mp3",
    "model.safetensors": "safetensors",
    "a.pkl": "pkl",
    "a.h5": "h5",
    "train.py": "py",
    "a.xlsx": "xlsx",
}


def containers(at: Path, files: dict[str, bytes]) -> list[Path]:
    return [write(at / "folder", files), zipped(at / "x.zip", files), tarred(at / "x.tar", files)]


@pytest.mark.parametrize("name", OPENED)
def test_files_of_unknown_type_are_opened(name: str, tmp_path: Path) -> None:
    for place in containers(tmp_path, {"z.png": CONTENT, name: b"anything"}):
        found = open_source(place).listing(tmp_path / "scratch")
        assert [entry.name for entry in found.entries] == [name, "z.png"]
        assert found.entries[0].read() == b"anything"
        assert not found.others


@pytest.mark.parametrize("name", [*JUNK, "__MACOSX/._a.png", "__MACOSX/a.png", "@eaDir/a.png"])
def test_system_files_are_ignored(name: str, tmp_path: Path) -> None:
    for place in containers(tmp_path, {"z.png": CONTENT, name: b"anything"}):
        found = open_source(place).listing(tmp_path / "scratch")
        assert [entry.name for entry in found.entries] == ["z.png"], place
        assert not [*found.others, *found.unusable, *found.notices]


@pytest.mark.parametrize("name", COUNTED)
def test_other_files_are_counted_by_type(name: str, tmp_path: Path) -> None:
    for place in containers(tmp_path, {"z.png": CONTENT, name: b"{}", f"more/{name}": b"{}"}):
        found = open_source(place).listing(tmp_path / "scratch")
        assert [entry.name for entry in found.entries] == ["z.png"]
        assert found.others == {COUNTED[name]: 2}
        assert not found.notices


def test_archives_next_to_images_are_reported_with_a_command(tmp_path: Path) -> None:
    folder = write(tmp_path / "x", {"z.png": CONTENT, "more.zip": b"", "sub/old.tar.gz": b""})
    found = open_source(folder).listing(tmp_path)
    assert found.others == {"gz": 1, "zip": 1}
    (notice,) = found.notices
    assert notice.text == (
        "Files that may hold images were not read: more.zip, sub/old.tar.gz. "
        f"To read one of them: sfumato train {folder / 'more.zip'}"
    )


def test_a_folder_of_archives_is_rejected(tmp_path: Path) -> None:
    folder = write(tmp_path / "x", {"b.zip": b"", "a.7z": b"", "notes.txt": b""})
    with pytest.raises(DataError, match=r"holds no images, but 2 archives\. Give one of them: sfumato train .*a\.7z"):
        open_source(folder)


def test_files_of_unknown_type_without_images_are_unreadable(tmp_path: Path) -> None:
    unknown = {f"cat/{number}.heic": b"\0\0\0\x18ftypheic" for number in range(20)}
    images = load_images(write(tmp_path / "x", photo_files() | unknown))
    assert len(images) == 4
    assert any("20 of 24 images were skipped" in notice.text for notice in images.notices)


@pytest.mark.parametrize("prefix", ["", "photos/", "photos/train/"])
def test_a_class_of_unreadable_files_is_dropped(prefix: str, tmp_path: Path) -> None:
    files = {f"{prefix}{name}": content for name, content in photo_files().items()}
    test = {"photos/test/cat/0.png": CONTENT} if "train" in prefix else {}
    unknown = {f"{prefix}bird/{number}.heic": b"\0\0\0\x18ftypheic" for number in range(2)}
    for place in containers(tmp_path, files | test | unknown):
        images = load_images(place, size=8, cache=tmp_path / "cache")
        assert images.label_names == ("cat", "dog")
        assert [notice.text for notice in images.notices if notice.topic == "classes"] == [
            "Classes without any readable image were dropped: bird."
        ]


def test_a_folder_of_other_files_is_rejected(tmp_path: Path) -> None:
    folder = write(tmp_path / "x", {f"IM{number}": b"DICOM" for number in range(3)})
    with pytest.raises(DataError, match=r"None of the 3 images in the folder .* can be read: IM0, IM1, IM2 "):
        load_images(folder)


def test_unknown_files_change_the_signature_and_others_do_not(tmp_path: Path) -> None:
    folder = write(tmp_path / "x", {"a.png": CONTENT})
    before = open_source(folder).signature()
    write(folder, {"notes.txt": b"1"})
    assert open_source(folder).signature() == before
    write(folder, {"b.heic": b"1"})
    assert open_source(folder).signature() != before
