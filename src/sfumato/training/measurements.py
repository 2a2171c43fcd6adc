"""Measurements of a run in metrics.jsonl, and the best of them."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

METRICS_FILE = "metrics.jsonl"

MAX_VALUE = 1e15
"""Limit of valid measurements."""

REQUIRED_FIELDS = {
    "train": (("images", "steps", "seconds", "skipped"), ("loss",)),
    "validation": (("images",), ("loss",)),
    "evaluation": (("images", "count"), ("distance",)),
}
"""Required fields of each kind of line: numbers, and numbers that may be null."""


def read_metrics(path: str | Path) -> list[dict[str, Any]]:
    """All measurements of the run directory `path`, in order. Truncated and invalid lines are skipped.

    Raises:
        OSError: the file cannot be read.
    """
    file = Path(path) / METRICS_FILE
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines() if file.exists() else []
    measurements = []
    for line in lines:
        with suppress(ValueError, RecursionError):  # invalid JSON, huge numbers, deep nesting
            measurements.append(json.loads(line))
    return [m for m in measurements if _is_measurement(m)]


def _is_measurement(line: object) -> bool:
    """Whether a line of metrics.jsonl has the fields of its kind, with valid types."""
    if not isinstance(line, dict):
        return False
    kind = line.get("kind")
    numbers, open_numbers = REQUIRED_FIELDS.get(str(kind), (("kind",), ()))
    return (
        all(_is_number(line.get(name), least=0) for name in numbers)
        and all(name in line and _is_number_or_none(line[name]) for name in open_numbers)
        and _is_number_or_none(line.get("held_out"))
        and (kind != "evaluation" or isinstance(line.get("features"), str))
        and (kind != "validation" or _is_curve(line.get("by_time")))
    )


def _is_curve(by_time: object) -> bool:
    """Whether a value is a table of losses by time."""
    try:
        return isinstance(by_time, dict) and all(
            0 <= float(time) <= 1 and _is_number_or_none(loss) for time, loss in by_time.items()
        )
    except ValueError:
        return False


def _is_number(value: object, least: float = -MAX_VALUE) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and least <= value < MAX_VALUE


def _is_number_or_none(value: object) -> bool:
    return value is None or _is_number(value)


@dataclass(frozen=True)
class Best:
    """The best measurement of a run.

    Attributes:
        images: images seen when it was measured.
        quantity: "distance" of the quick evaluations, or "loss" (validation loss) if there are none.
        value: value of the quantity.
    """

    images: int
    quantity: Literal["distance", "loss"]
    value: float


def best_of(measurements: Sequence[Mapping[str, Any]]) -> Best | None:
    """The best measurement (the first of equals); None if there are no measurements.

    The smallest distance of the quick evaluations, among those with the features and number of samples of the last one.
    Without quick evaluations, the smallest validation loss.
    """
    evaluations = [m for m in measurements if m["kind"] == "evaluation" and m["distance"] is not None]
    if evaluations:
        comparable = [m for m in evaluations if _kind(m) == _kind(evaluations[-1])]
        best = min(comparable, key=lambda m: m["distance"])
        return Best(best["images"], "distance", best["distance"])
    losses = [m for m in measurements if m["kind"] == "validation" and m["loss"] is not None]
    if losses:
        best = min(losses, key=lambda m: m["loss"])
        return Best(best["images"], "loss", best["loss"])
    return None


def _kind(evaluation: Mapping[str, Any]) -> tuple[Any, Any]:
    """Features and number of samples, which comparable quick evaluations share."""
    return evaluation["features"], evaluation["count"]
