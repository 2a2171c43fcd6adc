"""What holds for every test: shapes are checked, plots need no screen, and every process keeps to one core."""

import os
from collections.abc import Iterator
from pathlib import Path

import jaxtyping
import numpy as np
import pytest
import torch
from PIL import Image

# From here on every function of sfumato checks the shapes and dtypes in its signature, at each call.
jaxtyping.install_import_hook("sfumato", "type_checker.check")

os.environ.setdefault("MPLBACKEND", "Agg")

# The tensors of the tests are small: threads cost more than they bring, and pytest's workers need the cores.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve images of 8x8 random pixels, in the folders of two classes."""
    folder = tmp_path_factory.mktemp("data") / "photos"
    random = np.random.default_rng(0)
    for label in ("cat", "dog"):
        (folder / label).mkdir(parents=True)
        for number in range(6):
            pixels = random.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{number}.png")
    return folder


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Decoded images are kept in a folder of the tests' own."""
    os.environ["SFUMATO_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Lifts the checks, for a test that passes arguments of wrong types to see the error of a user."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
