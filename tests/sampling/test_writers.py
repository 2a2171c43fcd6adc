"""Samples that are written while they are generated: constant memory, and no partial files."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from images import noise, png
from sfumato.data.conditions import Category, Number
from sfumato.errors import RunError
from sfumato.sampling import writers
from sfumato.sampling.output import write_samples
from sfumato.sampling.writers import Archive, Folder, png_of_16_bits
from sfumato.utils.depth import EIGHT_BITS

CLASSES = [Category("label", ("cat", "dog"))]
COLUMNS = [Category("colour", ("red", "blue")), Number("age", 30.0, 10.0, 0.0, 60.0)]

Batch = tuple[Tensor, Tensor | None]

PEAK = """
import resource, sys, torch
from pathlib import Path
from sfumato.utils.depth import EIGHT_BITS
from sfumato.sampling.output import write_samples

def peak(count, name):
    batches = ((torch.rand(100, 3, 32, 32) * 2 - 1, None) for _ in range(0, count, 100))
    write_samples(batches, Path(sys.argv[1]) / name, (), EIGHT_BITS)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

before = peak(500, "few" + sys.argv[2])
print((peak(int(sys.argv[3]), "many" + sys.argv[2]) - before) // 1024)
"""


def batches(*counts: int, columns: int = 0) -> list[Batch]:
    """Images of noise with labels: classes, or rows of two columns."""
    random = torch.Generator().manual_seed(0)
    made: list[Batch] = []
    for count in counts:
        classes = torch.arange(count) % 2
        rows = torch.stack([classes.float(), torch.arange(count) / 10], 1)
        made.append((torch.rand(count, 3, 6, 7, generator=random) * 2 - 1, rows if columns else classes))
    return made


def interrupted(whole: list[Batch]) -> Iterator[Batch]:
    """The batches, and then a Ctrl-C."""
    yield from whole
    raise KeyboardInterrupt


@pytest.mark.parametrize(("suffix", "count"), [(".npz", 10_000), ("", 3_000)])
@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_images(suffix: str, count: int, tmp_path: Path) -> None:
    """10,000 images are 30 MB as bytes, and four times that as floats."""
    command = [sys.executable, "-c", PEAK, str(tmp_path), suffix, str(count)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 15


def test_numpy_reads_all_arrays_of_an_archive(tmp_path: Path) -> None:
    parts = batches(3, 4, 1)
    write_samples(iter(parts), tmp_path / "a.npz", CLASSES, EIGHT_BITS)
    images = torch.cat([images for images, _ in parts])
    with np.load(tmp_path / "a.npz", allow_pickle=False) as content:
        assert content.files == ["images", "labels", "label_names"]
        assert np.array_equal(content["images"], EIGHT_BITS.to_pixels(images).permute(0, 2, 3, 1).numpy())
        assert content["labels"].tolist() == [0, 1, 0, 0, 1, 0, 1, 0]
        assert content["label_names"].tolist() == ["cat", "dog"]


def test_an_archive_holds_the_values_of_columns(tmp_path: Path) -> None:
    write_samples(iter(batches(2, 1, columns=2)), tmp_path / "a.npz", COLUMNS, EIGHT_BITS)
    with np.load(tmp_path / "a.npz", allow_pickle=False) as content:
        assert content["labels"].tolist() == [-1, -1, -1]
        assert "label_names" not in content
        assert content["condition.colour"].tolist() == ["red", "blue", "red"]
        assert content["condition.age"] == pytest.approx([30.0, 31.0, 30.0], abs=1e-5)


@pytest.mark.parametrize("name", ["a.npz", "a"])
def test_an_interrupted_writer_keeps_the_complete_batches(name: str, tmp_path: Path) -> None:
    parts = batches(5, 70, 2)
    for at in (1, 2, 3):
        write_samples(interrupted(parts[:at]), tmp_path / f"{at}-{name}", CLASSES, EIGHT_BITS)
        write_samples(iter(parts[:at]), tmp_path / f"{at}-whole-{name}", CLASSES, EIGHT_BITS)
        left, whole = (
            {file.name: file.read_bytes() for file in files(tmp_path / f"{at}{which}-{name}")}
            for which in ("", "-whole")
        )
        assert list(left.values()) == list(whole.values())


def files(path: Path) -> list[Path]:
    """All files of a sample, in order."""
    return [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())


@pytest.mark.parametrize("kind", [Archive, Folder])
def test_a_partially_written_batch_is_discarded(
    kind: type[Archive] | type[Folder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Ctrl-C may come while a batch is written."""
    parts = batches(3, 4)

    def broken(*_: object) -> None:
        raise KeyboardInterrupt

    more = () if kind is Archive else (None,)
    with kind(tmp_path / "a.npz", CLASSES, EIGHT_BITS, *more) as writer:  # type: ignore[arg-type]
        writer.add(*parts[0])
        if isinstance(writer, Archive):
            writer.spool.write(b"begun")
        else:
            monkeypatch.setattr(writer.threads, "submit", broken)
            with pytest.raises(KeyboardInterrupt):
                writer.add(*parts[1])
        assert writer.finish().is_file()
        assert writer.count == 3
    if kind is Archive:
        with np.load(tmp_path / "a.npz") as content:
            assert len(content["images"]) == len(content["labels"]) == 3
        with ZipFile(tmp_path / "a.npz") as archive:
            assert archive.getinfo("images.npy").file_size == 128 + 3 * 3 * 6 * 7
    else:
        lines = (tmp_path / "a.npz" / "images" / "metadata.jsonl").read_text().splitlines()
        assert [json.loads(line)["file_name"] for line in lines] == ["000000.png", "000001.png", "000002.png"]


@pytest.mark.parametrize("name", ["a.npz", "a"])
def test_an_error_leaves_no_partial_files(name: str, tmp_path: Path) -> None:
    def failing() -> Iterator[Batch]:
        yield from batches(3)
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011 (any)
        write_samples(failing(), tmp_path / "new" / name, CLASSES, EIGHT_BITS)
    left = {file.name for file in (tmp_path / "new").rglob("*") if file.is_file()}
    assert left == (set() if name == "a.npz" else {"000000.png", "000001.png", "000002.png"})


@pytest.mark.parametrize("name", ["a.npz", "a"])
def test_an_unwritable_path_is_reported(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="could not be written"):
        write_samples(iter(batches(3, 4)), tmp_path / "file" / name, CLASSES, EIGHT_BITS)


@pytest.mark.parametrize("name", ["a.npz", "a"])
def test_an_interruption_before_the_first_batch_leaves_no_files(name: str, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        write_samples(interrupted([]), tmp_path / name, CLASSES, EIGHT_BITS)
    assert not list(tmp_path.iterdir())


def test_a_failed_write_of_the_last_batch_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, _: bytes) -> None:
        raise RunError(f"{path} could not be written", "Free space.")

    monkeypatch.setattr(writers, "write_swiftly", full)
    with pytest.raises(RunError, match=r"00000\d.png could not be written"):
        write_samples(iter(batches(3)), tmp_path / "a", CLASSES, EIGHT_BITS)
    assert not (tmp_path / "a" / "grid.png").exists()


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (5, 7), (64, 32)])
def test_a_png_of_16_bits_has_the_pixels_and_header_of_libpng(height: int, width: int, channels: int) -> None:
    """Pillow reads colour with 8 bits, the high bytes; grey with 16 bits. `test_output.py` compares all 16 bits."""
    pixels = noise(height, width, channels, dtype="uint16").reshape(
        (height, width, channels)[: 3 if channels > 1 else 2]
    )
    content = png_of_16_bits(pixels)
    assert content[:33] == png(pixels)[:33]
    with Image.open(io.BytesIO(content)) as image, Image.open(io.BytesIO(png(pixels))) as expected:
        assert np.array_equal(np.asarray(image), np.asarray(expected))
