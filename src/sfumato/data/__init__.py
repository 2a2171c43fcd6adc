"""Images: found, decoded, labelled, divided, and put in order."""

from sfumato.data.augment import flipped, translated
from sfumato.data.batches import batch_indices, epoch_order
from sfumato.data.draws import Purpose, uniform
from sfumato.data.imageset import ImageSet, split, to_float, to_uint8
from sfumato.data.load import ChannelChoice, load_files, load_images

__all__ = [
    "ChannelChoice",
    "ImageSet",
    "Purpose",
    "batch_indices",
    "epoch_order",
    "flipped",
    "load_files",
    "load_images",
    "split",
    "to_float",
    "to_uint8",
    "translated",
    "uniform",
]
