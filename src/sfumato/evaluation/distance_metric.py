"""Frechet distance (FID with Inception features) and kernel distance (KID) to the training images."""

from collections.abc import Sequence

from torch import Tensor

from sfumato.data.dataset import first
from sfumato.evaluation.context import MOST_COMPARED, BeginStage, EvalContext
from sfumato.evaluation.metric import (
    UNEQUAL,
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
from sfumato.evaluation.subject import subset
from sfumato.metrics.frechet import MOST_PIECES, REPLICATES, frechet_distance, frechet_interval, frechet_limit
from sfumato.metrics.kid import BLOCK, FEWEST_BLOCKS, kernel_distance
from sfumato.metrics.moments import Moments
from sfumato.metrics.reference import reference_moments


class DistanceMetric(Metric):
    """Frechet and kernel distance to the training images, of the samples and of the held-out images."""

    def measure(self, context: EvalContext) -> Measurement:
        """Measures both distances, and the Frechet distance of equal numbers of samples and held-out images."""
        subject = context.subject
        on_images = context.begin("features of training images", len(subject.train))
        reference = reference_moments(subject.train, context.features, context.device, context.cache, on_images)
        real = context.real_features(first(subject.train, MOST_COMPARED))
        sampled, held_out = context.sample_features, context.real_features(subject.held_out)
        facts = {
            "features": context.features.name,
            "reference": len(subject.train),
            "samples": _distances(reference, real, sampled, context.begin),
            "held_out": _distances(reference, real, held_out, context.begin),
            "as_many": _equal_numbers(reference, sampled, held_out),
        }
        return Measurement(facts, rows=self.rows(facts), warnings=few_samples_warning(len(subject.samples)))

    def rows(self, facts: Facts) -> Sequence[Row]:
        """Both distances; the Frechet distance also of equal and of infinite numbers of images."""
        samples, held_out, equal = facts["samples"], facts["held_out"], facts["as_many"]
        each = f"  {counted(equal['images'], 'image')} each"
        comparable = _with_interval(held_out) if held_out["images"] == samples["images"] else UNEQUAL
        return [
            Row("Frechet distance", _with_interval(samples), comparable),
            Row(each, number_cell(equal["samples"]), number_cell(equal["held_out"])),
            Row("  for infinitely many", *(number_cell(found["frechet_limit"]) for found in (samples, held_out))),
            Row("kernel distance", _with_error(samples["kernel"]), _with_error(held_out["kernel"])),
        ]

    def values(self, facts: Facts) -> Sequence[MetricValue]:
        """Both distances of the samples: FID and KID with Inception features."""
        samples, kernel, features = facts["samples"], facts["samples"]["kernel"], facts["features"]
        names = {"fid": "FID", "kid": "KID"}
        if features != "inception":
            names = {f"{each}-distance": f"{each.capitalize()} distance ({features})" for each in ("frechet", "kernel")}
        frechet_name, kernel_name = names.items()
        values = []
        if samples["frechet"] is not None:
            values.append(MetricValue(*frechet_name, samples["frechet"], samples["images"]))
        if kernel is not None:
            values.append(MetricValue(*kernel_name, kernel["distance"], kernel["images"]))
        return values


def _distances(reference: Moments, real: Tensor, features: Tensor, begin: BeginStage) -> Facts:
    on_draws = begin("bootstrap", REPLICATES)
    found: Facts = {"images": len(features), "frechet": _frechet(reference, features)}
    interval = none_if_too_few(lambda: frechet_interval(reference, features, on_draws=on_draws))
    found["frechet_interval"] = None if interval is None else list(interval)
    on_distances = begin("extrapolation", sum(range(1, MOST_PIECES + 1)))
    limit = none_if_too_few(lambda: frechet_limit(reference, features, on_distances=on_distances))
    found["frechet_limit"] = None if limit is None else limit.distance
    on_blocks = begin("kernel distance", max(FEWEST_BLOCKS, min(len(real), len(features)) // BLOCK))
    kernel = none_if_too_few(lambda: kernel_distance(real, features, on_blocks=on_blocks))
    images = kernel and kernel.blocks * kernel.block
    found["kernel"] = kernel and {"distance": kernel.distance, "error": kernel.error, "images": images}
    return found


def _frechet(reference: Moments, features: Tensor) -> float | None:
    return none_if_too_few(lambda: frechet_distance(reference, Moments.of(features)))


def _equal_numbers(reference: Moments, sampled: Tensor, held_out: Tensor) -> Facts:
    """Frechet distances of equal numbers of samples and held-out images: few images increase the distance."""
    images = min(len(sampled), len(held_out))
    return {
        "images": images,
        "samples": _frechet(reference, subset(sampled, images)),
        "held_out": _frechet(reference, subset(held_out, images)),
    }


def _with_interval(distances: Facts) -> str:
    if distances["frechet"] is None:
        return number_cell(None)
    low, high = distances["frechet_interval"]
    return f"{distances['frechet']:.4g} ({low:.4g} to {high:.4g})"


def _with_error(kernel: Facts | None) -> str:
    return number_cell(None) if kernel is None else f"{kernel['distance']:.3g} +- {kernel['error']:.1g}"
