"""Memorization: whether samples are copies of training images, by pixels and by features."""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float32
from torch import Tensor

from sfumato.data import ImageSet
from sfumato.data.loader import free_memory
from sfumato.errors import TooFewImagesError
from sfumato.evaluation.context import EvalContext, batches
from sfumato.evaluation.metric import Facts, Measurement, Metric
from sfumato.evaluation.subject import Subject
from sfumato.metrics.features import Features
from sfumato.metrics.features.pixels import PixelFeatures
from sfumato.metrics.memorization import Memorization, closest_pairs, of_features, of_images
from sfumato.utils import pictures

DEFAULT_BELOW = 5_000
"""Below this number of training images, memorization is measured by default."""

MOST_SIDE = 64
"""Maximum side in pixels at which images are compared. Copies are visible there too; larger images need more memory
and time."""

SEARCH_MEMORY = 3
"""Memory of a search on a GPU, as a multiple of the size of its tensors."""

PAIRS = 10
"""Number of closest pairs in the picture."""


class MemorizationMetric(Metric):
    """Copies among the samples, by pixels and, unless the features are of pixels too, by features."""

    def is_default(self, subject: Subject, features: Features) -> bool:
        """Whether there are fewer than `DEFAULT_BELOW` training images."""
        del features
        return len(subject.train) < DEFAULT_BELOW

    def measure(self, context: EvalContext) -> Measurement:
        """Searches for copies, and draws the closest pairs to `closest.png`.

        Raises:
            RunError: The picture could not be written.
        """
        by_pixels = _or_error(lambda: _by_pixels(context))
        facts = {"pixels": _facts(by_pixels)}
        if context.features.name != PixelFeatures.name:
            facts[context.features.name] = _facts(_or_error(lambda: _by_features(context)))
        sentences = [f"By {name}: {result['sentence']}" for name, result in facts.items()]
        if not isinstance(by_pixels, Memorization):
            return Measurement(facts, sentences=sentences)
        picture = save_closest_pairs(context.subject, by_pixels, context.out / "closest.png")
        return Measurement(facts, sentences=sentences, pictures=[picture])


def _by_pixels(context: EvalContext) -> Memorization:
    subject = context.subject
    queries = len(subject.samples) + len(subject.held_out)
    sets = [downscaled(images) for images in (subject.samples, subject.train, subject.held_out)]
    return of_images(*_on_search_device(sets, context.device), on_images=context.begin("closest images", queries))


def _by_features(context: EvalContext) -> Memorization:
    subject = context.subject
    sets = [context.sample_features, context.real_features(subject.train), context.real_features(subject.held_out)]
    on_images = context.begin("closest features", len(sets[0]) + len(sets[2]))
    return of_features(*_on_search_device(sets, context.device), on_images=on_images)


def _on_search_device(sets: Sequence[Tensor], device: torch.device) -> list[Tensor]:
    """The tensors on `device` if it is a GPU with enough memory for the search, otherwise unchanged, on the CPU."""
    size = sum(each.nbytes for each in sets)
    if device.type != "cuda" or SEARCH_MEMORY * size > free_memory(device):
        return list(sets)
    return [each.to(device) for each in sets]


def _or_error(measure: Callable[[], Memorization]) -> Memorization | TooFewImagesError:
    try:
        return measure()
    except TooFewImagesError as error:
        return error


def downscaled(images: ImageSet) -> Float32[Tensor, "n c h w"]:
    """The images, averaged over squares of pixels so that no side exceeds `MOST_SIDE`."""
    square = math.ceil(max(images.image_shape[1:]) / MOST_SIDE)
    return torch.cat([F.avg_pool2d(batch, square, ceil_mode=True) for batch in batches(images)])


def _facts(found: Memorization | TooFewImagesError) -> Facts:
    """Result for JSON, with only those samples that are flagged as copies; or the reason for no verdict."""
    if isinstance(found, TooFewImagesError):
        return {"verdict": None, "sentence": f"No verdict. {found}"}
    facts = asdict(found)
    return facts | {
        "samples": [match for match in facts["samples"] if match["flagged"]],
        "held_out": len(found.held_out),
    }


def save_closest_pairs(subject: Subject, found: Memorization, file: Path) -> Path:
    """Draws the samples and the held-out images that are closest to training images, each with its training image."""
    train = downscaled(subject.train)
    pairs = [closest_pairs(downscaled(subject.samples), train, found.samples, PAIRS)]
    pairs.append(closest_pairs(downscaled(subject.held_out), train, found.held_out, PAIRS))
    columns = min(len(some) for some in pairs)
    rows = subject.samples.depth.viewable(torch.cat([some[:columns] for some in pairs], dim=1)).unbind(1)
    titles = ("sample", "closest\ntraining image", "held-out\nimage", "closest\ntraining image")
    pictures.strip(rows, titles, [str(1 + rank) for rank in range(columns)], file)
    return file
