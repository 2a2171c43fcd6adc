"""The store: images are decoded once for each content and each choice, whatever happens meanwhile."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from images import encoded, noise, npy, png, write
from sfumato.data import ImageSet, load_images
from sfumato.data.cache import build
from sfumato.data.cache import folder as store
from sfumato.data.cache.build import JOURNAL, PIXELS, SPOOL, Outcome
from sfumato.data.cache.index import INDEX
from sfumato.data.cache.survey import Kind, Layout
from sfumato.data.sources import Entry, Frame, ReadOptions, parallel
from sfumato.data.sources.entry import FileEntry
from sfumato.errors import DataError

COUNT = 40
IMAGES = noise(COUNT, 6, 7, 3)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of forty images."""
    return write(tmp_path / "photos", {f"{number:02}.png": png(image) for number, image in enumerate(IMAGES)})


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """An empty cache."""
    return tmp_path / "cache"


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the images that were decoded, in pieces of eight."""
    names: list[str] = []
    monkeypatch.setattr(build, "MOST_IN_PIECE", 8)
    decode = build._decode

    def count(entry: Entry, layout: Layout, options: ReadOptions, place: np.ndarray) -> Outcome:
        names.append(entry.name)
        return decode(entry, layout, options, place)

    monkeypatch.setattr(build, "_decode", count)
    return names


def stores(cache: Path) -> list[Path]:
    """The folders of all stores."""
    return sorted(path for path in cache.glob("stores/*/*") if path.is_dir())


def is_whole(images: ImageSet) -> bool:
    """Whether a set is the forty images, pixel by pixel."""
    return torch.equal(images.images, torch.from_numpy(IMAGES.transpose(0, 3, 1, 2).copy()))


def test_the_second_time_nothing_is_read(
    folder: Path, cache: Path, decoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load_images(folder, cache=cache)
    assert is_whole(first)
    assert decoded == sorted(path.name for path in folder.iterdir())
    for part in ("survey", "converted"):
        monkeypatch.delattr(build, part)
    monkeypatch.delattr("sfumato.data.sources.folder.FolderSource.listing")
    second = load_images(folder, cache=cache)
    assert is_whole(second)
    assert second.fingerprint() == first.fingerprint()
    assert second.notices == first.notices


CHANGES: dict[str, Callable[[Path], object]] = {
    "other pixels": lambda folder: (folder / "07.png").write_bytes(png(noise(6, 7, 3, seed=9))),
    "an image more": lambda folder: (folder / "40.png").write_bytes(png(noise(6, 7, 3, seed=9))),
    "an image less": lambda folder: (folder / "07.png").unlink(),
    "another name": lambda folder: (folder / "07.png").rename(folder / "70.png"),
    "the same size and time": lambda folder: replace_secretly(folder / "07.png", folder / "08.png"),
    "metadata": lambda folder: (folder / "metadata.csv").write_text("file_name,a\n07.png,1\n"),
}


def replace_secretly(path: Path, other: Path) -> None:
    """Puts other pixels into a file, and its time back."""
    facts, content = path.stat(), other.read_bytes().ljust(path.stat().st_size, b"\0")[: path.stat().st_size]
    path.write_bytes(content)
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (facts.st_size, facts.st_mtime_ns)


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_is_noticed(change: str, folder: Path, cache: Path, decoded: list[str]) -> None:
    load_images(folder, cache=cache)
    decoded.clear()
    CHANGES[change](folder)
    changed = load_images(folder, cache=cache)
    assert decoded == sorted(path.name for path in folder.glob("*.png"))
    assert changed.fingerprint() == load_images(folder, cache=cache / "elsewhere").fingerprint()


def test_former_contents_are_removed(folder: Path, cache: Path) -> None:
    load_images(folder, cache=cache)
    (before,) = stores(cache)
    (folder / "07.png").unlink()
    load_images(folder, cache=cache)
    (after,) = stores(cache)
    assert before != after
    assert before.parent == after.parent
    assert [path.name for path in after.parent.glob("*.lock")] == [f"{after.name}.lock"]


def test_a_former_content_that_somebody_builds_is_left_alone(folder: Path, cache: Path) -> None:
    load_images(folder, cache=cache)
    (before,) = stores(cache)
    (folder / "07.png").unlink()
    with store._lock_of(before):
        load_images(folder, cache=cache)
    assert before in stores(cache)


def test_each_choice_has_a_store_of_its_own(folder: Path, cache: Path, decoded: list[str]) -> None:
    choices: list[dict[str, object]] = [
        {},
        {"size": 8},
        {"size": "8x4"},
        {"size": "4x8"},
        {"size": 8, "fit": "pad"},
        {"size": 8, "channels": "grey"},
    ]
    sets = [load_images(folder, cache=cache, **chosen).fingerprint() for chosen in choices]  # type: ignore[arg-type]
    assert len(stores(cache)) == len(set(sets)) == len(choices)
    decoded.clear()
    again = [load_images(folder, cache=cache, **chosen).fingerprint() for chosen in choices]  # type: ignore[arg-type]
    assert again == sets
    assert not decoded


def test_labels_need_no_store_of_their_own(tmp_path: Path, cache: Path, decoded: list[str]) -> None:
    folder = write(tmp_path / "x", {f"{label}/{n}.png": png(IMAGES[n]) for label in "ab" for n in range(2)})
    assert load_images(folder, cache=cache).label_names == ("a", "b")
    decoded.clear()
    assert load_images(folder, cache=cache, labels=False).labels is None
    assert not decoded


def test_two_folders_of_one_name_have_stores_of_their_own(folder: Path, cache: Path, tmp_path: Path) -> None:
    other = shutil.copytree(folder, tmp_path / "other" / "photos")
    assert load_images(folder, cache=cache).fingerprint() == load_images(other, cache=cache).fingerprint()
    assert len(stores(cache)) == 2


class Interrupted(BaseException):
    """A Ctrl-C at a place of the test's choice."""


def interrupt(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Lets a build come to an end after some pieces."""
    decode, pieces = build.decode_piece, iter(range(COUNT))

    def until(*args: object, **options: object) -> object:
        if next(pieces) == after:
            raise Interrupted
        return decode(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(build, "decode_piece", until)


@pytest.fixture
def interrupted(folder: Path, cache: Path, decoded: list[str], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The store of a build that was interrupted when three of five pieces were done; the counter is at zero."""
    with monkeypatch.context() as patch:
        interrupt(patch, after=3)
        with pytest.raises(Interrupted):
            load_images(folder, cache=cache)
    assert len(decoded) == 24
    decoded.clear()
    (unfinished,) = stores(cache)
    assert not (unfinished / INDEX).exists()
    return unfinished


def test_an_interrupted_build_goes_on(interrupted: Path, folder: Path, cache: Path, decoded: list[str]) -> None:
    assert is_whole(load_images(folder, cache=cache))
    assert decoded == [f"{number}.png" for number in range(24, 40)]
    assert sorted(path.name for path in interrupted.iterdir()) == [INDEX, PIXELS]


def test_an_interrupted_build_is_the_same_as_another(interrupted: Path, folder: Path, cache: Path) -> None:
    load_images(folder, cache=cache)
    load_images(folder, cache=cache / "elsewhere")
    (whole,) = stores(cache / "elsewhere")
    for name in (INDEX, PIXELS):
        assert (interrupted / name).read_bytes() == (whole / name).read_bytes()


def damage_pixels(folder: Path) -> None:
    with (folder / PIXELS).open("r+b") as file:
        file.seek(10 * 6 * 7 * 3 + 5)  # in the eleventh image, which is of the second piece
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))


def truncate_pixels(folder: Path) -> None:
    with (folder / PIXELS).open("r+b") as file:
        file.truncate(15 * 6 * 7 * 3 + 5)


def note(folder: Path, number: int = 1) -> Path:
    return sorted((folder / JOURNAL).glob("*.json"))[number]


def shorten(path: Path) -> None:
    """Leaves the last image out of a note."""
    path.write_text(json.dumps(json.loads(path.read_text())[:-1]))


DAMAGES: dict[str, tuple[Callable[[Path], object], list[int]]] = {
    "a pixel": (damage_pixels, [1]),
    "the end of the pixels": (truncate_pixels, [1, 2]),
    "all of the pixels": (lambda folder: (folder / PIXELS).unlink(), [0, 1, 2]),
    "half a note": (lambda folder: note(folder).write_bytes(note(folder).read_bytes()[:100]), [1]),
    "a note of zeros": (lambda folder: note(folder).write_bytes(bytes(100)), [1]),
    "a note of something else": (lambda folder: note(folder).write_text('{"a": 1}'), [1]),
    "a note of too few": (lambda folder: shorten(note(folder)), [1]),
    "a note of another piece": (lambda folder: shutil.copy(note(folder, 0), note(folder, 1)), [1]),
    "no note": (lambda folder: note(folder).unlink(), [1]),
    "an unfinished note": (lambda folder: note(folder).rename(note(folder).with_suffix(".unfinished")), [1]),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_damaged_of_an_interrupted_build_is_done_again(
    damage: str, interrupted: Path, folder: Path, cache: Path, decoded: list[str]
) -> None:
    harm, pieces = DAMAGES[damage]
    harm(interrupted)
    assert is_whole(load_images(folder, cache=cache))
    assert decoded == [f"{8 * piece + n:02}.png" for piece in [*pieces, 3, 4] for n in range(8)]


def test_a_change_after_an_interruption_is_noticed(
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
    "no pixels": lambda folder: (folder / PIXELS).unlink(),
    "more pixels": lambda folder: (folder / PIXELS).write_bytes((folder / PIXELS).read_bytes() + b"x"),
}


@pytest.mark.parametrize("harm", HARMS)
def test_a_damaged_store_is_built_anew(harm: str, folder: Path, cache: Path, decoded: list[str]) -> None:
    load_images(folder, cache=cache)
    (whole,) = stores(cache)
    decoded.clear()
    HARMS[harm](whole)
    assert is_whole(load_images(folder, cache=cache))
    assert len(decoded) == COUNT
    decoded.clear()
    assert is_whole(load_images(folder, cache=cache))
    assert not decoded


@pytest.mark.parametrize(("count", "pieces"), [(1, 1), (9, 2), (600, 75), (5120, 256), (60_000, 257)])
def test_pieces_are_many_and_neither_tiny_nor_huge(count: int, pieces: int) -> None:
    entries = [FileEntry(str(number), Path(str(number))) for number in range(count)]
    found = build._pieces(entries, Layout(Frame(32, 32), Kind(3), "uint8"))
    assert len(found) == pieces
    assert [entry for piece in found for entry in piece.entries] == entries


def test_a_piece_of_large_images_is_one_image() -> None:
    entries = [FileEntry(str(number), Path(str(number))) for number in range(3)]
    assert len(build._pieces(entries, Layout(Frame(8192, 8192), Kind(3), "uint8"))) == 3


def test_processes_write_what_one_writes(folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "bad.png").write_bytes(b"no image")
    one = load_images(folder, cache=cache)
    monkeypatch.setattr(import_module("sfumato.data.cache.survey"), "PIECE", 7)
    monkeypatch.setattr(build, "MOST_IN_PIECE", 7)
    monkeypatch.setattr(parallel, "PATIENCE", -1.0)
    many = load_images(folder, cache=cache / "many")
    assert many.fingerprint() == one.fingerprint()
    assert many.notices == one.notices
    for name in (INDEX, PIXELS):
        (first,), (second,) = stores(cache), stores(cache / "many")
        assert (first / name).read_bytes() == (second / name).read_bytes()


SCRIPT = """
import sys
from sfumato.data import load_images
from sfumato.data.cache import build
decode = build.decode_piece
def told(*args, **options):
    print("decoded")
    return decode(*args, **options)
build.decode_piece = told
print("ready", flush=True)
sys.stdin.readline()
print(load_images(sys.argv[1], cache=__import__("pathlib").Path(sys.argv[2])).fingerprint())
"""


def test_two_processes_at_once_build_once_and_agree(folder: Path, cache: Path) -> None:
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
    assert sorted(lines.count("decoded") for lines in printed) == [0, COUNT // build.LEAST_IN_PIECE]
    assert printed[0][-1] == printed[1][-1] == load_images(folder, cache=cache).fingerprint()
    assert "Traceback" not in "".join(err for _, err in outputs)


def test_who_waits_for_another_process_is_told(
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

    monkeypatch.setattr(store, "tell", finish)
    assert is_whole(load_images(folder, cache=cache))
    assert not decoded
    assert capsys.readouterr().out == f"Another process is reading the folder {folder}; waiting for it.\n"


def test_a_disk_that_is_too_small_is_known_before_the_work(
    folder: Path, cache: Path, decoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage("/")._replace(free=build.SPARE + COUNT * 6 * 7 * 3 - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(DataError, match=r"40 images of 7 x 6 pixels take 0\.0 GB.*smaller --size.*--cache"):
        load_images(folder, cache=cache)
    assert not decoded
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=usage.free + 1))
    assert is_whole(load_images(folder, cache=cache))


def full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


REMEDY = r"could not be kept in .*: No space left on device\. Free space, or name a folder .* --cache or SFUMATO_CACHE"


@pytest.mark.parametrize(
    "where", ["os.posix_fallocate", "sfumato.data.cache.folder.write_index", "sfumato.data.cache.build.decode_piece"]
)
def test_a_disk_that_fills_up_is_told_with_a_remedy(
    where: str, folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(where, full)
        with pytest.raises(DataError, match=REMEDY):
            load_images(folder, cache=cache)
    assert is_whole(load_images(folder, cache=cache))


def test_pixels_that_do_not_fit_on_the_disk_are_not_taken_for_written(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A raw write may stop halfway without a word."""
    monkeypatch.setattr(build, "_make_room", lambda path, *_: path.touch())
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, before[1]))  # enough for notes, and not for the pixels
    try:
        with pytest.raises(DataError, match=r"could not be kept in .*: File too large"):
            load_images(folder, cache=cache)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    noted = sorted(int(note.stem) for note in cache.rglob(f"{JOURNAL}/*"))
    assert noted == [0, 8, 16]  # eight images take 1,008 bytes
    assert is_whole(load_images(folder, cache=cache))


@pytest.mark.parametrize("cache", [Path("/proc/sfumato"), Path("/dev/null"), Path("/dev/null/below")], ids=str)
def test_a_cache_that_cannot_be_written_is_told_with_a_remedy(folder: Path, cache: Path) -> None:
    with pytest.raises(DataError, match=r"could not be kept in /.*\. Free space, or name a folder"):
        load_images(folder, cache=cache)


def test_a_read_only_cache_is_told_with_a_remedy(folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(DataError, match=r"could not be kept in .*: Permission denied\. Free space, or name a folder"):
        load_images(folder, cache=cache)


def test_a_complete_store_is_read_from_a_read_only_cache(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_images(folder, cache=cache)
    for call in ("mkdir", "write_text", "write_bytes", "unlink", "replace", "rename", "touch"):
        monkeypatch.setattr(Path, call, full)
    monkeypatch.delattr(store, "FileLock")
    assert is_whole(load_images(folder, cache=cache))


def test_the_environment_names_the_cache(folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SFUMATO_CACHE", str(cache))
    load_images(folder)
    assert len(stores(cache)) == 1
    load_images(folder, cache=cache / "other")
    assert len(stores(cache / "other")) == 1


def test_without_a_word_the_cache_is_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SFUMATO_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert store.cache_folder() == tmp_path / "sfumato"


def test_a_row_without_an_image_moves_no_other(folder: Path, cache: Path) -> None:
    """Headers are whole, so there are rows for them, but no pixels."""
    whole = load_images(folder, cache=cache)
    for name in ("00a.bmp", "20a.bmp", "99.bmp"):
        (folder / name).write_bytes(encoded(Image.fromarray(IMAGES[0]), "BMP")[:-30])
    images = load_images(folder, cache=cache)
    assert images.pixels.shape[0] == COUNT + 3
    assert is_whole(images)
    assert images.fingerprint() == whole.fingerprint()


def test_the_spool_is_removed_even_if_the_build_fails(tmp_path: Path, cache: Path) -> None:
    np.savez(tmp_path / "x.npz", images=IMAGES, labels=np.arange(3))
    with pytest.raises(DataError, match="labels"):
        load_images(tmp_path / "x.npz", cache=cache)
    np.savez(tmp_path / "x.npz", images=IMAGES)
    assert is_whole(load_images(tmp_path / "x.npz", cache=cache))
    assert not list(cache.rglob(SPOOL))


def test_every_label_that_a_table_may_hold_survives_the_store(tmp_path: Path, cache: Path) -> None:
    cells = [1, 1.5, True, None, "ü", float("nan"), float("inf"), 10**30, "\ud800", "a\nb"]
    rows = [{"file_name": f"{n:02}.npy", "cell": cell} for n, cell in enumerate(cells)]
    folder = write(tmp_path / "x", {row["file_name"]: npy(image) for row, image in zip(rows, IMAGES, strict=False)})  # type: ignore[misc]
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    load_images(folder, cache=cache)
    (place,) = stores(cache)
    index = store.read_index(place)
    assert index is not None
    cells[5] = None  # what is not a number is missing
    assert list(map(repr, index.columns["cell"])) == list(map(repr, [*cells[:-2], r"\ud800", r"a\nb"]))


def test_names_of_any_kind_survive_the_store(tmp_path: Path, cache: Path) -> None:
    names = [os.fsdecode(b"caf\xe9.npy"), "a\nb.npy", "-x.npy", "[red].npy"]
    write(tmp_path / "x", {name: npy(image) for name, image in zip(names, IMAGES, strict=False)})
    load_images(tmp_path / "x", cache=cache)
    (place,) = stores(cache)
    index = store.read_index(place)
    assert index is not None
    assert sorted(index.names) == sorted([r"caf\udce9.npy", r"a\nb.npy", "-x.npy", "[red].npy"])
