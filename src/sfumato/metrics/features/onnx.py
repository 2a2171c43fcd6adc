"""Features of networks in ONNX files, computed by onnxruntime."""

from pathlib import Path

import torch
from torch import Tensor

from sfumato.errors import RunError
from sfumato.metrics.features.network import CONVENTION, NetworkFeatures, content_digest

PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")
"""Execution providers by priority."""


def onnx_features(path: Path) -> NetworkFeatures:
    """Features of a network in an ONNX file. The device of the network is that of the first available provider.

    Raises:
        RunError: onnxruntime is not installed, or the file is missing or is not a suitable network.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise RunError("ONNX files need onnxruntime", "Install it with: pip install 'sfumato[onnx]'.") from error
    if not path.is_file():
        raise RunError(f"{path} does not exist", "Name the .onnx file of a network.")
    providers = [name for name in PROVIDERS if name in onnxruntime.get_available_providers()]
    try:
        session = onnxruntime.InferenceSession(path, providers=providers)
    except Exception as error:  # onnxruntime has its own exceptions for invalid files
        reason = str(error).strip().splitlines()[0]
        raise RunError(f"{path} is not an ONNX network: {reason}", CONVENTION) from error
    inputs = session.get_inputs()
    match [each.shape for each in inputs]:
        case [[str() | None, 3, height, width]]:
            size = (height if isinstance(height, int) else None, width if isinstance(width, int) else None)
        case [[int() as count, 3, _, _]]:
            raise RunError(f"{path} only supports batches of {count} images", CONVENTION)
        case shapes:
            raise RunError(f"{path} has inputs of the shapes {shapes}", CONVENTION)

    def program(images: Tensor) -> list[Tensor]:
        found = session.run(None, {inputs[0].name: images.cpu().numpy()})
        return [torch.from_numpy(output).to(images.device) for output in found]

    return NetworkFeatures(f"{path.stem}-{content_digest(path)}", path, program, size)
