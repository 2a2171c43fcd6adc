"""Curves of the measurements of a run over the number of training images, with the best checkpoint marked."""

from collections.abc import Mapping, Sequence
from typing import Any

from sfumato.diffusion.schedules import Schedule
from sfumato.training.measurements import best_of
from sfumato.utils.pictures import Panel

SEEN = "images seen"

Measurements = Sequence[Mapping[str, Any]]
"""Lines of metrics.jsonl from `measurements.read_metrics`."""


def time_title(schedule: Schedule, t: float) -> str:
    """Title of a time: its timestep, or the time itself if the schedule is continuous."""
    return f"t = {t:.3g}" if schedule.timesteps is None else f"t = {round(t * schedule.timesteps)}"


def loss_panels(measurements: Measurements, schedule: Schedule) -> list[Panel]:
    """Panels of the training loss, the validation loss, and the validation loss by noise level."""
    validation = _of("validation", "loss", measurements)
    curves = {"training": _curve(_of("train", "loss", measurements), "loss")}
    if not validation:
        return [Panel("loss", SEEN, curves, log_y=True)]
    levels = {}
    for time in validation[0]["by_time"]:
        measured = [m for m in validation if m["by_time"].get(time) is not None]
        losses = [m["by_time"][time] for m in measured]
        levels[time_title(schedule, float(time))] = ([m["images"] for m in measured], losses)
    marks = _marks(measurements)
    return [
        Panel("loss", SEEN, curves | {"held out": _curve(validation, "loss")}, log_y=True, marks=marks),
        Panel("validation loss by noise level", SEEN, levels, log_y=True, marks=marks),
    ]


def distance_panels(measurements: Measurements) -> list[Panel]:
    """Panels of the Frechet distance during training, one for each feature extractor and number of samples."""
    evaluations = _of("evaluation", "distance", measurements)
    panels = []
    for features, count in dict.fromkeys((m["features"], m["count"]) for m in evaluations):
        alike = [m for m in evaluations if (m["features"], m["count"]) == (features, count)]
        curves = {f"{count:,} samples": _curve(alike, "distance")}
        if all(m.get("held_out") is not None for m in alike):
            curves["equal number of held-out images"] = _curve(alike, "held_out")
        title = f"Frechet distance ({features})"
        panels.append(Panel(title, SEEN, curves, log_y=True, marks=_marks(measurements)))
    return panels


def _of(kind: str, quantity: str, measurements: Measurements) -> list[Mapping[str, Any]]:
    return [m for m in measurements if m["kind"] == kind and m[quantity] is not None]


def _curve(measurements: Measurements, quantity: str) -> tuple[list[float], list[float]]:
    return [m["images"] for m in measurements], [m[quantity] for m in measurements]


def _marks(measurements: Measurements) -> dict[str, float]:
    best = best_of(measurements)
    return {} if best is None else {"best": best.images}
