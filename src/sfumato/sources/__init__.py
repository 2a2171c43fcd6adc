"""Where images come from: folders, archives, arrays and tables, down to pixels. Knows nothing of tensors."""

from sfumato.sources.entry import BadImageError, Content, Entry, Unreadable, printable
from sfumato.sources.frame import Fit, Frame, fitted
from sfumato.sources.opening import open_source
from sfumato.sources.source import Cell, Listing, Source

__all__ = [
    "BadImageError",
    "Cell",
    "Content",
    "Entry",
    "Fit",
    "Frame",
    "Listing",
    "Source",
    "Unreadable",
    "fitted",
    "open_source",
    "printable",
]
