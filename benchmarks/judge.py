"""A judge: a classifier of the classes of the data, whose features are used for Frechet distances.

    python benchmarks/judge.py train CIFAR/train --test CIFAR/test --out JUDGE
    python benchmarks/judge.py score SAMPLES CIFAR/test --judge JUDGE
    python benchmarks/judge.py score SAMPLES CIFAR/test --features efficientnet --data CIFAR/train

`train` writes JUDGE/judge-a.safetensors (the weights) and JUDGE/judge-a.npz (mean and covariance of the features of the
training images, without flips). `score` prints the Frechet distance of each set of images (an .npz or a folder) to
those training images, or to the images of --data with any features of `sfumato eval`. --judge and --features take
several names, each of which is a column of the table. Compare values only within a column, and only for equal numbers
of samples.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from table import markdown
from torch import Tensor, nn

from sfumato.data import ImageSet, load_images
from sfumato.metrics import features_for, frechet_distance, register_features
from sfumato.metrics.moments import Moments, moments_of
from sfumato.metrics.reference import reference_moments

Judge = Callable[[Tensor], float]
"""Frechet distance of images uint8 (n, 3, h, w) to the data."""

NAME = "judge-a"
SHIFT = 4
"""Maximum shift of a training image in pixels (augmentation)."""
LEARNING_RATE = 0.4
"""Peak learning rate for a batch size of 512."""
CHUNK = 500
"""Batch size of evaluation."""


class Block(nn.Module):
    """Pre-activation residual block of two convolutions."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.b1, self.c1 = nn.BatchNorm2d(inputs), nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.b2, self.c2 = nn.BatchNorm2d(outputs), nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        changes = inputs != outputs or stride != 1
        self.sc = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if changes else None

    def forward(self, x: Tensor) -> Tensor:
        """Features with `outputs` channels, downsampled by `stride`."""
        active = F.relu(self.b1(x))
        shortcut: Tensor = x if self.sc is None else self.sc(active)
        return shortcut + self.c2(F.relu(self.b2(self.c1(active))))


class Classifier(nn.Module):
    """A wide residual network, WRN-22-4 (Zagoruyko and Komodakis, arXiv 1605.07146)."""

    def __init__(self, classes: int = 10, widths: tuple[int, ...] = (64, 128, 256), blocks: int = 3) -> None:
        super().__init__()
        self.c = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        layers, inputs = [], 16
        for level, width in enumerate(widths):
            for block in range(blocks):
                layers.append(Block(inputs, width, 2 if level and not block else 1))
                inputs = width
        self.l = nn.Sequential(*layers)
        self.bn, self.fc = nn.BatchNorm2d(inputs), nn.Linear(inputs, classes)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (n, classes) and features (n, 256) of images (n, 3, h, w) in [-1, 1]."""
        features = F.relu(self.bn(self.l(self.c(images)))).mean((2, 3))
        return self.fc(features), features


def floats(pixels: Tensor) -> Tensor:
    """Converts uint8 images to floats in [-1, 1]."""
    return pixels.float() / 127.5 - 1


def augment(images: Tensor) -> Tensor:
    """Mirrors each image (n, c, h, w) with probability 1/2 and shifts it by up to `SHIFT` pixels, reflected outside."""
    count, _, height, width = images.shape
    device = images.device
    padded = F.pad(images, [SHIFT] * 4, mode="reflect")
    tops, lefts = torch.randint(2 * SHIFT + 1, (2, count, 1), device=device)
    rows, columns = torch.arange(height, device=device) + tops, torch.arange(width, device=device) + lefts
    mirrored = torch.rand(count, 1, device=device) < 0.5
    columns = torch.where(mirrored, columns.flip(1), columns)
    index = torch.arange(count, device=device)[:, None, None]
    return padded.permute(0, 2, 3, 1)[index, rows[:, :, None], columns[:, None]].permute(0, 3, 1, 2)


def fit(network: Classifier, pixels: Tensor, labels: Tensor, epochs: int, batch: int) -> None:
    """Trains on images uint8 (n, 3, h, w) on one device, and sets the network to evaluation mode."""
    device = pixels.device
    batch = min(batch, len(pixels))
    steps = len(pixels) // batch
    rate = LEARNING_RATE * batch / 512
    optimizer = torch.optim.SGD(network.parameters(), lr=rate, momentum=0.9, nesterov=True, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=rate, total_steps=epochs * steps, pct_start=0.2, cycle_momentum=False
    )
    network.train()
    for epoch in range(epochs):
        for places in torch.randperm(len(pixels), device=device)[: steps * batch].split(batch):
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                logits, _ = network(augment(floats(pixels[places])).contiguous(memory_format=torch.channels_last))
            loss = F.cross_entropy(logits.float(), labels[places], label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        print(f"epoch {epoch + 1} of {epochs}: loss {loss.item():.3f}", flush=True)
    network.eval()


@torch.no_grad()
def moments(network: Classifier, pixels: Tensor) -> Moments:
    """Mean and covariance of the features of images uint8 (n, 3, h, w)."""
    device = next(network.parameters()).device
    return moments_of(network(floats(part.to(device)))[1].cpu() for part in pixels.split(CHUNK))


@torch.no_grad()
def accuracy(network: Classifier, pixels: Tensor, labels: Tensor) -> float:
    """Accuracy on images uint8 (n, 3, h, w)."""
    predicted = torch.cat([network(floats(part))[0].argmax(1) for part in pixels.split(CHUNK)])
    return (predicted == labels).double().mean().item()


def save_judge(network: Classifier, reference: Moments, folder: Path) -> None:
    """Writes a judge for `judge_in`."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {key: value.contiguous().cpu() for key, value in network.state_dict().items()}
    save_file(weights, folder / f"{NAME}.safetensors")
    np.savez(folder / f"{NAME}.npz", mean=reference.mean.numpy(), cov=reference.covariance.numpy())


def judge_in(folder: Path, device: torch.device | str) -> Judge:
    """Frechet distance with the features of the judge in a folder."""
    weights = load_file(folder / f"{NAME}.safetensors")
    network = Classifier(len(weights["fc.bias"]))
    network.load_state_dict({key: value.float() for key, value in weights.items()})
    network.eval().to(device)
    kept = np.load(folder / f"{NAME}.npz")
    mean, covariance = (torch.from_numpy(kept[key]).double() for key in ("mean", "cov"))
    reference = Moments(2, mean, covariance)  # for a count of 2, the scatter is the covariance
    return lambda images: frechet_distance(reference, moments(network, images))


def judge_by(name: str, data: ImageSet, device: torch.device | str) -> Judge:
    """Frechet distance to the images of `data` with features of `sfumato eval`."""
    features = features_for(register_features(name))
    reference = reference_moments(data, features, device)

    def judge(images: Tensor) -> float:
        rows = (features(floats(part.to(device))).cpu() for part in images.split(CHUNK))
        return frechet_distance(reference, moments_of(rows))

    return judge


def train(arguments: argparse.Namespace) -> None:
    """Trains and writes a judge, and prints its accuracy."""
    data, device = load_images(arguments.data), torch.device(arguments.device)
    assert data.label_names, f"{arguments.data} has no classes; a judge needs one folder per class"
    torch.manual_seed(arguments.seed)
    network = Classifier(len(data.label_names)).to(device, memory_format=torch.channels_last)
    pixels = data.images.to(device)
    fit(network, pixels, data.labels.to(device), arguments.epochs, arguments.batch)
    save_judge(network, moments(network, pixels), arguments.out)
    if arguments.test:
        test = load_images(arguments.test)
        share = accuracy(network, test.images.to(device), test.labels.to(device))
        distance = judge_in(arguments.out, device)(test.images)
        print(f"{len(test):,} test images: {share:.2%} correct, Frechet distance {distance:.4f}")


def score(arguments: argparse.Namespace) -> None:
    """Prints a table of distances, with a row for each set of images and a column for each judge."""
    device = arguments.device
    judges = {str(folder): judge_in(folder, device) for folder in arguments.judge}
    if arguments.features:
        data = load_images(arguments.data)
        judges |= {name: judge_by(name, data, device) for name in arguments.features}
    rows = []
    for samples in arguments.samples:
        images = load_images(samples).images
        row: dict[str, object] = {"images": samples, "count": len(images)}
        rows.append(row | {name: f"{judge(images):.4f}" for name, judge in judges.items()})
    print(markdown(rows))


def main() -> None:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(required=True)
    training = verbs.add_parser("train", help="train a judge")
    training.add_argument("data", help="RGB images in one folder per class, such as CIFAR-10")
    training.add_argument("--out", type=Path, required=True, help="output folder")
    training.add_argument("--test", help="images of the same classes, to measure the accuracy")
    training.add_argument("--epochs", type=int, default=30)
    training.add_argument("--batch", type=int, default=512)
    training.add_argument("--seed", type=int, default=0)
    training.set_defaults(run=train)
    scoring = verbs.add_parser("score", help="print Frechet distances")
    scoring.add_argument("samples", nargs="+", help=".npz file or folder of samples")
    scoring.add_argument("--judge", type=Path, nargs="+", default=[], help="folders from `train`")
    scoring.add_argument("--features", nargs="+", default=[], help="features such as efficientnet; requires --data")
    scoring.add_argument("--data", help="reference images of --features")
    scoring.set_defaults(run=score)
    for verb in (training, scoring):
        verb.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    if arguments.run is score and not (arguments.judge or arguments.features):
        parser.error("name --judge FOLDER or --features NAME")
    if arguments.run is score and arguments.features and not arguments.data:
        parser.error("--features requires --data")
    arguments.run(arguments)


if __name__ == "__main__":
    main()
