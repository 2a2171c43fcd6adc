"""Images: found, decoded, labelled, divided, and put in order."""

from sfumato.data.augment import mirrored
from sfumato.data.batches import batch_indices, epoch_order
from sfumato.data.imageset import ImageSet, split, to_float, to_uint8
from sfumato.data.load import ChannelChoice, load_files, load_images

__all__ = [
    "ChannelChoice",
    "ImageSet",
    "batch_indices",
    "epoch_order",
    "load_files",
    "load_images",
    "mirrored",
    "split",
    "to_float",
    "to_uint8",
]
