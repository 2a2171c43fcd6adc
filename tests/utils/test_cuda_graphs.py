"""Graphs and what they share: PyTorch's bookkeeping of cuBLAS workspaces, played on the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import pytest
import torch

from sfumato.utils.cuda_graphs import captured


class Device:
    """As much of PyTorch's CUDA as decides from whose memory a graph's workspace is."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.workspaces: dict[str, object] = {}
        self.stream, self.graphs = "current", list[Graph]()
        self.capturing: Graph | None = None
        for name in ("device", "stream"):
            monkeypatch.setattr(torch.cuda, name, lambda _: nullcontext())
        for name in ("Stream", "current_stream"):
            monkeypatch.setattr(torch.cuda, name, Stream)
        monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
        monkeypatch.setattr(torch.cuda, "graph", self.capture)
        monkeypatch.setattr(torch._C, "_cuda_clearCublasWorkspaces", self.workspaces.clear, raising=False)

    @contextmanager
    def capture(self, graph: Graph) -> Iterator[None]:
        """All captures are on one stream, as PyTorch has it."""
        self.stream, self.capturing = "of all captures", graph
        self.graphs.append(graph)
        try:
            yield
        finally:
            self.stream, self.capturing = "current", None

    def product(self) -> None:
        """A matrix product: its workspace is the stream's, or else new, from a capture's own memory within one."""
        owner = self.workspaces.setdefault(self.stream, self.capturing)
        if self.capturing is not None:
            self.capturing.workspace_of = owner


class Stream:
    """Does nothing."""

    def wait_stream(self, _: object) -> None:
        """Does nothing."""


class Graph:
    """Remembers from whose memory its workspace is."""

    workspace_of: object = None

    def replay(self) -> None:
        """Does nothing."""


def test_no_graph_writes_to_another_ones_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    device = Device(monkeypatch)
    device.workspaces["of all captures"] = "a graph that somebody else captured"
    for _ in range(2):
        captured(device.product, torch.device("cuda"))
    assert [graph.workspace_of for graph in device.graphs] == device.graphs
    assert not device.workspaces


def test_a_capture_that_fails_leaves_the_next_no_workspace(monkeypatch: pytest.MonkeyPatch) -> None:
    device = Device(monkeypatch)

    def too_large() -> None:
        device.product()
        if device.capturing is not None:
            raise torch.OutOfMemoryError

    with pytest.raises(torch.OutOfMemoryError):
        captured(too_large, torch.device("cuda"))
    captured(device.product, torch.device("cuda"))
    assert device.graphs[1].workspace_of is device.graphs[1]
