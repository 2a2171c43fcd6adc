"""Functions of tensors as CUDA graphs: the host launches them whole, and waits for nothing."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

WARM_UPS = 3
"""Runs before a capture, in which libraries choose their algorithms and PyTorch compiles."""


@contextmanager
def algorithms_timed(wanted: bool = True) -> Iterator[None]:
    """Within it, cuDNN times its algorithms for each new shape and takes the fastest, if wanted."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = wanted or before
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


def captured(function: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """The function as the replay of one CUDA graph, after some runs of it; on other devices the function itself.

    It reads and writes tensors that stay where they are. Random numbers are fresh in every replay: PyTorch registers
    the device's default generator, so that a replay after `torch.manual_seed` draws what the function would draw.

    Args:
        function: without synchronisation with the host.
        device: of all its tensors.

    Raises:
        torch.OutOfMemoryError: it does not fit; what it had taken is free again.
    """
    if device.type != "cuda":
        return function
    with torch.cuda.device(device):
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UPS):
                function()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with _workspaces_of_its_own(), torch.cuda.graph(graph):
            function()
    return graph.replay


@contextmanager
def _workspaces_of_its_own() -> Iterator[None]:
    """Within it, a graph takes its matrix products' workspaces from its own memory, and leaves them to no other graph.

    PyTorch keeps them by stream, and all captures share one: a graph would go on writing to what another had taken
    after that is gone (https://github.com/pytorch/pytorch/issues/193402).
    """
    torch._C._cuda_clearCublasWorkspaces()
    try:
        yield
    finally:
        torch._C._cuda_clearCublasWorkspaces()
