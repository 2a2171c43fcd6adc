"""Features of a network in a file, exported with torch.export or to ONNX."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float32
from torch import Tensor

from sfumato.errors import RunError
from sfumato.metrics.features.base import Features, NetworkOutput, as_rgb, resized

Side = int | None
"""Length of a dimension; None: any length."""

CONVENTION = (
    "Export a network from images (n, 3, H, W) in [-1, 1], with any n, to features (n, d), or to two tensors: logits "
    "(n, classes) and features (n, d)."
)


@dataclass(frozen=True)
class Signature:
    """Input and output shapes of a network.

    Attributes:
        input: Shape of the images; None for dimensions of any length.
        outputs: Shapes of the outputs.
    """

    input: Sequence[Side]
    outputs: Sequence[Sequence[Side]]


class NetworkFeatures(Features):
    """Features of a network: its only output, or the second of two outputs, after the logits.

    Images are converted to RGB, and resized if the network has a fixed size.

    Args:
        path: File of the network; the name of the features consists of its name and digest.
        signature: Input and output shapes.
        program: Function from images to the outputs, on the device of the images.

    Raises:
        RunError: The input or output shapes are different.
    """

    def __init__(self, path: Path, signature: Signature, program: Callable[[Tensor], Sequence[Tensor]]) -> None:
        _check_signature(path, signature)
        self.name = f"{path.stem}-{content_digest(path)}"
        *logits, (_, width) = signature.outputs
        self.width = width or 0
        self.classes = (logits[0][1] or 0) if logits else 0
        self._path = path
        self._program = program
        _, _, self._height, self._width = signature.input

    def _outputs(self, images: Float32[Tensor, "n c h w"]) -> NetworkOutput:
        fitting = resized(as_rgb(images), self._height, self._width).contiguous()
        try:
            *logits, features = self._program(fitting)
        except (torch.OutOfMemoryError, MemoryError):
            raise
        except Exception as error:  # a network in a file can raise any exception
            count, _, height, width = fitting.shape
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            problem = f"{self._path} fails on {count} RGB images of {width} x {height} pixels: {reason}"
            raise RunError(problem, CONVENTION) from error
        return NetworkOutput(features.float(), logits[0].float() if logits else None)


def _check_signature(path: Path, signature: Signature) -> None:
    match signature.input:
        case (None, 3, _, _):
            pass
        case (int() as count, 3, _, _):
            raise RunError(f"{path} only supports batches of {count} images", CONVENTION)
        case shape:
            raise RunError(f"{path} has the input {_spelled(shape)} instead of images (n, 3, H, W)", CONVENTION)
    match signature.outputs:
        case ((_, int()),) | ((_, int()), (_, int())):
            pass
        case shapes:
            raise RunError(f"{path} has the outputs {', '.join(map(_spelled, shapes)) or 'none'}", CONVENTION)


def _spelled(shape: Sequence[Side]) -> str:
    """Shape with a question mark for each dimension of any length."""
    return f"({', '.join('?' if side is None else str(side) for side in shape)})"


def content_digest(path: Path) -> str:
    """First eight digits of the SHA-256 of a file.

    Raises:
        RunError: The file could not be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:8]
    except OSError as error:
        raise RunError(f"{path} could not be read: {error.strerror or error}", "Check the path.") from error
