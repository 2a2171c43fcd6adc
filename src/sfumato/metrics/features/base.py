"""Base class of feature extractors, and conversion of images to the format of a network."""

from abc import ABC, abstractmethod
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float32
from torch import Tensor, nn

from sfumato.errors import DataError

BATCH = 64
"""Maximum batch size of a network, which limits the memory."""


class NetworkOutput(NamedTuple):
    """Output of a network for a batch of images.

    Attributes:
        features: Feature vectors, compared by the metrics.
        logits: Logits of the classes if the network is a classifier.
    """

    features: Float32[Tensor, "n d"]
    logits: Float32[Tensor, "n classes"] | None


class Features(ABC):
    """Feature extractor: computes a feature vector of each image.

    Attributes:
        name: Name in tables and caches. Extractors of the same name must compute the same features.
    """

    name: str

    def __call__(self, images: Float32[Tensor, "n c h w"]) -> Float32[Tensor, "n d"]:
        """Features of images in [-1, 1], on their device; raises the errors of `outputs`."""
        return self.outputs(images).features

    @torch.no_grad()
    def outputs(self, images: Float32[Tensor, "n c h w"]) -> NetworkOutput:
        """Features and logits of images in [-1, 1], on their device.

        Args:
            images: At least one image.

        Raises:
            DataError: The network does not support the channels of the images, or the features are not finite.
            RunError: The network fails.
        """
        parts = [self._outputs(part) for part in images.split(BATCH)]
        features = torch.cat([part.features for part in parts])
        self._check_finite(images, features)
        logits = [part.logits for part in parts if part.logits is not None]
        return NetworkOutput(features, torch.cat(logits) if logits else None)

    @torch.no_grad()
    def classes(self, image_shape: tuple[int, int, int]) -> int:
        """Number of classes for images of a shape (C, H, W), from the output for one image; 0 unless a classifier.

        Raises:
            DataError, RunError: As for `outputs`.
        """
        logits = self._outputs(torch.zeros(1, *image_shape)).logits
        return 0 if logits is None else logits.shape[1]

    @abstractmethod
    def _outputs(self, images: Float32[Tensor, "n c h w"]) -> NetworkOutput:
        """Output for a batch of at most `BATCH` images."""

    def _check_finite(self, images: Tensor, features: Tensor) -> None:
        bad = ~features.isfinite().all(1)
        if not bad.any():
            return
        if images[bad].isfinite().all():
            remedy = "The images themselves are finite: check the weights and the number range of the network."
        else:
            remedy = "The images themselves are not finite: check the program that generated them."
        problem = f"The features {self.name} of {int(bad.sum())} of {len(bad)} images are NaN or infinite"
        raise DataError(problem, remedy)


class PretrainedFeatures(Features):
    """Features of a network with given weights, which are identified by the name of the features."""

    def __init__(self, name: str, network: nn.Module) -> None:
        self.name = name
        self._network = network.eval()


def as_rgb(images: Float32[Tensor, "n c h w"]) -> Float32[Tensor, "n 3 h w"]:
    """Images in [-1, 1] with three channels: grey is repeated, and transparent images are blended with white.

    Raises:
        DataError: The images do not have 1, 3 or 4 channels.
    """
    match images.shape[1]:
        case 1:
            return images.expand(-1, 3, -1, -1)
        case 3:
            return images
        case 4:
            opacity = (images[:, 3:] + 1) / 2
            return images[:, :3] * opacity + (1 - opacity)
        case channels:
            raise DataError(
                f"Images of {channels} channels cannot be converted to RGB for the network",
                "Use --features pixels, which support any number of channels.",
            )


def resized(
    images: Float32[Tensor, "n c h w"],
    height: int | None,
    width: int | None,
    mode: Literal["bilinear", "bicubic"] = "bilinear",
) -> Float32[Tensor, "n c height2 width2"]:
    """Images resized with antialiasing; None keeps a side unchanged."""
    size = (height or images.shape[2], width or images.shape[3])
    if size == tuple(images.shape[2:]):
        return images
    return F.interpolate(images, size, mode=mode, antialias=True, align_corners=False)
