"""Copies are searched for on the GPU if it has enough memory, with the same result."""

from __future__ import annotations

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from metrics.blobs import blobs, closest
from sfumato.evaluation import memorization_metric

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
def test_the_search_runs_on_a_gpu_with_enough_memory(
    device: torch.device, free: int, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Uses tensors without data, so that no GPU is needed."""
    monkeypatch.setattr(memorization_metric, "free_memory", lambda _: free)
    with FakeTensorMode():
        sets = [torch.zeros(count, 10) for count in (50, 30, 20)]
        moved = memorization_metric._on_search_device(sets, device)
    assert [each.device.type for each in moved] == [expected] * 3
    assert [each.shape for each in moved] == [each.shape for each in sets]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_the_search_on_a_gpu_gives_the_result_of_the_cpu() -> None:
    queries, base = blobs(40, 0), blobs(3000, 1)
    queries[:5] = base[100:105].flip(3)
    expected = closest(queries, base, 7, reach=2)
    found = closest(queries.to(CUDA), base.to(CUDA), 7, reach=2)
    torch.testing.assert_close(found.distances.cpu(), expected.distances, rtol=1e-5, atol=0)
    assert torch.equal(found.indices.cpu(), expected.indices)
    assert found.moves == expected.moves
