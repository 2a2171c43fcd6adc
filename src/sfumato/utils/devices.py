"""Choice of device and precision, and errors for a full memory or a device failure."""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Literal

import torch

from sfumato.errors import ConfigError, DeviceError, OutOfMemoryError


def choose_device(name: str) -> torch.device:
    """Device of a name; `auto` is CUDA if available, else MPS, else the CPU."""
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
    count = torch.cuda.device_count() if device is not None and device.type == "cuda" else 1
    if device is None or device.type not in available or (device.index or 0) >= count:
        raise ConfigError(f"the device {name!r} is not available", f"Choose among: auto, {', '.join(available)}.")
    return device


Precision = Literal["auto", "float32", "bfloat16"]

BFLOAT16_PARAMETERS = 5 * 10**6
"""Minimum number of parameters for bfloat16 on a CPU: `tiny` is 16 % slower with it, `ddpm` 75 % faster."""


def precision_for(precision: Precision, device: torch.device, parameters: int) -> Precision:
    """Resolves `auto`: bfloat16 on a GPU that supports it, and on a CPU that supports it for a large network."""
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    has_units = device.type == "cpu" and (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return "bfloat16" if has_units and parameters >= BFLOAT16_PARAMETERS else "float32"


def autocast(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """Context in which networks run in bfloat16 if requested, or if `auto` and the GPU supports it in hardware.

    Cast weights are not cached between calls: a CUDA graph would use outdated weights.
    """
    automatic = (
        precision == "auto" and device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    )
    if precision == "bfloat16" or automatic:
        return torch.autocast(device.type, torch.bfloat16, cache_enabled=False)
    return nullcontext()


def convolution_rate(device: torch.device, seconds: float = 0.3) -> float:
    """Measures the speed of a large 3x3 convolution in FLOP/s; a multiply-add counts as two.

    In bfloat16 on a GPU, in float32 on other devices, channels last.
    """
    is_gpu = device.type == "cuda"
    count, channels, side = (128, 256, 32) if is_gpu else (4, 64, 32)
    dtype = torch.bfloat16 if is_gpu else torch.float32
    image = torch.randn(count, channels, side, side, device=device, dtype=dtype)
    weight = torch.randn(channels, channels, 3, 3, device=device, dtype=dtype)
    image, weight = (x.contiguous(memory_format=torch.channels_last) for x in (image, weight))
    operations = 2 * 9 * count * side**2 * channels**2
    torch.nn.functional.conv2d(image, weight, padding=1).sum().item()  # warm-up: loads libraries, chooses an algorithm
    repeats, elapsed = 1, 0.0
    while elapsed < seconds:
        repeats, begun = 2 * repeats, time.perf_counter()
        for _ in range(repeats):
            result = torch.nn.functional.conv2d(image, weight, padding=1)
        result.sum().item()
        elapsed = time.perf_counter() - begun
    return repeats * operations / elapsed


FULL = ("can't allocate memory", "CUDA error: out of memory", "MPS backend out of memory")
"""Messages of out-of-memory errors of the CPU, CUDA and MPS that are not `torch.OutOfMemoryError`."""


@contextmanager
def out_of_memory(remedy: str) -> Iterator[None]:
    """Converts out-of-memory errors to `errors.OutOfMemoryError` with this remedy."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise OutOfMemoryError("the device's memory is full", remedy) from error
    except RuntimeError as error:
        if not any(message in str(error) for message in FULL):
            raise
        raise OutOfMemoryError("the memory is full", remedy) from error


@contextmanager
def device_failures(remedy: str) -> Iterator[None]:
    """Converts device failures to `errors.DeviceError` with this remedy."""
    try:
        yield
    except torch.AcceleratorError as error:
        first_line = str(error).partition("\n")[0]
        raise DeviceError(f"the device failed: {first_line}", remedy) from error
