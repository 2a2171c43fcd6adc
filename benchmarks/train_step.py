"""How fast a training step is: ours by preset and batch size, beside diffusers' in the same process.

    python benchmarks/train_step.py [--peers] [--rows REGEX] [--seconds 4] [--out rows.jsonl]

Images of 32x32 pixels in memory; each row is warmed up, then timed for some seconds. TFLOP/s counts three forward
passes an image; the share is of a large matrix product on the same card, measured here as well. Peak memory is what
PyTorch allocated.
"""

import argparse
import gc
import json
import re
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from table import environment, markdown

from sfumato.data import ImageSet, make_loader
from sfumato.models import Model
from sfumato.training.architecture import model_for
from sfumato.training.autoconfig import TIMES, operations_of
from sfumato.training.config import TrainConfig
from sfumato.training.engine import EagerEngine, captured_engine, prepare
from sfumato.training.presets import PRESETS
from sfumato.training.state import TrainingState
from sfumato.utils.cuda_graphs import algorithms_timed

IMAGES = 50_000
SIDE = 32


@dataclass(frozen=True)
class Contestant:
    """A step to be timed.

    Attributes:
        step: makes one step on `batch` images.
        batch: images a step.
        operations: floating-point operations of one image's forward pass.
        parameters: of the network.
    """

    step: Callable[[], object]
    batch: int
    operations: int
    parameters: int


def pixels() -> ImageSet:
    """Random images."""
    return ImageSet.of(torch.randint(256, (IMAGES, 3, SIDE, SIDE), dtype=torch.uint8))


def preset(name: str, batch: int, width: int | None = None) -> TrainConfig:
    """A preset's settings for 32x32 images, at a batch and a width."""
    config = PRESETS[name]
    optimization = replace(config.optimization, batch=batch, minutes=60.0)
    network = config.network
    if width is not None:
        network = replace(network, width=width, multipliers=(1, 2, 4), blocks=(2, 2, 3), patch=1)
    diffusion = replace(config.diffusion, times=config.diffusion.times or TIMES)
    data = replace(config.data, augment=0.0)
    return replace(config, data=data, network=network, diffusion=diffusion, optimization=optimization)


def ours(config: TrainConfig, device: torch.device, debug: bool = False) -> Contestant:
    """A step as `sfumato train` makes it, including the loader."""
    images = pixels()
    torch.manual_seed(0)
    state = TrainingState(Model(model_for(config, images)).to(device), config.optimization)
    one = torch.zeros(1, 3, SIDE, SIDE, device=device)
    operations = operations_of(state.model.network, one, torch.zeros(1, device=device))
    batch = config.optimization.batch
    assert batch is not None
    feed = make_loader(images, 0, device)
    if debug or device.type != "cuda":
        engine = EagerEngine(state, config, print)
    else:
        prepare(state.model.network, config, Path(tempfile.gettempdir()) / "sfumato-compiled", print)
        engine = captured_engine(state, config, feed.batch(0, batch), print)
    count = sum(p.numel() for p in state.model.parameters())
    return Contestant(lambda: engine.step(feed.batch(state.counters.images_seen, batch)), batch, operations, count)


def rows(device: torch.device, with_peers: bool) -> dict[str, Callable[[], Contestant]]:
    """All contestants by name."""
    known: dict[str, Callable[[], Contestant]] = {
        "sfumato ddpm, batch 128": lambda: ours(preset("ddpm", 128), device),
        "sfumato ddpm, batch 512": lambda: ours(preset("ddpm", 512), device),
        "sfumato ddpm, batch 128, --debug": lambda: ours(preset("ddpm", 128), device, debug=True),
        "sfumato default, width 128, batch 256": lambda: ours(preset("default", 256, 128), device),
        "sfumato default, width 128, batch 512": lambda: ours(preset("default", 512, 128), device),
        "sfumato default, width 192, batch 256": lambda: ours(preset("default", 256, 192), device),
    }
    if with_peers:
        from diffusers_step import as_its_script, tuned, tuned_captured

        images = pixels().images.to(device)
        known |= {
            "diffusers, its script, bf16, batch 128": lambda: Contestant(*as_its_script(images, 128)),
            "diffusers, tuned by hand, batch 128": lambda: Contestant(*tuned(images, 128)),
            "diffusers, tuned by hand, batch 512": lambda: Contestant(*tuned(images, 512)),
            "diffusers, tuned and captured, batch 128": lambda: Contestant(*tuned_captured(images, 128)),
        }
    return known


def timed(contestant: Contestant, seconds: float, device: torch.device) -> float:
    """Steps a second."""
    finish = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    for _ in range(5):
        contestant.step()
    finish()
    begun, steps = time.perf_counter(), 0
    while time.perf_counter() - begun < seconds:
        contestant.step()
        steps += 1
    finish()
    return steps / (time.perf_counter() - begun)


def matrix_rate(device: torch.device) -> float:
    """Floating-point operations a second of a large matrix product."""
    size, dtype = (8192, torch.bfloat16) if device.type == "cuda" else (1024, torch.float32)
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    contestant = Contestant(lambda: a @ b, 1, 2 * size**3, 0)
    return 2 * size**3 * timed(contestant, 0.5, device)


@contextmanager
def forgotten(device: torch.device) -> Iterator[None]:
    """Afterwards nothing compiled is left, and memory is free."""
    try:
        yield
    finally:
        torch._dynamo.reset()
        gc.collect()  # networks and their graphs hold each other
        if device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()


def measured(name: str, make: Callable[[], Contestant], device: torch.device, seconds: float, peak: float) -> dict:
    """A row of results."""
    begun = time.perf_counter()
    with algorithms_timed():  # as the engine does for itself; peers gain by it too
        contestant = make()
        ready = time.perf_counter() - begun
        contestant.step()
    rate = timed(contestant, seconds, device) * contestant.batch
    flops = 3 * contestant.operations * rate
    memory = torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else float("nan")
    return {
        "step": name,
        "M parameters": round(contestant.parameters / 1e6, 1),
        "GFLOP forward": round(contestant.operations / 1e9, 2),
        "images/s": round(rate, 1),
        "ms a step": round(1000 * contestant.batch / rate, 1),
        "TFLOP/s": round(flops / 1e12, 1),
        "of a matrix product": f"{flops / peak:.0%}",
        "peak GiB": round(memory, 1),
        "ready after": f"{ready:.0f} s",
    }


def main() -> None:
    """Times the rows, and prints each as soon as it is known, then the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--rows", default=".", help="only those whose names match")
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--out", type=Path, help="a file for lines of JSON")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    peak = matrix_rate(device)
    print(f"{environment(device)}; a matrix product: {peak / 1e12:.3g} TFLOP/s", flush=True)
    results = []
    for name, make in rows(device, arguments.peers).items():
        if not re.search(arguments.rows, name):
            continue
        with forgotten(device):
            try:
                results.append(measured(name, make, device, arguments.seconds, peak))
            except Exception:
                print(f"{name} failed:\n{traceback.format_exc()}", flush=True)
                continue
        print(json.dumps(results[-1]), flush=True)
        if arguments.out:
            with arguments.out.open("a") as file:
                file.write(json.dumps(results[-1]) + "\n")
    print(markdown(results))


if __name__ == "__main__":
    main()
