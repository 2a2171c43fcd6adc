"""Images with more than 8 bits per channel in formats that Pillow reduces to 8 bits."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import ImageFile

from sfumato.data.sources.colour import pixels_in_srgb
from sfumato.data.sources.entry import BadImageError
from sfumato.data.sources.memory import check_memory
from sfumato.data.sources.options import ReadOptions
from sfumato.data.sources.picture import ImageInfo, Picture
from sfumato.data.sources.pillow import frames_of, orientation_of
from sfumato.data.sources.pixel_arrays import (
    MOST_SIXTEEN,
    apply_orientation,
    grey_alpha_to_rgba,
    oriented_size,
    to_sixteen,
)
from sfumato.data.sources.resizing import GREY, RGB, RGBA, Frame

PNG_GREY_WITH_OPACITY = 4
"""PNG colour type of grey with alpha."""

TEXT_COPIES = 30
"""`Decoder.copies` for pixels written as text; each becomes a temporary Python object."""


@dataclass(frozen=True)
class Decoder:
    """Decoder of the pixels of a file.

    Attributes:
        decode: Converts the file to (H, W) or (H, W, C).
        white: Value of white.
        copies: Peak memory as a multiple of the size of the pixels; measured.
    """

    decode: Callable[[bytes], np.ndarray]
    white: int = MOST_SIXTEEN
    copies: float = 1.5


class DeepPicture(Picture):
    """An image with more than 8 bits per channel; white becomes 65535.

    Args:
        content: Encoded file.
        image: The file, opened by Pillow.
        decoder: Decoder of the pixels.
        options: Interpretation of the channels.
    """

    def __init__(self, content: bytes, image: ImageFile.ImageFile, decoder: Decoder, options: ReadOptions) -> None:
        self._content = content
        self._decoder = decoder
        self._size = (image.height, image.width)
        self._profile = image.info.get("icc_profile")
        channels, opacity = _channels(image, content, options.channels == "bands")
        check_memory(image.width * image.height, decoder.copies * 2 * channels, len(content))
        self._orientation = orientation_of(image, content)
        size = oriented_size(*image.size, self._orientation)
        self.info = ImageInfo(*size, channels, "uint16", opacity, frames_of(image))

    def _decoded(self, frame: Frame | None) -> np.ndarray:  # noqa: ARG002
        stored = self._decoder.decode(self._content)
        if stored.shape[:2] != self._size:
            raise ValueError("its pixels do not have the size in its header")
        stored = to_sixteen(stored.reshape(*stored.shape[:2], -1), self._decoder.white)
        in_srgb = pixels_in_srgb(stored, self._profile, "gray" if stored.shape[2] < RGB else "rgb")
        return apply_orientation(with_channels(in_srgb, self.info.channels), self._orientation)


def deep_decoder(image: ImageFile.ImageFile, content: bytes) -> Decoder | None:
    """Decoder of an image with more than 8 bits per channel; None if Pillow decodes it without loss.

    Raises:
        BadImageError: No decoder supports its bit depth.
    """
    match image.format:
        case "PNG" if content[24:25] == b"\x10":
            return Decoder(_png)
        case "PPM" if (white := _netpbm_white(content)) > 255:
            return Decoder(_netpbm, white, TEXT_COPIES if content[1:2] in b"23" else 1.5)
        case "SGI" if content[3:4] == b"\x02":
            return Decoder(_sgi)
        case "AVIF" if (bits := _avif_bits(content)) > 8:
            return Decoder(_avif, (1 << bits) - 1, 4)
        case "JPEG2000" if (bits := _jpeg2000_bits(content)) > 8:
            return Decoder(_jpeg2000, (1 << bits) - 1, 4)
        case _:
            return None


def with_channels(pixels: np.ndarray, channels: int) -> np.ndarray:
    """Pixels (H, W, C) with `channels` channels; grey with alpha becomes RGBA, and further channels are removed."""
    if pixels.shape[2] == 2 and channels == RGBA:
        return grey_alpha_to_rgba(pixels)
    return pixels[:, :, :channels]


def _channels(image: ImageFile.ImageFile, content: bytes, is_plain: bool) -> tuple[int, bool]:
    """(channels, whether the last is opacity) of an opened image; a transparent colour is not a channel."""
    if is_plain and image.format == "PNG" and content[25] == PNG_GREY_WITH_OPACITY:  # Pillow's mode is RGBA
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
    """Bits per channel from the AV1 codec configuration (AV1-ISOBMFF, section 2.3.3)."""
    flags = content[at + 6] if (at := content.find(b"av1C")) >= 0 and at + 6 < len(content) else 0
    return (12 if flags & 0x20 else 10) if flags & 0x40 else 8


def _jpeg2000(content: bytes) -> np.ndarray:
    import imagecodecs

    return np.asarray(imagecodecs.jpeg2k_decode(content))


def _jpeg2000_bits(content: bytes) -> int:
    """Bits per channel from the SIZ marker (ITU-T T.800, A.5.1).

    Raises:
        BadImageError: There are more than 8 bits in a layout that is not supported.
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


NETPBM_HEADER = re.compile(rb"P([2356])" + 3 * rb"(?:\s|#[^\r\n]*[\r\n])+(\d+)" + rb"\s")
"""Magic number, width, height and largest value, separated by white space or comments, and one white space."""

NETPBM_COMMENT = re.compile(rb"#[^\r\n]*")


def _netpbm_white(content: bytes) -> int:
    """Value of white in a PGM or PPM file; 0 if the header has none."""
    header = NETPBM_HEADER.match(content)
    return int(header[4]) if header else 0


def _netpbm(content: bytes) -> np.ndarray:
    """Decodes a PGM or PPM file of more than 8 bits: (H, W, C) uint16.

    Raises:
        ValueError: There are too few pixels.
    """
    header = NETPBM_HEADER.match(content)
    if header is None:
        raise ValueError("its header is broken")
    kind, (width, height) = int(header[1]), (int(header[group]) for group in (2, 3))
    shape = height, width, 3 if kind in (3, 6) else 1
    count = height * width * shape[2]
    if kind in (2, 3):
        words = NETPBM_COMMENT.sub(b"", content[header.end() :]).split(None, count)[:count]  # ignores trailing data
        values = np.array(words, np.int64).clip(0, 65535)
    else:
        values = np.frombuffer(content, ">u2", count, header.end())
    if len(values) < count:
        raise ValueError("it ends before its pixels do")
    return values.astype(np.uint16).reshape(shape)


SGI_HEADER = 512


def _sgi(content: bytes) -> np.ndarray:
    """Decodes a 16-bit SGI image (P. Haeberli, "The SGI Image File Format", version 1.00): (H, W, C) uint16.

    Raises:
        ValueError: The file is truncated.
    """
    is_packed = content[2] == 1
    width, height, channels = struct.unpack(">3H", content[6:12])
    rows = channels * height
    if is_packed:
        starts = np.frombuffer(content, ">u4", rows, SGI_HEADER)
        planes = np.stack([_sgi_row(content, int(start), width) for start in starts])
    else:
        planes = np.frombuffer(content, ">u2", rows * width, SGI_HEADER)
    return planes.reshape(channels, height, width)[:, ::-1].transpose(1, 2, 0).astype(np.uint16)


def _sgi_row(content: bytes, start: int, width: int) -> np.ndarray:
    """Decodes a run-length encoded row: a count with a flag, followed by literal values or one repeated value."""
    row: list[np.ndarray] = []
    at, done = start, 0
    while done < width:
        (head,) = struct.unpack_from(">H", content, at)
        count = head & 0x7F
        if count == 0:
            raise ValueError("one of its rows is too short")
        literal = bool(head & 0x80)
        values = np.frombuffer(content, ">u2", count if literal else 1, at + 2)
        row.append(values if literal else values.repeat(count))
        at, done = at + 2 + 2 * len(values), done + count
    if done > width:
        raise ValueError("one of its rows is too long")
    return np.concatenate(row)
