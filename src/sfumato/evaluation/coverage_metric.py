"""Precision, recall, density and coverage, of all images and of each class."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from sfumato.data.dataset import first
from sfumato.evaluation.context import MOST_COMPARED, BeginStage, EvalContext, no_progress
from sfumato.evaluation.metric import (
    UNEQUAL,
    ClassColumn,
    Facts,
    Measurement,
    Metric,
    MetricValue,
    Row,
    counted,
    few_samples_warning,
    none_if_too_few,
    number_cell,
)
from sfumato.evaluation.subject import Subject, representative_indices, subset
from sfumato.metrics.prdc import density_coverage, precision_recall

SCORES = ("precision", "recall", "density", "coverage")


class CoverageMetric(Metric):
    """Precision, recall, density and coverage of samples and held-out images; of each class if classes are known."""

    def measure(self, context: EvalContext) -> Measurement:
        """Measures the four scores, also of equal numbers of samples and held-out images."""
        subject, begin = context.subject, context.begin
        real = context.real_features(first(subject.train, MOST_COMPARED))
        indices = representative_indices(len(context.sample_features), MOST_COMPARED)
        sampled, held_out = context.sample_features[indices], context.real_features(subject.held_out)
        images = min(len(sampled), len(held_out))
        both = {"samples": sampled, "held_out": held_out}
        found: Facts = {name: _scores(real, features, begin) for name, features in both.items()}
        equal = {
            name: found[name] if len(features) == images else _scores(real, subset(features, images), begin)
            for name, features in both.items()
        }
        facts = found | {"features": context.features.name, "reference": len(real)}
        facts["as_many"] = {"images": images} | equal
        facts |= _classes(subject, real, sampled, indices)
        return Measurement(
            facts,
            rows=self.rows(facts),
            class_columns=_class_columns(facts.get("classes", {})),
            warnings=few_samples_warning(len(subject.samples)),
        )

    def rows(self, facts: Facts) -> Sequence[Row]:
        """The four scores; recall and coverage also of equal numbers of images."""
        samples, held_out, equal = facts["samples"] or {}, facts["held_out"] or {}, facts["as_many"]
        rows = []
        for name in SCORES:
            cells = number_cell(samples.get(name)), number_cell(held_out.get(name))
            if name in ("precision", "density"):
                rows.append(Row(name, *cells))
                continue
            is_comparable = samples.get("images") == held_out.get("images")
            rows.append(Row(name, cells[0], cells[1] if is_comparable else UNEQUAL))
            each = (number_cell((equal[kind] or {}).get(name)) for kind in ("samples", "held_out"))
            rows.append(Row(f"  {counted(equal['images'], 'image')} each", *each))
        return rows

    def values(self, facts: Facts) -> Sequence[MetricValue]:
        """The four scores of the samples."""
        found, scores = facts["samples"], SCORES if facts["samples"] else ()
        names = {score: f"{score.capitalize()} ({facts['features']})" for score in scores}
        return [MetricValue(score, name, found[score], found["images"]) for score, name in names.items()]


def _scores(real: Tensor, generated: Tensor, begin: BeginStage = no_progress) -> Facts | None:
    """All four scores; None if there are too few images."""

    def measure() -> Facts:
        on_images = begin("neighbours", 4 * len(real) + 3 * len(generated))
        fidelity = precision_recall(real, generated, on_images=on_images)
        spread = density_coverage(real, generated, on_images=on_images)
        return {"images": len(generated), "real": len(real)} | fidelity._asdict() | spread._asdict()

    return none_if_too_few(measure)


def _classes(subject: Subject, real: Tensor, sampled: Tensor, indices: Tensor) -> Facts:
    """The scores of each class among its own real images; empty if samples and images have different classes."""
    names, labels, real_labels = subject.samples.label_names, subject.samples.labels, subject.train.labels
    if labels is None or real_labels is None or not names or names != subject.train.label_names:
        return {}
    labels, real_labels = labels[indices], real_labels[: len(real)]
    return {
        "classes": {
            name: _scores(real[real_labels == index], sampled[labels == index]) for index, name in enumerate(names)
        }
    }


def _class_columns(classes: dict[str, Any]) -> list[ClassColumn]:
    if not classes:
        return []

    def values(key: str) -> dict[str, float | None]:
        return {name: (scores or {}).get(key) for name, scores in classes.items()}

    return [
        ClassColumn("samples", values("images"), is_score=False),
        ClassColumn("real", values("real"), is_score=False),
        *(ClassColumn(score, values(score), is_score=score != "density") for score in SCORES),
    ]
