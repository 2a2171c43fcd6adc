"""The number of `eval RUN` is that of `sample --out` followed by `eval SAMPLES DATA`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from cli.conftest import TINY, Command

METRICS = ("--metrics", "distance", "drift", "--device", "cpu")


@pytest.mark.parametrize(
    ("dtype", "low", "high"),
    [("float32", -150, 3000), ("float32", 2, 250), ("float32", 0, 1), ("uint16", 88, 4088), ("uint8", 0, 255)],
)
def test_both_routes_to_a_distance_agree(sfumato: Command, dtype: str, low: float, high: float, tmp_path: Path) -> None:
    values = np.random.default_rng(0).beta(0.5, 0.5, (60, 8, 8, 1)) * (high - low) + low
    np.save(tmp_path / "data.npy", values.astype(dtype))
    data, run, samples = tmp_path / "data.npy", tmp_path / "run", tmp_path / "samples.npz"
    drawn = ("--count", 40, "--steps", 4, "--seed", 0)
    for command in (("train", data, "--images", 40, *TINY, "--out", run), ("sample", run, *drawn, "--out", samples)):
        assert sfumato(*command).code == 0
    found = [
        json.loads(sfumato("eval", *subject, *METRICS, "--json", "--out", tmp_path / "out").out)
        for subject in ((run, *drawn), (samples, data))
    ]
    assert found[0]["metrics"] == found[1]["metrics"]
    assert (found[0]["train"], found[0]["held_out"]) == (found[1]["train"], found[1]["held_out"]) == (57, 3)
