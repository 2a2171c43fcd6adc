"""Copies are searched for on the GPU, if there is one with enough memory, with the same result."""

from __future__ import annotations

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from metrics.made import blobs
from sfumato.evaluation import evaluate
from sfumato.metrics.closest import closest

CUDA = torch.device("cuda:0")


@pytest.mark.parametrize(
    ("device", "free", "expected"),
    [
        (CUDA, 3 * 4000, "cuda"),
        (CUDA, 3 * 4000 - 1, "cpu"),
        (torch.device("cpu"), 10**9, "cpu"),
        (torch.device("mps"), 10**9, "cpu"),
    ],
)
def test_the_search_for_copies_takes_place_on_a_gpu_with_memory_for_it(
    device: torch.device, free: int, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of tensors without data, so that no GPU is needed."""
    monkeypatch.setattr(evaluate, "free_memory", lambda _: free)
    with FakeTensorMode():
        sets = [torch.zeros(count, 10) for count in (50, 30, 20)]
        moved = evaluate._where_searched(sets, device)
    assert [each.device.type for each in moved] == [expected] * 3
    assert [each.shape for each in moved] == [each.shape for each in sets]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_the_search_on_a_gpu_finds_what_that_on_the_cpu_finds() -> None:
    queries, base = blobs(40, 0), blobs(3000, 1)
    queries[:5] = base[100:105].flip(3)
    expected = closest(queries, base, 7, reach=2)
    found = closest(queries.to(CUDA), base.to(CUDA), 7, reach=2)
    torch.testing.assert_close(found.distances.cpu(), expected.distances, rtol=1e-5, atol=0)
    assert torch.equal(found.indices.cpu(), expected.indices)
    assert found.moves == expected.moves
