"""Runs a plan of trials and writes a line of JSON each.

    PYTHONPATH=src:benchmarks python -m lab.trials PLAN --archive cifar10.tar.xz --judge FOLDER --out FOLDER

PLAN is a list in `lab.plans.PLANS`. A trial builds a network, trains it for some seconds, draws samples, and has them
judged; compilation is timed apart.
"""

import argparse
import json
import math
import time
import traceback
from dataclasses import asdict
from pathlib import Path

import torch
from judge import judge_in
from PIL import Image
from torch import nn

from lab.data import cifar10
from lab.engine import Engine, train
from lab.plans import PLANS, Trial
from lab.sampler import CapturedDenoiser, Denoise, Solver, batches, dpm_2m, heun, karras
from sfumato.training.autoconfig import operations_of


def guided(main: Denoise, guide: Denoise, strength: float) -> Denoise:
    """Away from what a worse model says (autoguidance, arXiv 2406.02507, eq. 3)."""
    return lambda x, sigma: torch.lerp(guide(x, sigma), main(x, sigma), strength)


def slug(name: str) -> str:
    """A file name."""
    return name.replace(" ", "-").replace(",", "")


def profile(engine: Engine, steps: int = 4) -> str:
    """Where the device's time goes in a few steps: a table of kernels."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profiler:
        for _ in range(steps):
            engine.step(1.0)
        torch.cuda.synchronize()
    return profiler.key_averages().table(sort_by="self_cuda_time_total", row_limit=40, max_name_column_width=110)


class Laboratory:
    """What all trials share: the data, the judge and where results go."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.device, self.compile = torch.device(arguments.device), not arguments.eager
        images, labels = cifar10(arguments.archive, arguments.limit)
        self.images, self.labels = images.to(self.device), labels.to(self.device)
        self.judge = judge_in(arguments.judge, self.device)
        self.out, self.samples, self.batch = arguments.out, arguments.samples, arguments.batch
        self.profile, self.sampled_per_s = arguments.profile, None

    def run(self, trial: Trial) -> float:
        """One trial, from the first weights to the verdict; a line of results, and pictures. The lowest FD."""
        torch.manual_seed(0)
        network = trial.network(10 if trial.conditional else 0).to(self.device, memory_format=torch.channels_last)
        one = torch.zeros(1, *self.images.shape[1:], device=self.device)
        flops = operations_of(network, one, torch.zeros(1, device=self.device))
        begun = time.perf_counter()
        engine = Engine(network, self.images, self.labels if trial.conditional else None, trial.recipe, self.compile)
        ready = time.perf_counter() - begun
        seconds, losses, guides = train(engine, trial.seconds, trial.marks)
        rate = engine.steps * trial.recipe.batch / seconds
        if self.profile:
            (self.out / f"{slug(trial.name)}.txt").write_text(profile(engine))
        row = {
            "name": trial.name,
            "million_parameters": round(sum(p.numel() for p in network.parameters()) / 1e6, 2),
            "forward_gflop": round(flops / 1e9, 2),
            "compile_s": round(ready, 1),
            "seconds": round(seconds, 1),
            "steps": engine.steps,
            "images_per_s": round(rate),
            "tflops": round(3 * flops * rate / 1e12, 1),
            "gib": round(torch.cuda.max_memory_allocated() / 2**30, 1) if self.device.type == "cuda" else None,
            "loss": [round(x, 4) for x in torch.stack(losses).tolist()[:: max(1, len(losses) // 12)]] if losses else [],
            "fd": (fd := self.verdicts(trial, engine, guides)),
            "sampled_per_s": self.sampled_per_s,
            "recipe": asdict(trial.recipe),
            "torch": torch.__version__,
            "device": torch.cuda.get_device_name() if self.device.type == "cuda" else "cpu",
        }
        print(json.dumps(row), flush=True)
        with (self.out / "trials.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")
        return min(fd.values(), default=math.inf)

    def verdicts(self, trial: Trial, engine: Engine, guides: list[nn.Module]) -> dict[str, float]:
        """FD of each average asked for, and of the first of them guided by an earlier self."""
        if not trial.judged:
            return {}
        shape = torch.Size((self.batch, *self.images.shape[1:]))
        labels = torch.arange(self.batch, device=self.device) % 10 if trial.conditional else None

        def denoiser(network: nn.Module) -> CapturedDenoiser:
            return CapturedDenoiser(network, trial.recipe.objective, labels, shape, self.compile)

        main = denoiser(engine.snapshot(trial.judged[0] if trial.judged[0] >= 0 else None))
        rows = {}
        for index in trial.judged:
            weights = engine.averages[index] if index >= 0 else engine.parameters
            torch._foreach_copy_(list(main.network.parameters()), list(weights))
            rows[f"average {index}"] = self.verdict(main, f"{trial.name} {index}", heun, 18)
        if guides:
            guide = denoiser(guides[0])
            for strength in trial.guidance:
                name = f"guided {strength}"
                rows[name] = self.verdict(guided(main, guide, strength), f"{trial.name} {name}", dpm_2m, 17)
        return rows

    def verdict(self, denoise: Denoise, name: str, solver: Solver, steps: int) -> float:
        """FD of samples; a picture of the first hundred."""
        shape = torch.Size((self.batch, *self.images.shape[1:]))
        begun = time.perf_counter()
        drawn = batches(solver, denoise, shape, self.samples, karras(steps, self.device))
        images = torch.cat([batch.cpu() for batch in drawn])[: self.samples]
        self.sampled_per_s = round(len(images) / (time.perf_counter() - begun))
        tiles = images[:100].unflatten(0, (-1, 10)).permute(0, 3, 1, 4, 2).flatten(2, 3).flatten(0, 1)
        Image.fromarray(tiles.numpy()).save(self.out / f"{slug(name)}.png")
        return round(self.judge(images), 4)


def main() -> None:
    """Each trial of the plan; then, if asked, the best of them for longer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("plan", choices=PLANS)
    parser.add_argument("--archive", type=Path, required=True)
    parser.add_argument("--judge", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--best-for", type=float, help="train the best trial once more, for this many seconds")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--eager", action="store_true", help="do not compile")
    parser.add_argument("--profile", action="store_true", help="write a table of kernels a trial")
    parser.add_argument("--limit", type=int, help="images of the archive to read")
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--batch", type=int, default=2500, help="of the sampler")
    arguments = parser.parse_args()
    torch.backends.cudnn.benchmark = True
    torch._dynamo.config.recompile_limit = 64
    arguments.out.mkdir(parents=True, exist_ok=True)
    laboratory = Laboratory(arguments)
    results = [(attempt(laboratory, trial), trial) for trial in PLANS[arguments.plan]]
    if arguments.best_for:
        attempt(laboratory, min(results, key=lambda result: result[0])[1].for_longer(arguments.best_for))


def attempt(laboratory: Laboratory, trial: Trial) -> float:
    """Runs a trial, and clears up. Its lowest FD; infinite if it failed, which it says."""
    lowest = math.inf
    try:
        lowest = laboratory.run(trial)
    except Exception:
        print(f"{trial.name} failed:\n{traceback.format_exc()}", flush=True)
    torch._dynamo.reset()
    if laboratory.device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    return lowest


if __name__ == "__main__":
    main()
