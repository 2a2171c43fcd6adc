"""The standard features of the FID: Inception-v3 of 2015, through torch-fidelity."""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import Float32
from torch import Tensor, nn

from sfumato.errors import RunError
from sfumato.metrics.features.base import Features, NetworkOutput
from sfumato.metrics.features.fitting import as_rgb
from sfumato.metrics.features.network import content_digest
from sfumato.utils.depth import EIGHT_BITS

FILE = "weights-inception-2015-12-05-6726825d.pth"
URL = f"https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{FILE}"
DIGEST = "6726825d"
LAYER = "2048"


class InceptionFeatures(Features):
    """The 2,048 numbers of the last pooling layer, of images written in 8 bits, as the FID is defined.

    The network resizes images itself, in the way of the TensorFlow of its time.

    Args:
        name: "inception" for the standard weights.
        network: From uint8 (n, 3, H, W) to a tuple with the features.
    """

    width = 2048

    def __init__(self, name: str, network: nn.Module) -> None:
        self.name = name
        self._network = network.eval()

    def _look(self, images: Float32[Tensor, "n c h w"]) -> NetworkOutput:
        pixels = EIGHT_BITS.to_pixels(as_rgb(images).cpu()).to(images.device)
        (features,) = self._network.to(images.device)(pixels)
        return NetworkOutput(features, None)


def inception(weights: Path | None = None) -> InceptionFeatures:
    """Inception's features; other weights than the standard ones give them another name.

    Args:
        weights: The file of the network's weights; None: where torch-fidelity keeps it.

    Raises:
        RunError: torch-fidelity or the weights are not there, or the file holds something else.
    """
    file = weights or Path(torch.hub.get_dir()) / "checkpoints" / FILE
    if not file.is_file():
        raise RunError(
            f"The weights of Inception are not in {file}",
            f"Download {URL} and put it there, or name where it is with --weights FILE.",
        )
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except ImportError as error:
        raise RunError(
            f"The features 'inception' need torch-fidelity and torchvision ({error})",
            "Install them with: pip install 'sfumato[fid]'.",
        ) from error
    _check_no_programs(file)
    try:
        network = FeatureExtractorInceptionV3("inception-v3-compat", [LAYER], feature_extractor_weights_path=str(file))
    except (RuntimeError, AttributeError, TypeError) as error:
        raise RunError(f"{file} does not hold the weights of Inception", f"Download {URL}.") from error
    digest = content_digest(file)
    return InceptionFeatures("inception" if digest == DIGEST else f"inception-{digest}", network)


def _check_no_programs(file: Path) -> None:
    """Raises `RunError` unless the file is read without running what may be in it, as torch-fidelity would."""
    try:
        torch.load(file, map_location="meta", weights_only=True)
    except Exception as error:  # whatever a foreign file makes of the restricted reader
        raise RunError(f"{file} is not a file of weights", f"Download {URL}.") from error
