"""Measures how well samples of a model of the built-in shapes have the requested shape, colour, size and angle.

    sfumato train shapes
    python benchmarks/shapes.py runs/shapes
    python benchmarks/shapes.py runs/shapes --guidance 2 --values

Requests all 36 pairs of shape and colour; with `--values` also sizes and angles, from the distribution of the data.
The samples are measured by `sfumato.data.shapes.measure`.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch

import sfumato as sf
from sfumato.data.shapes import COLOURS, SHAPES, SIZES, measure
from sfumato.diffusion.denoiser import Denoiser
from sfumato.utils.shapes import Images


class Agreement(NamedTuple):
    """Agreement of samples with the requests of one shape.

    Attributes:
        images: samples (n, 3, H, W), in [-1, 1].
        is_right: whether shape and colour are those requested, bool (n,).
        sizes: measured minus requested size.
        angles: the same for the angle in degrees, by symmetry between -180 / fold and 180 / fold.
    """

    images: Images
    is_right: torch.Tensor
    sizes: torch.Tensor
    angles: torch.Tensor


def agreement(
    model: Denoiser, shape: str, count: int, *, seed: int = 0, steps: int | None = None, values: bool = False
) -> Agreement:
    """Samples a shape in all colours in turn, with requested sizes and angles if `values`, and measures the samples."""
    turn = SHAPES[shape].turn
    random = torch.rand(2, count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    sizes, angles = SIZES[0] + (SIZES[1] - SIZES[0]) * random[0], turn * random[1]
    requested: dict[str, str | Sequence[str] | Sequence[float]] = {"shape": shape, "colour": list(COLOURS)}
    if values:
        requested["size"] = sizes.tolist()
        requested |= {"angle": angles.tolist()} if turn else {}
    images = sf.sample(model, count, labels=requested, seed=seed, steps=steps)
    found = measure(images)
    colours = [list(COLOURS)[row % len(COLOURS)] for row in range(count)]
    pairs = zip(found["shape"], found["colour"], colours, strict=True)
    is_right = torch.tensor([(name, colour) == (shape, wanted) for name, colour, wanted in pairs])
    differences = torch.tensor([angle or 0.0 for angle in found["angle"]]) - angles
    period = turn or 1.0
    return Agreement(
        images,
        is_right,
        torch.tensor(found["size"]) - sizes,
        (differences + period / 2) % period - period / 2,
    )


def main() -> None:
    """Prints the agreement for each shape and for all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--count", type=int, default=84, help="samples of each shape (default: 84, 14 of each colour)")
    parser.add_argument("--guidance", type=float, default=1.0, help="scale of classifier-free guidance (default: 1)")
    parser.add_argument("--steps", type=int, help="sampling steps (default: that of `sf.sample`)")
    parser.add_argument("--values", action="store_true", help="request sizes and angles as well")
    parser.add_argument("--out", type=Path, help="file for a grid of samples, with two rows for each shape")
    options = parser.parse_args()

    model: Denoiser = sf.load(options.run)
    if options.guidance != 1:
        model = sf.guidance.ClassifierFree(model, options.guidance)
    results = {}
    for seed, shape in enumerate(SHAPES):
        found = agreement(model, shape, options.count, seed=seed, steps=options.steps, values=options.values)
        results[shape] = found
        print(f"{shape:8}  {described(found, options.values and bool(SHAPES[shape].turn), options.values)}", flush=True)
    right = torch.cat([found.is_right for found in results.values()])
    print(f"All: {int(right.sum())} of {len(right)} samples ({right.double().mean():.1%}) as requested.")
    if options.out:
        sf.save_grid(torch.cat([found.images[:24] for found in results.values()]), options.out, columns=12)


def described(found: Agreement, has_angle: bool, has_size: bool) -> str:
    """A line with the agreement of one shape; errors are those of the samples with the requested shape and colour."""
    right = found.is_right
    parts = [f"{int(right.sum()):4} of {len(right)}"]
    parts += [f"size {found.sizes[right].abs().mean():.3f}"] if has_size else []
    parts += [f"angle {found.angles[right].abs().mean():.1f}"] if has_angle else []
    return ", ".join(parts)


if __name__ == "__main__":
    main()
