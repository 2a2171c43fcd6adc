"""How long the nearest of 5,000 training images takes for each of 2,000 samples, over flips and shifts, at 64x64.

    python benchmarks/memorization.py DATA [--samples 2000] [--train 5000] [--size 64] [--reach 2] [--threads 1]

The images are of DATA, in which it matters how alike they are; samples are others than training images. Prints the
time, the load of the machine, and the peak of the memory. A busy machine is much slower with two threads than with one.
"""

import argparse
import os
import resource
import time

import torch

from sfumato.data import load_images
from sfumato.metrics.closest import closest
from sfumato.metrics.memorization import NEIGHBOURS


def peak() -> float:
    """The most memory that this process ever held, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--train", type=int, default=5000)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--reach", type=int, default=2)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()

    torch.set_num_threads(options.threads)
    images = load_images(options.data, size=options.size, labels=False)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    train, samples = (
        images.select(part).floats() for part in order[: options.train + options.samples].split(options.train)
    )
    before, start, worked = peak(), time.perf_counter(), time.process_time()
    closest(samples, train, NEIGHBOURS + 1, reach=options.reach)
    seconds, worked = time.perf_counter() - start, time.process_time() - worked
    print(f"{len(samples)} x {len(train)} at {options.size}x{options.size}, {options.threads} threads")
    print(f"{seconds:.1f} s, {worked:.1f} s of all cores, at a load of {os.getloadavg()[0]:.1f} over the last minute")
    print(f"{peak() - before:.0f} MiB beyond the {before:.0f} MiB of the process with its images")


if __name__ == "__main__":
    main()
