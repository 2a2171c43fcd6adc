"""From what a person names to features."""

from __future__ import annotations

from pathlib import Path

from sfumato.errors import ConfigError
from sfumato.metrics.features.base import Features
from sfumato.metrics.features.dinov2 import dinov2
from sfumato.metrics.features.efficientnet import efficientnet
from sfumato.metrics.features.exported import exported_network
from sfumato.metrics.features.inception import inception
from sfumato.metrics.features.onnx import onnx_network
from sfumato.metrics.features.pixels import PixelFeatures

WITH_WEIGHTS = {"inception": inception, "dinov2": dinov2, "efficientnet": efficientnet}
BY_SUFFIX = {".pt2": exported_network, ".onnx": onnx_network}


def features_for(name: str | Path, weights: Path | None = None) -> Features:
    """The features of that name, or of the network in that file.

    Args:
        name: "pixels", "inception", "dinov2", "efficientnet", or a file: .pt2 of `torch.export.save`, or .onnx.
        weights: Where the weights of "inception" or "efficientnet" (a file) or "dinov2" (a folder) are; None: where
            their libraries keep them. Nothing is downloaded.

    Raises:
        ConfigError: There are no such features, or they have no weights.
        RunError: A library, file or weights are missing, or the file holds something else.
    """
    if name in WITH_WEIGHTS:
        return WITH_WEIGHTS[str(name)](weights)
    if weights is not None:
        raise ConfigError(
            f"The features {name} have no weights of their own to name", f"Leave out --weights {weights}."
        )
    if name == PixelFeatures.name:
        return PixelFeatures()
    path = Path(name)
    if path.suffix not in BY_SUFFIX:
        raise ConfigError(
            f"The features {name} are not known",
            "Choose pixels, efficientnet, inception, dinov2, or the file of a network (.pt2 or .onnx).",
        )
    return BY_SUFFIX[path.suffix](path)
