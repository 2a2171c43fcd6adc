"""Classifier accuracy: share of images whose class a classifier predicts correctly."""

from collections.abc import Sequence

import torch

from sfumato.data import ImageSet
from sfumato.diffusion.denoiser import Denoiser
from sfumato.errors import ConfigError
from sfumato.evaluation.context import EvalContext, batches
from sfumato.evaluation.metric import ClassColumn, Facts, Measurement, Metric, MetricValue, Row
from sfumato.evaluation.subject import Subject
from sfumato.metrics.features import Features

NAME_A_CLASSIFIER = "Name a classifier of the same classes with --features; examples/features.py trains one."


class AccuracyMetric(Metric):
    """Accuracy of the classifier that gives the features, on samples and on held-out images, overall and per class."""

    def check(self, features: Features, model: Denoiser | None) -> None:
        """Checks that the features come from a classifier, if the shape of the samples is known."""
        if model is not None and not features.classes(model.image_shape):
            raise ConfigError(
                f"accuracy needs a classifier, but the features {features.name} have no classes", NAME_A_CLASSIFIER
            )

    def is_default(self, subject: Subject, features: Features) -> bool:
        """Whether the features come from a classifier with as many classes as the samples."""
        names = subject.samples.label_names
        return len(names) > 0 and features.classes(subject.samples.image_shape) == len(names)

    def measure(self, context: EvalContext) -> Measurement:
        """Measures both accuracies.

        Raises:
            ConfigError: The samples have no classes, or the classifier has a different number of classes.
        """
        subject, names = context.subject, context.subject.samples.label_names
        classes = context.features.classes(subject.samples.image_shape)
        if subject.samples.labels is None or not classes or classes != len(names):
            raise ConfigError(
                f"accuracy needs equal classes, but the features {context.features.name} have {classes} classes and "
                f"the samples have {len(names)}",
                NAME_A_CLASSIFIER,
            )
        facts = {
            "samples": _accuracy(context, subject.samples, names),
            "held_out": _accuracy(context, subject.held_out, names),
        }
        return Measurement(facts, rows=self.rows(facts), class_columns=_class_columns(facts["samples"]))

    def rows(self, facts: Facts) -> Sequence[Row]:
        """Both accuracies."""
        return [Row("classifier accuracy", *(_percent(facts[kind]) for kind in ("samples", "held_out")))]

    def values(self, facts: Facts) -> Sequence[MetricValue]:
        """Accuracy on the samples."""
        found = facts["samples"]
        if found is None:
            return ()
        return [MetricValue("accuracy", "Classifier accuracy", found["share"], found["images"])]


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
    classes = {} if found is None else found["classes"]
    return [
        ClassColumn("samples", {name: of["images"] for name, of in classes.items()}, is_score=False),
        ClassColumn("accuracy", {name: of["share"] for name, of in classes.items()}),
    ]
