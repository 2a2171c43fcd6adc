"""Data for training: loading, labels, splits, augmentation and batches.

Names are imported on first use. The processes that decode images import only `sources` and `cache`, which do not
import PyTorch and therefore start quickly.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sfumato.data.augmentation import augmented, flipped, translated
    from sfumato.data.dataset import ImageSet, split
    from sfumato.data.in_memory import SOURCES, from_arrays
    from sfumato.data.load import BUILT_IN, image_set, load_files, load_images, read_images
    from sfumato.data.loader import Batch, Loader, batch_indices, epoch_order, make_loader
    from sfumato.data.rng import Purpose, uniform
    from sfumato.data.sources import Fit, RangeChoice, checked_options

_NAMES = {
    "augmentation": ("augmented", "flipped", "translated"),
    "dataset": ("ImageSet", "split"),
    "in_memory": ("SOURCES", "from_arrays"),
    "load": ("BUILT_IN", "image_set", "load_files", "load_images", "read_images"),
    "loader": ("Batch", "Loader", "batch_indices", "epoch_order", "make_loader"),
    "rng": ("Purpose", "uniform"),
    "sources": ("Fit", "RangeChoice", "checked_options"),
}
"""Names by their module."""

__all__ = [
    "BUILT_IN",
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
    for module, names in _NAMES.items():
        if name in names:
            return getattr(import_module(f"sfumato.data.{module}"), name)
    raise AttributeError(f"module 'sfumato.data' has no attribute {name!r}")
