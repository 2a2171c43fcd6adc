"""A training step of the `tiny` network while another job keeps the cores busy, by what idle OpenMP threads do.

    python benchmarks/idle_threads.py

Prints a markdown table: milliseconds a step, alone and beside copies of itself, by how long idle threads spin.
"""

import os
import subprocess
import sys
import time

SECONDS = 8.0


def measure() -> float:
    """Milliseconds a step, over a few seconds."""
    import torch

    from sfumato.networks.unet import UNet, UNetConfig

    network = UNet(UNetConfig(1, 32, (1, 2), 1, (1,), 0.0, 10))
    x, times, labels = torch.randn(64, 1, 8, 8), torch.rand(64) * 999, torch.randint(0, 10, (64,))
    steps, start = -1, time.perf_counter()
    while steps < 1 or time.perf_counter() - start < SECONDS:
        network(x, times, labels).square().mean().backward()
        network.zero_grad()
        steps += 1
        if steps == 0:
            start = time.perf_counter()
    return 1000 * (time.perf_counter() - start) / steps


def run(spins: str | None, copies: int) -> float:
    """The slowest of some copies run at once, whose idle threads spin so often before they sleep."""
    command = [sys.executable, __file__, "--measure"]
    environment = os.environ | ({} if spins is None else {"GOMP_SPINCOUNT": spins})
    jobs = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(copies)]
    return max(float(job.communicate()[0]) for job in jobs)


def main() -> None:
    """Prints the table."""
    if sys.argv[1:] == ["--measure"]:
        print(measure())
        return
    print(f"milliseconds a step, {os.cpu_count()} cores\n\n| GOMP_SPINCOUNT | alone | 2 such jobs | 3 such jobs |")
    print("| --- | --- | --- | --- |")
    for spins in (None, "500", "2000", "10000"):
        times = " | ".join(f"{run(spins, copies):.0f}" for copies in (1, 2, 3))
        print(f"| {spins or 'not set'} | {times} |", flush=True)


if __name__ == "__main__":
    main()
