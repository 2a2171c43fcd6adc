"""How many images a second are sampled? Prints a markdown table, a row as soon as it is known.

    PYTHONPATH=src python benchmarks/sampling.py --device cuda --peers
    PYTHONPATH=src python benchmarks/sampling.py --device cuda --run RUN --judge ../shared/judge
    PYTHONPATH=src python benchmarks/sampling.py --device cpu --seconds 1 --batch 4 --networks convnet-32

A row warms up (compilation and capture included, whose time it says) and then draws whole batches for about
`--seconds`, from noise to images in the memory of the host. Rows: networks of the presets at the size of CIFAR-10 (that
of `ddpm`, and `default`'s at some of its widths), untrained, since speed does not depend on weights; with --run a
trained model, and with --judge the Frechet distance of its samples to the data in the features of a judge (a folder
that `judge.py train` wrote). --peers adds diffusers' CIFAR-10 UNet (35.7 M) with DDIM in 50 steps, at batch 256: its
pipeline as it runs, and its loop with the network in bfloat16. A row that fails says why.
"""

import argparse
import importlib.util
import os
import platform
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch
from judge import judge_in
from torch import Tensor, nn

from sfumato.diffusion.denoiser import PARAMETRIZATIONS, Denoiser, PreconditionedDenoiser
from sfumato.diffusion.guidance import Observed
from sfumato.diffusion.schedules import build_schedule
from sfumato.models import load
from sfumato.networks.unet import UNet, UNetConfig
from sfumato.sampling.acceleration import accelerated
from sfumato.sampling.sampler import sample_batches, sampler_config
from sfumato.sampling.solvers import SOLVERS
from sfumato.utils.depth import EIGHT_BITS

SHAPE = (3, 32, 32)
NETWORKS = ("ddpm", "convnet-128", "convnet-256")
"""The UNet of DDPM (35.7 M); the ConvNet of the lab ("full"), and a wider one."""

SETTINGS = (("dpm-2m-sde", 20), ("dpm-2m", 20), ("dpm-2m", 35), ("ddim", 50))
"""Solvers and steps of the table. The first one is the default, the last one that of diffusers."""

PEER_BATCH = 256

HEAD = "| sampler | network | M | arithmetic | batch | NFE | images/s | ready after (s) | GiB | FD |"

Draw = Callable[[], Tensor]
"""Draws a batch: images (n, C, H, W) on the CPU, in [-1, 1]."""


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Attributes:
        sampler: what draws, and in how many steps.
        network: its name.
        arithmetic: of the network.
        batch: images at a time.
        prepare: gives the network, the function that draws a batch, and how many evaluations that takes.
        judged: whether its images are worth a judge's look.
    """

    sampler: str
    network: str
    arithmetic: str
    batch: int
    prepare: Callable[[int], tuple[nn.Module, Draw, int]]
    judged: bool = False


def rows(arguments: argparse.Namespace) -> Iterator[Row]:
    """All rows of the table: the fastest arithmetic in all settings, the others in the first one."""
    device = torch.device(arguments.device)
    for name in [str(arguments.run)] if arguments.run else arguments.networks:
        labels = list(CUDA if device.type == "cuda" else ELSEWHERE)
        for index, label in enumerate(labels[:1] if arguments.fastest else labels):
            for solver, steps in arguments.settings if index == 0 else arguments.settings[:1]:
                prepare = partial(ours, name, device, label, solver, steps)
                yield Row(f"{solver}, {steps} steps", name, label, arguments.batch, prepare, bool(arguments.run))
    if arguments.peers:
        for label, peer in (("as its pipeline runs, float32", pipeline), ("bfloat16", hand_written)):
            prepare = partial(peer, device, arguments.peer_steps)
            batch = min(PEER_BATCH, arguments.batch)
            yield Row(f"diffusers DDIM, {arguments.peer_steps} steps", "UNet2DModel", label, batch, prepare)


CUDA: dict[str, dict[str, Any]] = {
    "bfloat16, captured, compiled": {"compiled": True},
    "bfloat16, captured": {},
    "float32, captured, compiled": {"precision": "float32", "compiled": True},
}
ELSEWHERE: dict[str, dict[str, Any]] = {"float32": {}, "bfloat16": {"precision": "bfloat16"}}


@lru_cache(maxsize=1)
def made_ready(name: str, device: torch.device, label: str, batch: int) -> tuple[Denoiser, Denoiser]:
    """A model, and the same accelerated; the latest one is kept for the next row."""
    plain = load(name, device) if Path(name).is_dir() else untrained(name, device)
    return plain, accelerated(plain, batch, **(CUDA | ELSEWHERE)[label])


def untrained(name: str, device: torch.device) -> PreconditionedDenoiser:
    """A model for images of `SHAPE`: ddpm, or convnet-WIDTH; its last layer is not zero."""
    torch.manual_seed(0)
    if name == "ddpm":
        made, predicts = UNet(UNetConfig(SHAPE[0], 128, (1, 2, 2, 2), 2, (1,), 0.1, 0)), "noise"
        schedule = build_schedule("linear")
    else:
        from sfumato.networks.convnet import ConvNet, ConvNetConfig

        width = int(name.removeprefix("convnet-"))
        made, predicts = ConvNet(ConvNetConfig(SHAPE[0], width, (1, 2, 4), (2, 2, 3), (2,))), "edm"
        schedule = build_schedule("edm")
    for parameter in made.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=1e-3)
    return PreconditionedDenoiser(made.to(device).eval(), schedule, PARAMETRIZATIONS[predicts], SHAPE)


def ours(
    name: str, device: torch.device, label: str, solver: str, steps: int, batch: int
) -> tuple[nn.Module, Draw, int]:
    """A model of sfumato; each draw has noise of its own, and labels that take turns if it knows any."""
    plain, fast = made_ready(name, device, label, batch)
    evaluated = []
    watched = Observed(fast, evaluated.append)
    sampler = sampler_config(plain.schedule, solver=solver, steps=min(steps, plain.schedule.timesteps or steps))
    seeds = iter(range(10**6))

    def draw() -> Tensor:
        drawn = sample_batches(watched, batch, sampler, labels=plain.label_names or None, seed=next(seeds), batch=batch)
        return torch.cat([images for images, _ in drawn])

    draw()
    return plain, draw, len(evaluated)


def peer(device: torch.device) -> nn.Module:
    """diffusers' UNet for CIFAR-10, as DDPM's (35.7 M)."""
    from diffusers_step import network

    torch.manual_seed(0)
    return network().to(device).eval()


def pipeline(device: torch.device, steps: int, batch: int) -> tuple[nn.Module, Draw, int]:
    """diffusers' `DDIMPipeline`, in float32."""
    from diffusers import DDIMPipeline, DDIMScheduler

    unet = peer(device)
    pipe = DDIMPipeline(unet, DDIMScheduler())
    pipe.set_progress_bar_config(disable=True)

    def draw() -> Tensor:
        images = pipe(batch_size=batch, num_inference_steps=steps, output_type="np").images
        return torch.from_numpy(images).permute(0, 3, 1, 2) * 2 - 1

    draw()
    return unet, draw, steps


def hand_written(device: torch.device, steps: int, batch: int) -> tuple[nn.Module, Draw, int]:
    """The loop of `DDIMPipeline`, its network in bfloat16."""
    from diffusers import DDIMScheduler

    unet, scheduler = peer(device).to(torch.bfloat16), DDIMScheduler()
    scheduler.set_timesteps(steps)

    @torch.no_grad()
    def draw() -> Tensor:
        x = torch.randn(batch, *SHAPE, device=device, dtype=torch.bfloat16)
        for t in scheduler.timesteps:
            x = scheduler.step(unet(x, t).sample, t, x).prev_sample
        return x.float().clamp(-1, 1).cpu()

    draw()
    return unet, draw, steps


def measured(row: Row, seconds: float, score: Callable[[Tensor], float] | None, samples: int) -> str:
    """The row, measured; or why it could not be."""
    try:
        on_gpu = torch.cuda.is_available()
        if on_gpu:
            torch.cuda.reset_peak_memory_stats()
        begun = time.perf_counter()
        network, draw, evaluations = row.prepare(row.batch)
        ready = time.perf_counter() - begun
        images, took = timed(draw, seconds)
        gib = f"{torch.cuda.max_memory_allocated() / 2**30:.1f}" if on_gpu else ""
        distance = judged(draw, score, samples) if score and row.judged else ""
        millions = sum(parameter.numel() for parameter in network.parameters()) / 1e6
        cells = (row.sampler, row.network, f"{millions:.1f}", row.arithmetic, row.batch, evaluations)
        return line(*cells, f"{images / took:,.4g}", f"{ready:.1f}", gib, distance)
    except Exception as error:
        traceback.print_exc()
        reason = f"{type(error).__name__}: {error}".splitlines()[0].replace("|", "/")[:150]
        return line(row.sampler, row.network, "", row.arithmetic, row.batch, "", reason, "", "", "")


def timed(draw: Draw, seconds: float) -> tuple[int, float]:
    """Draws whole batches for about as long; how many images, and in how many seconds."""
    begun, images = time.perf_counter(), 0
    while not images or time.perf_counter() - begun < seconds:
        images += len(draw())
    return images, time.perf_counter() - begun


def judged(draw: Draw, score: Callable[[Tensor], float], samples: int) -> str:
    """The Frechet distance of as many samples."""
    drawn: list[Tensor] = []
    while sum(map(len, drawn)) < samples:
        drawn.append(EIGHT_BITS.to_pixels(draw()))
    return f"{score(torch.cat(drawn)[:samples]):.4f} of {samples:,}"


def line(*cells: object) -> str:
    """A row of a table in markdown."""
    return f"| {' | '.join(map(str, cells))} |"


def hardware(device: str) -> str:
    """What measured."""
    return torch.cuda.get_device_name() if device.startswith("cuda") else f"{os.cpu_count()} CPU cores"


def versions(peers: bool) -> str:
    """Of what was measured."""
    known = f"Python {platform.python_version()}, PyTorch {torch.__version__}"
    if peers and importlib.util.find_spec("diffusers"):
        from diffusers import __version__ as diffusers

        known += f", diffusers {diffusers}"
    return known


def settings_in(text: str) -> tuple[str, int]:
    """SOLVER/STEPS."""
    solver, _, steps = text.rpartition("/")
    if solver.partition(":")[0] not in SOLVERS or not steps.isdigit():
        raise argparse.ArgumentTypeError(f"{text} is not SOLVER/STEPS, such as dpm-2m/20")
    return solver, int(steps)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--batch", type=int, default=2048, help="images at a time")
    parser.add_argument("--seconds", type=float, default=5.0, help="of measuring a row")
    parser.add_argument("--settings", type=settings_in, nargs="+", default=SETTINGS, help="SOLVER/STEPS ...")
    parser.add_argument("--networks", nargs="*", default=NETWORKS, help="ddpm, or convnet-WIDTH")
    parser.add_argument("--fastest", action="store_true", help="no arithmetic but the first of the device's")
    parser.add_argument("--run", type=Path, help="a trained model instead of these networks")
    parser.add_argument("--judge", type=Path, help="the folder of a judge, for the samples of --run")
    parser.add_argument("--samples", type=int, default=10_000, help="that are judged")
    parser.add_argument("--peers", action="store_true", help="diffusers too")
    parser.add_argument("--peer-steps", type=int, default=50)
    arguments = parser.parse_args()
    score = judge_in(arguments.judge, arguments.device) if arguments.judge else None
    print(f"{hardware(arguments.device)}, {versions(arguments.peers)}, about {arguments.seconds:g} s a row.\n")
    print(HEAD, "| --- " * HEAD.count(" | ") + "| --- |", sep="\n", flush=True)
    for row in rows(arguments):
        print(measured(row, arguments.seconds, score, arguments.samples), flush=True)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
