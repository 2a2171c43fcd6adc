"""Images: labelled, divided, put in order, augmented, and brought to the device.

Names are imported when they are first used: the processes that decode images import `sources` and `cache` below, which
know no tensors, and would spend longer importing PyTorch than decoding.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sfumato.data.augment import flipped, translated
    from sfumato.data.dataset import ImageSet, split
    from sfumato.data.digits import DIGITS
    from sfumato.data.epochs import batch_indices, epoch_order
    from sfumato.data.load import RangeChoice, checked_options, image_set, load_files, load_images, read_images
    from sfumato.data.loader import Batch, Loader, make_loader
    from sfumato.data.rng import Purpose, uniform
    from sfumato.data.sources import Fit

_HOMES = {
    "DIGITS": "digits",
    "Batch": "loader",
    "Loader": "loader",
    "Fit": "sources",
    "ImageSet": "dataset",
    "Purpose": "rng",
    "RangeChoice": "load",
    "batch_indices": "epochs",
    "checked_options": "load",
    "epoch_order": "epochs",
    "make_loader": "loader",
    "flipped": "augment",
    "image_set": "load",
    "load_files": "load",
    "load_images": "load",
    "read_images": "load",
    "split": "dataset",
    "translated": "augment",
    "uniform": "rng",
}

__all__ = [
    "DIGITS",
    "Batch",
    "Fit",
    "ImageSet",
    "Loader",
    "Purpose",
    "RangeChoice",
    "batch_indices",
    "checked_options",
    "epoch_order",
    "flipped",
    "image_set",
    "load_files",
    "load_images",
    "make_loader",
    "read_images",
    "split",
    "translated",
    "uniform",
]


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(import_module(f"sfumato.data.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'sfumato.data' has no attribute {name!r}")
