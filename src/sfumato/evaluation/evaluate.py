"""Measures samples by the requested metrics, and records the result."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sfumato.data import ImageSet
from sfumato.data.dataset import first
from sfumato.errors import ConfigError
from sfumato.evaluation import METRICS
from sfumato.evaluation.context import EvalContext, batches
from sfumato.evaluation.metric import Facts, Measurement
from sfumato.metrics.features import Features
from sfumato.utils import pictures
from sfumato.utils.files import cannot_write

RECORD = "evaluations.jsonl"

SHOWN = 64
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


def check_metrics(names: Sequence[str], features: Features, has_model: bool) -> None:
    """Checks the requested metrics before samples are generated.

    Args:
        names: Names of metrics.
        features: Feature extractor of the evaluation.
        has_model: Whether the model that generates the samples is known.

    Raises:
        ConfigError: A metric is unknown, or one of its requirements is not met.
    """
    for name in names:
        if name not in METRICS:
            raise ConfigError(f"there is no metric {name!r}", f"Choose among: {', '.join(METRICS)}.")
        METRICS[name].check(features, has_model)


def evaluate(context: EvalContext, names: Sequence[str] = ()) -> Evaluation:
    """Measures the samples, writes pictures, and appends a line to `evaluations.jsonl` in the output folder.

    Args:
        context: Data and resources of the evaluation.
        names: Names in `METRICS`; empty: all metrics that are fast and suit the images.

    Raises:
        ConfigError: A metric is unknown, or the images do not allow it.
        DataError: Features cannot be compared, or there are too few samples for the drift.
        RunError: A file could not be written.
    """
    check_metrics(names, context.features, context.model is not None)
    subject = context.subject
    written = [pictures.save_grid(first(subject.samples, SHOWN).viewable(), context.out / "samples.png")]
    requested = names or [name for name, metric in METRICS.items() if metric.is_default(subject, context.features)]
    measurements = {name: METRICS[name].measure(context) for name in requested}
    warnings = dict.fromkeys(warning for found in measurements.values() for warning in found.warnings)
    written += [picture for found in measurements.values() for picture in found.pictures]
    facts = {
        "subject": subject.name,
        "notices": [*subject.notices, *_constant_images(subject.samples)],
        "samples": len(subject.samples),
        "train": len(subject.train),
        "held_out": len(subject.held_out),
        "features": context.features.name,
        "warning": " ".join(warnings) or None,
        "metrics": {name: found.facts for name, found in measurements.items()},
        "pictures": [str(path) for path in written],
    }
    _record(facts, context.out)
    return Evaluation(facts, measurements)


def _constant_images(samples: ImageSet) -> list[str]:
    """Notice if in some samples all pixels are equal, as in those of a broken model."""
    constant = sum(int((batch.amax((2, 3)) == batch.amin((2, 3))).all(1).sum()) for batch in batches(samples))
    notice = f"{constant:,} of {len(samples):,} samples are a single colour: check the program that generated them."
    return [notice] if constant else []


def _record(facts: Facts, out: Path) -> None:
    line = json.dumps({"time": f"{datetime.now():%Y-%m-%d %H:%M:%S}"} | facts, ensure_ascii=False)
    try:
        with (out / RECORD).open("a", encoding="utf-8") as file:
            file.write(line + "\n")
    except OSError as error:
        raise cannot_write(out / RECORD, error) from error
