"""Measures the search for the nearest of 5,000 training images for 2,000 samples, over flips and shifts, at 64x64.

    python benchmarks/memorization.py DATA [--samples 2000] [--train 5000] [--size 64] [--reach 2] [--threads 1]

Samples and training images are different images of DATA; the time depends on their similarity. Prints the time, the
load of the machine, and the peak memory. On a busy machine two threads are much slower than one.

With `--former FILE`, an earlier version of metrics/memorization/search.py (such as from `git show COMMIT:PATH`), both
versions search in turn for parts of the samples. Prints the time of each, and whether their results are equal.
"""

import argparse
import importlib.util
import os
import resource
import sys
import time
from collections.abc import Callable

os.environ.setdefault("GOMP_SPINCOUNT", "2000")  # as the command line sets it

import torch

from sfumato.data import load_images
from sfumato.metrics.memorization.search import Closest, Search
from sfumato.metrics.memorization.verdict import NEIGHBOURS

PARTS = 3
"""Number of parts of the samples, so that both searches run under the same load."""

FindClosest = Callable[[torch.Tensor], Closest]


def peak() -> float:
    """Peak memory of this process in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measured(samples: torch.Tensor, search: FindClosest) -> None:
    """Prints time and memory of one search."""
    before, start, worked = peak(), time.perf_counter(), time.process_time()
    search(samples)
    seconds, worked = time.perf_counter() - start, time.process_time() - worked
    print(f"{seconds:.1f} s, {worked:.1f} s CPU time, at a load of {os.getloadavg()[0]:.1f} over the last minute")
    print(f"{peak() - before:.0f} MiB in addition to the {before:.0f} MiB of the process with its images")


def clocks() -> torch.Tensor:
    """Wall time and CPU time of all cores in seconds."""
    return torch.tensor([time.perf_counter(), time.process_time()], dtype=torch.float64)


def compared(samples: torch.Tensor, search: FindClosest, former: FindClosest) -> None:
    """Prints the times of two searches, separately for their preparation, and whether the results are equal."""
    once, every = torch.zeros(2, 2, dtype=torch.float64), torch.zeros(2, 2, dtype=torch.float64)
    equal = True
    for part in samples.chunk(PARTS):
        found = []
        for place, each in enumerate((search, former)):
            for queries, total in ((part[:1], once), (part, every)):
                begun = clocks()
                result = each(queries)
                total[place] += clocks() - begun
            found.append(result)
        one, other = found
        equal &= torch.equal(one.distances, other.distances) and torch.equal(one.indices, other.indices)
        equal &= one.moves == other.moves
    each_sample = (every - once) / (len(samples) - PARTS)
    for place, name in enumerate(("this search", "the former")):
        (seconds, worked), (more, more_worked) = once[place] / PARTS, 1000 * each_sample[place]
        print(
            f"{name}: {seconds:.2f} s preparation and {more:.2f} ms per sample; "
            f"CPU time {worked:.2f} s and {more_worked:.2f} ms"
        )
    shorter, less = each_sample[1] / each_sample[0]
    print(f"per sample: {shorter:.1f} times less time, {less:.1f} times less CPU time")
    print(f"distances, images and moves are {'equal' if equal else 'NOT equal'}")


def former_search(file: str) -> Callable[..., Closest]:
    """Function `closest` of a file."""
    spec = importlib.util.spec_from_file_location("former_closest", file)
    if spec is None or spec.loader is None:
        raise SystemExit(f"{file} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    found: Callable[..., Closest] = module.closest
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--train", type=int, default=5000)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--reach", type=int, default=2)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--former")
    options = parser.parse_args()

    torch.set_num_threads(options.threads)
    images = load_images(options.data, size=options.size, split="all", labels=False)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    parts = order[: options.train + options.samples].split(options.train)
    train, samples = (images.select(part).floats().to(options.device) for part in parts)
    print(f"{len(samples)} x {len(train)} at {options.size}x{options.size}, {options.threads} threads, {train.device}")

    def search(queries: torch.Tensor) -> Closest:
        return Search(train, reach=options.reach).closest(queries, NEIGHBOURS + 1)

    if options.former is None:
        measured(samples, search)
        return
    former = former_search(options.former)
    compared(samples, search, lambda queries: former(queries, train, NEIGHBOURS + 1, reach=options.reach))


if __name__ == "__main__":
    main()
