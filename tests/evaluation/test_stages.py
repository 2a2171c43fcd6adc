"""Every stage of an evaluation reports its number of units, and then each completed unit, to the progress bar."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from sfumato.data import ImageSet
from sfumato.evaluation import METRICS
from sfumato.evaluation.context import EvalContext
from sfumato.evaluation.subject import Subject
from sfumato.metrics import Features, NetworkOutput
from sfumato.utils.progress import stages_bar


class Corner(Features):
    """A classifier of two classes, by eight pixels."""

    name = "corner"

    def _outputs(self, images: torch.Tensor) -> NetworkOutput:
        rows = images.flatten(1)[:, :8]
        return NetworkOutput(rows, rows[:, :2])


def noise(count: int, seed: int) -> ImageSet:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (count, 1, 8, 8), generator=generator).byte()
    return ImageSet.of(images, torch.arange(count) % 2, ("even", "odd"))


@pytest.fixture
def subject() -> Subject:
    """More samples than one batch, and enough images for every metric."""
    return Subject("noise", noise(300, 0), noise(400, 1), noise(120, 2))


@pytest.mark.parametrize("metric", [name for name in METRICS if name != "likelihood"])
def test_all_units_of_all_stages_are_reported(metric: str, subject: Subject, tmp_path: Path) -> None:
    stages: list[list[int]] = []

    def begin(description: str, units: int) -> Callable[[int], None]:
        assert description
        stages.append([units, 0])
        stage = stages[-1]

        def advance(done: int) -> None:
            stage[1] += done

        return advance

    METRICS[metric].measure(EvalContext(subject, Corner(), torch.device("cpu"), tmp_path, tmp_path, begin=begin))
    assert stages
    assert all(units == done > 0 for units, done in stages), stages


def test_no_bar_is_displayed_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with stages_bar() as begin:
        begin("one", 2)(2)
        begin("two", 3)(1)
    assert capsys.readouterr() == ("", "")


def test_each_stage_replaces_the_previous_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr("sfumato.utils.progress.display.is_terminal", lambda _: True)
    with stages_bar() as begin:
        late = begin("one", 2)
        begin("two", 3)(1)
        late(1)
    shown = capsys.readouterr().err
    assert "33%" in shown
    assert "one" not in shown.rsplit("two", 1)[-1]
