"""Features of networks in ONNX files, computed by onnxruntime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sfumato.errors import RunError
from sfumato.metrics.features.network import CONVENTION, NetworkFeatures, Side, Signature

PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")
"""Execution providers by priority."""


def onnx_network(path: Path) -> NetworkFeatures:
    """Features of a network in an ONNX file. The device of the network is that of the first available provider.

    Raises:
        RunError: onnxruntime is not installed, or the file is missing or is not a suitable network.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise RunError("ONNX files need onnxruntime", "Install it with: pip install 'sfumato[onnx]'.") from error
    if not path.is_file():
        raise RunError(f"{path} does not exist", "Name the .pt2 or .onnx file of a network.")
    providers = [name for name in PROVIDERS if name in onnxruntime.get_available_providers()]
    try:
        session = onnxruntime.InferenceSession(path, providers=providers)
    except Exception as error:  # onnxruntime has its own exceptions for invalid files
        reason = str(error).strip().splitlines()[0]
        raise RunError(f"{path} is not an ONNX network: {reason}", CONVENTION) from error
    inputs, outputs = session.get_inputs(), session.get_outputs()
    signature = Signature(_shape(inputs[0]) if len(inputs) == 1 else (), [_shape(output) for output in outputs])

    def program(images: Tensor) -> Sequence[Tensor]:
        found = session.run(None, {inputs[0].name: images.cpu().numpy()})
        return [torch.from_numpy(output).to(images.device) for output in found]

    return NetworkFeatures(path, signature, program)


def _shape(value: Any) -> Sequence[Side]:  # noqa: ANN401 (onnxruntime has no types)
    return [side if isinstance(side, int) else None for side in value.shape]
