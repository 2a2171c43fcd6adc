"""Everything that is measured of samples, by name; each is a few numbers beside those of held-out real images."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Float32
from torch import Tensor

from sfumato.data import ImageSet
from sfumato.data.dataset import first
from sfumato.data.loader import free_memory
from sfumato.errors import ConfigError, TooFewImagesError
from sfumato.evaluation.subject import Subject, some_of
from sfumato.metrics.drift import Appearance, appearance, drift
from sfumato.metrics.features import Features
from sfumato.metrics.features.pixels import PixelFeatures
from sfumato.metrics.frechet import MOST_PIECES, REPLICATES, frechet_distance, frechet_interval, frechet_limit
from sfumato.metrics.kid import BLOCK, FEWEST_BLOCKS, kernel_distance
from sfumato.metrics.memorization import Memorization, closest_pairs, of_features, of_images
from sfumato.metrics.moments import Moments
from sfumato.metrics.prdc import density_coverage, precision_recall
from sfumato.metrics.reference import features_of, reference_moments
from sfumato.utils import pictures

FEW = 10_000
"""Below so many images distances depend on the number."""

MOST_COMPARED = 10_000
"""Images of a set whose neighbours are looked for."""

SMALL_SET = 5_000
"""Below so many training images copies are looked for unasked."""

BATCH = 256
MOST_SIDE = 64
"""Pixels a side at which copies are sought: a copy of a photo shows there too, and finer ones cost memory and time."""

SEARCH_MEMORY = 3
"""The memory that a search for copies needs, as a multiple of the size of its tensors."""

PAIRS = 10
"""Shown of those that are closest."""

OF_CLASSES = "Name a classifier of the same classes with --features; examples/features.py makes one."

T = TypeVar("T")

Facts = dict[str, Any]

Begin = Callable[[str, int], Callable[[int], None]]
"""Told what begins and how many parts it has; gives what is told how many more of them are done."""


def no_progress(what: str, parts: int) -> Callable[[int], None]:
    """For programs: nobody is told."""
    del what, parts
    return lambda _: None


@dataclass(frozen=True)
class EvalContext:
    """What all measures share: the subject, its features, where to compute, where to keep what was, and who watches."""

    subject: Subject
    features: Features
    device: torch.device
    cache: Path | None
    begin: Begin = no_progress

    def rows(self, images: ImageSet) -> Tensor:
        """The features of real images, from the cache if they are there; (n, d)."""
        on_images = self.begin("features of real images", len(images))
        return features_of(images, self.features, self.device, self.cache, on_images)

    @cached_property
    def sampled(self) -> Tensor:
        """The features of the samples, (n, d), which several measures need."""
        on_images = self.begin("features of samples", len(self.subject.samples))
        looks = [self.features(batch.to(self.device)).cpu() for batch in batches(self.subject.samples, on_images)]
        return torch.cat(looks)


def distance(bench: EvalContext) -> Facts:
    """Frechet and kernel distance to the training images, of the samples and of the held-out images."""
    subject = bench.subject
    on_images = bench.begin("features of training images", len(subject.train))
    reference = reference_moments(subject.train, bench.features, bench.device, bench.cache, on_images)
    real = bench.rows(first(subject.train, MOST_COMPARED))
    sampled, held_out = bench.sampled, bench.rows(subject.held_out)
    return {
        "features": bench.features.name,
        "reference": len(subject.train),
        "samples": _distances(reference, real, sampled, bench.begin),
        "held_out": _distances(reference, real, held_out, bench.begin),
        "as_many": _as_many(reference, sampled, held_out),
    }


def _distances(reference: Moments, real: Tensor, rows: Tensor, begin: Begin) -> Facts:
    on_draws = begin("bootstrap", REPLICATES)
    found: Facts = {"images": len(rows), "frechet": _frechet(reference, rows)}
    found["frechet_interval"] = _or_none(lambda: list(frechet_interval(reference, rows, on_draws=on_draws)))
    on_distances = begin("extrapolation", sum(range(1, MOST_PIECES + 1)))
    found["frechet_limit"] = _or_none(lambda: frechet_limit(reference, rows, on_distances=on_distances).distance)
    found["kernel"] = _or_none(lambda: _kernel(real, rows, begin))
    return found


def _frechet(reference: Moments, rows: Tensor) -> float | None:
    return _or_none(lambda: frechet_distance(reference, Moments.of(rows)))


def _kernel(real: Tensor, rows: Tensor, begin: Begin) -> Facts:
    blocks = max(FEWEST_BLOCKS, min(len(real), len(rows)) // BLOCK)
    found = kernel_distance(real, rows, on_blocks=begin("kernel distance", blocks))
    return {"distance": found.distance, "error": found.error, "images": found.blocks * found.block}


def _as_many(reference: Moments, sampled: Tensor, held_out: Tensor) -> Facts:
    """The Frechet distances of as many samples as held-out images, since it grows when there are few."""
    images = min(len(sampled), len(held_out))
    both = (_frechet(reference, _some(rows, images)) for rows in (sampled, held_out))
    return {"images": images} | dict(zip(("samples", "held_out"), both, strict=True))


def _or_none(measure: Callable[[], T]) -> T | None:
    """What is measured; None where there are too few images to."""
    try:
        return measure()
    except TooFewImagesError:
        return None


def coverage(bench: EvalContext) -> Facts:
    """Precision, recall, density and coverage, of the samples and of the held-out images; per class where known."""
    real = bench.rows(first(bench.subject.train, MOST_COMPARED))
    places = some_of(len(bench.sampled), MOST_COMPARED)
    sampled, held_out = bench.sampled[places], bench.rows(bench.subject.held_out)
    images = min(len(sampled), len(held_out))
    found: Facts = {name: _covered(real, rows, bench.begin) for name, rows in _both(sampled, held_out)}
    as_many = {
        name: found[name] if len(rows) == images else _covered(real, _some(rows, images), bench.begin)
        for name, rows in _both(sampled, held_out)
    }
    found |= {"features": bench.features.name, "reference": len(real), "as_many": {"images": images} | as_many}
    return found | _covered_classes(bench.subject, real, sampled, places)


def _some(rows: Tensor, count: int) -> Tensor:
    return rows[some_of(len(rows), count)]


def _both(samples: T, held_out: T) -> tuple[tuple[str, T], tuple[str, T]]:
    return ("samples", samples), ("held_out", held_out)


def _covered(real: Tensor, rows: Tensor, begin: Begin = no_progress) -> Facts | None:
    """Both pairs of shares, which go through all images 4 and 3 times; None where there are too few images."""

    def measure() -> Facts:
        on_images = begin("neighbours", 4 * len(real) + 3 * len(rows))
        fidelity = precision_recall(real, rows, on_images=on_images)
        spread = density_coverage(real, rows, on_images=on_images)
        return {"images": len(rows), "real": len(real)} | fidelity._asdict() | spread._asdict()

    return _or_none(measure)


def _covered_classes(subject: Subject, real: Tensor, sampled: Tensor, places: Tensor) -> Facts:
    """The same of each class, among its own real images; nothing where samples and images have no common classes."""
    names, labels = subject.samples.label_names, subject.samples.labels
    known = subject.train.labels
    if labels is None or known is None or not names or names != subject.train.label_names:
        return {}
    asked, is_of = labels[places], known[: len(real)]
    classes = {name: _covered(real[is_of == index], sampled[asked == index]) for index, name in enumerate(names)}
    return {"classes": classes}


def classifier_accuracy(bench: EvalContext) -> Facts:
    """How often the classifier that gives the features finds the class that was asked, and that of held-out images.

    Raises:
        ConfigError: the features are no classifier of these classes, or the samples have none.
    """
    subject, names = bench.subject, bench.subject.samples.label_names
    if subject.samples.labels is None or bench.features.classes != len(names):
        raise ConfigError(
            f"agreement was asked of the features {bench.features.name}, which tell {bench.features.classes} classes "
            f"apart, and samples of {len(names)}",
            OF_CLASSES,
        )
    return {
        "samples": _agreeing(bench, subject.samples, names),
        "held_out": _agreeing(bench, subject.held_out, names),
    }


def _agreeing(bench: EvalContext, images: ImageSet, names: Sequence[str]) -> Facts | None:
    """The share of images that are recognised: of all that have a class, and of each class that has images."""
    if images.labels is None:
        return None
    on_images = bench.begin("classification", len(images))
    looks = [bench.features.look(batch.to(bench.device)).logits for batch in batches(images, on_images)]
    found = torch.cat([logits.argmax(1).cpu() for logits in looks if logits is not None])
    known = images.labels >= 0
    right, labels = (found == images.labels)[known].double(), images.labels[known]
    classes = {name: right[labels == index] for index, name in enumerate(names)}
    shares = {name: {"images": len(of), "share": of.mean().item()} for name, of in classes.items() if len(of)}
    return {"images": len(right), "share": right.mean().item(), "classes": shares} if len(right) else None


def memorization(bench: EvalContext) -> tuple[Facts, Memorization | None]:
    """Whether samples copy training images, by their pixels, and by their features unless these are of pixels too.

    Returns:
        What is told of each, and the whole result by pixels; None where too few training images differ.
    """
    by_pixels = _or_reason(lambda: _by_pixels(bench))
    facts = {"pixels": told(by_pixels)}
    if bench.features.name != PixelFeatures.name:
        facts[bench.features.name] = told(_or_reason(lambda: _by_features(bench)))
    return facts, by_pixels if isinstance(by_pixels, Memorization) else None


def _by_pixels(bench: EvalContext) -> Memorization:
    subject = bench.subject
    both = len(subject.samples) + len(subject.held_out)
    sets = [small(images) for images in (subject.samples, subject.train, subject.held_out)]
    return of_images(*_where_searched(sets, bench.device), on_images=bench.begin("closest images", both))


def _by_features(bench: EvalContext) -> Memorization:
    sets = [bench.sampled, bench.rows(bench.subject.train), bench.rows(bench.subject.held_out)]
    on_images = bench.begin("closest features", len(sets[0]) + len(sets[2]))
    return of_features(*_where_searched(sets, bench.device), on_images=on_images)


def _where_searched(sets: Sequence[Tensor], device: torch.device) -> list[Tensor]:
    """The tensors on `device` if it is a GPU with the memory to search them, otherwise unchanged, on the CPU."""
    size = sum(each.nbytes for each in sets)
    if device.type != "cuda" or SEARCH_MEMORY * size > free_memory(device):
        return list(sets)
    return [each.to(device) for each in sets]


def _or_reason(measure: Callable[[], T]) -> T | TooFewImagesError:
    """What is measured; where there are too few images, the error that says so."""
    try:
        return measure()
    except TooFewImagesError as reason:
        return reason


def small(images: ImageSet) -> Float32[Tensor, "n c h w"]:
    """The images as their pixels are compared: squares of larger ones are averaged, down to `MOST_SIDE` a side."""
    square = math.ceil(max(images.image_shape[1:]) / MOST_SIDE)
    parts = (images.select(places).floats() for places in torch.arange(len(images)).split(BATCH))
    return torch.cat([F.avg_pool2d(part, square, ceil_mode=True) for part in parts])


def told(found: Memorization | TooFewImagesError) -> Facts:
    """A result for JSON, with the samples that are taken for copies alone; or why there is no verdict."""
    if isinstance(found, TooFewImagesError):
        return {"verdict": None, "sentence": f"Copies cannot be told: {found}"}
    facts = asdict(found)
    return facts | {
        "samples": [match for match in facts["samples"] if match["flagged"]],
        "held_out": len(found.held_out),
    }


def save_sheet(subject: Subject, found: Memorization, file: Path) -> Path:
    """Draws the samples closest to training images, each beside its own, and the held-out images closest to theirs.

    Raises:
        RunError: it could not be written.
    """
    train = small(subject.train)
    pairs = [closest_pairs(small(subject.samples), train, found.samples, PAIRS)]
    pairs.append(closest_pairs(small(subject.held_out), train, found.held_out, PAIRS))
    columns = min(len(some) for some in pairs)
    rows = subject.samples.depth.viewable(torch.cat([some[:columns] for some in pairs], dim=1)).unbind(1)
    titles = ("sample", "closest\ntraining image", "held-out\nimage", "closest\ntraining image")
    pictures.strip(rows, titles, [str(1 + rank) for rank in range(columns)], file)
    return file


def drifting(bench: EvalContext) -> Facts:
    """How colours, contrast and detail of the samples differ from those of the training images."""
    found = drift(_appearance(bench, bench.subject.samples), _appearance(bench, bench.subject.train))
    return asdict(found)


def _appearance(bench: EvalContext, images: ImageSet) -> Appearance:
    return appearance(batches(images, bench.begin("colours and detail", len(images))))


def batches(images: ImageSet, on_images: Callable[[int], None] = lambda _: None) -> Iterator[Tensor]:
    """All images in [-1, 1], some at a time."""
    for places in torch.arange(len(images)).split(BATCH):
        yield images.select(places).floats()
        on_images(len(places))


def plain_images(samples: ImageSet) -> list[str]:
    """A sentence if there are samples in which all pixels are the same, as a broken model makes them."""
    plain = sum(int((batch.amax((2, 3)) == batch.amin((2, 3))).all(1).sum()) for batch in batches(samples))
    what = f"{plain:,} of {len(samples):,} samples show one colour and nothing else: look at what made them."
    return [what] if plain else []


METRICS = ("distance", "coverage", "agreement", "memorization", "drift", "likelihood")
"""What can be asked."""


def check_metrics(names: Sequence[str], features: Features, has_model: bool) -> None:
    """What can be said of the metrics that are asked before samples are drawn.

    Raises:
        ConfigError: one is unknown; or needs a classifier, and the features are of none; or needs the model that made
            the samples, and it is not known.
    """
    unknown = [name for name in names if name not in METRICS]
    if unknown:
        raise ConfigError(f"there is no metric {unknown[0]!r}", f"Choose among: {', '.join(METRICS)}.")
    if "agreement" in names and not features.classes:
        raise ConfigError(f"agreement was asked of the features {features.name}, which are no classifier's", OF_CLASSES)
    if "likelihood" in names and not has_model:
        raise ConfigError("likelihood was asked of images whose model is not known", "Name a run instead.")


def default_metrics(subject: Subject, features: Features) -> Sequence[str]:
    """What is measured unasked: everything that is quick and makes sense of these images."""
    is_judge = features.classes > 0 and features.classes == len(subject.samples.label_names)
    optional = {"agreement": is_judge, "memorization": len(subject.train) < SMALL_SET, "likelihood": False}
    return [name for name in METRICS if optional.get(name, True)]


MEASURES: Mapping[str, Callable[[EvalContext], Facts]] = {
    "distance": distance,
    "coverage": coverage,
    "agreement": classifier_accuracy,
    "drift": drifting,
}
"""Those that need the images alone and give numbers alone."""
