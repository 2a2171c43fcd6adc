"""Every stage of an evaluation says how many parts it has, and tells of each: bars begin, move and end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from sfumato.data import ImageSet
from sfumato.evaluation.evaluate import MEASURES, EvalContext, memorization
from sfumato.evaluation.subject import Subject
from sfumato.metrics import Features, NetworkOutput
from sfumato.utils.progress import stages_bar


class Corner(Features):
    """A classifier into two that looks at eight pixels."""

    name, width, classes = "corner", 8, 2

    def _look(self, images: torch.Tensor) -> NetworkOutput:
        rows = images.flatten(1)[:, :8]
        return NetworkOutput(rows, rows[:, :2])


def noise(count: int, seed: int) -> ImageSet:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (count, 1, 8, 8), generator=generator).byte()
    return ImageSet.of(images, torch.arange(count) % 2, ("even", "odd"))


@pytest.fixture
def subject() -> Subject:
    """More samples and held-out images than one batch, and enough for every measure."""
    return Subject("noise", noise(300, 0), noise(400, 1), noise(120, 2))


@pytest.mark.parametrize("metric", [*MEASURES, "memorization"])
def test_all_parts_of_all_stages_are_told(metric: str, subject: Subject, tmp_path: Path) -> None:
    stages: list[list[int]] = []

    def begin(what: str, parts: int) -> Callable[[int], None]:
        assert what
        stages.append([parts, 0])
        stage = stages[-1]

        def advance(done: int) -> None:
            stage[1] += done

        return advance

    bench = EvalContext(subject, Corner(), torch.device("cpu"), tmp_path, begin)
    (MEASURES | {"memorization": memorization})[metric](bench)
    assert stages
    assert all(parts == done > 0 for parts, done in stages), stages


def test_nothing_is_drawn_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with stages_bar() as begin:
        begin("one", 2)(2)
        begin("two", 3)(1)
    assert capsys.readouterr() == ("", "")


def test_each_stage_takes_the_place_of_the_one_before(
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
