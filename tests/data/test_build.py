"""Building cache entries: resumed after an interruption, repaired after damage, and shared by processes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from images import encoded
from sfumato.data import load_images
from sfumato.data.cache import build, store
from sfumato.data.cache.build import JOURNAL, PIXELS_FILE, SCRATCH
from sfumato.data.cache.index import INDEX
from sfumato.data.cache.target_format import ChannelMode, TargetFormat
from sfumato.data.sources import Frame, parallel
from sfumato.data.sources.entry import FileEntry
from sfumato.errors import DataError

from .cached_images import COUNT, IMAGES, is_whole, replace_secretly, stores


class Interrupted(BaseException):
    """Interrupts a build."""


def interrupt(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Interrupts a build after some chunks."""
    decode, chunks = build.decode_chunk, iter(range(COUNT))

    def until(*args: object, **options: object) -> object:
        if next(chunks) == after:
            raise Interrupted
        return decode(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(build, "decode_chunk", until)


@pytest.fixture
def interrupted(folder: Path, cache: Path, decoded: list[str], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The entry of a build that was interrupted after three of five chunks; the list of names is empty."""
    with monkeypatch.context() as patch:
        interrupt(patch, after=3)
        with pytest.raises(Interrupted):
            load_images(folder, cache=cache)
    assert len(decoded) == 24
    decoded.clear()
    (unfinished,) = stores(cache)
    assert not (unfinished / INDEX).exists()
    return unfinished


def test_an_interrupted_build_is_resumed(interrupted: Path, folder: Path, cache: Path, decoded: list[str]) -> None:
    assert is_whole(load_images(folder, cache=cache))
    assert decoded == [f"{number}.png" for number in range(24, 40)]
    assert sorted(path.name for path in interrupted.iterdir()) == [INDEX, PIXELS_FILE]


def test_a_resumed_build_gives_the_same_files(interrupted: Path, folder: Path, cache: Path) -> None:
    load_images(folder, cache=cache)
    load_images(folder, cache=cache / "elsewhere")
    (whole,) = stores(cache / "elsewhere")
    for name in (INDEX, PIXELS_FILE):
        assert (interrupted / name).read_bytes() == (whole / name).read_bytes()


def damage_pixels(folder: Path) -> None:
    with (folder / PIXELS_FILE).open("r+b") as file:
        file.seek(10 * 6 * 7 * 3 + 5)  # in the eleventh image, which is in the second chunk
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))


def truncate_pixels(folder: Path) -> None:
    with (folder / PIXELS_FILE).open("r+b") as file:
        file.truncate(15 * 6 * 7 * 3 + 5)


def note(folder: Path, number: int = 1) -> Path:
    return sorted((folder / JOURNAL).glob("*.json"))[number]


def shorten(path: Path) -> None:
    """Removes the last image from a journal."""
    path.write_text(json.dumps(json.loads(path.read_text())[:-1]))


DAMAGES: dict[str, tuple[Callable[[Path], object], list[int]]] = {
    "a pixel": (damage_pixels, [1]),
    "the end of the pixels": (truncate_pixels, [1, 2]),
    "all of the pixels": (lambda folder: (folder / PIXELS_FILE).unlink(), [0, 1, 2]),
    "half a note": (lambda folder: note(folder).write_bytes(note(folder).read_bytes()[:100]), [1]),
    "a note of zeros": (lambda folder: note(folder).write_bytes(bytes(100)), [1]),
    "a note of something else": (lambda folder: note(folder).write_text('{"a": 1}'), [1]),
    "a note of too few": (lambda folder: shorten(note(folder)), [1]),
    "a note of another chunk": (lambda folder: shutil.copy(note(folder, 0), note(folder, 1)), [1]),
    "no note": (lambda folder: note(folder).unlink(), [1]),
    "an unfinished note": (lambda folder: note(folder).rename(note(folder).with_suffix(".unfinished")), [1]),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_chunks_of_an_interrupted_build_are_redecoded(
    damage: str, interrupted: Path, folder: Path, cache: Path, decoded: list[str]
) -> None:
    harm, chunks = DAMAGES[damage]
    harm(interrupted)
    assert is_whole(load_images(folder, cache=cache))
    assert decoded == [f"{8 * chunk + n:02}.png" for chunk in [*chunks, 3, 4] for n in range(8)]


def test_a_change_after_an_interruption_is_detected(
    interrupted: Path, folder: Path, cache: Path, decoded: list[str]
) -> None:
    replace_secretly(folder / "01.png", folder / "02.png")
    load_images(folder, cache=cache)
    assert len(decoded) == COUNT
    assert interrupted not in stores(cache)


HARMS: dict[str, Callable[[Path], object]] = {
    "half an index": lambda folder: (folder / INDEX).write_bytes((folder / INDEX).read_bytes()[:500]),
    "an index of zeros": lambda folder: (folder / INDEX).write_bytes(bytes(500)),
    "an index of another version": lambda folder: (folder / INDEX).write_text('{"format": 7}'),
    "no index": lambda folder: (folder / INDEX).unlink(),
    "half of the pixels": lambda folder: truncate_pixels(folder),
    "not pixel values": lambda folder: (folder / PIXELS_FILE).unlink(),
    "more pixels": lambda folder: (folder / PIXELS_FILE).write_bytes((folder / PIXELS_FILE).read_bytes() + b"x"),
}


@pytest.mark.parametrize("harm", HARMS)
def test_a_damaged_entry_is_built_again(harm: str, folder: Path, cache: Path, decoded: list[str]) -> None:
    load_images(folder, cache=cache)
    (whole,) = stores(cache)
    decoded.clear()
    HARMS[harm](whole)
    assert is_whole(load_images(folder, cache=cache))
    assert len(decoded) == COUNT
    decoded.clear()
    assert is_whole(load_images(folder, cache=cache))
    assert not decoded


@pytest.mark.parametrize(("count", "chunks"), [(1, 1), (9, 2), (600, 75), (5120, 256), (60_000, 257)])
def test_the_number_and_size_of_chunks_are_limited(count: int, chunks: int) -> None:
    entries = [FileEntry(str(number), Path(str(number))) for number in range(count)]
    found = build._chunks(entries, TargetFormat(Frame(32, 32), ChannelMode(3), "uint8"))
    assert len(found) == chunks
    assert [entry for chunk in found for entry in chunk.entries] == entries


def test_large_images_have_chunks_of_one_image() -> None:
    entries = [FileEntry(str(number), Path(str(number))) for number in range(3)]
    assert len(build._chunks(entries, TargetFormat(Frame(8192, 8192), ChannelMode(3), "uint8"))) == 3


def test_several_processes_write_the_same_files(folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "bad.png").write_bytes(b"no image")
    one = load_images(folder, cache=cache)
    monkeypatch.setattr(import_module("sfumato.data.cache.target_format"), "HEADERS_IN_CHUNK", 7)
    monkeypatch.setattr(build, "MOST_IN_CHUNK", 7)
    monkeypatch.setattr(parallel, "PATIENCE", -1.0)
    many = load_images(folder, cache=cache / "many")
    assert many.fingerprint() == one.fingerprint()
    assert many.notices == one.notices
    for name in (INDEX, PIXELS_FILE):
        (first,), (second,) = stores(cache), stores(cache / "many")
        assert (first / name).read_bytes() == (second / name).read_bytes()


SCRIPT = """
import sys
from sfumato.data import load_images
from sfumato.data.cache import build
decode = build.decode_chunk
def reporting(*args, **options):
    print("decoded")
    return decode(*args, **options)
build.decode_chunk = reporting
print("ready", flush=True)
sys.stdin.readline()
print(load_images(sys.argv[1], cache=__import__("pathlib").Path(sys.argv[2])).fingerprint())
"""


def test_two_processes_build_one_entry(folder: Path, cache: Path) -> None:
    command = [sys.executable, "-c", SCRIPT, str(folder), str(cache)]
    two = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for process in two:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in two:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    outputs = [process.communicate(timeout=60) for process in two]
    printed = [out.split() for out, _ in outputs]
    assert [process.returncode for process in two] == [0, 0]
    assert sorted(lines.count("decoded") for lines in printed) == [0, COUNT // build.LEAST_IN_CHUNK]
    assert printed[0][-1] == printed[1][-1] == load_images(folder, cache=cache).fingerprint()
    assert "Traceback" not in "".join(err for _, err in outputs)


def test_a_message_is_printed_when_waiting_for_another_process(
    folder: Path,
    cache: Path,
    decoded: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    load_images(folder, cache=cache)
    decoded.clear()
    (whole,) = stores(cache)
    (whole / INDEX).rename(whole / "aside")
    other = store._lock_of(whole)
    other.acquire()

    def finish(sentence: str) -> None:
        print(sentence)
        (whole / "aside").rename(whole / INDEX)
        other.release()

    monkeypatch.setattr(store, "print_message", finish)
    assert is_whole(load_images(folder, cache=cache))
    assert not decoded
    assert capsys.readouterr().out == f"Another process is reading the folder {folder}; waiting for it.\n"


def test_rows_of_unreadable_images_do_not_shift_others(folder: Path, cache: Path) -> None:
    """The headers are valid, so that there are rows, but the pixels are missing."""
    whole = load_images(folder, cache=cache)
    for name in ("00a.bmp", "20a.bmp", "99.bmp"):
        (folder / name).write_bytes(encoded(Image.fromarray(IMAGES[0]), "BMP")[:-30])
    images = load_images(folder, cache=cache)
    assert images.pixels.shape[0] == COUNT + 3
    assert is_whole(images)
    assert images.fingerprint() == whole.fingerprint()


def test_the_scratch_folder_is_removed_even_if_the_build_fails(tmp_path: Path, cache: Path) -> None:
    np.savez(tmp_path / "x.npz", images=IMAGES, labels=np.arange(3))
    with pytest.raises(DataError, match="labels"):
        load_images(tmp_path / "x.npz", cache=cache)
    np.savez(tmp_path / "x.npz", images=IMAGES)
    assert is_whole(load_images(tmp_path / "x.npz", cache=cache))
    assert not list(cache.rglob(SCRATCH))
