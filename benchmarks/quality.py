"""How good a model is after some minutes of training on one GPU: the Frechet distance of 10,000 samples.

    python benchmarks/quality.py FOLDER --judge ../shared/judge --out RESULTS [--minutes 3 10] [--conditional]
    python benchmarks/quality.py FOLDER --judge ../shared/judge --out RESULTS --minutes 3 10 --peer

FOLDER holds images in a folder for each class, such as CIFAR-10's training set. Each number of minutes is a run of its
own by `sfumato.train`, as `sfumato train FOLDER --flip --minutes M` makes it: with the automatic settings, and a
learning rate of zero at its end. The peer is diffusers' network tuned by hand and captured (`diffusers_step.Tuned`),
one run whose average is judged at each number of minutes, with DDIM in 50 steps. Compilation is not counted for either.
"""

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import torch
from judge import Judge, judge_in
from table import environment, markdown
from torch import Tensor

from sfumato.cli.sampling_options import SamplerOptions, default_autoguidance_scale
from sfumato.data import load_images
from sfumato.diffusion.denoiser import Denoiser, PreconditionedDenoiser, predict_noise
from sfumato.diffusion.guidance import AutoGuided
from sfumato.diffusion.schedules import LinearBeta
from sfumato.models import load, load_guidance_checkpoint
from sfumato.sampling.generate import generate
from sfumato.sampling.sampler import AUTOGUIDED_GRID, AUTOGUIDED_SOLVER
from sfumato.training.config import TrainConfig
from sfumato.training.loop import run_training
from sfumato.training.presets import preset_for
from sfumato.utils import pictures
from sfumato.utils.cuda_graphs import algorithms_timed, captured
from sfumato.utils.depth import EIGHT_BITS
from sfumato.utils.progress import TrainingBar

Rows = Iterator[dict[str, object]]

PEERS_BATCH = 128

GUIDED = SamplerOptions(AUTOGUIDED_SOLVER, AUTOGUIDED_GRID, 17)
"""As `sfumato sample RUN --steps 17` draws: 34 evaluations."""


class Bench:
    """What all rows share: the judge, how many samples it sees, and where they are kept."""

    def __init__(self, judge: Judge, samples: int, out: Path) -> None:
        self.judge, self.samples, self.out = judge, samples, out

    def verdict(self, name: str, model: Denoiser, way: SamplerOptions, facts: dict[str, object]) -> dict:
        """A row: the distance of samples of a model, of every class in turn, and how fast they were drawn."""
        sampler = way.sampler(model)
        begun = time.perf_counter()
        drawn = list(generate(model, self.samples, sampler, labels=model.label_names or None, seed=0))
        images = torch.cat([EIGHT_BITS.to_pixels(batch).cpu() for batch, _ in drawn])
        seconds = time.perf_counter() - begun
        file = name.replace(" ", "-").replace(",", "")
        pictures.save_grid(images[:100].float() / 127.5 - 1, self.out / f"{file}.png", 10)
        classes = [labels.cpu() for _, labels in drawn if labels is not None]
        known = {"labels": torch.cat(classes).numpy(), "label_names": np.array(model.label_names)} if classes else {}
        np.savez_compressed(self.out / f"{file}.npz", images=images.permute(0, 2, 3, 1).numpy(), **known)
        steps = len(sampler.timesteps) - 1
        evaluations = {"heun": 2 * steps - 1}.get(way.solver, steps) * (2 if isinstance(model, AutoGuided) else 1)
        row = {"model": name, **facts, "sampler": f"{way.solver} {way.time_grid}", "evaluations": evaluations}
        row |= {"FD": round(self.judge(images), 4), "drawn/s": round(self.samples / seconds)}
        print(json.dumps(row), flush=True)
        with (self.out / "quality.jsonl").open("a") as file_of_rows:
            file_of_rows.write(json.dumps(row) + "\n")
        return row


def settings(folder: Path, minutes: float, conditional: bool, seed: int) -> TrainConfig:
    """As `sfumato train FOLDER --flip --minutes M` makes them, with or without the classes."""
    config = preset_for(str(folder))
    return replace(
        config,
        data=replace(config.data, flip=True, labels=conditional),
        optimization=replace(config.optimization, minutes=minutes, seed=seed),
    )


def ours(bench: Bench, arguments: argparse.Namespace, minutes: float) -> Rows:
    """A run of some minutes: the model alone, and with its guidance checkpoint."""
    config = settings(arguments.folder, minutes, arguments.conditional, arguments.seed)
    kind = "classes" if arguments.conditional else "unconditional"
    if arguments.width:
        config = replace(config, network=replace(config.network, width=arguments.width))
    name = f"sfumato {minutes:g} minutes {kind}{f' width {arguments.width}' if arguments.width else ''}"
    run = bench.out / name.replace(" ", "-")
    with TrainingBar() as progress:
        state, config, _ = run_training(config, run, device=arguments.device, reporter=progress)
    counters, network = state.counters, config.network
    facts: dict[str, object] = {
        "width": network.width,
        "batch": config.optimization.batch,
        "minutes": round(counters.seconds / 60, 3),
        "images seen": counters.images_seen,
        "images/s": round(counters.images_seen / counters.seconds),
    }
    del state
    torch._dynamo.reset()
    torch.cuda.empty_cache()
    model, guide = load(run, arguments.device), load_guidance_checkpoint(run, arguments.device)
    if guide is not None:
        scales = arguments.scales or [default_autoguidance_scale(model)]
        for scale, steps in product(scales, arguments.steps):
            guided, way = AutoGuided(model, guide, scale), replace(GUIDED, steps=steps)
            yield bench.verdict(f"{name} guided {scale:g}, {steps} steps", guided, way, facts)
    if not arguments.guided_only:
        yield bench.verdict(f"{name} heun", model, SamplerOptions("heun", "karras", 18), facts)
        yield bench.verdict(f"{name} dpm-2m", model, SamplerOptions("dpm-2m", "karras", 34), facts)


class Predicting(torch.nn.Module):
    """diffusers' network, called as ours are."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, times: Tensor, labels: Tensor | None = None) -> Tensor:
        """The noise."""
        del labels
        output: Tensor = self.network(x, times, return_dict=False)[0]
        return output


def peers(bench: Bench, arguments: argparse.Namespace) -> Rows:
    """One run of diffusers' network, judged on its way."""
    from diffusers_step import Tuned

    device = torch.device(arguments.device)
    peer = Tuned(load_images(arguments.folder).images.to(device), PEERS_BATCH, flip=True)
    with algorithms_timed():
        peer.step()
        replay = captured(peer.step, device)
    seen, trained = 0, 0.0
    for minutes in sorted(arguments.minutes):
        torch.cuda.synchronize()
        begun = time.perf_counter()
        while trained + time.perf_counter() - begun < 60 * minutes:
            for _ in range(20):
                replay()
            torch.cuda.synchronize()
            seen += 20 * PEERS_BATCH
        trained += time.perf_counter() - begun
        schedule = LinearBeta()
        model = PreconditionedDenoiser(Predicting(peer.average), schedule, predict_noise, (3, 32, 32))
        facts: dict[str, object] = {"batch": PEERS_BATCH, "minutes": round(trained / 60, 3), "images seen": seen}
        yield bench.verdict(f"diffusers tuned {minutes:g} minutes", model, SamplerOptions("ddim", "logsnr", 50), facts)


def main() -> None:
    """Trains and judges; prints each row as soon as it is known, then the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--judge", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, nargs="+", default=[3.0])
    parser.add_argument("--conditional", action="store_true", help="learn the classes")
    parser.add_argument("--width", type=int, help="of the network, instead of the automatic choice")
    parser.add_argument("--guided-only", action="store_true", help="judge no samples but guided ones")
    parser.add_argument("--scales", type=float, nargs="+", help="of the guidance; else as sfumato sample")
    parser.add_argument("--steps", type=int, nargs="+", default=[GUIDED.steps], help="of a guided model")
    parser.add_argument("--peer", action="store_true")
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--test", type=Path, help="a folder of real images, judged as well")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    device = torch.device(arguments.device)
    print(environment(device), flush=True)
    bench = Bench(judge_in(arguments.judge, device), arguments.samples, arguments.out)
    rows = []
    if arguments.test:
        rows.append({"model": "test set", "FD": round(bench.judge(load_images(arguments.test).images), 4)})
        print(json.dumps(rows[0]), flush=True)
    if arguments.peer:
        rows += list(peers(bench, arguments))
    else:
        rows += [row for minutes in arguments.minutes for row in ours(bench, arguments, minutes)]
    print(markdown(rows))


if __name__ == "__main__":
    main()
