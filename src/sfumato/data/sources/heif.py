"""HEIC and HEIF images, as of iPhones; needs the extra `heic`."""

from __future__ import annotations

import numpy as np

from sfumato.data.sources.colour import pixels_in_srgb
from sfumato.data.sources.memory_limit import check_memory
from sfumato.data.sources.options import ReadOptions
from sfumato.data.sources.picture import ImageInfo, Picture
from sfumato.data.sources.pixel_arrays import grey_alpha_to_rgba, unpremultiplied
from sfumato.data.sources.resizing import GREY, RGB, RGBA, Frame
from sfumato.errors import BadImageError

BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"hevm", b"hevs", b"mif1", b"msf1")
"""Brands of the file type box (ISO/IEC 23008-12, annex B)."""

NEEDS_PILLOW_HEIF = 'it is a HEIC image; install the reader: pip install "sfumato[heic]"'

HEIF_COPIES = 4
"""Peak memory of decoding as a multiple of the size of the pixels."""

CHANNELS_BY_MODE = {"L": GREY, "LA": RGBA, "RGB": RGB, "RGBA": RGBA}


class Heif(Picture):
    """Primary image of a HEIF file; the decoder applies the orientation.

    Raises:
        BadImageError: The reader is missing, or the image is too large.
    """

    def __init__(self, content: bytes, options: ReadOptions) -> None:
        try:
            import pillow_heif
        except ImportError as error:
            raise BadImageError(NEEDS_PILLOW_HEIF) from error
        self._file = pillow_heif.open_heif(content, convert_hdr_to_8bit=False, hdr_to_16bit=False)
        self._bits = int(self._file.info["bit_depth"])
        channels = CHANNELS_BY_MODE.get(self._file.mode.partition(";")[0].upper(), GREY)
        width, height = self._file.size
        check_memory(width * height, HEIF_COPIES * channels * (1 if self._bits == 8 else 2), len(content))
        opacity = channels == RGBA and options.channels != "bands"
        self.info = ImageInfo(width, height, channels, "uint8" if self._bits == 8 else "uint16", opacity)

    def _decoded(self, frame: Frame | None) -> np.ndarray:  # noqa: ARG002
        stored = np.asarray(self._file)
        stored = stored.reshape(*stored.shape[:2], -1)
        if self._file.premultiplied_alpha:
            stored = unpremultiplied(stored)
        if stored.shape[2] == 2:
            stored = grey_alpha_to_rgba(stored)
        profile = self._file.info.get("icc_profile")
        if self._bits > 8:
            levels = np.linspace(0, 65535, 1 << self._bits)
            stored = np.rint(levels).astype(np.uint16)[stored]
        return pixels_in_srgb(stored, profile, "gray" if stored.shape[2] == GREY else "rgb")


def is_heif(content: bytes) -> bool:
    """Whether a file is HEIC or HEIF, and not AVIF, which uses the same container."""
    if content[4:8] != b"ftyp" or content[8:12] not in BRANDS:
        return False
    return b"avif" not in content[8 : int.from_bytes(content[:4], "big")]
