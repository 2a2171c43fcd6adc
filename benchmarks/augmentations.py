"""A contact sheet of what augmentation does to an image: docs/images/augment.png.

    python benchmarks/augmentations.py

The first two rows are one transform each, the third what `--augment` does at a probability of 0.5.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_image

from sfumato.data import Purpose, flipped, translated, uniform
from sfumato.data.augmentation import DRAWS, Transforms, apply_transforms, draw_transforms
from sfumato.utils.depth import EIGHT_BITS

OUT = Path(__file__).parent.parent / "docs" / "images" / "augment.png"
SIZE, ACROSS = 64, 6

ALONE = {
    "flipped top to bottom": {"flip_y": 1},
    "scaled up": {"scale": 1.5},
    "scaled down": {"scale": -1.5},
    "turned": {"turn": 0.6},
    "stretched": {"stretch": 1.5, "axis": 0.8},
    "shifted": {"shift_x": 1.2, "shift_y": -0.8},
}


def photograph() -> torch.Tensor:
    """A flower, (1, 3, 64, 64) in [-1, 1]."""
    whole = Image.fromarray(load_sample_image("flower.jpg")).crop((150, 20, 550, 420))
    pixels = np.array(whole.resize((SIZE, SIZE), Image.Resampling.LANCZOS))
    return EIGHT_BITS.to_float(torch.from_numpy(pixels).permute(2, 0, 1)[None])


def transforms(given: dict[str, float]) -> Transforms:
    nothing = torch.zeros(1, dtype=torch.float64)
    return Transforms(*(nothing + given.get(name, 0.0) for name in Transforms._fields))


def pictures() -> list[tuple[str, torch.Tensor]]:
    """What was done, and the image."""
    image = photograph()
    draw = torch.tensor([[0.95, 0.05]], dtype=torch.float64)
    untold = [
        ("as it is", image),
        ("--flip", flipped(image, draw[:, 1])),
        ("--translate 8", translated(image, draw, 8)),
    ]
    turned = ("a quarter turn", apply_transforms(image, transforms({"turn": torch.pi / 2})))
    resampled = ("half a pixel right", apply_transforms(image, transforms({"shift_x": 8 * 0.5 / SIZE})))
    extreme = ("scaled down to a half", apply_transforms(image, transforms({"scale": -5})))
    alone = [(name, apply_transforms(image, transforms(given))) for name, given in ALONE.items()]
    chances = draw_transforms(uniform(0, Purpose.NONLEAKING, 0, ACROSS, DRAWS), 0.5)
    together = apply_transforms(image.expand(ACROSS, -1, -1, -1), chances)
    mixed = [("--augment 0.5", one[None]) for one in together]
    return [*untold, turned, resampled, extreme, *alone, *mixed]


def main() -> None:
    """Draws the sheet."""
    shown = pictures()
    figure, axes = plt.subplots(len(shown) // ACROSS, ACROSS, figsize=(2 * ACROSS, 2.2 * len(shown) // ACROSS))
    for axis, (name, image) in zip(axes.flat, shown, strict=True):
        axis.imshow(EIGHT_BITS.to_pixels(image[0]).permute(1, 2, 0), interpolation="nearest")
        axis.set_title(name, fontsize=9)
        axis.axis("off")
    figure.tight_layout()
    figure.savefig(OUT, dpi=100)
    print(OUT)


if __name__ == "__main__":
    main()
