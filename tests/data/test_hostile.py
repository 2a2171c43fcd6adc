"""Broken or malicious inputs are loaded correctly, skipped with a reason, or rejected with a remedy."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import sfumato as sf
from hostile import CASES, SIDE

MOST_SECONDS = 20


@pytest.fixture(autouse=True)
def _guarded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Limits the time, and runs in an empty folder in which unwanted files are noticed."""

    def refuse(*_: object) -> None:
        raise TimeoutError(f"it took more than {MOST_SECONDS} seconds")

    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    before = signal.signal(signal.SIGALRM, refuse)
    signal.alarm(MOST_SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def test_there_are_at_least_70_cases() -> None:
    assert len(CASES) >= 70


@pytest.mark.filterwarnings("default::DeprecationWarning")
@pytest.mark.parametrize("name", CASES)
def test_hostile_data_is_loaded_skipped_or_rejected(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    case = CASES[name]
    source = case.make(tmp_path / "made")
    if case.loads:
        images = sf.load_images(source, size=SIDE, labels=False, cache=tmp_path / "cache")
        assert len(images) == len(case.loads)
        for image, expected in zip(images.images, case.loads, strict=True):
            assert expected is None or np.array_equal(image.permute(1, 2, 0).numpy(), expected)
        said = "\n".join(str(notice) for notice in images.notices if notice.topic != "columns")
        assert bool(said) == bool(case.says)
    else:
        with pytest.raises(sf.SfumatoError) as caught:
            sf.load_images(source, size=SIDE, labels=False, cache=tmp_path / "cache")
        said = caught.value.problem
        assert caught.value.remedy
    assert all(piece in said for piece in case.says), said
    assert said.isprintable() or said.replace("\n", "").isprintable()
    assert list(Path.cwd().iterdir()) == []
    printed = capfd.readouterr()
    assert "Traceback" not in printed.out + printed.err
