"""Which device to compute on, and what to say when its memory is full."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch

from sfumato.errors import ConfigError, OutOfMemoryError


def choose_device(name: str) -> torch.device:
    """The device of that name; `auto` is CUDA, else MPS, else the CPU.

    Raises:
        ConfigError: there is no such device here.
    """
    available = ["cpu"]
    if torch.backends.mps.is_available():
        available.insert(0, "mps")
    if torch.cuda.is_available():
        available.insert(0, "cuda")
    if name == "auto":
        return torch.device(available[0])
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in available or (device.index or 0) >= _count(device.type):
        raise ConfigError(f"the device {name!r} is not here", f"Choose among: auto, {', '.join(available)}.")
    return device


def autocast(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """Runs networks in bfloat16 where that was asked for, or where the device is a GPU that has it in hardware.

    Cast weights are not kept from call to call: a CUDA graph would go on reading old ones.

    Args:
        precision: auto, float32 or bfloat16.
        device: that computes.
    """
    automatic = (
        precision == "auto" and device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    )
    if precision == "bfloat16" or automatic:
        return torch.autocast(device.type, torch.bfloat16, cache_enabled=False)
    return nullcontext()


def _count(family: str) -> int:
    return torch.cuda.device_count() if family == "cuda" else 1


@contextmanager
def out_of_memory(remedy: str) -> Iterator[None]:
    """Within it, an allocation that fails becomes an `errors.OutOfMemoryError` with this remedy."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise OutOfMemoryError("the device's memory is full", remedy) from error
    except RuntimeError as error:
        if "can't allocate memory" not in str(error):
            raise
        raise OutOfMemoryError("the memory is full", remedy) from error
