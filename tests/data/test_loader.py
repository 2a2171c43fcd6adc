"""Loaders: batches from memory and from disk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from images import noise
from sfumato.data import Batch, ImageSet, batch_indices, load_images, loader, make_loader
from sfumato.data.loader import DeviceLoader, HostLoader, Loader, StreamingLoader
from sfumato.utils.depth import SIXTEEN_BITS

CPU = torch.device("cpu")
SEED = 7
KINDS = [HostLoader, DeviceLoader, StreamingLoader]
DTYPES = ["uint8", "uint16", "float32"]


@pytest.fixture(params=DTYPES)
def images(request: pytest.FixtureRequest, tmp_path: Path) -> ImageSet:
    """Eleven images on disk with random labels."""
    np.save(tmp_path / "x.npy", noise(11, 4, 5, 3, dtype=request.param))
    stored = load_images(tmp_path / "x.npy")
    labels = torch.from_numpy(noise(11).astype(np.int64) % 3)
    return replace(stored, labels=labels, label_names=("a", "b", "c"))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("start", "count"), [(0, 1), (0, 11), (3, 4), (9, 5), (40, 25), (10**9, 3)])
def test_a_batch_has_the_images_at_its_position(kind: type[Loader], start: int, count: int, images: ImageSet) -> None:
    batch = kind(images, SEED, CPU).batch(start, count)
    order = batch_indices(len(images), SEED, start, count)
    assert batch.images.dtype == torch.float32
    assert torch.equal(batch.images, images.floats()[order])
    assert images.labels is not None
    assert batch.labels is not None
    assert torch.equal(batch.labels, images.labels[order])


@pytest.mark.parametrize(
    "requests",
    [
        [(0, 4), (4, 4), (8, 4), (12, 4)],
        [(0, 4), (8, 4), (0, 4), (0, 4)],
        [(0, 4), (4, 2), (6, 2), (4, 4)],
        [(20, 3), (23, 3), (5, 3), (8, 3)],
    ],
    ids=["one after another", "elsewhere", "of another size", "resumed"],
)
def test_a_prefetched_batch_is_only_used_for_its_position(requests: list[tuple[int, int]], images: ImageSet) -> None:
    streamed, resident = StreamingLoader(images, SEED, CPU), DeviceLoader(images, SEED, CPU)
    for start, count in requests:
        ahead, here = streamed.batch(start, count), resident.batch(start, count)
        assert torch.equal(ahead.images, here.images)
        assert ahead.labels is not None
        assert here.labels is not None
        assert torch.equal(ahead.labels, here.labels)


def test_each_batch_is_prefetched_once(images: ImageSet, monkeypatch: pytest.MonkeyPatch) -> None:
    read, places = StreamingLoader._read, []

    def noted(streamed: StreamingLoader, start: int, count: int) -> Batch:
        places.append(start)
        return read(streamed, start, count)

    monkeypatch.setattr(StreamingLoader, "_read", noted)
    streamed = StreamingLoader(images, SEED, CPU)
    for start in (0, 4, 8):
        streamed.batch(start, 4)
    streamed._reader.shutdown()
    assert places == [0, 4, 8, 12]


@pytest.mark.parametrize("kind", KINDS)
def test_batches_can_be_modified(kind: type[Loader], images: ImageSet) -> None:
    """Modifying a batch in place does not change later batches."""
    batches = kind(images, SEED, CPU)
    batches.batch(0, 11).images.zero_()
    again = batches.batch(0, 11)
    assert torch.equal(again.images, images.floats()[batch_indices(11, SEED, 0, 11)])


@pytest.mark.parametrize("kind", KINDS)
def test_a_selection_is_loaded(kind: type[Loader], images: ImageSet) -> None:
    chosen = images.select(torch.tensor([7, 2, 5]))
    batch = kind(chosen, SEED, CPU).batch(0, 3)
    assert torch.equal(batch.images, chosen.floats()[batch_indices(3, SEED, 0, 3)])


@pytest.mark.parametrize("kind", KINDS)
def test_unlabelled_images_have_no_labels(kind: type[Loader]) -> None:
    assert kind(ImageSet.of(torch.zeros(3, 1, 4, 4, dtype=torch.uint8)), SEED, CPU).batch(0, 2).labels is None


def test_many_images_are_copied_in_pieces(images: ImageSet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader, "COPIED_IMAGES", 4)
    assert torch.equal(
        DeviceLoader(images, SEED, CPU).batch(0, 11).images, images.floats()[batch_indices(11, SEED, 0, 11)]
    )


@pytest.mark.parametrize(("share", "kind"), [(0.25, HostLoader), (0.26, StreamingLoader)])
def test_images_stay_in_memory_if_they_need_a_quarter_of_it(
    share: float, kind: type[Loader], monkeypatch: pytest.MonkeyPatch
) -> None:
    images = ImageSet.of(torch.zeros(10, 3, 4, 4, dtype=torch.uint16), depth=SIXTEEN_BITS)
    monkeypatch.setattr(loader, "free_memory", lambda _: 10 * 3 * 4 * 4 * 2 / share)
    assert type(make_loader(images, SEED, CPU)) is kind


def test_free_memory_is_plausible() -> None:
    assert 0 < loader.free_memory(CPU) < 2**50


@pytest.mark.parametrize("kind", KINDS)
def test_the_waiting_time_is_summed(kind: type[Loader], images: ImageSet) -> None:
    batches = kind(images, SEED, CPU)
    assert batches.seconds == 0
    batches.batch(0, 2)
    once = batches.seconds
    batches.batch(2, 2)
    assert batches.seconds > once > 0
