"""Networks of diffusers that differ from ours, as denoisers for sampling and evaluation."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sfumato.diffusion.denoiser import (
    PARAMETRIZATIONS,
    Parametrization,
    PreconditionedDenoiser,
    Preconditioning,
)
from sfumato.diffusion.schedules import Schedule
from sfumato.errors import LabelError, RunError
from sfumato.exchange.layout import CONFIG
from sfumato.exchange.schedulers import Noise
from sfumato.exchange.unet2d import UNet2DSettings
from sfumato.exchange.weights import COPY, as_float32
from sfumato.networks.conditioning import NetworkLabels
from sfumato.utils.imports import require_packages
from sfumato.utils.shapes import Images, Times
from sfumato.utils.text import first_line


class DiffusersUNet(nn.Module):
    """A `UNet2DModel` with the call of our networks."""

    def __init__(self, unet: nn.Module, channels: int, has_classes: bool) -> None:
        super().__init__()
        self.unet, self.channels, self.has_classes = unet, channels, has_classes

    def forward(self, x: Images, times: Float[Tensor, " n"], labels: NetworkLabels | None = None) -> Images:
        """Output of the network, without predicted variances.

        Raises:
            LabelError: a network with classes was called without labels, which it was not trained for.
        """
        if self.has_classes and (labels is None or bool((labels < 0).any())):
            raise LabelError(
                "the model was trained with classes only, and cannot be evaluated without one",
                "Give a class for each image (labels=..., or --label on the command line), and leave guidance out.",
            )
        output: Tensor = self.unet(x, times, class_labels=labels, return_dict=False)[0]
        return output[:, : self.channels]


class ForeignModel(PreconditionedDenoiser):
    """A denoiser with a network of another library. It can be sampled and evaluated, but not saved or trained.

    Args:
        network: network with the call of our networks.
        noise: noise levels and prediction of the network.
        image_shape: (C, H, W) of one image.
        label_names: names of the classes.
    """

    is_custom = True
    images_seen = 0

    def __init__(
        self, network: nn.Module, noise: Noise, image_shape: tuple[int, int, int], label_names: tuple[str, ...] = ()
    ) -> None:
        parametrization = _with_time_scale(PARAMETRIZATIONS[noise.parametrization], noise.time_scale)
        super().__init__(network, noise.built_schedule(), parametrization, image_shape, label_names)
        self.needs_labels = bool(label_names)


def foreign_model(
    settings: UNet2DSettings, noise: Noise, weights: Mapping[str, Tensor], component: Path
) -> ForeignModel:
    """Builds a model with a `UNet2DModel`, in evaluation mode.

    Args:
        settings: settings of the network.
        noise: noise levels and prediction of the network.
        weights: weights with the names of diffusers.
        component: folder of the network, for error messages.

    Raises:
        RunError: diffusers is not installed, the settings are not those of a network for such images, or the weights
            are not those of the network.
    """
    require_packages(f"the network of {component} differs from the UNet of sfumato, and", "diffusers", "diffusers")
    from diffusers import UNet2DModel

    classes, shape = settings.num_class_embeds or 0, settings.image_shape
    try:
        with torch.device("meta"):
            on_meta = UNet2DModel(**asdict(settings)).eval()
            labels = torch.zeros(1, dtype=torch.int64) if classes else None
            on_meta(torch.zeros(1, *shape), torch.zeros(1), class_labels=labels)
    except Exception as error:  # diffusers and torch raise errors of many types
        raise RunError(
            f"{component / CONFIG} describes no network of diffusers for images of shape {shape}: {first_line(error)}",
            COPY,
        ) from error
    converted = as_float32(weights, on_meta.state_dict(), component)
    unet = UNet2DModel(**asdict(settings))  # on the CPU, because some blocks compute buffers that are not saved
    unet.load_state_dict(converted)
    names = tuple(map(str, range(classes)))
    return ForeignModel(DiffusersUNet(unet, shape[0], bool(classes)), noise, shape, names).eval()


def _with_time_scale(parametrization: Parametrization, scale: float) -> Parametrization:
    """The parametrization with a scaled time input."""

    def preconditioning(schedule: Schedule, t: Times) -> Preconditioning:
        coefficients = parametrization(schedule, t)
        return coefficients if scale == 1 else coefficients._replace(noise=scale * coefficients.noise)

    return preconditioning
