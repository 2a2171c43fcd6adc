"""What all features are: a name, a width, and images made rows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from jaxtyping import Float32
from torch import Tensor

from sfumato.errors import DataError

BATCH = 64
"""Images that are looked at together, however many are given, so that memory stays flat."""


class NetworkOutput(NamedTuple):
    """What a network says of images.

    Attributes:
        features: The rows that metrics compare.
        logits: Of the classes, if the network is a classifier.
    """

    features: Float32[Tensor, "n d"]
    logits: Float32[Tensor, "n classes"] | None


class Features(ABC):
    """From images to rows of numbers.

    Attributes:
        name: By which tables and caches know them: the same name always means the same numbers.
        width: How many numbers an image becomes.
        classes: How many classes are told apart; 0 where the network is no classifier.
    """

    name: str
    width: int
    classes: int = 0

    def __call__(self, images: Float32[Tensor, "n c h w"]) -> Float32[Tensor, "n d"]:
        """The features of images in [-1, 1], on their device; errors are those of `look`."""
        return self.look(images).features

    @torch.no_grad()
    def look(self, images: Float32[Tensor, "n c h w"]) -> NetworkOutput:
        """The features of images in [-1, 1], on their device, and their classes' logits.

        Args:
            images: Any number, from 1.

        Raises:
            DataError: The images have channels that the network does not know, or their features are not finite.
            RunError: The network fails.
        """
        looks = [self._look(part) for part in images.split(BATCH)]
        features = torch.cat([look.features for look in looks])
        self._check_finite_values(images, features)
        logits = [look.logits for look in looks if look.logits is not None]
        return NetworkOutput(features, torch.cat(logits) if logits else None)

    @abstractmethod
    def _look(self, images: Float32[Tensor, "n c h w"]) -> NetworkOutput:
        """The same of a few images."""

    def _check_finite_values(self, images: Tensor, features: Tensor) -> None:
        bad = ~features.isfinite().all(1)
        if not bad.any():
            return
        if images[bad].isfinite().all():
            remedy = "The images themselves are finite: look at the network's weights and range."
        else:
            remedy = "The images themselves are not finite: look at what made them."
        problem = f"The features {self.name} of {int(bad.sum())} of {len(bad)} images are NaN or infinite"
        raise DataError(problem, remedy)
