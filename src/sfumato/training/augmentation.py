"""The augmentation that the settings ask for, a function of the seed and the place in the stream of images."""

from jaxtyping import Float64
from torch import Tensor

from sfumato.data import Purpose, flipped, nonleaking, translated, uniform
from sfumato.training.config import DataConfig
from sfumato.utils.shapes import AugmentationLabels, Images


def augmented(x_0: Images, config: DataConfig, seed: int, start: int) -> tuple[Images, AugmentationLabels | None]:
    """The images as they are trained on.

    Args:
        x_0: the images at the positions from `start` on of the endless stream of epochs, on any device.
        config: says what may be done to them.
        seed: of the run.
        start: how many images were seen before.

    Returns:
        The images, changed or not, and what the network is to be told of it; None without `config.augment`.
    """

    def draws(purpose: Purpose, width: int) -> Float64[Tensor, "_ _"]:
        return uniform(seed, purpose, start, len(x_0), width)

    if config.flip:
        x_0 = flipped(x_0, draws(Purpose.FLIP, 1)[:, 0])
    if config.translate:
        x_0 = translated(x_0, draws(Purpose.TRANSLATION, 2), config.translate)
    if not config.augment:
        return x_0, None
    transforms = nonleaking.draw_transforms(draws(Purpose.NONLEAKING, nonleaking.DRAWS), config.augment)
    return nonleaking.apply_transforms(x_0, transforms), nonleaking.augmentation_labels(transforms).to(
        x_0.device, non_blocking=True
    )
