"""Fixtures for the tests of the data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from images import png, write
from sfumato.data.cache import build
from sfumato.data.cache.build import Outcome
from sfumato.data.cache.target_format import TargetFormat
from sfumato.data.sources import Entry, ReadOptions

from .cached_images import IMAGES

Save = Callable[..., Path]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """Writes an image of one colour below `tmp_path`."""

    def write(name: str, mode: str = "RGB", size: tuple[int, int] = (8, 8), colour: object = 0) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new(mode, size, colour).save(path)  # type: ignore[arg-type]
        return path

    return write


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
    """Names of the decoded images; chunks have eight images."""
    names: list[str] = []
    monkeypatch.setattr(build, "MOST_IN_CHUNK", 8)
    decode = build._decode

    def count(entry: Entry, target: TargetFormat, options: ReadOptions, place: np.ndarray) -> Outcome:
        names.append(entry.name)
        return decode(entry, target, options, place)

    monkeypatch.setattr(build, "_decode", count)
    return names
