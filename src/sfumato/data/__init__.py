"""Images: decoded once into a store, labelled, divided, and put in order and on the device."""

from sfumato.data.augment import mirrored
from sfumato.data.batches import batch_indices, epoch_order
from sfumato.data.feed import Batch, Feed, feed_for
from sfumato.data.imageset import ImageSet, split
from sfumato.data.load import load_files, load_images
from sfumato.data.size import Size, parsed_size
from sfumato.data.survey import ChannelChoice

__all__ = [
    "Batch",
    "ChannelChoice",
    "Feed",
    "ImageSet",
    "Size",
    "batch_indices",
    "epoch_order",
    "feed_for",
    "load_files",
    "load_images",
    "mirrored",
    "parsed_size",
    "split",
]
