"""Sampling with a guidance checkpoint: the Frechet distance by checkpoint, guidance scale, solver and time grid.

    python benchmarks/guides.py FOLDER --judge ../shared/judge --out RESULTS --minutes 3 [--conditional]

FOLDER holds images in a folder for each class. Trains as `sfumato train FOLDER --flip --minutes M` does, and keeps the
averaged model at some shares of the run. Then draws 10,000 samples in each of the ways below, and prints a row as soon
as it is known. A run that is there already goes on, or is only judged.
"""

import argparse
import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from judge import Judge, judge_in
from quality import settings
from table import environment, markdown

from sfumato.diffusion.denoiser import Denoiser
from sfumato.diffusion.guidance import AutoGuided, Observed, WithinLevels
from sfumato.models import load
from sfumato.sampling.acceleration import accelerated
from sfumato.sampling.sampler import sample_batches, sampler_config
from sfumato.training.config import TrainConfig
from sfumato.training.loop import run_training
from sfumato.utils.depth import EIGHT_BITS
from sfumato.utils.progress import TrainingBar

BATCH = 2000


@dataclass(frozen=True)
class Way:
    """A way to draw.

    Attributes:
        guide: share of the run after which the guide was kept; None for the model alone.
        scale: of the guidance.
        solver: the step rule.
        grid: where it stops.
        steps: how many.
        clip: how estimates keep to the range of images.
        within: noise levels between which the guide is asked; None for all.
    """

    guide: float | None
    scale: float
    solver: str = "dpm-2m"
    grid: str = "logsnr"
    steps: int = 17
    clip: str = "static"
    within: tuple[float, float] | None = None


WAYS = (
    Way(0.15, 2.0, grid="karras"),
    Way(0.15, 2.0),
    Way(0.15, 1.5, grid="karras"),
    Way(0.15, 1.5),
    Way(0.15, 2.5, grid="karras"),
    Way(0.15, 2.0, grid="karras", steps=22, within=(0.1, 10)),
    Way(0.15, 1.5, steps=20, within=(0.1, 10)),
    Way(0.15, 1.5, clip="none"),
    Way(0.15, 1.5, solver="dpm-2m-sde"),
    Way(0.15, 2.0, solver="dpm-2m-sde", grid="karras"),
    Way(0.15, 2.0, solver="unipc-2", grid="karras"),
    Way(0.05, 1.5),
    Way(0.05, 1.3),
    Way(0.3, 1.5),
    Way(0.3, 2.5, grid="karras"),
    Way(None, 1.0, solver="heun", steps=18),
    Way(None, 1.0, grid="karras", steps=34),
)


class UntilShare(TrainingBar):
    """Progress that knows when a share of the run is over."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.wanted, self.reached = share, 0.0

    def advance(self, images_seen: int, share: float, loss: float, waited: float) -> None:
        """Notes the share."""
        self.reached = share
        super().advance(images_seen, share, loss, waited)

    def is_over(self) -> bool:
        """Whether to stop."""
        return self.reached >= self.wanted


def trained(config: TrainConfig, out: Path, device: str) -> dict[float | None, Denoiser]:
    """The model after each share of the run for which there is a way, and at its end, which is None; accelerated."""
    models: dict[float | None, Denoiser] = {}
    for share in [*sorted({way.guide for way in WAYS if way.guide is not None}), 1.0]:
        kept = out / f"model-{share}"
        if not kept.exists():
            with UntilShare(share) as progress:
                run_training(config, out / "run", device=device, reporter=progress, should_stop=progress.is_over)
            shutil.copytree(out / "run" / "model", kept)
        models[None if share == 1 else share] = accelerated(load(kept, device), BATCH, compiled=True)
    return models


def guided(models: dict[float | None, Denoiser], way: Way) -> Denoiser:
    """The model as a way wants it."""
    if way.guide is None:
        return models[None]
    both = AutoGuided(models[None], models[way.guide], way.scale)
    return both if way.within is None else WithinLevels(both, *way.within)


def measured(models: dict[float | None, Denoiser], way: Way, judge: Judge, samples: int) -> dict[str, object]:
    """A row: what the way costs and gives."""
    looks: list[int] = []
    watched: dict[float | None, Denoiser] = {share: Observed(model, looks.append) for share, model in models.items()}
    model = guided(watched, way)
    sampler = sampler_config(model.schedule, solver=way.solver, time_grid=way.grid, steps=way.steps, clip=way.clip)
    begun = time.perf_counter()
    drawn = sample_batches(model, samples, sampler, labels=model.label_names or None, seed=0, batch=BATCH)
    images = torch.cat([EIGHT_BITS.to_pixels(batch).cpu() for batch, _ in drawn])
    seconds = time.perf_counter() - begun
    return {
        "guide kept at": "" if way.guide is None else way.guide,
        "scale": way.scale,
        "solver": way.solver,
        "grid": way.grid,
        "clip": way.clip,
        "within": "" if way.within is None else f"{way.within[0]:g} to {way.within[1]:g}",
        "evaluations": round(sum(looks) / samples, 1),
        "FD": round(judge(images), 4),
        "drawn/s": round(samples / seconds),
    }


def main() -> None:
    """Trains, draws, judges; prints each row, then the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--judge", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--conditional", action="store_true", help="learn the classes")
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda")
    arguments = parser.parse_args()
    print(environment(torch.device(arguments.device)), flush=True)
    config = settings(arguments.folder, arguments.minutes, arguments.conditional, arguments.seed)
    models = trained(config, arguments.out, arguments.device)
    judge, rows = judge_in(arguments.judge, arguments.device), []
    for way in WAYS:
        rows.append(measured(models, way, judge, arguments.samples))
        print(json.dumps(rows[-1]), flush=True)
    print(markdown(rows))


if __name__ == "__main__":
    main()
