"""Measures time and memory of the nearest neighbours of 10,000 among 50,000 images of 32x32.

    python benchmarks/metrics.py [--queries 10000] [--base 50000] [--width 3072]

Prints the time, the load of the machine (near 0 on an idle machine), and the peak memory.
"""

import argparse
import os
import resource
import time

import torch

from sfumato.metrics import nearest


def peak() -> float:
    """Peak memory of this process in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=10_000)
    parser.add_argument("--base", type=int, default=50_000)
    parser.add_argument("--width", type=int, default=3072)
    parser.add_argument("--k", type=int, default=3)
    options = parser.parse_args()

    torch.manual_seed(0)
    queries, base = torch.randn(options.queries, options.width), torch.randn(options.base, options.width)
    before, start, worked = peak(), time.perf_counter(), time.process_time()
    nearest(queries, base, options.k)
    seconds, worked = time.perf_counter() - start, time.process_time() - worked
    print(f"{options.queries} x {options.base} x {options.width}, k = {options.k}, {torch.get_num_threads()} threads")
    print(f"{seconds:.1f} s, {worked:.1f} s CPU time, at a load of {os.getloadavg()[0]:.1f} over the last minute")
    print(f"{peak() - before:.0f} MiB in addition to the {before:.0f} MiB of the process with its images")


if __name__ == "__main__":
    main()
