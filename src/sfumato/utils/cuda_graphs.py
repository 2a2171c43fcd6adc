"""Captures functions as CUDA graphs, which are launched with one call and without synchronisation."""

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

WARM_UPS = 3
"""Number of runs before a capture, in which libraries choose algorithms and PyTorch compiles."""


@contextmanager
def algorithms_timed(wanted: bool = True) -> Iterator[None]:
    """Lets cuDNN measure its algorithms for each new shape and use the fastest, if `wanted`."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = wanted or before
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


def captured(function: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """Captures a function as a CUDA graph after `WARM_UPS` runs; on other devices returns the function.

    A function that waits for the device, as a network from outside may, is returned as it is; a line on stderr says so.

    The function must use the same tensors in each call. Each replay has new random numbers: PyTorch registers the
    default generator of the device, so that a replay after `torch.manual_seed` has the random numbers of the function.

    Args:
        function: Function without arguments.
        device: Device of all its tensors.

    Returns:
        Function that replays the graph.

    Raises:
        torch.OutOfMemoryError: The memory is not sufficient; allocated memory is freed.
    """
    if device.type != "cuda":
        return function
    with torch.cuda.device(device):
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UPS - 1):
                function()
            waits = _waits_for_device(function)
        torch.cuda.current_stream().wait_stream(stream)
        if waits:
            print(
                "sfumato: runs without a CUDA graph, which is slower: the network or the loss waits for the GPU",
                file=sys.stderr,
            )
            return function
        graph = torch.cuda.CUDAGraph()
        with _separate_workspaces(), torch.cuda.graph(graph):
            function()
    return graph.replay


def _waits_for_device(function: Callable[[], None]) -> bool:
    """Whether a run of the function reads a value on the host, such as by `.item()`, which no graph can hold.

    A failed capture would leave PyTorch's random generator unusable.
    """
    mode = torch.cuda.get_sync_debug_mode()
    try:
        _set_sync_debug_mode("error")
        function()
    except RuntimeError as error:
        if "synchronizing CUDA operation" not in str(error):
            raise
        return True
    finally:
        _set_sync_debug_mode(mode)
    return False


def _set_sync_debug_mode(mode: int | str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch warns that the mode is a prototype
        torch.cuda.set_sync_debug_mode(mode)


@contextmanager
def _separate_workspaces() -> Iterator[None]:
    """Lets a graph allocate the workspaces of its matrix products in its own memory.

    PyTorch caches workspaces by stream, and all captures share one stream: a graph would write to the workspace of
    another graph after that is freed (https://github.com/pytorch/pytorch/issues/193402).
    """
    torch._C._cuda_clearCublasWorkspaces()
    try:
        yield
    finally:
        torch._C._cuda_clearCublasWorkspaces()
