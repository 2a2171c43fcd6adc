"""Data for training: loading, labels, splits, augmentation and batches.

Names are imported on first use. The processes that decode images import only `sources` and `cache`, which do not
import PyTorch and therefore start quickly.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sfumato.data.augmentation import augmented, flipped, translated
    from sfumato.data.dataset import ImageSet, split
    from sfumato.data.digits import DIGITS
    from sfumato.data.in_memory import SOURCES, from_arrays
    from sfumato.data.load import image_set, load_files, load_images, read_images
    from sfumato.data.loader import Batch, Loader, batch_indices, epoch_order, make_loader
    from sfumato.data.rng import Purpose, uniform
    from sfumato.data.sources import Fit, RangeChoice, checked_options

_HOMES = {
    "SOURCES": "in_memory",
    "DIGITS": "digits",
    "Batch": "loader",
    "augmented": "augmentation",
    "Loader": "loader",
    "Fit": "sources",
    "ImageSet": "dataset",
    "Purpose": "rng",
    "RangeChoice": "sources",
    "batch_indices": "loader",
    "checked_options": "sources",
    "epoch_order": "loader",
    "make_loader": "loader",
    "flipped": "augmentation",
    "from_arrays": "in_memory",
    "image_set": "load",
    "load_files": "load",
    "load_images": "load",
    "read_images": "load",
    "split": "dataset",
    "translated": "augmentation",
    "uniform": "rng",
}

__all__ = [
    "DIGITS",
    "SOURCES",
    "Batch",
    "Fit",
    "ImageSet",
    "Loader",
    "Purpose",
    "RangeChoice",
    "augmented",
    "batch_indices",
    "checked_options",
    "epoch_order",
    "flipped",
    "from_arrays",
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
