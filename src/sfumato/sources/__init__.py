"""Where images come from: folders, archives, arrays and tables, down to pixels. Knows nothing of tensors."""

from sfumato.sources.decode import Shape
from sfumato.sources.entry import BadImageError, Content, Entry, Unreadable
from sfumato.sources.frame import Fit, Frame, fitted
from sfumato.sources.notice import Notice
from sfumato.sources.opening import open_source
from sfumato.sources.options import USUAL, ChannelChoice, PageChoice, ReadOptions
from sfumato.sources.pages import with_pages
from sfumato.sources.pixels import depth_title, mode_title
from sfumato.sources.source import Cell, Listing, Source

__all__ = [
    "USUAL",
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
