"""Speed and memory of the data pipeline, compared with Pillow and `torch.utils.data.DataLoader`.

    python benchmarks/data.py [--cifar FOLDER]

The baseline is Pillow in a `DataLoader` with one worker per core. Each pair of numbers is from one run on one machine.
Prints the markdown tables of docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "2000")  # as set by the command line

import numpy as np
import PIL
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from sfumato.data import batch_indices, load_images, make_loader

BATCH = 128
CORES = os.cpu_count() or 1
SMALL, LARGE = 60_000, 2_000
STORE_BYTES = 10 * 10**9
EPOCHS = 5


class Usual(Dataset[torch.Tensor]):
    """Images opened one by one with Pillow, as in typical training scripts.

    Args:
        files: image files.
        size: side to which images are resized (antialiased) and cropped; None keeps their size.
    """

    def __init__(self, files: list[str], size: int | None) -> None:
        self.files, self.size = files, size

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> torch.Tensor:
        with Image.open(self.files[index]) as opened:
            image = opened.convert("RGB")
        if self.size is not None:
            image = plainly_resized(image, self.size)
        return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def plainly_resized(image: Image.Image, size: int) -> Image.Image:
    """Resizes the shorter side to `size` with Lanczos at full resolution, then crops around the centre."""
    scale = min(image.size) / size
    width, height = size * scale, size * scale
    left, upper = (image.width - width) / 2, (image.height - height) / 2
    return image.resize((size, size), Image.Resampling.LANCZOS, (left, upper, left + width, upper + height))


def usual_batches(files: list[str], size: int | None, shuffle: bool) -> Iterator[torch.Tensor]:
    yield from DataLoader(Usual(files, size), batch_size=BATCH, num_workers=CORES, shuffle=shuffle)


@contextmanager
def clock() -> Iterator[Callable[[], float]]:
    begun = time.perf_counter()
    ended: list[float] = []
    yield lambda: ended[0]
    ended.append(time.perf_counter() - begun)


def textured(seed: int, width: int, height: int) -> Image.Image:
    """An image with structure at all scales like a photograph (noise with a 1/f spectrum)."""
    random = np.random.default_rng(seed)
    frequencies = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequencies[0, 0] = 1
    planes = [
        np.fft.irfft2(np.fft.rfft2(random.standard_normal((height, width))) / frequencies**1.2, (height, width))
        for _ in range(3)
    ]
    pixels = np.stack(planes, axis=2)
    pixels = 127.5 + 55 * (pixels - pixels.mean()) / pixels.std()
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def write_jpeg(job: tuple[str, int, int, int]) -> None:
    path, seed, width, height = job
    textured(seed, width, height).save(path, quality=90)


def make_jpegs(folder: Path, count: int, width: int, height: int) -> list[str]:
    folder.mkdir(parents=True)
    files = [str(folder / f"{number:06d}.jpg") for number in range(count)]
    with ProcessPoolExecutor() as pool:
        list(pool.map(write_jpeg, [(file, i, width, height) for i, file in enumerate(files)], chunksize=64))
    return files


def build_row(title: str, folder: Path, size: int | None, cache: Path) -> str:
    files = sorted(str(path) for path in folder.rglob("*.jpg"))
    with clock() as warm:
        for file in files:
            Path(file).read_bytes()
    warm()
    with clock() as usual:
        torch.cat(list(usual_batches(files, size, shuffle=False)))
    with clock() as ours:
        load_images(folder, size=size, labels=False, cache=cache)
    with clock() as again:
        load_images(folder, size=size, labels=False, cache=cache)
    return f"| {title} | {usual():.2f} s | {ours():.2f} s | {usual() / ours():.1f}x | {again():.2f} s |"


def epoch_rows(folder: Path, cache: Path) -> Iterator[str]:
    """Rows of the table for a later epoch, as floats and as bytes (the output of `usual` before scaling)."""
    files = sorted(str(path) for path in folder.rglob("*.jpg"))
    with clock() as usual:
        for batch in usual_batches(files, None, shuffle=True):
            batch.float().div_(127.5).sub_(1)
    with clock() as usual_bytes:
        deque(usual_batches(files, None, shuffle=True), maxlen=0)
    images = load_images(folder, labels=False, cache=cache)
    loader = make_loader(images, seed=0, device=torch.device("cpu"))
    with clock() as ours:
        for start in range(0, EPOCHS * len(images), BATCH):
            loader.batch(start, BATCH)
    pixels = images.images.numpy()
    with clock() as ours_bytes:
        for start in range(0, EPOCHS * len(images), BATCH):
            torch.from_numpy(pixels[batch_indices(len(images), 0, start, BATCH).numpy()])
    for title, slow, fast in (("floats in [-1, 1]", usual(), ours()), ("bytes", usual_bytes(), ours_bytes())):
        rates = len(files) / slow, EPOCHS * len(images) / fast
        yield (
            f"| a later epoch of the {len(files):,}, shuffled, as {title} | {rates[0]:,.0f} images/s | "
            f"{rates[1]:,.0f} images/s | {rates[1] / rates[0]:.0f}x |"
        )


def quality(folder: Path, cache: Path, size: int) -> tuple[float, int]:
    """Mean and largest difference, of 255, between the cached pixels and an antialiased resize of the full images."""
    files = sorted(folder.rglob("*.jpg"))[:200]
    stored = load_images(folder, size=size, labels=False, cache=cache).select(torch.arange(len(files))).images
    plain = [np.asarray(plainly_resized(Image.open(file).convert("RGB"), size)) for file in files]
    difference = np.abs(stored.permute(0, 2, 3, 1).numpy().astype(int) - np.stack(plain).astype(int))
    return float(difference.mean()), int(difference.max())


MEMORY = """
import re, resource, sys, time
from pathlib import Path
import torch
from sfumato.data import load_images
from sfumato.data.loader import StreamingLoader
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1e6
Path("/proc/self/clear_refs").write_text("5")  # reset the peak inherited from the parent process
before = peak()
images = load_images(sys.argv[1], cache=Path(sys.argv[2]))
loader = StreamingLoader(images, 0, torch.device("cpu"))
for start in range(0, 2 * len(images), 64):
    loader.batch(start, 64)
own = peak()
time.sleep(8)  # wait until the worker processes end
workers = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print(before, own, workers / 1e6, len(images))
"""


def memory_row(folder: Path, cache: Path) -> str:
    """Peak memory of a process that builds a large cache entry and reads it twice, and of its largest worker."""
    side = 512
    count = STORE_BYTES // (side * side * 3)
    source = folder / "large.npy"
    folder.mkdir(parents=True, exist_ok=True)
    header = {"descr": "|u1", "fortran_order": False, "shape": (count, side, side, 3)}
    random = np.random.default_rng(0)
    with source.open("wb") as file:  # written, not mapped: child processes inherit the peak memory of their parent
        np.lib.format.write_array_header_2_0(file, header)
        for _ in range(count):
            file.write(np.tile(random.integers(256, size=(side, 1, 3), dtype=np.uint8), (1, side, 1)).data)
    run = subprocess.run(
        [sys.executable, "-c", MEMORY, str(source), str(cache)], check=True, capture_output=True, text=True
    )
    before, own, worker, images = run.stdout.split()
    source.unlink()
    return (
        f"| a {STORE_BYTES / 1e9:.0f} GB cache entry ({int(images):,} images of {side}x{side}), built and read twice | "
        f"{float(own):.2f} GB, of which {float(before):.2f} GB are PyTorch's | {float(worker):.2f} GB |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cifar", type=Path, help="folder of the 60,000 JPEGs of CIFAR-10; default: synthetic images")
    parser.add_argument("--skip-memory", action="store_true", help="skip the 10 GB cache entry")
    arguments = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="sfumato-data-", dir=os.environ.get("TMPDIR")))
    cache = work / "cache"
    try:
        small = arguments.cifar or work / "small"
        if arguments.cifar is None:
            make_jpegs(small, SMALL, 32, 32)
        make_jpegs(work / "large", LARGE, 1024, 768)
        versions = f"Python {platform.python_version()}, PyTorch {torch.__version__}, Pillow {PIL.__version__}"
        print(f"{platform.machine()}, {CORES} cores, {versions}\n")
        print("| the first time | Pillow and DataLoader | sfumato | | again |\n| --- | --- | --- | --- | --- |")
        print(build_row(f"{SMALL:,} JPEGs of 32x32", small, None, cache))
        print(build_row(f"{LARGE:,} JPEGs of 1024x768, to 64x64", work / "large", 64, cache))
        print("\n| | Pillow and DataLoader | sfumato | |\n| --- | --- | --- | --- |")
        print("\n".join(epoch_rows(small, cache)))
        mean, largest = quality(work / "large", cache, 64)
        print(f"\nPixels of the 64x64 images differ from a Lanczos resize of the whole image by {mean:.2f} of 255 on")
        print(f"average, {largest} at most.")
        if not arguments.skip_memory:
            print("\n| peak memory | the process | its largest worker |\n| --- | --- | --- |")
            print(memory_row(work / "memory", cache))
    finally:
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
