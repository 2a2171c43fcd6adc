"""How often each digit is among samples of no class in particular, beside how often it is among the digits.

    python benchmarks/class_counts.py exact --count 10000 --seed 5           # the exact denoiser of the digits
    python benchmarks/class_counts.py runs/digits --count 3000 --seed 1      # a model that was trained on them
    python benchmarks/class_counts.py runs/digits --no-averaged              # its weights before they are averaged

Prints the counts, their chi-square on 9 degrees of freedom (16.9 is exceeded by chance once in 20 times), and the
deviation: the root mean square difference of the shares, relative to the digits' own, with what chance adds taken away.
"""

import math
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import tyro
from sklearn.datasets import load_digits
from sklearn.svm import SVC

import sfumato as sf
from sfumato.data import load_images
from sfumato.diffusion import analytic
from sfumato.diffusion.denoiser import Denoiser
from sfumato.diffusion.schedules import SCHEDULES
from sfumato.training.state import CHECKPOINT_KIND
from sfumato.utils.files import read_tensors


def exact(schedule: str) -> Denoiser:
    """The denoiser that knows the law of the digits: each image equally likely."""
    digits = load_images("digits")
    return analytic.images(SCHEDULES[schedule], digits.floats(), digits.labels, digits.label_names)


def trained(run: Path, averaged: bool) -> Denoiser:
    """The model of a run, with its averaged weights or those of its newest checkpoint."""
    model = sf.load(run)
    if not averaged:
        tensors, _ = read_tensors(max((run / "checkpoints").glob("*.safetensors")), CHECKPOINT_KIND)
        weights = {name.removeprefix("model."): w for name, w in tensors.items() if name.startswith("model.")}
        model.network.load_state_dict(weights)
    return model


def main(
    model: Annotated[str, tyro.conf.Positional],
    count: int = 500,
    seed: int = 0,
    solver: str | None = None,
    steps: int | None = None,
    averaged: bool = True,
    schedule: str = "linear",
) -> None:
    """Draws, lets a classifier of the digits count, and compares.

    Args:
        model: a run directory, or the word exact.
        count: samples.
        seed: of the samples.
        solver: as for `sfumato sample`.
        steps: as for `sfumato sample`.
        averaged: whether a run's weights are the averaged ones.
        schedule: of the exact denoiser.
    """
    torch.set_num_threads(1)
    digits = load_digits()
    classifier = SVC(gamma=0.001, C=10).fit(digits.data, digits.target)
    denoiser = exact(schedule) if model == "exact" else trained(Path(model), averaged)
    images = sf.sample(denoiser, count, solver=solver, steps=steps, seed=seed, batch=500)
    found = np.bincount(classifier.predict(((images + 1) * 8).flatten(1).numpy()), minlength=10)
    expected = np.bincount(digits.target) * count / len(digits.target)
    chi_square = float(((found - expected) ** 2 / expected).sum())
    deviation = math.sqrt(max(0.0, chi_square - 9) / count)
    print(f"{model}: {' '.join(map(str, found))}; chi-square {chi_square:.1f}, deviation {deviation:.1%}")


if __name__ == "__main__":
    tyro.cli(main)
