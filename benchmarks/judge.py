"""The judge of a folder: the Frechet distance by its `score.py`."""

import importlib.util
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

Judge = Callable[[Tensor], float]
"""The distance of images uint8 (n, 3, h, w) to the data."""


def judge_in(folder: Path, device: torch.device | str) -> Judge:
    """The Frechet distance in the features of `judge-a`."""
    spec = importlib.util.spec_from_file_location("score", folder / "score.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return lambda images: float(module.score(images, "judge-a", device))
