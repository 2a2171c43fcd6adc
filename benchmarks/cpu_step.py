"""A training step of `ddpm` at 32x32 on a CPU, beside diffusers' network as its script trains it.

    python benchmarks/cpu_step.py [--batch 16] [--rounds 9] [--threads 2]

Prints a markdown table. The contestants take turns in one process; a ratio is the median over the rounds of diffusers'
time by the contestant's in the same round. Processor time, of all threads together, is what to read where other jobs
share the cores.
"""

import argparse
import ctypes
import os
import platform
import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "2000")  # as `sfumato` does, before PyTorch is imported

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sfumato.networks.unet import UNet, UNetConfig

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4


def keep_memory(keep: bool) -> None:
    """Whether glibc keeps all freed memory for the next step, or returns it as it does after large allocations."""
    libc = ctypes.CDLL(None)
    libc.mallopt(M_MMAP_MAX, 0 if keep else 65536)
    libc.mallopt(M_MMAP_THRESHOLD, 32 * 2**20)
    libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1 if keep else 64 * 2**20)


def bfloat16() -> AbstractContextManager[object]:
    """Convolutions and matrix products in bfloat16; weights and norms stay float32."""
    return torch.autocast("cpu", torch.bfloat16, cache_enabled=False)


class Diffusers:
    """`UNet2DModel` with the optimizer and the average of train_unconditional.py, in float32."""

    def __init__(self) -> None:
        from diffusers.training_utils import EMAModel
        from diffusers_step import network

        self.network = network().train()
        self.optimizer = torch.optim.AdamW(self.network.parameters(), 1e-4, (0.95, 0.999), 1e-8, 1e-6)
        self.average = EMAModel(self.network.parameters(), use_ema_warmup=True, inv_gamma=1.0, power=0.75)

    def step(self, x: Tensor, noise: Tensor, times: Tensor) -> None:
        """Forward, backward, clip, AdamW, average."""
        F.mse_loss(self.network(x, times).sample, noise).backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.average.step(self.network.parameters())


@dataclass
class Ours:
    """`sfumato.networks.UNet`; some ways to run it."""

    cast: Callable[[], AbstractContextManager[object]] = nullcontext
    memory_format: torch.memory_format = torch.channels_last
    keep: bool = False

    def __post_init__(self) -> None:
        network = UNet(UNetConfig(3, 128, (1, 2, 2, 2), 2, (1,), 0.1, 0))
        self.network = network.to(memory_format=self.memory_format)
        self.weights = list(self.network.parameters())
        self.average = list(deepcopy(self.network).requires_grad_(False).parameters())
        self.optimizer = torch.optim.Adam(self.weights, 2e-4, fused=True)

    def step(self, x: Tensor, noise: Tensor, times: Tensor) -> None:
        """Forward, backward, clip, Adam, average."""
        if self.keep:
            keep_memory(True)
        with self.cast():
            output = self.network(x, times)
        F.mse_loss(output.float(), noise).backward()
        nn.utils.clip_grad_norm_(self.weights, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        with torch.no_grad():
            torch._foreach_lerp_(self.average, self.weights, 1e-4)
        if self.keep:
            keep_memory(False)


def timed(contestant: Diffusers | Ours, batch: int) -> tuple[float, float]:
    """Seconds, and seconds of processor time, of one step."""
    x, noise, times = torch.randn(batch, 3, 32, 32), torch.randn(batch, 3, 32, 32), torch.randint(1000, (batch,))
    wall, processor = time.perf_counter(), time.process_time()
    contestant.step(x, noise, times)
    return time.perf_counter() - wall, time.process_time() - processor


def processor_name() -> str:
    """The CPU's, where Linux says it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.split(": ")[1] for line in lines if line.startswith("model name")), platform.processor())


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    import diffusers

    contestants = {
        "diffusers, float32": Diffusers(),
        "ours, float32, contiguous weights": Ours(memory_format=torch.contiguous_format),
        "ours, float32": Ours(),
        "ours, bfloat16": Ours(bfloat16),
        "ours, bfloat16, freed memory kept": Ours(bfloat16, keep=True),
    }
    for contestant in contestants.values():
        timed(contestant, arguments.batch)  # libraries choose, memory is touched for the first time
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in contestants}
    for _ in range(arguments.rounds):
        for name, contestant in contestants.items():
            times[name].append(timed(contestant, arguments.batch))

    print(
        f"{processor_name()}, {arguments.threads} threads of {os.cpu_count()} cores, batch {arguments.batch}, ", end=""
    )
    print(f"PyTorch {torch.__version__}, diffusers {diffusers.__version__}, load {os.getloadavg()[0]:.1f}\n")
    print("| | s a step | processor s a step | times as fast | by processor time |\n| --- | --- | --- | --- | --- |")
    first = times["diffusers, float32"]
    for name, of_steps in times.items():
        medians = [statistics.median(column) for column in zip(*of_steps, strict=True)]
        ratios = [
            statistics.median(theirs[i] / ours[i] for theirs, ours in zip(first, of_steps, strict=True)) for i in (0, 1)
        ]
        print(f"| {name} | {medians[0]:.2f} | {medians[1]:.2f} | {ratios[0]:.2f} | {ratios[1]:.2f} |")


if __name__ == "__main__":
    main()
