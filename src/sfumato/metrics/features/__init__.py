"""Feature extractors: the feature vectors of images that metrics compare.

FID uses those of `inception.py`. `features_for` finds an extractor by its name or file.
"""

from __future__ import annotations

from pathlib import Path

from sfumato.errors import ConfigError
from sfumato.metrics.features.base import Features, NetworkOutput, as_rgb, resized
from sfumato.metrics.features.dinov2 import dinov2_features
from sfumato.metrics.features.efficientnet import efficientnet_features
from sfumato.metrics.features.exported import exported_network
from sfumato.metrics.features.inception import inception_features
from sfumato.metrics.features.onnx import onnx_network
from sfumato.metrics.features.pixels import PixelFeatures

__all__ = ["Features", "NetworkOutput", "as_rgb", "features_for", "resized"]

WITH_WEIGHTS = {"inception": inception_features, "dinov2": dinov2_features, "efficientnet": efficientnet_features}
BY_SUFFIX = {".pt2": exported_network, ".onnx": onnx_network}


def features_for(name: str | Path, weights: Path | None = None) -> Features:
    """Feature extractor of a name, or of the network in a file.

    Args:
        name: "pixels", "inception", "dinov2", "efficientnet", or a file: .pt2 from `torch.export.save`, or .onnx.
        weights: Weights of "inception" or "efficientnet" (a file) or "dinov2" (a folder); None: the location where
            their libraries store them. Nothing is downloaded.

    Raises:
        ConfigError: The name is unknown, or weights were given for features that have none.
        RunError: A library, file or weights are missing, or the content of the file is different.
    """
    if name in WITH_WEIGHTS:
        return WITH_WEIGHTS[str(name)](weights)
    if weights is not None:
        raise ConfigError(f"The features {name} take no weights", f"Leave out --weights {weights}.")
    if name == PixelFeatures.name:
        return PixelFeatures()
    path = Path(name)
    if path.suffix not in BY_SUFFIX:
        raise ConfigError(
            f"The features {name} are unknown",
            "Choose pixels, efficientnet, inception, dinov2, or the file of a network (.pt2 or .onnx).",
        )
    return BY_SUFFIX[path.suffix](path)
