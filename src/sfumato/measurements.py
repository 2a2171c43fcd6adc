"""What was measured of a run while it learned, and which moment was the best."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

METRICS = "metrics.jsonl"


def read_metrics(path: str | Path) -> list[dict[str, Any]]:
    """Every measurement of the run at `path`, in order; lines cut short by a crash, or foreign, are passed over.

    Raises:
        OSError: the file cannot be read.
    """
    file = Path(path) / METRICS
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines() if file.exists() else []
    measurements = []
    for line in lines:
        with suppress(json.JSONDecodeError):
            measurements.append(json.loads(line))
    return [m for m in measurements if _is_measurement(m)]


def _is_measurement(line: object) -> bool:
    """Whether a line of metrics.jsonl has what its kind has, numbers where they belong."""
    if not isinstance(line, dict) or not isinstance(line.get("images"), int):
        return False
    if not isinstance(line.get("loss"), float | int | None):
        return False
    if line.get("kind") == "heldout":
        return isinstance(line.get("by_time"), dict)
    if line.get("kind") == "evaluation":
        has_distance = "distance" in line and isinstance(line["distance"], float | int | None)
        return has_distance and {"features", "count"} <= line.keys()
    return line.get("kind") == "train" and {"loss", "steps", "seconds", "skipped"} <= line.keys()


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
    losses = [m for m in measurements if m["kind"] == "heldout" and m["loss"] is not None]
    if losses:
        best = min(losses, key=lambda m: m["loss"])
        return Best(best["images"], "loss", best["loss"])
    return None


def _compared(evaluation: Mapping[str, Any]) -> tuple[Any, Any]:
    """What must be the same of two small evaluations for one to be better."""
    return evaluation["features"], evaluation["count"]
