"""DINOv2's features, through transformers."""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import Float32
from torch import Tensor, nn

from sfumato.errors import RunError
from sfumato.metrics.features.base import Features, NetworkOutput
from sfumato.metrics.features.fitting import as_rgb, resized
from sfumato.metrics.features.network import content_digest

MODEL = "facebook/dinov2-large"
SIDE = 224
MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)
"""Of ImageNet's channels in [0, 1], which the network was trained with."""


class Dinov2Features(Features):
    """The class token of DINOv2 after its last normalisation (Oquab et al., arXiv 2304.07193), of images at 224x224.

    Stein et al. (arXiv 2306.04675) found Frechet distances in these to agree with people more than Inception's.

    Args:
        name: "dinov2" for the large model.
        network: A `transformers.Dinov2Model`.
        width: Of its features.
    """

    def __init__(self, name: str, network: nn.Module, width: int) -> None:
        self.name = name
        self.width = width
        self._network = network.eval()

    def _look(self, images: Float32[Tensor, "n c h w"]) -> NetworkOutput:
        mean, deviation = (torch.tensor(each, device=images.device).reshape(3, 1, 1) for each in (MEAN, DEVIATION))
        pictures = (resized(as_rgb(images), SIDE, SIDE, mode="bicubic").clamp(-1, 1) + 1) / 2
        network = self._network.to(images.device)
        return NetworkOutput(network((pictures - mean) / deviation).pooler_output, None)


def dinov2(weights: Path | None = None) -> Dinov2Features:
    """DINOv2's features; those of another model than the large one are named after its content.

    Args:
        weights: The folder of a model of transformers; None: the large one, from the cache of the Hugging Face Hub.

    Raises:
        RunError: transformers or the weights are not there, or the folder holds something else.
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
            f"Fetch them with: hf download {MODEL}. Or name the folder of a model with --weights FOLDER.",
        ) from error
    name = f"dinov2-{content_digest(weights / 'model.safetensors')}" if weights else "dinov2"
    return Dinov2Features(name, network, network.config.hidden_size)
