"""Images: decoded once into a store, labelled, divided, and put in order and on the device."""

from sfumato.data.augment import mirrored
from sfumato.data.batches import batch_indices, epoch_order
from sfumato.data.feed import Batch, Feed, feed_for
from sfumato.data.imageset import ImageSet, split
from sfumato.data.load import checked_choices, image_set, load_files, load_images
from sfumato.data.size import Size, parsed_size
from sfumato.data.store import cache_folder, open_store
from sfumato.data.survey import ChannelChoice, Choices, suggested_size, survey

__all__ = [
    "Batch",
    "ChannelChoice",
    "Choices",
    "Feed",
    "ImageSet",
    "Size",
    "batch_indices",
    "cache_folder",
    "checked_choices",
    "epoch_order",
    "feed_for",
    "image_set",
    "load_files",
    "load_images",
    "mirrored",
    "open_store",
    "parsed_size",
    "split",
    "suggested_size",
    "survey",
]
