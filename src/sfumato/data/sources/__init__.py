"""Sources of images: folders, archives, arrays and tables, with image decoders. It does not import PyTorch."""

from sfumato.data.sources.decode import ImageInfo
from sfumato.data.sources.entry import BadImageError, Entry, Unreadable
from sfumato.data.sources.multipage import with_pages
from sfumato.data.sources.opening import open_source
from sfumato.data.sources.options import (
    DEFAULT_OPTIONS,
    ChannelChoice,
    PageChoice,
    RangeChoice,
    ReadOptions,
    Size,
    checked_options,
)
from sfumato.data.sources.pixel_arrays import depth_title, mode_title
from sfumato.data.sources.resizing import Fit, Frame, resize_image
from sfumato.data.sources.source import Cell, Columns, Listing, Notice, Source

__all__ = [
    "DEFAULT_OPTIONS",
    "BadImageError",
    "Cell",
    "ChannelChoice",
    "Columns",
    "Entry",
    "Fit",
    "Frame",
    "ImageInfo",
    "Listing",
    "Notice",
    "PageChoice",
    "RangeChoice",
    "ReadOptions",
    "Size",
    "Source",
    "Unreadable",
    "checked_options",
    "depth_title",
    "mode_title",
    "open_source",
    "resize_image",
    "with_pages",
]
