"""Draws docs/images/quality.png from what `quality.py` measured: the distance against minutes of training.

python benchmarks/quality_figure.py benchmarks/results/quality_h100.jsonl docs/images/quality.png
"""

import json
import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt


def main(measured: Path, picture: Path) -> None:
    """The best sampler of each run at 34 or 35 evaluations, beside the peer's at 50."""
    rows = [json.loads(line) for line in measured.read_text().splitlines()]
    figure, axes = plt.subplots(figsize=(5.2, 3.6), layout="constrained")
    for begins, label, marker in (
        ("diffusers", "diffusers' UNet, tuned by hand, one CUDA graph", "s--"),
        ("sfumato", "sfumato train --minutes", "o-"),
    ):
        best: dict[float, float] = {}
        for row in (row for row in rows if row["model"].startswith(begins)):
            best[row["minutes"]] = min(row["FD"], best.get(row["minutes"], row["FD"]))
        axes.plot(*zip(*sorted(best.items()), strict=True), marker, label=label)
        for minutes, distance in best.items():
            axes.annotate(f"{distance:.2f}", (minutes, distance), xytext=(6, 5), textcoords="offset points")
    axes.set(xlabel="minutes of training on one H100", ylabel="Frechet distance, 10,000 samples", xlim=(0.5, 3.6))
    axes.set(yscale="log", ylim=(0.3, 7), title="CIFAR-10, unconditional")
    axes.set_yticks([0.5, 1, 2, 4], ["0.5", "1", "2", "4"])
    axes.minorticks_off()
    axes.legend(frameon=False, loc="lower left")
    figure.savefig(picture, dpi=130)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
