"""Feature extractors: the feature vectors of images that metrics compare.

FID uses those of `inception.py`. `features_for` finds an extractor by its name, file or network.
"""

from pathlib import Path

from sfumato.errors import ConfigError
from sfumato.metrics.features.base import Features, NetworkOutput, as_rgb, resized
from sfumato.metrics.features.custom import FeatureNetwork, custom_features, register_features
from sfumato.metrics.features.dinov2 import dinov2_features
from sfumato.metrics.features.efficientnet import efficientnet_features
from sfumato.metrics.features.inception import inception_features
from sfumato.metrics.features.onnx import onnx_features
from sfumato.metrics.features.pixels import PixelFeatures
from sfumato.utils.imports import is_import_path

__all__ = ["Features", "NetworkOutput", "as_rgb", "features_for", "register_features", "resized"]

WITH_WEIGHTS = {"inception": inception_features, "dinov2": dinov2_features, "efficientnet": efficientnet_features}


def features_for(name: str | Path | FeatureNetwork, weights: Path | None = None) -> Features:
    """Feature extractor of a name, of the network in a file, or of your own network.

    Args:
        name: "pixels", "inception", "dinov2" or "efficientnet"; an ONNX file; a network, or a class or function that
            returns one (`CONVENTION` in `network.py`); or the import path of one, after `register_features`.
        weights: Weights of "inception" or "efficientnet" (a file) or "dinov2" (a folder); None: the location where
            their libraries store them. Nothing is downloaded.

    Raises:
        ConfigError: The name is unknown or not registered, or weights were given for features that have none.
        RunError: A library, file or weights are missing, or a network cannot be built.
    """
    if isinstance(name, str) and name in WITH_WEIGHTS:
        return WITH_WEIGHTS[name](weights)
    if weights is not None:
        raise ConfigError(f"The features {name} take no weights", f"Leave out --weights {weights}.")
    if name == PixelFeatures.name:
        return PixelFeatures()
    if not isinstance(name, str | Path) or (isinstance(name, str) and is_import_path(name)):
        return custom_features(name)
    if Path(name).suffix == ".onnx":
        return onnx_features(Path(name))
    raise ConfigError(
        f"The features {name} are unknown",
        "Choose pixels, efficientnet, inception, dinov2, an .onnx file, or the import path of a network "
        "(path/file.py:Class).",
    )
