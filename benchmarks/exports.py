"""File sizes and images per second of each export beside sfumato itself, on the CPU.

    python benchmarks/exports.py --runtime FOLDER

Each model takes 20 steps with one network evaluation, in float32, with all cores. The formats take turns; a number is
the best of the rounds. FOLDER is the unpacked npm package onnxruntime-web (npm pack onnxruntime-web@VERSION); without
it, or without Chromium, the page is left out. The models have random weights: the speed does not depend on them.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from diffusers import DiffusionPipeline

import sfumato as sf
from sfumato.exchange.web import serve

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from exchange.chromium import CHROMIUM, browser_page

STEPS, ROUNDS = 20, 3
MODELS: dict[str, tuple[dict[str, Any], Any, int]] = {
    "preset tiny, 8x8, 10 classes": ({"preset": "tiny"}, "digits", 64),
    "preset default, width 64, 32x32": ({"preset": "default", "width": 64}, 32, 8),
    "preset ddpm, 32x32": ({"preset": "ddpm"}, 32, 2),
}
"""Settings, data set or size, and images of a batch."""

ASK = """
new Promise((resolve, reject) => {
  window.worker ??= new Worker("worker.js", { type: "module" });
  worker.onmessage = ({ data }) => {
    if (data.error) reject(data.error);
    if ("ready" in data || "done" in data) resolve(data);
  };
  worker.postMessage(MESSAGE);
})
"""


def main() -> None:
    """Prints a table of each model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runtime", help="folder of the unpacked npm package onnxruntime-web")
    runtime = parser.parse_args().runtime
    for name, (settings, data, batch) in MODELS.items():
        with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
            home = Path(folder)
            run = train(home / "run", settings, data)
            samplers = {"sfumato": native(run, batch)}
            paths = {"sfumato": run / "model"}
            for to, half in (("diffusers", False), ("onnx", False), ("onnx", True)):
                label = f"{to} --half" if half else to
                paths[label] = home / label
                sf.export(run, paths[label], to, half=half)
                samplers[label] = (pipeline if to == "diffusers" else session)(paths[label], batch)
            if runtime is not None and CHROMIUM is not None:
                sf.export(run, home / "web", "web", runtime=runtime)
                paths["web"] = home / "web"
                samplers["web"] = stack.enter_context(page(home / "web", home / "profile"))
            report(f"{name}, batch {batch}", samplers, paths)


def train(out: Path, settings: dict[str, Any], data: str | int) -> Path:
    """A run of one step."""
    short = settings | {"images": 4, "batch": 4, "preview_count": 1}
    preset = short.pop("preset")
    if isinstance(data, int):
        images = np.random.default_rng(0).integers(0, 256, (64, data, data, 3), dtype=np.uint8)
        sf.train(images, out, short, preset=preset, device="cpu")
    else:
        sf.train(data, out, short, preset=preset, device="cpu")
    return out


Sampler = Callable[[], float]
"""Samples and returns the seconds of one image."""


def timed(count: int, sample: Callable[[], object]) -> Sampler:
    """Times a function that samples `count` images."""

    def seconds() -> float:
        start = time.perf_counter()
        sample()
        return (time.perf_counter() - start) / count

    return seconds


def native(run: Path, batch: int) -> Sampler:
    """`sf.sample`."""
    model = sf.load(run)
    return timed(batch, lambda: sf.sample(model, count=batch, solver="dpm-2m", steps=STEPS, seed=0))


def pipeline(folder: Path, batch: int) -> Sampler:
    """The pipeline of diffusers."""
    drawing = DiffusionPipeline.from_pretrained(folder, trust_remote_code=True)
    drawing.set_progress_bar_config(disable=True)
    options = {} if type(drawing).__name__ == "DDPMPipeline" else {"eta": 0.0}
    return timed(batch, lambda: drawing(batch_size=batch, num_inference_steps=STEPS, **options))


def session(file: Path, batch: int) -> Sampler:
    """DPM-Solver++ (2M) with onnxruntime, on the timesteps in the metadata of the file."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    network = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    notes = network.get_modelmeta().custom_metadata_map
    grid = json.loads(notes["timesteps"])
    t, alpha, sigma = (np.array(grid[name]) for name in ("t", "alpha", "sigma"))
    shape, classes = json.loads(notes["image_shape"]), len(json.loads(notes["labels"]))
    with np.errstate(divide="ignore"):
        half_log_snr = np.log(alpha) - np.log(sigma)
    inputs = {"label": np.arange(batch) % classes} if classes else {}

    def sample() -> np.ndarray:
        x = sigma[0] * np.random.default_rng(0).standard_normal((batch, *shape))
        before = None
        for i in range(len(t) - 1):
            noisy = {"x_t": x.astype(np.float32), "t": np.full(batch, t[i], np.float32)}
            (now,) = network.run(None, noisy | inputs)
            now = now.clip(-1, 1)
            if i + 2 == len(t):
                return now
            h = half_log_snr[i + 1] - half_log_snr[i]
            is_first = before is None or alpha[i - 1] == 0
            ratio = 0 if is_first else h / 2 / (half_log_snr[i] - half_log_snr[i - 1])
            change = now if is_first else now + ratio * (now - before)
            x = sigma[i + 1] / sigma[i] * x - alpha[i + 1] * np.expm1(-h) * change
            before = now
        return x

    return timed(batch, sample)


@contextmanager
def page(folder: Path, profile: Path) -> Iterator[Sampler]:
    """The web page in headless Chromium, which samples one image at a time."""
    with serve(folder) as url, browser_page(profile) as browser:
        browser.open(url)
        browser.run(ASK.replace("MESSAGE", "{}"))
        identifiers = count(1)

        def seconds() -> float:
            draw = {"id": next(identifiers), "seed": 0, "label": None, "steps": STEPS, "guidance": 1}
            answer: Any = browser.run(ASK.replace("MESSAGE", json.dumps({"draw": draw})))
            return float(answer["seconds"])

        yield seconds


def report(title: str, samplers: dict[str, Sampler], paths: dict[str, Path]) -> None:
    """Prints the table of one model."""
    for sampler in samplers.values():
        sampler()  # allocates memory and chooses kernels
    times = {name: min(values) for name, values in rounds(samplers).items()}
    print(f"\n{title}\n\n| | MB | images/s | of sfumato |\n| --- | --- | --- | --- |")
    for name, seconds in times.items():
        ratio = times["sfumato"] / seconds
        print(f"| {name} | {size(paths[name]) / 1e6:.1f} | {1 / seconds:.2f} | {ratio:.2f}x |", flush=True)


def rounds(samplers: dict[str, Sampler]) -> dict[str, list[float]]:
    """Seconds of an image in each round, in which all samplers take turns."""
    times: dict[str, list[float]] = {name: [] for name in samplers}
    for _ in range(ROUNDS):
        for name, sampler in samplers.items():
            times[name].append(sampler())
    return times


def size(path: Path) -> int:
    """Bytes of a file or of the files of a folder."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)


if __name__ == "__main__":
    main()
