"""Recognises files that are not supported by their first bytes, for error messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sfumato.data.sources import jpeg

AS_PNG = "convert it to PNG or TIFF"
AS_FLOATS = "convert it to a TIFF of floats"
AS_FILES = "save its images as PNG or .npy"
UNPACK = "unpack it"

SIGNATURES: Mapping[tuple[str, str], Sequence[tuple[int, bytes]]] = {
    ("a DICOM file", AS_PNG): [(128, b"DICM")],
    ("a NIfTI file", AS_PNG): [(344, b"n+1\0"), (344, b"ni1\0"), (4, b"n+2\0")],
    ("an NRRD file", AS_PNG): [(0, b"NRRD000")],
    ("an HDF5 file", AS_FILES): [(0, b"\x89HDF\r\n\x1a\n")],
    ("a NetCDF file", AS_FILES): [(0, b"CDF\x01"), (0, b"CDF\x02")],
    ("a MATLAB file", AS_FILES): [(0, b"MATLAB 5.0")],
    ("a GRIB file", AS_PNG): [(0, b"GRIB")],
    ("a BUFR file", AS_PNG): [(0, b"BUFR")],
    ("a Windows metafile", AS_PNG): [(0, b"\xd7\xcd\xc6\x9a"), (40, b" EMF")],
    ("an unusual Photoshop file (PSD)", AS_PNG): [(0, b"8BPS")],
    ("a GIMP file (XCF)", AS_PNG): [(0, b"gimp xcf")],
    ("a PDF file", AS_PNG): [(0, b"%PDF")],
    ("a PostScript file", AS_PNG): [(0, b"%!PS"), (0, b"\xc5\xd0\xd3\xc6")],
    ("an OpenEXR image", AS_FLOATS): [(0, b"\x76\x2f\x31\x01")],
    ("a Radiance HDR image", AS_FLOATS): [(0, b"#?RADIANCE"), (0, b"#?RGBE")],
    ("a JPEG XR image", AS_PNG): [(0, b"II\xbc\x01")],
    ("a JPEG XL image", AS_PNG): [(0, b"\xff\x0a"), (0, b"\0\0\0\x0cJXL ")],
    ("a raw camera file", AS_PNG): [
        (8, b"CR\x02"),
        (4, b"ftypcrx "),
        (0, b"FUJIFILMCCD-RAW"),
        (0, b"IIRO"),
        (0, b"IIRS"),
        (0, b"MMOR"),
        (0, b"IIU\0"),
        (0, b"FOVb"),
        (0, b"\0MRM"),
    ],
    ("a video", "save its frames as PNG"): [
        (4, b"ftypmp4"),
        (4, b"ftypisom"),
        (4, b"ftypiso2"),
        (4, b"ftypavc1"),
        (4, b"ftypM4V"),
        (4, b"ftypqt  "),
        (8, b"AVI "),
        (0, b"\x1aE\xdf\xa3"),
        (0, b"\0\0\x01\xba"),
        (0, b"\0\0\x01\xb3"),
    ],
    ("a zip archive", "unpack it, or give it as the source"): [(0, b"PK\x03\x04")],
    ("a gzip-compressed file", UNPACK): [(0, b"\x1f\x8b")],
    ("a 7z archive", UNPACK): [(0, b"7z\xbc\xaf\x27\x1c")],
    ("a RAR archive", UNPACK): [(0, b"Rar!")],
    ("a Parquet file", "give it as the source"): [(0, b"PAR1")],
    ("a Git LFS pointer", "fetch the file with: git lfs pull"): [(0, b"version https://git-lfs")],
}
"""Offsets and bytes of signatures, by the name of the file type and the remedy."""

DOCUMENTS = ((b"<svg", "an SVG drawing", AS_PNG), (b"<html", "a web page", "download the image again"))
"""Signatures near the beginning of text files, in lower case."""

NEAR = 1024


def unsupported_reason(content: bytes) -> str | None:
    """Type of an unsupported file with a remedy, as the end of a sentence; None if it is unknown.

    >>> unsupported_reason(b"%PDF-1.7")
    'it is a PDF file, which is not read; convert it to PNG or TIFF'
    """
    for (name, remedy), marks in SIGNATURES.items():
        if any(content.startswith(mark, offset) for offset, mark in marks):
            return not_read(name, remedy)
    if content.startswith(jpeg.MAGIC):
        _, bits = jpeg.frame_header(content)
        return not_read(f"a JPEG of {bits} bits") if bits not in (None, 8) else None
    beginning = content[:NEAR].lower()
    if beginning.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        for mark, name, remedy in DOCUMENTS:
            if mark in beginning:
                return not_read(name, remedy)
    return None


def not_read(name: str, remedy: str = AS_PNG) -> str:
    """Reason for a known file type that is not supported, as the end of a sentence."""
    return f"it is {name}, which is not read; {remedy}"
