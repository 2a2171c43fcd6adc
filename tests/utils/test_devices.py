"""Precision of `auto` on each device, measured speed, and errors of a device."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from sfumato.errors import DeviceError
from sfumato.utils import devices
from sfumato.utils.devices import BFLOAT16_PARAMETERS, Precision, convolution_rate, device_failures, precision_for


@pytest.mark.parametrize(
    ("requested", "device", "has_bfloat16", "parameters", "expected"),
    [
        ("float32", "cuda", True, BFLOAT16_PARAMETERS, "float32"),
        ("bfloat16", "cpu", False, 1, "bfloat16"),
        ("auto", "cuda", True, 1, "bfloat16"),
        ("auto", "cuda", False, BFLOAT16_PARAMETERS, "float32"),
        ("auto", "cpu", True, BFLOAT16_PARAMETERS, "bfloat16"),
        ("auto", "cpu", True, BFLOAT16_PARAMETERS - 1, "float32"),
        ("auto", "cpu", False, BFLOAT16_PARAMETERS, "float32"),
        ("auto", "mps", True, BFLOAT16_PARAMETERS, "float32"),
    ],
)
def test_auto_is_bfloat16_if_it_is_faster(
    requested: Precision,
    device: str,
    has_bfloat16: bool,
    parameters: int,
    expected: Precision,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: has_bfloat16)
    for units in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        for other in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
            monkeypatch.setattr(torch.cpu, other, lambda found=has_bfloat16 and units == other: found)
        assert precision_for(requested, torch.device(device), parameters) == expected


def test_the_rate_is_operations_per_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a clock that advances by 1/8 second per convolution."""
    clock, convolve = SimpleNamespace(now=0.0), torch.nn.functional.conv2d
    clock.perf_counter = lambda: clock.now

    def timed(image: torch.Tensor, weight: torch.Tensor, padding: int) -> torch.Tensor:
        clock.now += 0.125
        return convolve(image, weight, padding=padding)

    monkeypatch.setattr(devices, "time", clock)
    monkeypatch.setattr(torch.nn.functional, "conv2d", timed)
    operations = 2 * (4 * 32 * 32) * (64 * 64 * 9)
    assert convolution_rate(torch.device("cpu")) == operations / 0.125
    assert clock.now == 0.125 * (1 + 2 + 4)


def test_a_device_failure_is_reported_with_its_message() -> None:
    failure = torch.AcceleratorError("CUDA error: unspecified launch failure\nSearch for `cudaErrorLaunchFailure'")
    with pytest.raises(DeviceError) as raised, device_failures("Try again."):
        raise failure
    assert str(raised.value) == "the device failed: CUDA error: unspecified launch failure. Try again."


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, RuntimeError])
def test_other_errors_are_not_device_failures(error: type[Exception]) -> None:
    with pytest.raises(error), device_failures("Try again."):
        raise error
