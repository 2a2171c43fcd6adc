"""Fraction of recognised samples after a short training run on two cores: ten classes of grey digits, 28x28.

    python benchmarks/greys.py make FOLDER
    sfumato train FOLDER --minutes 5 --out RUN
    sfumato sample RUN --count 1000 --seed 0 --out SAMPLES
    python benchmarks/greys.py recognise SAMPLES

The images are scikit-learn's digits (8x8), enlarged, rotated, scaled, sheared and bent, 1,000 for each class. The
classifier is trained on images made from other digits than the training images.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter, map_coordinates
from sklearn.datasets import load_digits
from sklearn.svm import SVC

SIDE = 28
COUNT = 10_000


def bent(digit: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Enlarges an 8x8 digit to 28x28 pixels, about 22 pixels tall, and distorts it: uint8."""
    turn, scale = random.normal(0, 0.1), np.exp(random.normal(0, 0.06, 2))
    shear = np.array([[1, random.normal(0, 0.1)], [0, 1]])
    matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) @ shear @ np.diag(scale)
    grid = np.mgrid[:SIDE, :SIDE].reshape(2, -1) - (SIDE - 1) / 2 + random.normal(0, 0.7, (2, 1))
    waves = gaussian_filter(random.uniform(-1, 1, (2, SIDE, SIDE)), (0, 4, 4)) * 12
    places = matrix @ (grid + waves.reshape(2, -1)) * 8 / 23 + 3.5
    values = map_coordinates(digit / 16, places, order=3).reshape(SIDE, SIDE)
    sharp = 1 / (1 + np.exp(-12 * (values - 0.45)))
    return np.asarray(255 * sharp, np.uint8)


def greys(train: bool, count: int = COUNT) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, 28, 28) and their classes, made from 80 % of the digits or from the others."""
    digits = load_digits()
    chosen = np.flatnonzero((np.arange(len(digits.target)) % 5 != 0) == train)
    random = np.random.default_rng(int(train))
    by_class = [chosen[digits.target[chosen] == label] for label in range(10)]
    labels = np.arange(count) % 10
    images = [bent(digits.images[random.choice(by_class[label])], random) for label in labels]
    return np.stack(images), labels


def make(folder: Path) -> None:
    """Writes the images into one folder per class."""
    for index, (image, label) in enumerate(zip(*greys(train=True), strict=True)):
        (folder / str(label)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / str(label) / f"{index:05d}.png")


def recognise(folder: Path) -> None:
    """Prints the fractions of samples and of real images that are recognised as their class."""
    rows = [json.loads(line) for line in (folder / "images" / "metadata.jsonl").read_text().splitlines()]
    samples = np.stack([np.asarray(Image.open(folder / "images" / row["file_name"])) for row in rows])
    train, train_labels = greys(train=True)
    classifier = SVC(gamma="scale", C=10).fit(flat(train), train_labels)
    real, real_labels = greys(train=False, count=1000)
    for name, images, labels in (
        ("real images", real, real_labels),
        ("samples", samples, [int(row["label"]) for row in rows]),
    ):
        print(f"{classifier.score(flat(images), labels):.1%} of {len(images)} {name} are recognised")


def flat(images: np.ndarray) -> np.ndarray:
    """Flattens images to (n, 784) in [0, 1]."""
    return images.reshape(len(images), -1) / 255


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=["make", "recognise"])
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    {"make": make, "recognise": recognise}[options.verb](options.folder)


if __name__ == "__main__":
    main()
