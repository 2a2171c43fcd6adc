"""The target format depends on all images; a wrong guess from a sample is corrected."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from images import noise, png, write
from sfumato.data import load_images
from sfumato.data.cache import build
from sfumato.errors import DataError

GREY, COLOUR = noise(12, 6, 7), noise(12, 6, 7, 3)
DEEP = (GREY.astype(np.uint16)) * 257


@pytest.fixture(autouse=True)
def two_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sample is the first and the seventh of twelve images."""
    monkeypatch.setattr(build, "SAMPLE", 2)


def folder(place: Path, unlike: np.ndarray, others: np.ndarray) -> Path:
    """A folder of twelve images; the sampled ones differ from the others."""
    pictures = {f"{n:02}.png": png((unlike if n % 6 == 0 else others)[n]) for n in range(12)}
    return write(place, pictures)


@pytest.mark.parametrize(("unlike", "others"), [(GREY, COLOUR), (COLOUR, GREY), (DEEP, GREY), (GREY, DEEP)])
def test_a_wrong_guess_changes_nothing(
    unlike: np.ndarray, others: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = folder(tmp_path / "photos", unlike, others)
    guessed = load_images(photos, cache=tmp_path / "guessed")
    monkeypatch.setattr(build, "SAMPLE", 12)
    known = load_images(photos, cache=tmp_path / "known")
    assert guessed.fingerprint() == known.fingerprint()
    assert guessed.notices == known.notices
    assert guessed.images.dtype == known.images.dtype
    assert guessed.image_shape[0] == (3 if others.ndim == 4 else 1)


def test_images_that_cannot_be_converted_are_skipped(tmp_path: Path) -> None:
    five = noise(12, 6, 7, 5)
    for number in range(12):
        np.save(tmp_path / f"{number:02}.npy", COLOUR[number] if number % 6 == 0 else five[number])
    images = load_images(tmp_path)
    assert images.image_shape[0] == 5
    assert len(images) == 10
    assert "2 of 12 images were skipped: 00.npy, 06.npy (it has RGB" in images.notices[0].text


def test_a_different_size_outside_the_sample_is_rejected(tmp_path: Path) -> None:
    folder(tmp_path, COLOUR, COLOUR)
    (tmp_path / "03.png").write_bytes(png(noise(9, 8, 3)))
    with pytest.raises(DataError, match=r"2 different sizes \(most often: 11 of 7 x 6, 1 of 8 x 9 pixels\)"):
        load_images(tmp_path)


def test_a_sample_without_readable_images_is_ignored(tmp_path: Path) -> None:
    folder(tmp_path, COLOUR, COLOUR)
    for name in ("00.png", "06.png"):
        (tmp_path / name).write_text("no image")
    assert len(load_images(tmp_path)) == 10


def test_a_truncated_image_of_another_size_is_skipped(tmp_path: Path) -> None:
    folder(tmp_path, COLOUR, COLOUR)
    (tmp_path / "00.png").write_bytes(png(noise(90, 80, 3))[:2000])
    images = load_images(tmp_path)
    assert len(images) == 11
    assert "1 of 12 images was skipped: 00.png" in images.notices[0].text
