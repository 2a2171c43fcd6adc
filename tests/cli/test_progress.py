"""Progress display for terminals of any width, notebooks, logs and dumb terminals."""

from __future__ import annotations

import io
import re
import sys
from types import ModuleType

import pytest
from rich.cells import cell_len
from rich.console import Console

from sfumato.utils.progress import TrainingBar, display, sampling_bar, training
from sfumato.utils.progress.display import LogDisplay, NotebookDisplay, TerminalDisplay, display_on, wrapped
from sfumato.utils.progress.line import Fact, Line, Pace

TRAINING = Line(
    Fact("training", 2),
    0.5,
    (
        Fact("50%"),
        Fact("12,345 images", 4),
        Fact("1,234 images/s", 3),
        Fact("loss 0.1234", 1),
        Fact("7% waiting for data", 5),
        Fact("0:12:34 left"),
    ),
)


class Terminal(io.StringIO):
    """A text buffer that reports to be a terminal."""

    def isatty(self) -> bool:
        """Always true."""
        return True


def rendered(line: Line, width: int) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None, legacy_windows=False)
    console.print(line, end="")
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().rstrip("\n")


@pytest.mark.parametrize(
    ("width", "before", "bar", "after"),
    [
        (40, "", 21, "  50%  0:12:34 left"),
        (60, "training ", 19, "  50%  loss 0.1234  0:12:34 left"),
        (80, "training ", 23, "  50%  1,234 images/s  loss 0.1234  0:12:34 left"),
        (
            *(120, "training ", 27),
            "  50%  12,345 images  1,234 images/s  loss 0.1234  7% waiting for data  0:12:34 left",
        ),
        (
            *(200, "training ", 50),
            "  50%  12,345 images  1,234 images/s  loss 0.1234  7% waiting for data  0:12:34 left",
        ),
    ],
)
def test_a_narrow_line_omits_the_least_important_fields(width: int, before: str, bar: int, after: str) -> None:
    assert TRAINING.fitted(width) == (before, bar, after)
    assert re.fullmatch(f"{before}━+─+{re.escape(after)}", rendered(TRAINING, width))
    assert rendered(TRAINING, width).count("━") == bar // 2


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_every_line_fits_and_has_a_bar_and_the_time_left(width: int) -> None:
    facts = (Fact("100%"), Fact("12,345,678,901 images", 2), Fact("1,234,567 images/s", 1), Fact("1000:12:34 left"))
    for description in ("sampling", "measuring distances in features", "训练" * 12):
        shown = rendered(Line(Fact(description, 3), 0.25, facts), width)
        assert shown.endswith("1000:12:34 left")
        assert shown.count("━") + shown.count("─") >= 10
        assert cell_len(shown) <= width


def test_a_terminal_without_unicode_has_an_ascii_bar() -> None:
    file = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    Console(file=file, width=60, force_terminal=True, color_system=None).print(TRAINING)
    file.seek(0)
    assert file.read().startswith("training #########----------  50%")


@pytest.mark.parametrize(
    ("file", "environment", "kind"),
    [
        (Terminal(), {"TERM": "xterm"}, TerminalDisplay),
        (Terminal(), {"TERM": "dumb"}, LogDisplay),
        (io.StringIO(), {"TERM": "xterm"}, LogDisplay),
        (io.StringIO(), {"TERM": "xterm", "FORCE_COLOR": "1", "CI": "true"}, LogDisplay),
    ],
)
def test_bars_are_shown_on_terminals_only(file: io.StringIO, environment: dict[str, str], kind: type) -> None:
    assert isinstance(display_on(Console(file=file, _environ=environment)), kind)


def test_a_log_has_a_line_every_15_seconds(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    for module in (display, training):
        monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    with TrainingBar() as bar:
        for clock[0], images, share, waited in (
            (100.0, 0, 0.0, 1.0),
            (110.0, 500, 0.125, 2.0),
            (120.0, 1000, 0.25, 7.0),
        ):
            bar.advance(images, share, loss=0.5, waited=waited)
    (line,) = capsys.readouterr().out.splitlines()
    expected = (
        "training: 25%, 1,000 of about 4,000 images, 50 images/s, loss 0.5000, 30% waiting for data, 0:01:00 left"
    )
    assert line == expected


@pytest.mark.parametrize(
    ("seen", "share", "forecast"),
    [(12_345, 0.1, "120,000"), (52_480, 0.5, "105,000"), (104_400, 0.995, "104,920"), (999, 0.999, "1,000")],
)
def test_the_estimated_total_is_at_least_the_current_count(seen: int, share: float, forecast: str) -> None:
    """Two significant digits of the remaining images are shown, so the estimate of the total becomes more precise."""
    bar = TrainingBar()
    bar._share.mark(0.0, 0.0)
    bar._share.mark(1.0, share)
    bar._images.mark(0.0, 0.0)
    bar._images.mark(1.0, seen)
    assert bar._forecast(seen, share) == f" of about {forecast}"


def test_sampling_prints_progress_to_a_log(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(display.time, "monotonic", lambda: clock[0])
    with sampling_bar(1000, 10) as on_step:
        for _ in range(4):
            clock[0] += 10
            on_step(1000)
    assert capsys.readouterr().err.splitlines() == [
        "sampling: 20%, 200/1,000 images, 0:01:20 left",
        "sampling: 40%, 400/1,000 images, 0:01:00 left",
    ]


def test_a_notebook_updates_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []

    class Handle:
        def update(self, content: dict[str, str], raw: bool) -> None:
            assert raw
            shown.append(content["text/plain"])

    def show(content: dict[str, str], raw: bool, display_id: bool) -> Handle:
        assert raw
        assert display_id
        shown.append(content["text/plain"])
        return Handle()

    module = ModuleType("IPython.display")
    module.display = show  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    console = Console(force_jupyter=True)
    notebook = display_on(console)
    assert isinstance(notebook, NotebookDisplay)
    for share in (0.0, 0.5, 1.0):
        notebook.show(Line(Fact("training", 1), share, (Fact(f"{share:.0%}"),)))
    notebook.close()
    assert shown == [f"training {'─' * 50}  0%", f"training {'━' * 50}  100%"]


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_messages_wrap_between_words(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    sentence = "0.46 GFLOP per image, at about 0.16 TFLOP/s, on cpu, 数据 in /a/folder/with-a-long/" + "name" * 20
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("COLUMNS", str(width))
    display.print_sentence(sentence)
    lines = terminal.getvalue().splitlines()
    assert " ".join(lines) == sentence
    assert all(len(line) <= width or " " not in line for line in lines)
    assert wrapped("数据 数据 数据", 9).splitlines() == ["数据 数据", "数据"]


def test_the_time_left_follows_the_recent_pace() -> None:
    pace = Pace()
    for time in range(100):
        pace.mark(time, time)
    assert pace.left(60) == "0:01:00 left"
    for time in range(100, 141):
        pace.mark(time, 100 + 0.1 * (time - 100))
    assert pace.left(60) == "0:10:00 left"
    assert pace.left(0) == "in 0:02:20"


def test_steps_slower_than_the_period_have_a_time_left() -> None:
    pace = Pace()
    assert pace.left(1) == "-:--:-- left"
    for step in range(3):
        pace.mark(60.0 * step, step)
    assert pace.left(2) == "0:02:00 left"
