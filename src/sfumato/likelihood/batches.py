"""What both likelihoods share: images go through in batches, each with its own labels and noise."""

from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Float64
from torch import Tensor

from sfumato.data.conditions import check_rows
from sfumato.diffusion.denoiser import Denoiser
from sfumato.diffusion.guidance import Labelled
from sfumato.errors import ConfigError, DataError, LabelError
from sfumato.sampling.sampler import ImageNoise, device_of, evaluated
from sfumato.utils.shapes import UNLABELLED, Images, Labels

Measure = Callable[[Denoiser, Images, ImageNoise], Float64[Tensor, "n *_"]]
"""From a denoiser whose labels are settled, its batch and the noise of its images to one result an image."""


def measured(
    measure: Measure, denoiser: Denoiser, images: Images, labels: Labels | None, seed: int, batch: int
) -> Float64[Tensor, "n *_"]:
    """The results of all images, on the CPU; without gradients, in evaluation mode, on the denoiser's device.

    Raises:
        DataError: images that are not of the denoiser's shape, or none.
        ConfigError: a batch below 1.
        LabelError: labels that are not one an image, or not among the model's.
    """
    channels, height, width = denoiser.image_shape
    if tuple(images.shape[1:]) != denoiser.image_shape or len(images) == 0:
        raise DataError(
            f"images of shape {tuple(images.shape)} were given to a model of (n, {channels}, {height}, {width})",
            "Give at least one image of the model's channels and size.",
        )
    if batch < 1:
        raise ConfigError(f"batches of {batch} images were asked", "Choose a batch of at least 1.")
    if not images.is_floating_point():
        raise DataError(f"images of {images.dtype} were given", "Scale them to float in [-1, 1].")
    if labels is not None:
        _check_foreign(denoiser, labels, len(images))
    device = device_of(denoiser)

    def of_batch(start: int) -> Float64[Tensor, "n *_"]:
        part = range(len(images))[start : start + batch]
        own = None if labels is None else labels[start : part.stop].to(device)
        noise = ImageNoise(seed, part, denoiser.image_shape, device)
        return measure(Labelled(denoiser, own), images[start : part.stop].to(device), noise).cpu()

    return torch.cat(list(evaluated(denoiser, (partial(of_batch, start) for start in range(0, len(images), batch)))))


def _check_foreign(denoiser: Denoiser, labels: Labels, count: int) -> None:
    """Raises `LabelError` unless each of `count` images has a class or a row of the model, or is unlabelled."""
    classes = len(denoiser.label_names)
    if len(labels) != count:
        raise LabelError(f"{len(labels)} labels were given for {count} images", "Give one label an image.")
    if denoiser.columns:
        check_rows(denoiser.columns, labels)
    elif labels.ndim > 1:
        raise LabelError("rows of columns were given to a model without columns", "Give it class indices, or none.")
    elif not ((labels >= UNLABELLED) & (labels < classes)).all():
        known = f"Its {classes} classes have the indices 0 to {classes - 1}" if classes else "It knows none"
        raise LabelError("labels were given that the model does not know", f"{known}; {UNLABELLED} is no class.")
