"""Measures solvers and time grids by number of evaluations with a trained model, and writes docs/solvers.md.

    python benchmarks/solvers.py measure runs/digits --out benchmarks/solvers_digits.jsonl
    python benchmarks/solvers.py measure RUN --judge JUDGE --out benchmarks/solvers_cifar10.jsonl --device cuda
    python benchmarks/solvers.py page benchmarks/solvers_digits.jsonl benchmarks/solvers_cifar10.jsonl --out docs

Two measures: the root mean square difference of pixels in [-1, 1] to the images from the same noise with 1000 steps
(for deterministic solvers), and the Frechet distance FD of the samples to the data, in the features of a judge (a
folder written by `judge.py train`) or in pixels.
"""

import argparse
import json
import os
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from judge import Judge, judge_in
from torch import Tensor

from sfumato.diffusion.analytic import gaussian
from sfumato.diffusion.guidance import Wrapper
from sfumato.diffusion.schedules import SCHEDULES
from sfumato.models import load
from sfumato.sampling.sampler import sample, sample_batches, sampler_config
from sfumato.sampling.solvers import SOLVERS
from sfumato.training.run_directory import training_images
from sfumato.utils.depth import EIGHT_BITS
from sfumato.utils.shapes import Images, Labels, Times

REFERENCE = ("dpm-2m", "trailing", 1000)
COMPARED = 64
"""Images whose distance to the reference is measured."""

EVALUATIONS = (5, 8, 10, 15, 20, 35, 50)
TIME_GRIDS = ("logsnr", "karras", "trailing", "karras:rho=3")
MAIN_GRID = "logsnr"
"""The time grid on which every solver is measured; `ON_ALL_GRIDS` are measured on all."""

FAMILIES = (
    *("ddim", "heun", "dpm-2m", "dpm-3m", "unipc-2", "unipc-2:variant=bh1", "unipc-3", "deis-2", "deis-3", "deis-4"),
    *("ipndm-2", "ipndm-3", "ipndm-4", "ddpm", "ddpm:variance=large", "dpm-1-sde", "dpm-2m-sde", "dpm-3m-sde"),
)
ON_ALL_GRIDS = ("ddim", "heun", "dpm-2m", "unipc-2", "unipc-3", "deis-3", "ipndm-3", "dpm-2m-sde")

KNOWN = [(solver, grid) for solver in ("dpm-2m-sde", "dpm-2m", "unipc-3", "ddpm") for grid in ("logsnr", "karras")]
KNOWN_COUNT, KNOWN_STEPS = 2000, 20

Row = dict[str, str | int | float | None]


class Counting(Wrapper):
    """Counts the evaluations of a batch."""

    evaluations = 0

    def forward(self, x_t: Images, t: Times, labels: Labels | None = None) -> Images:
        """The inner estimate."""
        self.evaluations += 1
        denoised: Images = self.inner(x_t, t, labels)
        return denoised


def measure(arguments: argparse.Namespace) -> None:
    """Appends a line a measurement to the file, the most telling first, and says each."""
    torch.backends.cuda.matmul.allow_tf32 = True
    model = Counting(load(arguments.run, arguments.device).to(memory_format=torch.channels_last))
    judge = judge_in(arguments.judge, arguments.device) if arguments.judge else pixel_judge(arguments.run)
    fast = torch.autocast("cuda", torch.bfloat16) if arguments.device.startswith("cuda") else nullcontext()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    begun = time.perf_counter()
    with arguments.out.open("w") as file:
        reference, _ = drawn(model, *REFERENCE, COMPARED, arguments.batch)
        about = {
            "run": str(arguments.run),
            "device": hardware(arguments.device),
            "judge": "the features of a judge" if arguments.judge else "pixels",
            "count": arguments.count,
            "compared": COMPARED,
            "reference": " ".join(map(str, REFERENCE)),
            "command": "python benchmarks/solvers.py " + " ".join(sys.argv[1:]),
        }
        print(json.dumps(about), file=file, flush=True)
        for solver, grid, steps, judged in plan():
            if steps < SOLVERS[solver.partition(":")[0]].min_steps:
                continue
            row = one(model, solver, grid, steps, reference, arguments.batch)
            if judged:
                row["fd"] = distance(model, solver, grid, steps, judge, fast, arguments)
            row["seconds"] = round(time.perf_counter() - begun, 1)
            print(json.dumps(row), file=file, flush=True)
            print(row, flush=True)


def hardware(device: str) -> str:
    """What measured."""
    return torch.cuda.get_device_name() if device.startswith("cuda") else f"{os.cpu_count()} CPU cores"


def plan() -> Iterator[tuple[str, str, int, bool]]:
    """(solver, grid, steps, whether its FD is measured), in an order that leaves a useful part if cut short."""
    for evaluations in (10, 20, 5, 50, 15, 8, 35):
        for solver in FAMILIES:
            yield solver, MAIN_GRID, steps_for(solver, evaluations), True
        for grid in TIME_GRIDS:
            for solver in ON_ALL_GRIDS if grid != MAIN_GRID else ():
                yield solver, grid, steps_for(solver, evaluations), evaluations in (5, 10, 20)


def steps_for(solver: str, evaluations: int) -> int:
    """Heun evaluates twice a step, but for the last."""
    return (evaluations + 1) // 2 if solver.startswith("heun") else evaluations


def one(model: Counting, solver: str, grid: str, steps: int, reference: Images, batch: int) -> Row:
    """The distance to the reference in full precision, and the evaluations it took."""
    model.evaluations = 0
    rule = SOLVERS[solver.partition(":")[0]]
    images, evaluations = drawn(model, solver, grid, steps, COMPARED, batch)
    off = (images - reference).square().mean().sqrt().item() if rule.deterministic else None
    return {"solver": solver, "grid": grid, "nfe": evaluations, "rmse": off, "fd": None}


def distance(
    model: Counting,
    solver: str,
    grid: str,
    steps: int,
    judge: Judge,
    fast: AbstractContextManager[object],
    arguments: argparse.Namespace,
) -> float:
    """The FD of `count` samples."""
    with fast:
        images, _ = drawn(model, solver, grid, steps, arguments.count, arguments.batch)
    return judge(EIGHT_BITS.to_pixels(images))


def drawn(model: Counting, solver: str, grid: str, steps: int, count: int, batch: int) -> tuple[Images, int]:
    """Samples of all classes in turn, and the evaluations of a batch."""
    sampler = sampler_config(model.schedule, solver=solver, time_grid=grid, steps=steps)
    model.evaluations = 0
    batches = list(sample_batches(model, count, sampler, labels=model.label_names or None, batch=batch))
    return torch.cat([images for images, _ in batches]), model.evaluations // len(batches)


def pixel_judge(run: Path) -> Judge:
    """FD in the pixels, to all images that the run was given."""
    images = training_images(run)
    assert images is not None, "the data of the run are gone"
    mean, covariance = moments(images.images)

    def judge(samples: Tensor) -> float:
        own_mean, own = moments(samples)
        cross = torch.linalg.eigvals(own @ covariance).real.clamp(min=0).sqrt().sum()
        return float((own_mean - mean).square().sum() + own.trace() + covariance.trace() - 2 * cross)

    return judge


def moments(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and covariance of the pixels in [-1, 1]."""
    pixels = images.flatten(1).double() / 127.5 - 1
    return pixels.mean(0), torch.cov(pixels.T)


def page(arguments: argparse.Namespace) -> None:
    """Writes solvers.md and the plots beside it."""
    text = [(Path(__file__).parent / "solvers_head.md").read_text()]
    for path in arguments.measured:
        about, *rows = [json.loads(line) for line in path.read_text().splitlines()]
        name = path.stem.removeprefix("solvers_")
        plot(rows, arguments.out / "images" / f"{path.stem}.png")
        text.append(section(name, about, rows))
    text.append(known_data())
    (arguments.out / "solvers.md").write_text("\n".join(text))


def section(name: str, about: Row, rows: list[Row]) -> str:
    """The tables of one model."""
    grids = [MAIN_GRID, *(grid for grid in TIME_GRIDS if grid != MAIN_GRID)]
    tables = [table(rows, "fd", grid) + table(rows, "rmse", grid) for grid in grids]
    return f"""## {name}

![FD and distance by NFE](images/solvers_{name}.png)

`{about["command"]}` on {about["device"]}: FD over {about["count"]:,} samples ({about["judge"]}), distance over
{about["compared"]} images to `{about["reference"]}`.

{"".join(tables)}"""


def known_data() -> str:
    """Standard deviation of samples of an analytic denoiser, for every schedule."""
    lines = [
        "## Analytic denoiser\n",
        f"Standard deviation of {KNOWN_COUNT:,} samples of N(0.2, 0.2^2) with {KNOWN_STEPS} steps, divided by 0.2. The "
        "denoiser is exact: 1 is correct, and the difference is the error of the solver.\n",
        "| solver | grid | " + " | ".join(SCHEDULES) + " |",
        "| --- | --- |" + " --- |" * len(SCHEDULES),
    ]
    for solver, grid in KNOWN:
        spreads = []
        for schedule in SCHEDULES.values():
            model = gaussian(schedule, torch.full((1, 2, 2), 0.2), variance=0.04)
            images = sample(model, KNOWN_COUNT, solver=solver, time_grid=grid, steps=KNOWN_STEPS, batch=KNOWN_COUNT)
            spreads.append(f"{images.std().item() / 0.2:.2f}")
        lines.append(f"| {solver} | {grid} | " + " | ".join(spreads) + " |")
    return "\n".join(lines) + "\n"


def table(rows: list[Row], quantity: str, grid: str) -> str:
    """Solvers by evaluations, the best of each column in bold."""
    chosen = [row for row in rows if row["grid"] == grid and row[quantity] is not None]
    if not chosen:
        return ""
    columns = sorted({rounded_nfe(row) for row in chosen})
    cells: dict[str, dict[int, float]] = defaultdict(dict)
    for row in chosen:
        cells[str(row["solver"])][rounded_nfe(row)] = float(row[quantity] or 0)
    best = {column: min(line[column] for line in cells.values() if column in line) for column in columns}
    title = {"fd": "FD", "rmse": "Distance to 1000 steps"}[quantity]
    lines = [f"**{title}, time grid `{grid}`, by NFE**\n", "| solver | " + " | ".join(map(str, columns)) + " |"]
    lines.append("| --- |" + " --- |" * len(columns))
    for solver, line in cells.items():
        shown = [bold(line[c], line[c] == best[c]) if c in line else "" for c in columns]
        lines.append(f"| {solver} | " + " | ".join(shown) + " |")
    return "\n".join(lines) + "\n\n"


def rounded_nfe(row: Row) -> int:
    """The planned number of evaluations; Heun's, always odd, joins the even one above it."""
    nfe = int(row["nfe"] or 0)
    return nfe if nfe in EVALUATIONS else nfe + 1


def bold(value: float, is_best: bool) -> str:
    """Three digits."""
    return f"**{value:.3g}**" if is_best else f"{value:.3g}"


def plot(rows: list[Row], path: Path) -> None:
    """FD, and distance to the reference, by evaluations on the main grid; solvers that draw noise are dashed."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 4.6), layout="constrained")
    panels = figure.subplots(1, 2)
    for axes, (quantity, title) in zip(panels, (("fd", "FD"), ("rmse", "distance to 1000 steps")), strict=True):
        for number, solver in enumerate(FAMILIES):
            points = sorted(
                (int(row["nfe"] or 0), float(row[quantity]))
                for row in rows
                if row["solver"] == solver and row["grid"] == MAIN_GRID and row[quantity] is not None
            )
            if points:
                style = "-" if SOLVERS[solver.partition(":")[0]].deterministic else "--"
                color = colormaps["tab20"](number)
                axes.plot(*zip(*points, strict=True), style, marker="o", markersize=3, color=color, label=solver)
        axes.set(title=f"{title}, grid {MAIN_GRID}", xlabel="network evaluations", xscale="log", yscale="log")
        axes.set_xticks(EVALUATIONS, [str(n) for n in EVALUATIONS])
        axes.minorticks_off()
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(*panels[0].get_legend_handles_labels(), fontsize=7, frameon=False, loc="outside right center")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(required=True)
    measuring = verbs.add_parser("measure")
    measuring.add_argument("run", type=Path)
    measuring.add_argument("--out", type=Path, required=True)
    measuring.add_argument("--judge", type=Path, help="a folder that judge.py train wrote")
    measuring.add_argument("--count", type=int, default=2000)
    measuring.add_argument("--batch", type=int, default=500)
    measuring.add_argument("--device", default="cpu")
    measuring.set_defaults(act=measure)
    paging = verbs.add_parser("page")
    paging.add_argument("measured", type=Path, nargs="+")
    paging.add_argument("--out", type=Path, required=True)
    paging.set_defaults(act=page)
    arguments = parser.parse_args()
    arguments.act(arguments)


if __name__ == "__main__":
    main()
