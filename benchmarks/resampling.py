"""Loss of detail when a photograph is resampled, for several constants of sfumato/data/affine.py.

    python benchmarks/resampling.py

Prints a markdown table of root mean square errors in grey levels for scikit-learn's china and flower at 64x64 pixels.
"""

import math

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_image

from sfumato.data import affine
from sfumato.data.augmentation import Transforms, apply_transforms
from sfumato.utils.depth import EIGHT_BITS

CONSTANTS = [(2, 2, 3), (2, 2, 5), (4, 2, 3), (4, 2, 4), (4, 2, 5), (4, 2, 6)]
PIXEL = 8 / 64
"""A shift by one pixel in the units of `Transforms`."""


def photograph(name: str) -> torch.Tensor:
    """Central part of a photograph, (1, 3, 64, 64) in [-1, 1]."""
    whole = Image.fromarray(load_sample_image(name)).crop((120, 14, 520, 414))
    return EIGHT_BITS.to_float(
        torch.from_numpy(np.array(whole.resize((64, 64), Image.Resampling.LANCZOS))).permute(2, 0, 1)[None]
    )


def moved(image: torch.Tensor, turn: float = 0.0, shift: float = 0.0) -> torch.Tensor:
    nothing, shifts = torch.zeros(1, dtype=torch.float64), torch.full((1,), shift * PIXEL, dtype=torch.float64)
    turns = nothing + turn
    return apply_transforms(image, Transforms(nothing, nothing, nothing, turns, nothing, nothing, shifts, shifts))


def error(found: torch.Tensor, right: torch.Tensor) -> float:
    """Root mean square error in grey levels, without the borders."""
    return 127.5 * (found - right)[..., 16:-16, 16:-16].square().mean().sqrt().item()


def errors(image: torch.Tensor) -> list[float]:
    """Errors of a quarter turn, of half a radian and back, and of 0.3 pixels along both axes and back."""
    return [
        error(moved(image, turn=math.pi / 2), image.rot90(-1, (2, 3))),
        error(moved(moved(image, turn=0.5), turn=-0.5), image),
        error(moved(moved(image, shift=0.3), shift=-0.3), image),
    ]


def main() -> None:
    """Prints the table."""
    print("| enlarged, supersampled, lobes | a quarter turn | half a radian and back | 0.3 pixels and back |")
    print("| --- | --- | --- | --- |")
    for constants in CONSTANTS:
        affine.ENLARGED, affine.SUPERSAMPLED, affine.LOBES = constants
        for weights in (affine._enlarging, affine._shrinking):
            weights.cache_clear()
        pairs = zip(*(errors(photograph(name)) for name in ("china.jpg", "flower.jpg")), strict=True)
        cells = " | ".join(f"{china:.1f}, {flower:.1f}" for china, flower in pairs)
        print(f"| {', '.join(map(str, constants))} | {cells} |")


if __name__ == "__main__":
    main()
