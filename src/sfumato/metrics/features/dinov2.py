"""DINOv2 features, computed by transformers."""

from pathlib import Path

import torch
from jaxtyping import Float32
from torch import Tensor

from sfumato.errors import RunError
from sfumato.metrics.features.base import NetworkOutput, PretrainedFeatures, as_rgb, resized
from sfumato.metrics.features.network import content_digest

MODEL = "facebook/dinov2-large"
SIDE = 224
MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)
"""Mean and standard deviation of the channels of ImageNet in [0, 1]."""


class Dinov2Features(PretrainedFeatures):
    """Normalised class token of DINOv2 (Oquab et al., arXiv 2304.07193), of images at 224x224.

    Stein et al. (arXiv 2306.04675) found that Frechet distances of these features agree better with human judgement
    than those of Inception features.
    """

    def _outputs(self, images: Float32[Tensor, "n c h w"]) -> NetworkOutput:
        mean, deviation = (torch.tensor(each, device=images.device).reshape(3, 1, 1) for each in (MEAN, DEVIATION))
        pictures = (resized(as_rgb(images), SIDE, SIDE, mode="bicubic").clamp(-1, 1) + 1) / 2
        network = self._network.to(images.device)
        return NetworkOutput(network((pictures - mean) / deviation).pooler_output, None)


def dinov2_features(weights: Path | None = None) -> Dinov2Features:
    """DINOv2 features. Those of `weights` have the digest of the weights in their name.

    Args:
        weights: Folder of a transformers model; None: the large model in the cache of the Hugging Face Hub.

    Raises:
        RunError: transformers or the weights are missing, or the folder is not a DINOv2 model.
    """
    try:
        from transformers import Dinov2Model
    except ImportError as error:
        raise RunError(
            "The features 'dinov2' need transformers", "Install it with: pip install 'sfumato[dinov2]'."
        ) from error
    try:
        network = Dinov2Model.from_pretrained(str(weights or MODEL), local_files_only=True, use_safetensors=True)
    except (OSError, ValueError) as error:
        raise RunError(
            f"The weights of DINOv2 are not in {weights or 'the cache of the Hugging Face Hub'}",
            f"Download them with: hf download {MODEL}. Or name the folder of a model with --weights FOLDER.",
        ) from error
    name = f"dinov2-{content_digest(weights / 'model.safetensors')}" if weights else "dinov2"
    return Dinov2Features(name, network)
