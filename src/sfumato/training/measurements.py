"""What was measured of a run while it learned, and which moment was the best."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

METRICS = "metrics.jsonl"

MOST = 1e15
"""Larger numbers are none that training measures."""

NUMBERS = {
    "train": (("images", "steps", "seconds", "skipped"), ("loss",)),
    "validation": (("images",), ("loss",)),
    "evaluation": (("images", "count"), ("distance",)),
}
"""What the lines of each kind have: numbers, and numbers that may be null."""


def read_metrics(path: str | Path) -> list[dict[str, Any]]:
    """Every measurement of the run at `path`, in order; lines cut short by a crash, or foreign, are passed over.

    Raises:
        OSError: the file cannot be read.
    """
    file = Path(path) / METRICS
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines() if file.exists() else []
    measurements = []
    for line in lines:
        with suppress(ValueError, RecursionError):  # numbers of thousands of digits, or nested a thousand times
            measurements.append(json.loads(line))
    return [m for m in measurements if _is_measurement(m)]


def _is_measurement(line: object) -> bool:
    """Whether a line of metrics.jsonl has what its kind has, numbers where they belong."""
    if not isinstance(line, dict):
        return False
    kind = line.get("kind")
    numbers, open_numbers = NUMBERS.get(str(kind), (("kind",), ()))
    return (
        all(_is_number(line.get(name)) for name in numbers)
        and all(name in line and _is_open(line[name]) for name in open_numbers)
        and _is_open(line.get("held_out"))
        and (kind != "evaluation" or isinstance(line.get("features"), str))
        and (kind != "validation" or _is_curve(line.get("by_time")))
    )


def _is_curve(by_time: object) -> bool:
    """Whether a value holds losses by time."""
    return isinstance(by_time, dict) and all(_is_time(time) and _is_open(loss) for time, loss in by_time.items())


def _is_number(value: object) -> bool:
    """Whether a value is a finite number, not negative and not beyond what can be counted."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < MOST


def _is_open(value: object) -> bool:
    """Whether a value is a finite number, or None where there was none."""
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < MOST)


def _is_time(text: str) -> bool:
    try:
        return 0 <= float(text) <= 1
    except ValueError:
        return False


@dataclass(frozen=True)
class Best:
    """The moment of a run at which its averaged model measured best.

    Attributes:
        images: That were seen by then.
        quantity: What tells it: "distance" of the small evaluations, or "loss" held out where there are none.
        value: Of that.
    """

    images: int
    quantity: Literal["distance", "loss"]
    value: float


def best_of(measurements: Sequence[Mapping[str, Any]]) -> Best | None:
    """The best moment by these measurements, of equally good ones the first; None where nothing was measured.

    That is the smallest distance of the small evaluations, or of the last of their kind where their features or number
    of samples changed on the way; without any, the smallest mean held-out loss.
    """
    evaluations = [m for m in measurements if m["kind"] == "evaluation" and m["distance"] is not None]
    if evaluations:
        alike = [m for m in evaluations if _compared(m) == _compared(evaluations[-1])]
        best = min(alike, key=lambda m: m["distance"])
        return Best(best["images"], "distance", best["distance"])
    losses = [m for m in measurements if m["kind"] == "validation" and m["loss"] is not None]
    if losses:
        best = min(losses, key=lambda m: m["loss"])
        return Best(best["images"], "loss", best["loss"])
    return None


def _compared(evaluation: Mapping[str, Any]) -> tuple[Any, Any]:
    """What must be the same of two small evaluations for one to be better."""
    return evaluation["features"], evaluation["count"]
