"""Workspaces of CUDA graphs, with a simulation of the cuBLAS workspace cache of PyTorch on the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import pytest
import torch

from sfumato.utils.cuda_graphs import captured


class Device:
    """Simulation of the parts of torch.cuda that determine the memory of a workspace."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.workspaces: dict[str, object] = {}
        self.stream, self.graphs = "current", list[Graph]()
        self.capturing: Graph | None = None
        for name in ("device", "stream"):
            monkeypatch.setattr(torch.cuda, name, lambda _: nullcontext())
        for name in ("Stream", "current_stream"):
            monkeypatch.setattr(torch.cuda, name, Stream)
        monkeypatch.setattr(torch.cuda, "get_sync_debug_mode", lambda: 0)
        monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", lambda _: None)
        monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
        monkeypatch.setattr(torch.cuda, "graph", self.capture)
        monkeypatch.setattr(torch._C, "_cuda_clearCublasWorkspaces", self.workspaces.clear, raising=False)

    @contextmanager
    def capture(self, graph: Graph) -> Iterator[None]:
        """All captures use one stream, as in PyTorch."""
        self.stream, self.capturing = "of all captures", graph
        self.graphs.append(graph)
        try:
            yield
        finally:
            self.stream, self.capturing = "current", None

    def product(self) -> None:
        """A matrix product: uses the workspace of the stream, or allocates one, during a capture in its memory."""
        owner = self.workspaces.setdefault(self.stream, self.capturing)
        if self.capturing is not None:
            self.capturing.workspace_of = owner


class Stream:
    """Does nothing."""

    def wait_stream(self, _: object) -> None:
        """Does nothing."""


class Graph:
    """Records the memory of its workspace."""

    workspace_of: object = None

    def replay(self) -> None:
        """Does nothing."""


def test_graphs_do_not_write_to_the_memory_of_other_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    device = Device(monkeypatch)
    device.workspaces["of all captures"] = "a graph that another capture created"
    for _ in range(2):
        captured(device.product, torch.device("cuda"))
    assert [graph.workspace_of for graph in device.graphs] == device.graphs
    assert not device.workspaces


def test_a_failed_capture_leaves_no_workspace_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    device = Device(monkeypatch)

    def too_large() -> None:
        device.product()
        if device.capturing is not None:
            raise torch.OutOfMemoryError

    with pytest.raises(torch.OutOfMemoryError):
        captured(too_large, torch.device("cuda"))
    captured(device.product, torch.device("cuda"))
    assert device.graphs[1].workspace_of is device.graphs[1]
