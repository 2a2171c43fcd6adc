"""Everything that is measured of samples, by name; each is a few numbers beside those of held-out real images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from sfumato.data import ImageSet
from sfumato.errors import ConfigError, DataError
from sfumato.evaluation.subject import Subject, first
from sfumato.metrics.drift import Appearance, appearance, drift
from sfumato.metrics.features import Features
from sfumato.metrics.frechet import frechet_distance, frechet_interval, frechet_limit
from sfumato.metrics.kernel import kernel_distance
from sfumato.metrics.manifold import density_coverage, precision_recall
from sfumato.metrics.memorization import Memorization, closest_pairs, of_features, of_images
from sfumato.metrics.moments import Moments
from sfumato.metrics.reference import features_of, reference_moments

FEW = 10_000
"""Below so many images distances depend on the number."""

MOST_COMPARED = 10_000
"""Images of a set whose neighbours are looked for."""

SMALL_SET = 5_000
"""Below so many training images copies are looked for unasked."""

BATCH = 256
PAIRS = 16

T = TypeVar("T")

Facts = dict[str, Any]


@dataclass(frozen=True)
class Bench:
    """What all measures share: the subject, its features, where to compute, and where to keep what was."""

    subject: Subject
    features: Features
    device: torch.device
    cache: Path | None

    def rows(self, images: ImageSet) -> Tensor:
        """The features of real images, from the cache if they are there; (n, d)."""
        return features_of(images, self.features, self.device, self.cache)

    @cached_property
    def sampled(self) -> Tensor:
        """The features of the samples, (n, d), which several measures need."""
        return torch.cat([self.features(batch.to(self.device)).cpu() for batch in batches(self.subject.samples)])


def distance(bench: Bench) -> Facts:
    """Frechet and kernel distance to the training images, of the samples and of the held-out images."""
    subject = bench.subject
    reference = reference_moments(subject.train, bench.features, bench.device, bench.cache)
    real = bench.rows(first(subject.train, MOST_COMPARED))
    sampled, held_out = bench.sampled, bench.rows(subject.held_out)
    return {
        "features": bench.features.name,
        "reference": len(subject.train),
        "samples": _distances(reference, real, sampled),
        "held_out": _distances(reference, real, held_out),
        "as_many": _as_many(reference, sampled, held_out),
    }


def _distances(reference: Moments, real: Tensor, rows: Tensor) -> Facts:
    found: Facts = {"images": len(rows), "frechet": frechet_distance(reference, Moments.of(rows))}
    found["frechet_interval"] = list(frechet_interval(reference, rows))
    found |= {"frechet_limit": _or_none(lambda: frechet_limit(reference, rows).distance)}
    found |= {"kernel": _or_none(lambda: list(kernel_distance(real, rows)[:2]))}
    return found


def _as_many(reference: Moments, sampled: Tensor, held_out: Tensor) -> Facts:
    """The Frechet distances of as many samples as held-out images, since it grows when there are few."""
    images = min(len(sampled), len(held_out))
    both = (frechet_distance(reference, Moments.of(rows[:images])) for rows in (sampled, held_out))
    return {"images": images} | dict(zip(("samples", "held_out"), both, strict=True))


def _or_none(measure: Callable[[], T]) -> T | None:
    """What is measured; None where there are too few images to."""
    try:
        return measure()
    except DataError:
        return None


def coverage(bench: Bench) -> Facts:
    """Precision, recall, density and coverage, of the samples and of the held-out images; per class where known."""
    subject, real = bench.subject, bench.rows(first(bench.subject.train, MOST_COMPARED))
    sampled, held_out = bench.sampled[:MOST_COMPARED], bench.rows(subject.held_out)
    found: Facts = {"features": bench.features.name, "reference": len(real)}
    found |= {"samples": _covered(real, sampled), "held_out": _covered(real, held_out)}
    labels, known = subject.samples.labels, first(subject.train, MOST_COMPARED).labels
    names = subject.samples.label_names
    if labels is not None and known is not None and names and names == subject.train.label_names:
        found["classes"] = {
            name: _covered(real[known == index], sampled[labels[:MOST_COMPARED] == index])
            for index, name in enumerate(names)
        }
    return found


def _covered(real: Tensor, rows: Tensor) -> Facts | None:
    def measure() -> Facts:
        fidelity, spread = precision_recall(real, rows), density_coverage(real, rows)
        return {"images": len(rows)} | fidelity._asdict() | spread._asdict()

    return _or_none(measure)


def agreement(bench: Bench) -> Facts:
    """How often the classifier that gives the features finds the class that was asked, and that of held-out images.

    Raises:
        ConfigError: the features are no classifier of these classes, or the samples have none.
    """
    subject, names = bench.subject, bench.subject.samples.label_names
    if subject.samples.labels is None or bench.features.classes != len(names):
        raise ConfigError(
            f"agreement was asked of the features {bench.features.name}, which tell {bench.features.classes} classes "
            f"apart, and samples of {len(names)}",
            "Name a classifier of the same classes with --features; examples/features.py makes one.",
        )
    return {
        "classes": list(names),
        "samples": _agreeing(bench, subject.samples),
        "held_out": _agreeing(bench, subject.held_out),
    }


def _agreeing(bench: Bench, images: ImageSet) -> Facts | None:
    if images.labels is None:
        return None
    looks = [bench.features.look(batch.to(bench.device)).logits for batch in batches(images)]
    found = torch.cat([logits.argmax(1).cpu() for logits in looks if logits is not None])
    return {"images": len(images), "share": (found == images.labels).double().mean().item()}


def memorization(bench: Bench) -> tuple[Facts, Memorization]:
    """Whether samples copy training images, by their pixels and by their features; the whole result by pixels."""
    subject = bench.subject
    by_pixels = of_images(subject.samples.floats(), subject.train.floats(), subject.held_out.floats())
    by_features = of_features(bench.sampled, bench.rows(subject.train), bench.rows(subject.held_out))
    return {"pixels": told(by_pixels), bench.features.name: told(by_features)}, by_pixels


def told(found: Memorization) -> Facts:
    """A result for JSON, with the samples that are taken for copies alone."""
    facts = asdict(found)
    return facts | {
        "samples": [match for match in facts["samples"] if match["flagged"]],
        "held_out": len(found.held_out),
    }


def sheet(subject: Subject, found: Memorization) -> Tensor:
    """The samples closest to training images, beside the held-out images closest to them: rows of four images."""
    train = subject.train.floats()
    samples = closest_pairs(subject.samples.floats(), train, found.samples, PAIRS)
    held_out = closest_pairs(subject.held_out.floats(), train, found.held_out, PAIRS)
    rows = min(len(samples), len(held_out)) or len(samples)
    both = [samples[:rows], held_out[:rows]] if len(held_out) else [samples]
    return torch.cat(both, dim=1).flatten(0, 1)


def drifting(bench: Bench) -> Facts:
    """How colours, contrast and detail of the samples differ from those of the training images."""
    found = drift(_appearance(bench.subject.samples), _appearance(bench.subject.train))
    return asdict(found)


def _appearance(images: ImageSet) -> Appearance:
    return appearance(batches(images))


def batches(images: ImageSet) -> Iterator[Tensor]:
    """All images in [-1, 1], some at a time."""
    for places in torch.arange(len(images)).split(BATCH):
        yield images.select(places).floats()


METRICS = ("distance", "coverage", "agreement", "memorization", "drift", "likelihood")
"""What can be asked."""


def usual_metrics(subject: Subject, features: Features) -> Sequence[str]:
    """What is measured unasked: everything that is quick and makes sense of these images."""
    is_judge = features.classes > 0 and features.classes == len(subject.samples.label_names)
    optional = {"agreement": is_judge, "memorization": len(subject.train) < SMALL_SET, "likelihood": False}
    return [name for name in METRICS if optional.get(name, True)]


MEASURES: Mapping[str, Callable[[Bench], Facts]] = {
    "distance": distance,
    "coverage": coverage,
    "agreement": agreement,
    "drift": drifting,
}
"""Those that need the images alone and give numbers alone."""
