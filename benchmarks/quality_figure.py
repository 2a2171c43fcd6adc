"""Draws docs/images/quality.png from what `quality.py` measured: the distance against minutes of training.

    python benchmarks/quality_figure.py benchmarks/results docs/images/quality.png

The peer was measured on an H100; tuned by hand without a graph, on an H200 (docs/benchmarks.md).
"""

import json
import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

Points = dict[float, float]
"""The least distance after each number of minutes."""

BY_HAND: Points = {3.0: 1.86}
"""diffusers tuned by hand, 417,000 images: the anchor of the H200."""


def points(file: Path, maker: str, classes: bool = False) -> Points:
    """Of the best sampler of each run of at most 50 evaluations an image, with or without classes."""
    best: Points = {}
    for row in map(json.loads, file.read_text().splitlines()):
        if row["model"].startswith(maker) and ("classes" in row["model"]) == classes and row["evaluations"] <= 50:
            best[row["minutes"]] = min(row["FD"], best.get(row["minutes"], row["FD"]))
    return dict(sorted(best.items()))


def real_distance(file: Path) -> float:
    """The distance of the real test images."""
    found = [float(row["FD"]) for row in map(json.loads, file.read_text().splitlines()) if row["model"] == "test set"]
    if not found:
        sys.exit(f"{file} has no row of the test set, as quality.py prints it with --test.")
    return found[0]


def main(results: Path, picture: Path) -> None:
    """Ours beside the peer's."""
    figure, axes = plt.subplots(figsize=(5.2, 3.6), layout="constrained")
    captured, ours = results / "quality_h100.jsonl", results / "quality_h200.jsonl"
    for series, label, marker, beside in (
        (BY_HAND, "diffusers, tuned by hand (H200)", "D", (7, 5)),
        (points(captured, "diffusers"), "the same in one CUDA graph (H100)", "s--", (-6, -17)),
        (points(ours, "sfumato"), "sfumato train --minutes (H200)", "o-", (7, 5)),
        (points(ours, "sfumato", classes=True), "the same, with classes (H200)", "*", (7, 5)),
    ):
        axes.plot(list(series), list(series.values()), marker, markersize=8, label=label)
        for minutes, distance in series.items():
            axes.annotate(f"{distance:.2g}", (minutes, distance), xytext=beside, textcoords="offset points")
    axes.axhline(real_distance(ours), color="grey", linestyle=":", label="real test images")
    axes.set(xlabel="minutes of training on one GPU", ylabel="Frechet distance, 10,000 samples", title="CIFAR-10")
    axes.set(xscale="log", xlim=(0.4, 40), yscale="log", ylim=(0.02, 8))
    axes.set_xticks([0.5, 1, 3, 10, 20], ["0.5", "1", "3", "10", "20"])
    axes.set_yticks([0.03, 0.1, 0.3, 1, 3], ["0.03", "0.1", "0.3", "1", "3"])
    axes.minorticks_off()
    axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 0.05))
    figure.savefig(picture, dpi=130)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
