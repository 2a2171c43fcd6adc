"""Inception features, the standard features of the FID: Inception-v3 of 2015, computed by torch-fidelity."""

from pathlib import Path

import torch
from jaxtyping import Float32
from torch import Tensor

from sfumato.errors import RunError
from sfumato.metrics.features.base import NetworkOutput, PretrainedFeatures, as_rgb
from sfumato.metrics.features.network import content_digest
from sfumato.utils.depth import EIGHT_BITS

FILE = "weights-inception-2015-12-05-6726825d.pth"
URL = f"https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{FILE}"
DIGEST = "6726825d"
LAYER = "2048"


class InceptionFeatures(PretrainedFeatures):
    """2,048 features of the last pooling layer, of images rounded to 8 bits, as in the definition of the FID.

    The network resizes images itself, as TensorFlow did in 2015.
    """

    def _outputs(self, images: Float32[Tensor, "n c h w"]) -> NetworkOutput:
        pixels = EIGHT_BITS.to_pixels(as_rgb(images).cpu()).to(images.device)
        (features,) = self._network.to(images.device)(pixels)
        return NetworkOutput(features, None)


def inception_features(weights: Path | None = None) -> InceptionFeatures:
    """Inception features. Weights other than the standard ones have their digest in the name.

    Args:
        weights: File of the weights; None: the path that torch-fidelity uses.

    Raises:
        RunError: torch-fidelity or the weights are missing, or the file does not hold the weights.
    """
    file = weights or Path(torch.hub.get_dir()) / "checkpoints" / FILE
    if not file.is_file():
        raise RunError(
            f"The weights of Inception are not in {file}",
            f"Download {URL} to this path, or name another path with --weights FILE.",
        )
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except ImportError as error:
        raise RunError(
            f"The features 'inception' need torch-fidelity and torchvision ({error})",
            "Install them with: pip install 'sfumato[fid]'.",
        ) from error
    try:  # torch-fidelity would execute code in the file
        torch.load(file, map_location="meta", weights_only=True)
    except Exception as error:  # an invalid file can raise any exception
        raise RunError(f"{file} is not a file of weights", f"Download {URL}.") from error
    try:
        network = FeatureExtractorInceptionV3("inception-v3-compat", [LAYER], feature_extractor_weights_path=str(file))
    except (RuntimeError, AttributeError, TypeError) as error:
        raise RunError(f"{file} does not hold the weights of Inception", f"Download {URL}.") from error
    digest = content_digest(file)
    return InceptionFeatures("inception" if digest == DIGEST else f"inception-{digest}", network)
