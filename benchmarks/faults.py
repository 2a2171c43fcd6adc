"""Fault injection: random kills and signals, a full disk, corrupted files and hostile images.

    python benchmarks/faults.py --quick     about two minutes on two cores
    python benchmarks/faults.py             about an hour

Prints a table: campaign, trials, passed, failures. The same --seed injects the same faults, except for the times of
kills and signals, which depend on the machine. Exits with code 1 after any failure.
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
from sfumato.training.run_directory import checkpoints
from sfumato.training.state import CHECKPOINT_KIND
from sfumato.utils.files import read_tensors

TRAIN = [
    *("train", "digits", "--preset", "tiny", "--width", "8", "--multipliers", "1", "--blocks", "1", "--device", "cpu"),
    *("--batch", "16", "--images", "320", "--save-minutes", "0", "--validate-every", "80", "--autoguidance-at", "0.4"),
    *("--autoguidance-min-steps", "1", "--preview-count", "2", "--preview-steps", "5", "--validation-count", "10"),
]
"""A run of 20 steps, with a checkpoint after each, validations, a guidance checkpoint and a best model."""

TIME_LIMIT = 60.0
"""Seconds that a command may take to reject a file."""

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Outcome(NamedTuple):
    """Exit code and output of a command."""

    code: int
    output: str


class Lab:
    """A folder for all trials, and the result of a run without faults."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.random = folder, random.Random(seed)
        os.environ["SFUMATO_CACHE"] = str(folder / "cache")
        self.whole = folder / "whole"
        start = time.monotonic()
        outcome = self.train(self.whole)
        self.seconds = time.monotonic() - start
        if outcome.code:
            raise SystemExit(f"The run without faults failed: {outcome.output}")
        self.expected = run_contents(self.whole)

    def train(self, out: Path, after: float | None = None, by: int = 0, most: int | None = None) -> Outcome:
        """Trains in a new process.

        Args:
            out: run directory.
            after: seconds until a signal is sent; None: no signal.
            by: the signal.
            most: maximum file size in bytes; None: no limit.
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
            output, _ = process.communicate()
        return Outcome(process.returncode, output)

    def resume(self, out: Path) -> str:
        """Resumes a run after a fault. Returns the failure, or an empty string."""
        outcome = self.train(out)
        if outcome.code:
            return f"does not resume: {last_line(outcome.output)}"
        differing = [name for name, value in run_contents(out).items() if value != self.expected[name]]
        return f"different {', '.join(differing)}" if differing else ""

    def new(self) -> Path:
        """A path that does not exist."""
        out = self.folder / "trial"
        shutil.rmtree(out, ignore_errors=True)
        return out


def run_contents(run: Path) -> dict[str, Any]:
    """Contents of a finished run, without times."""
    tensors, _ = read_tensors(checkpoints(run)[0], CHECKPOINT_KIND)
    return {
        "state": {name: tensor.tolist() for name, tensor in tensors.items()},
        "model": (run / "model" / "model.safetensors").read_bytes(),
        "guidance checkpoint": (run / "model" / "guidance.safetensors").read_bytes(),
        "best model": images_seen(run / BEST),
        "metrics": [m for m in read_metrics(run) if m["kind"] != "train"],
        "previews": sorted(path.name for path in (run / "samples").iterdir()),
    }


def last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no output"])[-1][:200]


def kills(lab: Lab) -> str:
    """A run that is killed at a random time and resumed."""
    out = lab.new()
    lab.train(out, lab.random.uniform(0, lab.seconds), signal.SIGKILL)
    return lab.resume(out)


def signals(lab: Lab) -> str:
    """A run that is stopped by Ctrl-C, SIGTERM or a closed terminal, and resumed."""
    out, by = lab.new(), lab.random.choice(STOP_SIGNALS)
    outcome = lab.train(out, lab.random.uniform(0.3, lab.seconds), by)
    if outcome.code not in (0, 128 + by, -by):
        return f"{by.name}: code {outcome.code}: {last_line(outcome.output)}"
    return f"{by.name}: a traceback" if "Traceback" in outcome.output else lab.resume(out)


def full_disk(lab: Lab) -> str:
    """A run with a limit of the file size, resumed without the limit."""
    out = lab.new()
    largest = max(path.stat().st_size for path in lab.whole.rglob("*") if path.is_file())
    outcome = lab.train(out, most=lab.random.randrange(largest + 1))
    if "Traceback" in outcome.output or outcome.code not in (0, 2):
        return f"code {outcome.code}: {last_line(outcome.output)}"
    return lab.resume(out)


def corrupted(lab: Lab) -> str:
    """A command that reads a run with one damaged file."""
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
    failure = unexpected_end(verb)
    return f"{file.relative_to(out)}, {verb[0]}: {failure}" if failure else ""


FORMATS = {"png": "PNG", "jpg": "JPEG", "gif": "GIF", "bmp": "BMP", "webp": "WEBP", "tif": "TIFF"}


def hostile_images(lab: Lab) -> str:
    """`inspect` of a folder with valid and damaged images."""
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
    failure = unexpected_end(["inspect", str(folder), "--size", "12", "--out", pictures])
    return f"{suffix}: {failure}" if failure else ""


def damaged(content: bytes, random: random.Random) -> bytes:
    """Truncates content, or changes, inserts or removes bytes, or replaces all of them."""
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


def unexpected_end(arguments: list[str]) -> str:
    """Runs a command in this process. Returns the failure, or an empty string after success or exit code 2."""
    output, start = io.StringIO(), time.monotonic()
    try:
        with redirect_stdout(output), redirect_stderr(output):
            code = run_here(arguments)
    except SystemExit as left:
        code = int(left.code or 0)
    except Exception as error:  # a user would see a traceback
        return f"{type(error).__name__}: {error}"[:200]
    if code not in (0, 2):
        return f"code {code}: {last_line(output.getvalue())}"
    seconds = time.monotonic() - start
    return f"{seconds:.0f} s" if seconds > TIME_LIMIT else ""


CAMPAIGNS: dict[str, tuple[Callable[[Lab], str], int, int]] = {
    "kill -9 at a random time": (kills, 100, 4),
    "Ctrl-C, SIGTERM, SIGHUP": (signals, 60, 3),
    "full disk": (full_disk, 60, 3),
    "corrupted files of a run": (corrupted, 1000, 60),
    "hostile images": (hostile_images, 1000, 60),
}
"""Trial, number of trials, and number of trials with --quick, of each campaign."""


def rows(lab: Lab, names: list[str], is_quick: bool, trials: int | None) -> Iterator[tuple[str, int, list[str]]]:
    """Yields name, number of trials and failures of each campaign."""
    for name in names:
        trial, many, few = CAMPAIGNS[name]
        count = trials or (few if is_quick else many)
        yield name, count, [failure for failure in (trial(lab) for _ in range(count)) if failure]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few trials per campaign")
    parser.add_argument("--trials", type=int, help="trials per campaign")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=list(CAMPAIGNS), default=list(CAMPAIGNS))
    parser.add_argument("--json", type=Path, help="write the failures to this file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    failures: dict[str, list[str]] = {}
    with tempfile.TemporaryDirectory(prefix="sfumato-faults-") as folder:
        print("| campaign | trials | passed | failures |\n| --- | --- | --- | --- |", flush=True)
        for name, tried, failed in rows(Lab(Path(folder), options.seed), options.only, options.quick, options.trials):
            failures[name] = failed
            reasons = "<br>".join(sorted(set(failed))) or "none"
            print(f"| {name} | {tried:,} | {tried - len(failed):,} | {reasons} |", flush=True)
    if options.json:
        options.json.write_text(json.dumps(failures, indent=2))
    return 1 if any(failures.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
