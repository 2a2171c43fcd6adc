"""Images of more than 8 bits in formats of which Pillow knows the header, and cuts the pixels to 8 bits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import ImageFile

from sfumato.data.sources import netpbm, sgi
from sfumato.data.sources.colour import pixels_in_srgb
from sfumato.data.sources.entry import BadImageError
from sfumato.data.sources.frame import GREY, RGB, RGBA, Frame
from sfumato.data.sources.memory import check_memory
from sfumato.data.sources.opacity import coloured
from sfumato.data.sources.options import ReadOptions
from sfumato.data.sources.orientation import turned, turned_size
from sfumato.data.sources.picture import Picture, Shape
from sfumato.data.sources.pillow import frames_of, orientation_of
from sfumato.data.sources.pixels import MOST_SIXTEEN, to_sixteen

PNG_GREY_WITH_OPACITY = 4
"""A colour type of PNG."""

TEXT_COPIES = 30
"""As `Decoder.copies`, of numbers that are written as text, each of which is a Python object for a while."""


@dataclass(frozen=True)
class Decoder:
    """How the pixels of a file are decoded.

    Attributes:
        decode: From the file to (H, W) or (H, W, C).
        white: The value that is white.
        copies: How often the pixels are in memory at the peak; measured.
    """

    decode: Callable[[bytes], np.ndarray]
    white: int = MOST_SIXTEEN
    copies: float = 1.5


class DeepPicture(Picture):
    """An image of more than 8 bits, whose white becomes 65535.

    Args:
        content: The encoded file.
        image: That file, opened by Pillow.
        decoder: For its pixels.
        options: What its channels are.
    """

    def __init__(self, content: bytes, image: ImageFile.ImageFile, decoder: Decoder, options: ReadOptions) -> None:
        self._content = content
        self._decoder = decoder
        self._size = (image.height, image.width)
        self._profile = image.info.get("icc_profile")
        channels, opacity = _channels(image, content, options.channels == "bands")
        check_memory(image.width * image.height, decoder.copies * 2 * channels, len(content))
        self._orientation = orientation_of(image, content)
        size = turned_size(*image.size, self._orientation)
        self.shape = Shape(*size, channels, "uint16", opacity, frames_of(image))

    def _decoded(self, frame: Frame | None) -> np.ndarray:  # noqa: ARG002
        stored = self._decoder.decode(self._content)
        if stored.shape[:2] != self._size:
            raise ValueError("its pixels are not as many as its header says")
        stored = to_sixteen(stored.reshape(*stored.shape[:2], -1), self._decoder.white)
        in_srgb = pixels_in_srgb(stored, self._profile, "gray" if stored.shape[2] < RGB else "rgb")
        return turned(with_channels(in_srgb, self.shape.channels), self._orientation)


def deep_decoder(image: ImageFile.ImageFile, content: bytes) -> Decoder | None:
    """The decoder of an image of more than 8 bits a channel; None where Pillow loses nothing.

    Raises:
        BadImageError: Its bits can be had by no decoder here.
    """
    match image.format:
        case "PNG" if content[24:25] == b"\x10":
            return Decoder(_png)
        case "PPM" if (white := netpbm.white(content)) > 255:
            return Decoder(netpbm.decoded, white, TEXT_COPIES if content[1:2] in b"23" else 1.5)
        case "SGI" if content[3:4] == b"\x02":
            return Decoder(sgi.decoded)
        case "AVIF" if (bits := _avif_bits(content)) > 8:
            return Decoder(_avif, (1 << bits) - 1, 4)
        case "JPEG2000" if (bits := _jpeg2000_bits(content)) > 8:
            return Decoder(_jpeg2000, (1 << bits) - 1, 4)
        case _:
            return None


def with_channels(pixels: np.ndarray, channels: int) -> np.ndarray:
    """Pixels (H, W, C), grey with opacity as RGBA, and the channels after those that are counted left out."""
    if pixels.shape[2] == 2 and channels == RGBA:
        return coloured(pixels)
    return pixels[:, :, :channels]


def _channels(image: ImageFile.ImageFile, content: bytes, is_plain: bool) -> tuple[int, bool]:
    """(channels, whether the last is opacity) of an opened image; a colour that is transparent is no channel."""
    if is_plain and image.format == "PNG" and content[25] == PNG_GREY_WITH_OPACITY:  # which Pillow calls RGBA
        return 2, False
    if is_plain:
        return {"LA": 2, "RGB": RGB, "RGBA": RGBA}.get(image.mode, GREY), False
    if image.has_transparency_data:
        return RGBA, True
    return (RGB if image.mode == "RGB" else GREY), False


def _png(content: bytes) -> np.ndarray:
    import imagecodecs

    return np.asarray(imagecodecs.png_decode(content))


def _avif(content: bytes) -> np.ndarray:
    import imagecodecs

    return np.asarray(imagecodecs.avif_decode(content, index=0))


def _avif_bits(content: bytes) -> int:
    """Bits a channel, by the AV1 codec configuration (AV1-ISOBMFF, section 2.3.3)."""
    flags = content[at + 6] if (at := content.find(b"av1C")) >= 0 and at + 6 < len(content) else 0
    return (12 if flags & 0x20 else 10) if flags & 0x40 else 8


def _jpeg2000(content: bytes) -> np.ndarray:
    import imagecodecs

    return np.asarray(imagecodecs.jpeg2k_decode(content))


def _jpeg2000_bits(content: bytes) -> int:
    """Bits a channel, by the SIZ marker (ITU-T T.800, A.5.1).

    Raises:
        BadImageError: There are more than 8 bits, in a layout that would be cut to 8.
    """
    at = content.find(b"\xff\x4f\xff\x51")
    if at < 0 or at + 42 > len(content):
        return 8
    count = int.from_bytes(content[at + 40 : at + 42], "big")
    components = {content[at + 42 + 3 * c : at + 45 + 3 * c] for c in range(count)}
    depths = {component[0] for component in components if component}
    if max(depths, default=7) < 8:
        return 8
    is_ycc = b"colr\x01\0\0\0\0\0\x12" in content[:at]
    if len(components) > 1 or max(depths) > 15 or is_ycc:
        raise BadImageError(
            "it is a JPEG 2000 image of more than 8 bits whose channels differ, are signed or are YCC; "
            "convert it to PNG or TIFF"
        )
    return depths.pop() + 1
