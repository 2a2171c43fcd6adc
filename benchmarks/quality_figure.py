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


def points(file: Path, maker: str) -> Points:
    """Of the best sampler of each run."""
    best: Points = {}
    for row in map(json.loads, file.read_text().splitlines()):
        if row["model"].startswith(maker):
            best[row["minutes"]] = min(row["FD"], best.get(row["minutes"], row["FD"]))
    return dict(sorted(best.items()))


def main(results: Path, picture: Path) -> None:
    """Ours at 34 or 35 evaluations an image, beside the peer's at 50."""
    figure, axes = plt.subplots(figsize=(5.2, 3.6), layout="constrained")
    for series, label, marker in (
        (BY_HAND, "diffusers, tuned by hand (H200)", "D"),
        (points(results / "quality_h100.jsonl", "diffusers"), "the same in one CUDA graph (H100)", "s--"),
        (points(results / "quality_h200.jsonl", "sfumato"), "sfumato train --minutes (H200)", "o-"),
    ):
        axes.plot(list(series), list(series.values()), marker, label=label)
        for minutes, distance in series.items():
            axes.annotate(f"{distance:.2f}", (minutes, distance), xytext=(6, 5), textcoords="offset points")
    axes.set(xlabel="minutes of training on one GPU", ylabel="Frechet distance, 10,000 samples", xlim=(0.3, 3.6))
    axes.set(yscale="log", ylim=(0.2, 7), title="CIFAR-10, unconditional")
    axes.set_yticks([0.25, 0.5, 1, 2, 4], ["0.25", "0.5", "1", "2", "4"])
    axes.minorticks_off()
    axes.legend(frameon=False, loc="lower left")
    figure.savefig(picture, dpi=130)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
