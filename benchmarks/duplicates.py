"""Time and memory of `sfumato inspect` for many small images, with and without the search for near-duplicates.

    python benchmarks/duplicates.py [--counts 5000 25000] [--former SRC]

Creates PNG files of 24x24 pixels, of which every 50th is nearly equal to the one before it. After decoding, inspects
each set again, each time in a new process. With `--former SRC`, the `src` folder of another checkout is measured too,
and the script prints whether both find the same groups.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 24
EVERY = 50
"""Interval of near-duplicates."""

CHILD = """
import hashlib, json, resource, sys, time
from pathlib import Path
import torch
from sfumato.reports.inspection import inspect
torch.set_num_threads(1)
folder, cache, near = sys.argv[1:]
inspect(folder, near_duplicates=False, cache=Path(cache)) if near == "decode" else None
begun = time.process_time()
found = inspect(folder, near_duplicates=near == "near", cache=Path(cache))
groups = hashlib.sha256(json.dumps([found.same, found.alike]).encode()).hexdigest()
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps([time.process_time() - begun, peak, len(found.alike or []), groups]))
"""


def make_images(folder: Path, count: int) -> None:
    """Writes PNG files with smooth colours."""
    folder.mkdir()
    random = np.random.default_rng(0)
    pixels = np.zeros((SIDE, SIDE, 3), np.uint8)
    for index in range(count):
        if index % EVERY == EVERY - 1:
            pixels = (pixels + random.integers(-3, 4, pixels.shape)).clip(0, 255).astype(np.uint8)
        else:
            coarse = Image.fromarray(random.integers(0, 256, (5, 5, 3), dtype=np.uint8))
            pixels = np.asarray(coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC))
        Image.fromarray(pixels).save(folder / f"{index:07d}.png")


def inspected(folder: Path, cache: Path, near: str, source: Path | None) -> tuple[float, float, int, str]:
    """CPU time in seconds, peak memory in MiB, groups of near-duplicates, and a hash of all groups."""
    environment = os.environ if source is None else os.environ | {"PYTHONPATH": str(source)}
    command = [sys.executable, "-c", CHILD, str(folder), str(cache), near]
    output = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    seconds, peak, count, groups = json.loads(output.splitlines()[-1])
    return seconds, peak, count, groups


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=int, nargs="+", default=[5000, 25000])
    parser.add_argument("--former", type=Path)
    options = parser.parse_args()
    sources = {"this": None} | ({"former": options.former} if options.former else {})
    print("| images | code | near duplicates | processor time | peak memory | groups |")
    print("| --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as place:
        for count in options.counts:
            folder = Path(place) / str(count)
            make_images(folder, count)
            groups = set()
            for name, source in sources.items():
                cache = Path(place) / f"cache-{name}"
                inspected(folder, cache, "decode", source)
                for near in ("without", "near"):
                    seconds, peak, found, each = inspected(folder, cache, near, source)
                    print(f"| {count:,} | {name} | {near} | {seconds:.1f} s | {peak:.0f} MiB | {found} |", flush=True)
                groups.add(each)
            if options.former:
                print(f"groups of {count:,} images: {'equal' if len(groups) == 1 else 'NOT equal'}")


if __name__ == "__main__":
    main()
