"""Features of a network that somebody exported to a file."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float32
from torch import Tensor

from sfumato.errors import RunError
from sfumato.metrics.features.base import Features, NetworkOutput
from sfumato.metrics.features.fitting import as_rgb, resized

Side = int | None
"""Of an image, in pixels; None where any will do."""

CONVENTION = (
    "Export one that takes images (n, 3, H, W) of any n, in [-1, 1], and gives features (n, d) or two tensors, first "
    "logits (n, classes), then features (n, d)."
)


@dataclass(frozen=True)
class Signature:
    """What a network takes and gives.

    Attributes:
        input: The shape of the images; None for a side that is free.
        outputs: The shapes of what it gives.
    """

    input: Sequence[Side]
    outputs: Sequence[Sequence[Side]]


class NetworkFeatures(Features):
    """The features of a network: its only output, or the second of two, the first of which are logits.

    Images are brought to RGB and to the network's own size, if it has one.

    Args:
        path: Of its file, from whose name and content the features have their name.
        signature: What it takes and gives.
        program: The network: from images to its outputs, on their device.

    Raises:
        RunError: It takes or gives something else.
    """

    def __init__(self, path: Path, signature: Signature, program: Callable[[Tensor], Sequence[Tensor]]) -> None:
        _check_foreign(path, signature)
        self.name = f"{path.stem}-{content_digest(path)}"
        *logits, (_, width) = signature.outputs
        self.width = width or 0
        self.classes = (logits[0][1] or 0) if logits else 0
        self._path = path
        self._program = program
        _, _, self._height, self._width = signature.input

    def _look(self, images: Float32[Tensor, "n c h w"]) -> NetworkOutput:
        fitting = resized(as_rgb(images), self._height, self._width).contiguous()
        try:
            *logits, features = self._program(fitting)
        except (torch.OutOfMemoryError, MemoryError):
            raise
        except Exception as error:  # whatever somebody's network runs into
            count, _, height, width = fitting.shape
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            problem = f"{self._path} fails on {count} RGB images of {width} x {height} pixels: {reason}"
            raise RunError(problem, CONVENTION) from error
        return NetworkOutput(features.float(), logits[0].float() if logits else None)


def _check_foreign(path: Path, signature: Signature) -> None:
    match signature.input:
        case (None, 3, _, _):
            pass
        case (int() as count, 3, _, _):
            raise RunError(f"{path} takes only batches of {count} images", CONVENTION)
        case shape:
            raise RunError(f"{path} takes {_spelled(shape)} instead of images (n, 3, H, W)", CONVENTION)
    match signature.outputs:
        case ((_, int()),) | ((_, int()), (_, int())):
            pass
        case shapes:
            raise RunError(f"{path} gives {', '.join(map(_spelled, shapes)) or 'nothing'}", CONVENTION)


def _spelled(shape: Sequence[Side]) -> str:
    """A shape, with a question mark for a side that is free."""
    return f"({', '.join('?' if side is None else str(side) for side in shape)})"


def content_digest(path: Path) -> str:
    """Eight digits by which the content of a file is known.

    Raises:
        RunError: It cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:8]
    except OSError as error:
        raise RunError(f"{path} could not be read: {error.strerror or error}", "Check the path.") from error
