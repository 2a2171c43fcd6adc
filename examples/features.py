"""Trains a small classifier on images with classes, and saves it as a feature network for `sfumato eval`.

    python examples/features.py digits --out digits.safetensors

The features of a network that was trained on the images describe more than pixels do. As it predicts classes, it also
measures how often a sample has the class that was requested.
"""

import argparse
import sys
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from sfumato.data import ImageSet, load_images, split
from sfumato.metrics import Features, features_for
from sfumato.metrics.features import as_rgb
from sfumato.utils.shapes import UNLABELLED

WIDTH = 128
HOLDOUT = 0.2


class Classifier(nn.Module):
    """Three convolutions, the last two with stride 2. The features are the means of their output over the image.

    Args:
        classes: number of classes.
        weights: file of the weights, which also defines the number of classes; none: random weights.
    """

    def __init__(self, classes: int = 0, weights: str = "") -> None:
        super().__init__()
        tensors = load_file(weights) if weights else {}
        convolutions = [(3, 32, 1), (32, 64, 2), (64, WIDTH, 2)]
        self.layers = nn.Sequential(
            *(
                nn.Sequential(nn.Conv2d(i, o, 3, stride, padding=1, bias=False), nn.BatchNorm2d(o), nn.ReLU())
                for i, o, stride in convolutions
            )
        )
        self.head = nn.Linear(WIDTH, len(tensors["head.bias"]) if weights else classes)
        if weights:
            self.load_state_dict(tensors)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (n, classes) and features (n, 128) of images (n, 3, H, W) in [-1, 1]."""
        features = self.layers(images).mean((2, 3))
        return self.head(features), features


def trained(images: ImageSet, epochs: int) -> Classifier:
    """A classifier trained on the images."""
    torch.manual_seed(0)
    network = Classifier(len(images.label_names))
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=0.01)
    for epoch in range(epochs):
        for places in torch.randperm(len(images)).split(64):
            batch = images.select(places)
            logits, _ = network(as_rgb(batch.floats()))
            loss = F.cross_entropy(logits, batch.labels, ignore_index=UNLABELLED)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        print(f"epoch {epoch + 1} of {epochs}: loss {loss.item():.3f}")
    return network


def accuracy(features: Features, images: ImageSet) -> float:
    """Share of images whose class the network predicts."""
    logits = features.outputs(images.floats()).logits
    return (logits.argmax(1) == images.labels).double().mean().item()


def main() -> None:
    """Trains, saves, and evaluates the saved network on held-out images."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="a folder with one folder per class, or another source of images; or: digits")
    parser.add_argument("--out", type=Path, default=Path("features.safetensors"))
    parser.add_argument("--size", help="such as 64, for images of several sizes")
    parser.add_argument("--epochs", type=int, default=6)
    options = parser.parse_args()

    images = load_images(options.data, size=options.size)
    if not images.label_names:
        parser.error(f"{options.data} has no classes. Sort the images into folders, one per class.")
    training, held_out = split(images, HOLDOUT, seed=0)
    save_file(trained(training, options.epochs).state_dict(), options.out)

    share = accuracy(features_for(partial(Classifier, weights=str(options.out))), held_out)
    print(f"{options.out}: the predicted class of {share:.1%} of {len(held_out)} held-out images is correct.")
    print(f"Use it with: sfumato eval RUN {options.data} --features {sys.argv[0]}:Classifier:weights={options.out}")


if __name__ == "__main__":
    main()
