"""Weights in folders of diffusers, read without running code."""

from collections.abc import Mapping
from pathlib import Path
from zipfile import is_zipfile

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from sfumato.errors import RunError
from sfumato.exchange.layout import STEM, WEIGHTS
from sfumato.utils.files import check_finite, check_tensors

NAMES = (WEIGHTS, f"{STEM}.*.safetensors", f"{STEM}.bin", f"{STEM}.*.index*.json")
"""Patterns of the names of files of weights; the last one is for weights in several files, which are not supported.

The first pattern that a file matches is used.
"""

PICKLES = {".bin", ".pkl", ".pickle", ".pt", ".pth", ".ckpt"}
FLOATS = {torch.float16, torch.bfloat16, torch.float32, torch.float64}
AS_SAFETENSORS = "Save the weights as safetensors."
AS_ONE_FILE = 'Save them as one file: save_pretrained(FOLDER, max_shard_size="100GB").'
COPY = "Restore it from a copy, or download it again."


def weights_file(component: Path) -> Path | None:
    """The file of weights in the folder of a network, or None."""
    files = (file for name in NAMES for file in sorted(component.glob(name)))
    return next((file for file in files if file.is_file() and "-of-" not in file.name), None)


def read_weights(component: Path) -> dict[str, Tensor]:
    """Reads the weights in the folder of a network, from safetensors or from a pickle of tensors only.

    Raises:
        RunError: there is no file of weights, or there are several, or it is truncated or contains other objects than
            tensors.
    """
    file = weights_file(component)
    if file is None:
        pickles = sorted(file.name for file in component.glob("*") if file.suffix in PICKLES)
        reason = f"; {', '.join(pickles)} is not read, because reading a pickle can run code" if pickles else ""
        raise RunError(f"{component} has no {WEIGHTS}{reason}", AS_SAFETENSORS if pickles else COPY)
    if file.suffix == ".json":
        raise RunError(f"{component} has its weights in several files, which {file.name} lists", AS_ONE_FILE)
    return _read_safetensors(file) if file.suffix == ".safetensors" else _read_pickle(file)


def as_float32(weights: Mapping[str, Tensor], expected: Mapping[str, Tensor], component: Path) -> dict[str, Tensor]:
    """The weights in float32, after a check that they are those of a network.

    Args:
        weights: weights in the folder `component`.
        expected: state dict of the network.
        component: folder, for error messages.

    Raises:
        RunError: a weight is missing, unknown, of another shape or type, or not finite.
    """
    dtypes = {name: torch.float32 if weight.dtype in FLOATS else weight.dtype for name, weight in weights.items()}
    check_tensors(expected, {name: weight.to("meta", dtypes[name]) for name, weight in weights.items()}, component)
    converted = {name: weight.to(dtypes[name]) for name, weight in weights.items()}
    check_finite(converted, component)
    return converted


def _read_safetensors(file: Path) -> dict[str, Tensor]:
    try:
        return load_file(file)
    except OSError as error:
        raise RunError(f"{file} could not be read: {error.strerror or error}", "Check the path.") from error
    except SafetensorError as error:
        raise RunError(f"{file} is truncated or not a safetensors file ({error})", COPY) from error


def _read_pickle(file: Path) -> dict[str, Tensor]:
    """Reads a pickle that contains tensors only."""
    try:
        # mapped, because a compressed archive could contain far more than its size
        weights = torch.load(file, map_location="cpu", weights_only=True, mmap=is_zipfile(file))
    except Exception as error:  # the unpickler raises errors of many types
        raise RunError(
            f"{file} is truncated, or contains other objects than tensors, and reading them could run code",
            f"Download it again. {AS_SAFETENSORS}",
        ) from error
    if not (isinstance(weights, dict) and all(map(_is_plain, weights.keys(), weights.values()))):
        raise RunError(f"{file} is not a dictionary of names and dense tensors", AS_SAFETENSORS)
    size = sum(weight.numel() * weight.element_size() for weight in weights.values())
    if size > file.stat().st_size:  # views of a small tensor can have any shape
        raise RunError(f"{file} has tensors of {size:,} bytes, more than the file contains", COPY)
    return weights


def _is_plain(name: object, weight: object) -> bool:
    """Whether an entry is a dense tensor in the memory of the CPU, with a name."""
    if not (isinstance(name, str) and isinstance(weight, Tensor) and type(weight) in (Tensor, nn.Parameter)):
        return False
    return weight.layout is torch.strided and weight.device.type == "cpu" and not weight.is_quantized
