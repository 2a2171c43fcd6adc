"""Features of a network from outside the package."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import torch
from jaxtyping import Float32
from torch import Tensor

from sfumato.errors import RunError
from sfumato.metrics.features.base import Features, NetworkOutput, as_rgb, resized

CONVENTION = (
    "Give a network that is called with images (n, 3, H, W) in [-1, 1], and returns features (n, d), or two tensors: "
    "logits (n, classes) and features (n, d)."
)


class NetworkFeatures(Features):
    """Features of a network: its only output, or the second of two outputs, after the logits.

    Images are converted to RGB, and resized if the network has a fixed size.

    Args:
        name: Name of the features.
        source: File or import path of the network, for messages.
        program: Function from images to the outputs, on the device of the images.
        size: Height and width of the images; None: any.
    """

    def __init__(
        self,
        name: str,
        source: str | Path,
        program: Callable[[Tensor], object],
        size: tuple[int | None, int | None] = (None, None),
    ) -> None:
        self.name = name
        self._source, self._program, self._size = source, program, size

    def _outputs(self, images: Float32[Tensor, "n c h w"]) -> NetworkOutput:
        fitting = resized(as_rgb(images), *self._size).contiguous()
        count, _, height, width = fitting.shape
        given = f"{count} RGB images of {width} x {height} pixels"
        try:
            found = self._program(fitting)
        except (torch.OutOfMemoryError, MemoryError):
            raise
        except Exception as error:  # custom code can raise any exception
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise RunError(f"{self._source} fails on {given}: {reason}", CONVENTION) from error
        outputs = found if isinstance(found, tuple | list) else [found]
        match outputs:
            case [Tensor(shape=(n, _)) as features] if n == count:
                return NetworkOutput(features.float(), None)
            case [Tensor(shape=(n, _)) as logits, Tensor(shape=(m, _)) as features] if n == m == count:
                return NetworkOutput(features.float(), logits.float())
        shapes = ", ".join(str(tuple(each.shape) if isinstance(each, Tensor) else type(each)) for each in outputs)
        raise RunError(f"{self._source} returned {shapes or 'nothing'} for {given}", CONVENTION)


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
