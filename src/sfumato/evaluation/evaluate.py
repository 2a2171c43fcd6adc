"""Measures samples by the requested metrics, and records the result."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sfumato.data import ImageSet
from sfumato.data.dataset import first
from sfumato.diffusion.denoiser import Denoiser
from sfumato.evaluation import METRICS, metric_named
from sfumato.evaluation.context import EvalContext, batches
from sfumato.evaluation.metric import Facts, Measurement, Metric
from sfumato.metrics.features import Features
from sfumato.utils import pictures
from sfumato.utils.files import cannot_write

RECORD = "evaluations.jsonl"

GRID_IMAGES = 64
"""Number of samples in the picture."""


@dataclass(frozen=True)
class Evaluation:
    """Result of an evaluation.

    Attributes:
        facts: Content of the JSON output.
        measurements: Result of each metric by name.
    """

    facts: Facts
    measurements: Mapping[str, Measurement]


def requested_metrics(names: Sequence[str], features: Features, model: Denoiser | None) -> dict[str, Metric]:
    """Metrics of the given names, or all in `METRICS`; calls `Metric.check` of those that are named.

    Raises:
        ConfigError: A metric is unknown, or one of its requirements is not met.
    """
    metrics = {name: metric_named(name) for name in names or METRICS}
    for name in names:
        metrics[name].check(features, model)
    return metrics


def evaluate(context: EvalContext, names: Sequence[str] = ()) -> Evaluation:
    """Measures the samples, writes pictures, and appends a line to `evaluations.jsonl` in the output folder.

    Args:
        context: Data and resources of the evaluation.
        names: Names in `METRICS` or import paths; empty: all metrics in `METRICS` that are fast and suit the images.

    Raises:
        ConfigError: A metric is unknown, or the images do not allow it.
        DataError: Features cannot be compared, or there are too few samples for the drift.
        RunError: A file could not be written.
    """
    metrics = requested_metrics(names, context.features, context.model)
    subject = context.subject
    written = [pictures.save_grid(first(subject.samples, GRID_IMAGES).viewable(), context.out / "samples.png")]
    measurements = {
        name: metric.measure(context)
        for name, metric in metrics.items()
        if names or metric.is_default(subject, context.features)
    }
    warnings = dict.fromkeys(warning for found in measurements.values() for warning in found.warnings)
    written += [picture for found in measurements.values() for picture in found.pictures]
    facts = {
        "subject": subject.name,
        "notices": [*subject.notices, *_constant_images(subject.samples)],
        "samples": len(subject.samples),
        "train": len(subject.train),
        "held_out": len(subject.held_out),
        "features": context.features.name,
        "model": subject.model,
        "warning": " ".join(warnings) or None,
        "metrics": {name: found.facts for name, found in measurements.items()},
        "pictures": [str(path) for path in written],
    }
    line = json.dumps({"time": f"{datetime.now():%Y-%m-%d %H:%M:%S}"} | facts, ensure_ascii=False)
    try:
        with (context.out / RECORD).open("a", encoding="utf-8") as file:
            file.write(line + "\n")
    except OSError as error:
        raise cannot_write(context.out / RECORD, error) from error
    return Evaluation(facts, measurements)


def _constant_images(samples: ImageSet) -> list[str]:
    """Notice if in some samples all pixels are equal, as in those of a broken model."""
    constant = sum(int((batch.amax((2, 3)) == batch.amin((2, 3))).all(1).sum()) for batch in batches(samples))
    notice = f"{constant:,} of {len(samples):,} samples are a single colour: check the program that generated them."
    return [notice] if constant else []
