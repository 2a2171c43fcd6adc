"""Features and moments of real images, cached on disk.

CACHE/features/NAME/FINGERPRINT.KIND.safetensors    name of the features, fingerprint of the images, rows or moments
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from jaxtyping import Float32
from torch import Tensor

from sfumato.data import ImageSet
from sfumato.data.cache import cache_folder
from sfumato.errors import DataError, RunError
from sfumato.metrics.features import Features
from sfumato.metrics.moments import Moments, moments_of
from sfumato.utils.files import read_tensors, write_tensors

CACHE_FORMAT = "sfumato features 1"
"""Format of the cache. Increase the number when features or the preprocessing of images change."""


def features_of(
    images: ImageSet,
    features: Features,
    device: torch.device | str = "cpu",
    cache: Path | None = None,
    on_images: Callable[[int], None] = lambda _: None,
) -> Float32[Tensor, "n d"]:
    """Features of all images, on the CPU, read from the cache if present.

    Args:
        images: At least one image.
        features: Feature extractor.
        device: Device on which features are computed.
        cache: Cache folder; None: SFUMATO_CACHE, or the user's cache.
        on_images: Called with the number of images completed since the last call.

    Raises:
        DataError: There are no images, or their features are not finite.
        RunError: The network fails, or the cache could not be written.
    """
    place = _place(images, features, "rows", cache)
    kept = _kept(place, {"rows"})
    if kept is not None:
        on_images(len(images))
        return kept["rows"]
    rows = torch.cat(list(_streamed(images, features, device, on_images)))
    write_tensors(place, {"rows": rows}, CACHE_FORMAT, {})
    return rows


def reference_moments(
    images: ImageSet,
    features: Features,
    device: torch.device | str = "cpu",
    cache: Path | None = None,
    on_images: Callable[[int], None] = lambda _: None,
) -> Moments:
    """Moments of the features of all images, with constant memory; arguments and errors as for `features_of`."""
    place = _place(images, features, "moments", cache)
    kept = _kept(place, {"mean", "scatter"})
    if kept is not None:
        on_images(len(images))
        return Moments(len(images), kept["mean"], kept["scatter"])
    moments = moments_of(_streamed(images, features, device, on_images))
    write_tensors(place, {"mean": moments.mean, "scatter": moments.scatter}, CACHE_FORMAT, {})
    return moments


def _streamed(
    images: ImageSet, features: Features, device: torch.device | str, on_images: Callable[[int], None]
) -> Iterator[Float32[Tensor, "_ d"]]:
    if not len(images):
        raise DataError("There are no images to compute features of", "Give at least one.")
    for places in torch.arange(len(images)).split(256):
        yield features(images.select(places).floats().to(device)).cpu()
        on_images(len(places))


def _place(images: ImageSet, features: Features, kind: str, cache: Path | None) -> Path:
    return cache_folder(cache) / "features" / features.name / f"{images.fingerprint()}.{kind}.safetensors"


def _kept(place: Path, names: set[str]) -> dict[str, Tensor] | None:
    """Cached tensors; None if the file is missing or invalid."""
    try:
        tensors, _ = read_tensors(place, CACHE_FORMAT)
    except RunError:
        return None
    return tensors if set(tensors) == names else None
