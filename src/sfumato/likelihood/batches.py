"""Computes likelihoods in batches, each with its labels and noise."""

from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Float64
from torch import Tensor

from sfumato.data.conditions import check_rows
from sfumato.diffusion.denoiser import Denoiser
from sfumato.diffusion.guidance import Labelled
from sfumato.errors import ConfigError, DataError, LabelError
from sfumato.sampling.sampler import ImageNoise, evaluated
from sfumato.utils.shapes import UNLABELLED, Images, Labels

Measure = Callable[[Denoiser, Images, ImageNoise], Float64[Tensor, "n *_"]]
"""Maps a denoiser with fixed labels, a batch and the noise of its images to one result per image."""


def measured(
    measure: Measure, denoiser: Denoiser, images: Images, labels: Labels | None, seed: int, batch: int
) -> Float64[Tensor, "n *_"]:
    """Computes the results of all images on the denoiser's device, in evaluation mode; returns them on the CPU.

    Raises:
        DataError: images with another shape than the model's, or no images.
        ConfigError: a batch size below 1.
        LabelError: not one label per image, or labels that the model does not have.
    """
    channels, height, width = denoiser.image_shape
    if tuple(images.shape[1:]) != denoiser.image_shape or len(images) == 0:
        raise DataError(
            f"images of shape {tuple(images.shape)} were given to a model for (n, {channels}, {height}, {width})",
            "Give at least one image with the model's channels and size.",
        )
    if batch < 1:
        raise ConfigError(f"the batch size is {batch}", "Choose at least 1.")
    if not images.is_floating_point():
        raise DataError(f"images of dtype {images.dtype} were given", "Scale them to floats in [-1, 1].")
    if labels is not None:
        _check_labels(denoiser, labels, len(images))
    device = denoiser.device

    def of_batch(start: int) -> Float64[Tensor, "n *_"]:
        part = range(len(images))[start : start + batch]
        own = None if labels is None else labels[start : part.stop].to(device)
        noise = ImageNoise(seed, part, denoiser.image_shape, device)
        return measure(Labelled(denoiser, own), images[start : part.stop].to(device), noise).cpu()

    return torch.cat(list(evaluated(denoiser, (partial(of_batch, start) for start in range(0, len(images), batch)))))


def _check_labels(denoiser: Denoiser, labels: Labels, count: int) -> None:
    """Raises `LabelError` unless each of `count` images has a class or row of the model, or no class."""
    classes = len(denoiser.label_names)
    if len(labels) != count:
        raise LabelError(f"{len(labels)} labels were given for {count} images", "Give one label per image.")
    if denoiser.columns:
        check_rows(denoiser.columns, labels)
    elif labels.ndim > 1:
        raise LabelError(
            "rows of conditions were given to a model without columns", "Give class indices, or no labels."
        )
    elif not ((labels >= UNLABELLED) & (labels < classes)).all():
        valid = f"Its {classes} classes have the indices 0 to {classes - 1}" if classes else "It has no classes"
        raise LabelError("labels were given that the model does not have", f"{valid}; {UNLABELLED} means no class.")
