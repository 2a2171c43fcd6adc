"""Images: labelled, divided, put in order, augmented, and brought to the device."""

from sfumato.data.augment import flipped, translated
from sfumato.data.batches import batch_indices, epoch_order
from sfumato.data.digits import DIGITS
from sfumato.data.draws import Purpose, uniform
from sfumato.data.feed import Batch, Feed, feed_for
from sfumato.data.imageset import ImageSet, split
from sfumato.data.load import RangeChoice, checked_options, image_set, load_files, load_images, read_images
from sfumato.sources import Fit

__all__ = [
    "DIGITS",
    "Batch",
    "Feed",
    "Fit",
    "ImageSet",
    "Purpose",
    "RangeChoice",
    "batch_indices",
    "checked_options",
    "epoch_order",
    "feed_for",
    "flipped",
    "image_set",
    "load_files",
    "load_images",
    "read_images",
    "split",
    "translated",
    "uniform",
]
