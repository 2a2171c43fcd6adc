"""Where images come from: folders, archives, arrays and tables, down to pixels. Knows nothing of tensors."""

from sfumato.data.sources.decode import Shape
from sfumato.data.sources.entry import BadImageError, Content, Entry, Unreadable
from sfumato.data.sources.frame import Fit, Frame, fitted
from sfumato.data.sources.notice import Notice
from sfumato.data.sources.opening import open_source
from sfumato.data.sources.options import DEFAULT_OPTIONS, ChannelChoice, PageChoice, ReadOptions
from sfumato.data.sources.pages import with_pages
from sfumato.data.sources.pixels import depth_title, mode_title
from sfumato.data.sources.source import Cell, Listing, Source

__all__ = [
    "DEFAULT_OPTIONS",
    "BadImageError",
    "Cell",
    "ChannelChoice",
    "Content",
    "Entry",
    "Fit",
    "Frame",
    "Listing",
    "Notice",
    "PageChoice",
    "ReadOptions",
    "Shape",
    "Source",
    "Unreadable",
    "depth_title",
    "fitted",
    "mode_title",
    "open_source",
    "with_pages",
]
