"""Networks from outside the package for tests, as a file that a user would write."""

from __future__ import annotations

from pathlib import Path

import numpy as np

NETWORK = """
from pathlib import Path

import torch
from torch import nn

with Path(__file__).with_suffix(".runs").open("a") as file:
    file.write("run ")


class Net(nn.Module):
    def __init__(self, channels, classes=0, width=8, dropout=0.1):
        super().__init__()
        self.entry = nn.Conv2d(channels, width, 3, padding=1)
        self.condition = nn.Sequential(nn.Linear(1, width), nn.SiLU(), nn.Linear(width, width))
        self.labels = nn.Embedding(classes + 1, width)
        self.body = nn.Sequential(
            nn.BatchNorm2d(width), nn.SiLU(), nn.Dropout(dropout), nn.Conv2d(width, width, 3, padding=1), nn.SiLU()
        )
        self.exit = nn.Conv2d(width, channels, 3, padding=1)

    def forward(self, x, time, labels=None):
        condition = self.condition(time[:, None] / 1000)
        if labels is not None:
            condition = condition + self.labels(labels + 1)
        return self.exit(self.body(self.entry(x) + condition[:, :, None, None]))


class Plain(Net):
    def __init__(self, channels):
        super().__init__(channels)


class Flat(nn.Module):
    def __init__(self, channels, size):
        super().__init__()
        self.entry = nn.Conv2d(channels, channels, 3, padding=1)
        self.layers = nn.Sequential(nn.Linear(channels * size[0] * size[1], 8), nn.SiLU(), nn.Linear(8, 8), nn.SiLU())
        self.last = nn.Linear(8, channels * size[0] * size[1])

    def forward(self, x, time, labels):
        hidden = self.layers(self.entry(x).view(len(x), -1)) + time[:, None] / 1000
        return self.last(hidden).view(x.shape)


def build(channels, classes, width=4):
    return Net(channels, classes, width)
"""

SETTINGS = {
    "images": 48,
    "batch": 8,
    "schedule": "linear:timesteps=50",
    "preview_count": 1,
    "preview_steps": 3,
    "validation_count": 10,
    "flip": True,
}
"""Six steps of training."""

FLAGS = [
    part
    for name, value in SETTINGS.items()
    for part in (["--flip"] if name == "flip" else [f"--{name.replace('_', '-')}", str(value)])
]


def written(folder: Path) -> Path:
    """Writes the file of the networks."""
    (folder / "ownnet.py").write_text(NETWORK)
    return folder / "ownnet.py"


def runs(file: Path) -> int:
    """How often the file was run."""
    counter = file.with_suffix(".runs")
    return counter.read_text().count("run") if counter.exists() else 0


def pictures(count: int = 24) -> np.ndarray:
    """Random images (count, 8, 8, 3) uint8."""
    return np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
