"""What is said while a model learns."""

from __future__ import annotations

import pytest

from sfumato import progress
from sfumato.progress import TrainingProgress


def test_the_line_tells_the_share_of_time_spent_waiting_for_data(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    with TrainingProgress() as bar:
        clock[0] = 100.0
        bar.advance(0, 0.0, loss=0.5, waited=1.0)
        clock[0] = 120.0
        bar.advance(1000, 0.25, loss=0.5, waited=7.0)
    (line,) = capsys.readouterr().out.splitlines()
    assert line == "25%, 1,000 images, 50 images/s, loss 0.5000, 30% waiting for data, 1.0 minutes left"
