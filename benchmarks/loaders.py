"""Throughput of the loaders on a GPU; also checks that all loaders give the same batches.

python benchmarks/loaders.py    (needs CUDA)
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from sfumato.data import ImageSet, load_images
from sfumato.data.loader import DeviceLoader, HostLoader, StreamingLoader

BATCH = 128
BATCHES = 1000
CUDA = torch.device("cuda")


def some_images(folder: Path, count: int, channels: int, dtype: str) -> ImageSet:
    random = np.random.default_rng(0)
    shape = (count, 32, 32, channels)
    pixels = random.random(shape) if dtype == "float32" else random.integers(np.iinfo(dtype).max, size=shape)
    np.save(folder / f"{dtype}.npy", pixels.astype(dtype))
    return load_images(folder / f"{dtype}.npy", cache=folder / "cache")


def agree(images: ImageSet) -> None:
    loaders = (
        DeviceLoader(images, 1, CUDA),
        StreamingLoader(images, 1, CUDA),
        HostLoader(images, 1, torch.device("cpu")),
    )
    for start in (0, BATCH, 2 * BATCH, len(images) - 50, 100):
        resident, streamed, host = (loader.batch(start, BATCH).images.cpu() for loader in loaders)
        assert torch.allclose(resident, host, atol=1e-6)
        assert torch.allclose(streamed, host, atol=1e-6)


def rate(images: ImageSet, kind: type[DeviceLoader] | type[StreamingLoader]) -> float:
    loader = kind(images, 0, CUDA)
    for step in range(100):
        loader.batch(step * BATCH, BATCH)
    torch.cuda.synchronize()
    begun = time.perf_counter()
    for step in range(100, 100 + BATCHES):
        loader.batch(step * BATCH, BATCH)
    torch.cuda.synchronize()
    return BATCH * BATCHES / (time.perf_counter() - begun)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for channels, dtype in ((3, "uint8"), (1, "uint16"), (5, "float32")):
            agree(some_images(folder, 3000, channels, dtype))
            print(f"{channels} channels of {dtype}: all loaders give the same batches")
        images = some_images(folder, 50_000, 3, "uint8")
        print(torch.cuda.get_device_name())
        for kind in (DeviceLoader, StreamingLoader):
            print(f"{kind.__name__}: {rate(images, kind):,.0f} images/s")


if __name__ == "__main__":
    main()
