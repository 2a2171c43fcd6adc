"""Trains a small classifier on images in classes, and exports it as features that `sfumato eval` measures in.

    python examples/features.py digits --out digits.pt2

The file is a program of torch.export: from RGB images (n, 3, H, W) in [-1, 1], of any n, to two tensors, logits
(n, classes) and features (n, 128). Features of a network that knows the images tell more than pixels do; and as it
knows the classes, it can say how often a sample is what was asked for.
"""

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sfumato.data import ImageSet, load_images, split
from sfumato.metrics import Features, features_for
from sfumato.metrics.features import as_rgb
from sfumato.utils.shapes import UNLABELLED

WIDTH = 128
HOLDOUT = 0.2


class Classifier(nn.Module):
    """Three convolutions, each after the first at half the size; features are their averages over the image."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        sides = [(3, 32, 1), (32, 64, 2), (64, WIDTH, 2)]
        self.layers = nn.Sequential(
            *(
                nn.Sequential(nn.Conv2d(i, o, 3, stride, padding=1, bias=False), nn.BatchNorm2d(o), nn.ReLU())
                for i, o, stride in sides
            )
        )
        self.head = nn.Linear(WIDTH, classes)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and features, in this order."""
        features = self.layers(images).mean((2, 3))
        return self.head(features), features


def trained(images: ImageSet, epochs: int) -> Classifier:
    """A classifier of these images, in evaluation mode."""
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
    return network.eval()


def export(network: Classifier, path: Path, height: int, width: int) -> None:
    """Writes the network for images of this size, and any number of them."""
    example = torch.zeros(2, 3, height, width)
    program = torch.export.export(network, (example,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
    torch.export.save(program, path)


def accuracy(features: Features, images: ImageSet) -> float:
    """The share of images that the file's network puts into their class."""
    logits = features.outputs(images.floats()).logits
    return (logits.argmax(1) == images.labels).double().mean().item()


def main() -> None:
    """Trains, exports, and judges what was exported."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="a folder with one folder a class, or another source of images; or: digits")
    parser.add_argument("--out", type=Path, default=Path("features.pt2"))
    parser.add_argument("--size", help="such as 64, for images of several sizes")
    parser.add_argument("--epochs", type=int, default=6)
    options = parser.parse_args()

    images = load_images(options.data, size=options.size)
    if not images.label_names:
        parser.error(f"{options.data} has no classes. Sort the images into folders, one a class.")
    training, held_out = split(images, HOLDOUT, seed=0)
    _, height, width = images.image_shape
    export(trained(training, options.epochs), options.out, height, width)

    features = features_for(options.out)
    right = accuracy(features, held_out)
    print(f"{options.out}: {features.width} features; right on {right:.1%} of {len(held_out)} images it has not seen.")
    print(f"Use it with: sfumato eval RUN {options.data} --features {options.out}")


if __name__ == "__main__":
    main()
