"""Tries to break sfumato: random kills and signals, a full disk, corrupted files, hostile images.

    python benchmarks/faults.py --quick     about two minutes on two cores
    python benchmarks/faults.py             about an hour

Prints a table: campaign, tried, passed, what failed. The same --seed tries the same faults, but for the instants of
kills and signals, which depend on the machine. Exits with code 1 if anything failed.
"""

import argparse
import io
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from sfumato.cli import main as run_here
from sfumato.models import BEST, images_seen
from sfumato.training.measurements import read_metrics
from sfumato.training.runs import checkpoints
from sfumato.training.state import KIND
from sfumato.utils.files import read_tensors

TRAIN = [
    *("train", "digits", "--preset", "tiny", "--width", "8", "--multipliers", "1", "--blocks", "1", "--device", "cpu"),
    *("--batch", "16", "--images", "320", "--save-minutes", "0", "--validate-every", "80", "--autoguidance-at", "0.4"),
    *("--autoguidance-min-steps", "1", "--preview-count", "2", "--preview-steps", "5", "--validation-count", "10"),
]
"""A run of 20 steps, saved at each, with looks, a guide and a best model."""

SLOWEST = 60.0
"""Seconds that a command may take to refuse a file."""

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    said: str


class Lab:
    """A folder for all trials, and what an undisturbed run leaves."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.random = folder, random.Random(seed)
        os.environ["SFUMATO_CACHE"] = str(folder / "cache")
        self.whole = folder / "whole"
        begun = time.monotonic()
        ended = self.train(self.whole)
        self.seconds = time.monotonic() - begun
        if ended.code:
            raise SystemExit(f"The undisturbed run failed: {ended.said}")
        self.left = what_is_left(self.whole)

    def train(self, out: Path, after: float | None = None, by: int = 0, most: int | None = None) -> Ended:
        """Trains in a process of its own.

        Args:
            out: the run directory.
            after: seconds after which it gets a signal; None: never.
            by: that signal.
            most: bytes of its largest file; None: any.
        """

        def limit() -> None:
            if most is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

        command = [sys.executable, "-m", "sfumato", *TRAIN, "--out", str(out)]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, preexec_fn=limit
        ) as process:
            if after is not None:
                try:
                    process.wait(after)
                except subprocess.TimeoutExpired:
                    process.send_signal(by)
            said, _ = process.communicate()
        return Ended(process.returncode, said)

    def goes_on(self, out: Path) -> str:
        """What is wrong with a disturbed run after the same command was given again; nothing: empty."""
        ended = self.train(out)
        if ended.code:
            return f"does not go on: {last_line(ended.said)}"
        differing = [name for name, value in what_is_left(out).items() if value != self.left[name]]
        return f"other {', '.join(differing)}" if differing else ""

    def new(self) -> Path:
        """A path that is not there."""
        out = self.folder / "trial"
        shutil.rmtree(out, ignore_errors=True)
        return out


def what_is_left(run: Path) -> dict[str, Any]:
    """What a finished run holds, without times."""
    tensors, _ = read_tensors(checkpoints(run)[0], KIND)
    return {
        "state": {name: tensor.tolist() for name, tensor in tensors.items()},
        "model": (run / "model" / "model.safetensors").read_bytes(),
        "guide": (run / "model" / "guide.safetensors").read_bytes(),
        "best model": images_seen(run / BEST),
        "measurements": [m for m in read_metrics(run) if m["kind"] != "train"],
        "previews": sorted(path.name for path in (run / "samples").iterdir()),
    }


def last_line(text: str) -> str:
    return (text.strip().splitlines() or ["nothing said"])[-1][:200]


def kills(lab: Lab) -> str:
    """A run killed at a random instant, then given again."""
    out = lab.new()
    lab.train(out, lab.random.uniform(0, lab.seconds), signal.SIGKILL)
    return lab.goes_on(out)


def timesteps(lab: Lab) -> str:
    """A run stopped by Ctrl-C, SIGTERM or a closed terminal, then given again."""
    out, by = lab.new(), lab.random.choice(STOPS)
    ended = lab.train(out, lab.random.uniform(0.3, lab.seconds), by)
    if ended.code not in (0, 128 + by, -by):
        return f"{by.name}: code {ended.code}: {last_line(ended.said)}"
    return f"{by.name}: a traceback" if "Traceback" in ended.said else lab.goes_on(out)


def full_disk(lab: Lab) -> str:
    """A run of which no file can grow beyond some size, then given again without that limit."""
    out = lab.new()
    largest = max(path.stat().st_size for path in lab.whole.rglob("*") if path.is_file())
    ended = lab.train(out, most=lab.random.randrange(largest + 1))
    if "Traceback" in ended.said or ended.code not in (0, 2):
        return f"code {ended.code}: {last_line(ended.said)}"
    return lab.goes_on(out)


def corrupted(lab: Lab) -> str:
    """A run of which one file is changed, and a command that reads it."""
    out = lab.new()
    shutil.copytree(lab.whole, out)
    file = lab.random.choice(
        sorted(path for path in out.rglob("*") if path.suffix in (".toml", ".json", ".jsonl", ".safetensors"))
    )
    file.write_bytes(damaged(file.read_bytes(), lab.random))
    verb = lab.random.choice(
        [
            ["show", str(out)],
            ["show", str(out / BEST), "--json"],
            ["sample", str(out), "--count", "1", "--steps", "3", "--device", "cpu", "--out", str(lab.folder / "drawn")],
            [*TRAIN, "--out", str(out)],
        ]
    )
    shutil.rmtree(lab.folder / "drawn", ignore_errors=True)
    wrong = sentence_or_success(verb)
    return f"{file.relative_to(out)}, {verb[0]}: {wrong}" if wrong else ""


FORMATS = {"png": "PNG", "jpg": "JPEG", "gif": "GIF", "bmp": "BMP", "webp": "WEBP", "tif": "TIFF"}


def hostile_images(lab: Lab) -> str:
    """A folder of good images and damaged ones, inspected."""
    folder = lab.new()
    folder.mkdir()
    suffix = lab.random.choice(list(FORMATS))
    for number in range(6):
        pixels = np.random.default_rng(lab.random.randrange(2**32)).integers(0, 256, (12, 12, 3), np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, FORMATS[suffix])
        content = buffer.getvalue() if number < 3 else damaged(buffer.getvalue(), lab.random)
        (folder / f"{number}.{suffix}").write_bytes(content)
    pictures = str(lab.folder / "inspected")
    wrong = sentence_or_success(["inspect", str(folder), "--size", "12", "--out", pictures])
    return f"{suffix}: {wrong}" if wrong else ""


def damaged(content: bytes, random: random.Random) -> bytes:
    """A file cut short, with some bytes changed, inserted or removed, or of zeros."""
    if not content:
        return bytes(random.randrange(1, 100))
    place = random.randrange(len(content))
    changed = bytearray(content)
    match random.randrange(6):
        case 0:
            return content[:place]
        case 1:
            for _ in range(random.choice((1, 4, 30))):
                changed[random.randrange(len(changed))] = random.randrange(256)
        case 2:
            changed[place:place] = random.randbytes(random.randrange(1, 200))
        case 3:
            del changed[place : place + random.randrange(1, 200)]
        case 4:
            return bytes(len(content))
        case _:
            return random.randbytes(len(content))
    return bytes(changed)


def sentence_or_success(arguments: list[str]) -> str:
    """What is wrong with how a command ends in this process, where no net catches what it raises."""
    said, begun = io.StringIO(), time.monotonic()
    try:
        with redirect_stdout(said), redirect_stderr(said):
            code = run_here(arguments)
    except SystemExit as left:
        code = int(left.code or 0)
    except Exception as error:  # what a person would have seen as a traceback
        return f"{type(error).__name__}: {error}"[:200]
    if code not in (0, 2):
        return f"code {code}: {last_line(said.getvalue())}"
    return f"{time.monotonic() - begun:.0f} s" if time.monotonic() - begun > SLOWEST else ""


CAMPAIGNS: dict[str, tuple[Callable[[Lab], str], int, int]] = {
    "kill -9 at a random instant": (kills, 100, 4),
    "Ctrl-C, SIGTERM, SIGHUP": (timesteps, 60, 3),
    "full disk": (full_disk, 60, 3),
    "corrupted files of a run": (corrupted, 1000, 60),
    "hostile images": (hostile_images, 1000, 60),
}
"""Each with the number of its trials, and that of the quick ones."""


def rows(lab: Lab, names: list[str], is_quick: bool, trials: int | None) -> Iterator[tuple[str, int, list[str]]]:
    """Each campaign, how often it was tried, and what failed."""
    for name in names:
        trial, many, few = CAMPAIGNS[name]
        count = trials or (few if is_quick else many)
        yield name, count, [wrong for wrong in (trial(lab) for _ in range(count)) if wrong]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few trials of each")
    parser.add_argument("--trials", type=int, help="so many of each")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=list(CAMPAIGNS), default=list(CAMPAIGNS))
    parser.add_argument("--json", type=Path, help="write what failed to this file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    failures: dict[str, list[str]] = {}
    with tempfile.TemporaryDirectory(prefix="sfumato-faults-") as folder:
        print("| campaign | tried | passed | what failed |\n| --- | --- | --- | --- |", flush=True)
        for name, tried, failed in rows(Lab(Path(folder), options.seed), options.only, options.quick, options.trials):
            failures[name] = failed
            reasons = "<br>".join(sorted(set(failed))) or "nothing"
            print(f"| {name} | {tried:,} | {tried - len(failed):,} | {reasons} |", flush=True)
    if options.json:
        options.json.write_text(json.dumps(failures, indent=2))
    return 1 if any(failures.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
