"""Recognises files that are not supported by their first bytes, for error messages."""

from __future__ import annotations

from collections.abc import Sequence

AS_PNG = "convert it to PNG or TIFF"

SIGNATURES: Sequence[tuple[int, bytes, str, str]] = (
    (128, b"DICM", "a DICOM file", AS_PNG),
    (344, b"n+1\0", "a NIfTI file", AS_PNG),
    (344, b"ni1\0", "a NIfTI file", AS_PNG),
    (4, b"n+2\0", "a NIfTI file", AS_PNG),
    (0, b"NRRD000", "an NRRD file", AS_PNG),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file", "save its images as PNG or .npy"),
    (0, b"CDF\x01", "a NetCDF file", "save its images as PNG or .npy"),
    (0, b"CDF\x02", "a NetCDF file", "save its images as PNG or .npy"),
    (0, b"MATLAB 5.0", "a MATLAB file", "save its images as PNG or .npy"),
    (0, b"GRIB", "a GRIB file", AS_PNG),
    (0, b"BUFR", "a BUFR file", AS_PNG),
    (0, b"\xd7\xcd\xc6\x9a", "a Windows metafile (WMF)", AS_PNG),
    (40, b" EMF", "a Windows metafile (EMF)", AS_PNG),
    (0, b"8BPS", "an unusual Photoshop file (PSD)", AS_PNG),
    (0, b"gimp xcf", "a GIMP file (XCF)", AS_PNG),
    (0, b"%PDF", "a PDF file", AS_PNG),
    (0, b"%!PS", "a PostScript file", AS_PNG),
    (0, b"\xc5\xd0\xd3\xc6", "a PostScript file", AS_PNG),
    (0, b"\x76\x2f\x31\x01", "an OpenEXR image", "convert it to a TIFF of floats"),
    (0, b"#?RADIANCE", "a Radiance HDR image", "convert it to a TIFF of floats"),
    (0, b"#?RGBE", "a Radiance HDR image", "convert it to a TIFF of floats"),
    (0, b"II\xbc\x01", "a JPEG XR image", AS_PNG),
    (8, b"CR\x02", "a raw camera file (Canon CR2)", AS_PNG),
    (4, b"ftypcrx ", "a raw camera file (Canon CR3)", AS_PNG),
    (0, b"FUJIFILMCCD-RAW", "a raw camera file (Fujifilm RAF)", AS_PNG),
    (0, b"IIRO", "a raw camera file (Olympus ORF)", AS_PNG),
    (0, b"IIRS", "a raw camera file (Olympus ORF)", AS_PNG),
    (0, b"MMOR", "a raw camera file (Olympus ORF)", AS_PNG),
    (0, b"IIU\0", "a raw camera file (Panasonic RW2)", AS_PNG),
    (0, b"FOVb", "a raw camera file (Sigma X3F)", AS_PNG),
    (0, b"\0MRM", "a raw camera file (Minolta MRW)", AS_PNG),
    (4, b"ftypmp4", "a video", "save its frames as PNG"),
    (4, b"ftypisom", "a video", "save its frames as PNG"),
    (4, b"ftypiso2", "a video", "save its frames as PNG"),
    (4, b"ftypavc1", "a video", "save its frames as PNG"),
    (4, b"ftypM4V", "a video", "save its frames as PNG"),
    (4, b"ftypqt  ", "a video", "save its frames as PNG"),
    (8, b"AVI ", "a video", "save its frames as PNG"),
    (0, b"\x1aE\xdf\xa3", "a video", "save its frames as PNG"),
    (0, b"\0\0\x01\xba", "a video", "save its frames as PNG"),
    (0, b"\0\0\x01\xb3", "a video", "save its frames as PNG"),
    (0, b"PK\x03\x04", "a zip archive", "unpack it, or give it as the source"),
    (0, b"\x1f\x8b", "a gzip-compressed file", "unpack it"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it"),
    (0, b"Rar!", "a RAR archive", "unpack it"),
    (0, b"PAR1", "a Parquet file", "give it as the source"),
    (0, b"version https://git-lfs", "a Git LFS pointer", "fetch the file with: git lfs pull"),
)
"""Offset and bytes of a signature, name of the file type, and remedy."""

DOCUMENTS = ((b"<svg", "an SVG drawing", AS_PNG), (b"<html", "a web page", "download the image again"))
"""Signatures near the beginning of text files, in lower case."""

NEAR = 1024


def unsupported_reason(content: bytes) -> str | None:
    """Type of an unsupported file with a remedy, as the end of a sentence; None if it is unknown.

    >>> unsupported_reason(b"%PDF-1.7")
    'it is a PDF file, which is not read; convert it to PNG or TIFF'
    """
    for offset, mark, name, remedy in SIGNATURES:
        if content.startswith(mark, offset):
            return not_read(name, remedy)
    beginning = content[:NEAR].lower()
    if beginning.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        for mark, name, remedy in DOCUMENTS:
            if mark in beginning:
                return not_read(name, remedy)
    return None


def not_read(name: str, remedy: str = AS_PNG) -> str:
    """Reason for a known file type that is not supported, as the end of a sentence."""
    return f"it is {name}, which is not read; {remedy}"
