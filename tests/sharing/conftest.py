"""Fixtures: a small run with evaluations, and a stand-in for the Hub."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from cli.conftest import TINY, run_main

from .hub import Hub, serving


@pytest.fixture(scope="session")
def evaluated(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two classes with results of `sfumato eval`; read only."""
    run = tmp_path_factory.mktemp("private") / "pets"
    assert run_main(["train", str(photos), "--out", str(run), "--images", "24", *TINY]) == 0
    few = ["--count", "6", "--steps", "3", "--device", "cpu"]
    assert run_main(["eval", str(run), *few]) == 0
    return run


@pytest.fixture
def pets(evaluated: Path, tmp_path: Path) -> Path:
    """A copy of the run that may be changed."""
    return Path(shutil.copytree(evaluated, tmp_path / "runs" / "pets"))


@pytest.fixture
def logged_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A stand-in for the Hub, for this process, without a login."""
    with serving() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.address)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.address + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
        for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
            monkeypatch.delenv(name, raising=False)
        yield hub


@pytest.fixture
def hub(logged_out: Hub, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """A stand-in for the Hub, for this process, with a login."""
    monkeypatch.setenv("HF_TOKEN", "login-for-tests")
    return logged_out
