"""Classifier accuracy: share of images whose class a classifier predicts correctly."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from sfumato.data import ImageSet
from sfumato.errors import ConfigError
from sfumato.evaluation.context import EvalContext, batches
from sfumato.evaluation.metric import ClassColumn, Facts, Measurement, Metric, Row
from sfumato.evaluation.subject import Subject
from sfumato.metrics.features import Features

REMEDY = "Name a classifier of the same classes with --features; examples/features.py makes one."


class AccuracyMetric(Metric):
    """Accuracy of the classifier that gives the features, on samples and on held-out images, overall and per class."""

    def check(self, features: Features, has_model: bool) -> None:
        """Checks that the features come from a classifier."""
        del has_model
        if not features.classes:
            raise ConfigError(f"agreement needs a classifier, but the features {features.name} have no classes", REMEDY)

    def is_default(self, subject: Subject, features: Features) -> bool:
        """Whether the features come from a classifier with as many classes as the samples."""
        return features.classes > 0 and features.classes == len(subject.samples.label_names)

    def measure(self, context: EvalContext) -> Measurement:
        """Measures both accuracies.

        Raises:
            ConfigError: The samples have no classes, or the classifier has a different number of classes.
        """
        subject, names = context.subject, context.subject.samples.label_names
        if subject.samples.labels is None or context.features.classes != len(names):
            raise ConfigError(
                f"agreement needs equal classes, but the features {context.features.name} have "
                f"{context.features.classes} classes and the samples have {len(names)}",
                REMEDY,
            )
        facts = {
            "samples": _accuracy(context, subject.samples, names),
            "held_out": _accuracy(context, subject.held_out, names),
        }
        row = Row("classifier accuracy", _percent(facts["samples"]), _percent(facts["held_out"]))
        return Measurement(facts, rows=[row], class_columns=_class_columns(facts["samples"]))


def _accuracy(context: EvalContext, images: ImageSet, names: Sequence[str]) -> Facts | None:
    """Accuracy on all labelled images, and on those of each class; None without labelled images."""
    if images.labels is None:
        return None
    on_images = context.begin("classification", len(images))
    outputs = [context.features.outputs(batch.to(context.device)).logits for batch in batches(images, on_images)]
    predicted = torch.cat([logits.argmax(1).cpu() for logits in outputs if logits is not None])
    labelled = images.labels >= 0
    correct, labels = (predicted == images.labels)[labelled].double(), images.labels[labelled]
    classes = {name: correct[labels == index] for index, name in enumerate(names)}
    shares = {name: {"images": len(of), "share": of.mean().item()} for name, of in classes.items() if len(of)}
    return {"images": len(correct), "share": correct.mean().item(), "classes": shares} if len(correct) else None


def _percent(found: Facts | None) -> str:
    return "" if found is None else f"{100 * found['share']:.1f} %"


def _class_columns(found: Facts | None) -> list[ClassColumn]:
    if found is None:
        return []
    classes = found["classes"].items()
    return [
        ClassColumn("samples", {name: of["images"] for name, of in classes}, is_score=False),
        ClassColumn("accuracy", {name: of["share"] for name, of in classes}),
    ]
