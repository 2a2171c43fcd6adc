"""How images are read where a person decides it, and not the files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sfumato.data.sources.frame import Fit

ChannelChoice = Literal["auto", "grey", "rgb", "rgba", "bands"]
PageChoice = Literal["auto", "first", "images", "channels"]


@dataclass(frozen=True)
class ReadOptions:
    """How the images of a source are read.

    Attributes:
        size: (width, height) that every image is brought to; None keeps the size that they share.
        fit: How they are brought to it.
        channels: "grey", "rgb" or "rgba" convert the images; "bands" keeps all channels as plain ones, none of which is
            opacity; "auto" is what most of the images are, where opacity is what a file declares as such.
        pages: What the pages of a file are, where the file does not say it: its "first" page is the image, or each is
            one of several "images", or all are "channels" of one image.
        split: "auto" reads the training split, "all" every split, "none" takes the names of splits for names of
            classes; any other text is the split to read.
        range: The values that are black and white; None finds them in the data.
        nodata: The value of pixels without data, beside NaN and what a file declares.
        name_encoding: The encoding of the names in an archive, such as "cp932"; None detects it.
    """

    size: tuple[int, int] | None = None
    fit: Fit = "crop"
    channels: ChannelChoice = "auto"
    pages: PageChoice = "auto"
    split: str = "auto"
    range: tuple[float, float] | None = None
    nodata: float | None = None
    name_encoding: str | None = None


DEFAULT_OPTIONS = ReadOptions()
"""Nothing is requested."""
