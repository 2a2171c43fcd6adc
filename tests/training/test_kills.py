"""A run that is killed at any write resumes and ends like an uninterrupted one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from kills import killed_at
from sfumato.training import monitor
from sfumato.training.checkpoints import LOCK, LOG
from sfumato.training.measurements import METRICS_FILE, best_of, read_metrics
from sfumato.training.monitor import Monitor
from sfumato.training.run_directory import checkpoints
from sfumato.training.state import CHECKPOINT_KIND
from sfumato.training.validation import Validation, ValidationLoss
from sfumato.utils.background import Background
from sfumato.utils.files import read_tensors

from .conftest import Settings, Train

BEYOND = 10**6

DISTANCES = {
    "in the middle": {4: 3.0, 8: 1.0, 12: 2.0},
    "at the end": {4: 2.0, 8: 3.0, 12: 1.0},
}


def outcome(run: Path) -> dict[str, Any]:
    """All that a run left, without times; of the checkpoints the newest, which an older one beside it does not harm."""
    found: dict[str, Any] = {
        str(path.relative_to(run)): path.read_bytes()
        for path in run.rglob("*")
        if path.is_file() and path.name not in (LOG, LOCK, METRICS_FILE) and path.parent.name != "checkpoints"
    }
    tensors, notes = read_tensors(checkpoints(run)[0], CHECKPOINT_KIND)
    found["checkpoint"] = {name: tensor.tolist() for name, tensor in tensors.items()} | notes | {"seconds": 0}
    lines = [{**m, "seconds": 0} for m in read_metrics(run)]
    found["looks"] = [m for m in lines if m["kind"] != "train"]
    return found


@pytest.mark.parametrize(
    ("best", "save_minutes", "part"),
    [
        ("in the middle", 0.0, slice(0, None, 3)),
        ("in the middle", 0.0, slice(1, None, 3)),
        ("in the middle", 0.0, slice(2, None, 3)),
        ("in the middle", 10.0, slice(None)),
        ("at the end", 10.0, slice(None)),
    ],
)
@pytest.mark.slow
def test_a_run_killed_at_any_write_resumes_exactly(
    best: str,
    save_minutes: float,
    part: slice,
    settings: Settings,
    go: Train,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def evaluate(self: Monitor) -> None:
        seen = self.state.counters.images_seen
        measured = {"distance": DISTANCES[best][seen], "features": "pixels", "count": 4}
        self.run.add_measurement({"kind": "evaluation", "images": seen, **measured})

    monkeypatch.setattr(Monitor, "evaluate", evaluate)
    if save_minutes:  # nothing is written in the background, so that each write has its place
        monkeypatch.setattr(Background, "begin", Background._do)
    monkeypatch.setattr(monitor, "sample", lambda *_, **__: torch.zeros(1, 3, 4, 4))  # neither is what is tested
    monkeypatch.setattr(Validation, "loss", lambda *_, **__: ValidationLoss(1.0, {}))
    config = settings(
        images=12, validate_every=4, eval_every=4, eval_count=4, preview_count=1, preview_steps=3, autoguidance_at=0.4,
        save_minutes=save_minutes, keep=1,
    )  # fmt: skip
    whole = tmp_path / "whole"
    with killed_at(whole, BEYOND) as counted:
        go(config, whole)
    expected, changes = outcome(whole), counted.changes
    assert best_of(read_metrics(whole)) is not None
    assert len(changes) > 20
    for number, change in list(enumerate(changes))[part]:
        run = tmp_path / str(number)
        with killed_at(run, number) as kill:
            go(config, run)
        assert kill.is_dead, change
        go(config, run)
        found = outcome(run)
        assert found.keys() == expected.keys(), change
        for name, content in expected.items():
            assert found[name] == content, (change, name)
