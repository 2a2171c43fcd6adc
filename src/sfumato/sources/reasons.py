"""What decoders raise, in words."""

from __future__ import annotations

from PIL import Image, UnidentifiedImageError

from sfumato.sources.entry import BadImageError


def reason_of(error: Exception) -> str:
    """Why an image could not be read, as the end of a sentence.

    A decoder meets broken data with whatever its code runs into: OSError, SyntaxError, struct.error and more.
    """
    match error:
        case BadImageError():
            return str(error)
        case Image.DecompressionBombError():
            return "it has more pixels than fit in the memory that is free, or than a file of its size can hold"
        case UnidentifiedImageError():
            return "it is not an image that can be read"
        case OSError(strerror=str(reason)):
            return reason.lower()
        case MemoryError():
            return "it does not fit into memory"
        case OSError() if "truncated" in str(error).lower():
            return "it is only a part of an image"
        case _:
            return f"it is damaged ({' '.join(str(error).split())[:80] or type(error).__name__})"
