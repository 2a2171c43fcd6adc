"""Web page that samples images in the browser: static files, for any web server."""

import base64
import hashlib
import json
import secrets
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import torch

from sfumato.data.conditions import FARTHEST, Category, Column
from sfumato.diffusion.denoiser import PreconditionedDenoiser
from sfumato.errors import ConfigError, RunError, SamplingError
from sfumato.exchange.onnx import STEPS, evaluation_copy, onnx_content, timestep_table
from sfumato.sampling.sampler import ImageNoise

PAGE = Path(__file__).with_name("web")
"""The files of the page."""

RUNTIME = "onnxruntime-web"
RUNTIME_VERSION = "1.30.0"
CDN = f"https://cdn.jsdelivr.net/npm/{RUNTIME}@{RUNTIME_VERSION}/dist/"

RUNTIME_FILES = {
    "webgpu": {
        "script": {
            "file": "ort.webgpu.bundle.min.mjs",
            "integrity": "sha384-1ntMeyj+z5diX6vBR5h+zlJBPc4iNvhCxE6nlammh8daBYcLBZkzrwDkuJjhwI+f",
        },
        "wasm": {
            "file": "ort-wasm-simd-threaded.asyncify.wasm",
            "integrity": "sha384-EPVDLTxuO663dkZO/pcKJF6vOyyfq/5z9FY1oksN0UWFX2ABH4wDDZQHeNoUleWR",
        },
    },
    "wasm": {
        "script": {
            "file": "ort.wasm.bundle.min.mjs",
            "integrity": "sha384-PLWz+nHEVHpjwBsO0YVdvQj6n5814Iv8E3b8FG0Rp/uIAtjFMCKOpP66iPzedrIG",
        },
        "wasm": {
            "file": "ort-wasm-simd-threaded.wasm",
            "integrity": "sha384-vjBJ1z7qrhkTyYsNqKeF6c7N+nOJSU94czEo+tvZcu8G75JparGq9kB+kTnEUNVM",
        },
    },
}
"""Script and WebAssembly of the runtime for each device, with their hashes (Subresource Integrity)."""

NETWORK, DESCRIPTION = "model.onnx", "model.json"
MIN_STEPS, MAX_STEPS = 3, 50
FORMAT = "sfumato-web-1"


def to_web(model: PreconditionedDenoiser, folder: Path, runtime: str | Path | None = None, half: bool = False) -> float:
    """Writes a web page that samples from a model: HTML, CSS, JavaScript, the ONNX file and a JSON description.

    The page samples with `dpm-2m` on its default time grid. The same seed, label, steps and guidance scale give image 0
    of `sf.sample(..., solver="dpm-2m")` in Python. A guidance checkpoint is not included.

    Args:
        model: model from `load` or `sf.train`, without wrappers.
        folder: folder to create.
        runtime: folder with the files of onnxruntime-web (the unpacked npm package), which are copied. None: the page
            loads them from a public server (`CDN`).
        half: whether to store the weights in float16, which halves the file.

    Returns:
        The largest difference of the ONNX file from PyTorch, as `to_onnx`.

    Raises:
        ConfigError: a model that cannot be exported (see `to_onnx`), or a schedule with too few timesteps.
        RunError: a package is missing, or `runtime` has other files.
    """
    files = {} if runtime is None else _runtime_files(Path(runtime))
    model = evaluation_copy(model)
    network, error = onnx_content(model, half)
    description = _description(model) | {
        "network": {"file": NETWORK, "bytes": len(network), "integrity": _integrity(network)},
        "runtime": {"folder": f"{RUNTIME}/" if files else CDN} | RUNTIME_FILES,
    }
    files |= {file.name: file.read_bytes() for file in PAGE.iterdir()}
    files |= {NETWORK: network, DESCRIPTION: json.dumps(description, allow_nan=False).encode()}
    folder.mkdir()
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    return error


def _description(model: PreconditionedDenoiser) -> dict[str, Any]:
    """What the page needs to know of the model: shape, labels, time grids, and an estimate for comparison."""
    grids = {}
    for steps in range(MIN_STEPS, MAX_STEPS + 1):
        with suppress(SamplingError):  # too many steps for this schedule
            grids[steps] = timestep_table(model, steps)
    if not grids:
        raise ConfigError("the schedule has too few timesteps for the page", "Export to ONNX instead.")
    steps = min(STEPS, max(grids))
    return {
        "format": FORMAT,
        "shape": model.image_shape,
        "opacity": model.depth.opacity,
        "label_column": model.label_column,
        "labels": model.label_names,
        "columns": [_column(column) for column in model.columns],
        "steps": steps,
        "timesteps": grids,
        "check": _check(model, grids[steps]),
    }


def _column(column: Column) -> dict[str, Any]:
    """A column of conditions; for a number with the limits of the values that Python accepts."""
    if isinstance(column, Category):
        return asdict(column)
    reach = FARTHEST * column.deviation
    return asdict(column) | {"min": column.mean - reach, "max": column.mean + reach}


def _check(model: PreconditionedDenoiser, grid: dict[str, list[float]]) -> dict[str, float]:
    """Mean and deviation of the clipped estimate from the noise of seed 0, with which the page compares its own."""
    middle = len(grid["t"]) // 2
    t, sigma = grid["t"][middle], grid["sigma"][middle]
    x_t = sigma * ImageNoise(0, [0], model.image_shape)()
    with torch.no_grad():
        estimate = model(x_t, torch.tensor([t], dtype=torch.float64)).clamp(-1, 1)
    return {"t": t, "sigma": sigma, "mean": estimate.mean().item(), "deviation": estimate.std(correction=0).item()}


def _runtime_files(folder: Path) -> dict[str, bytes]:
    """The files of the runtime in a folder or in its subfolder `dist`, compared with their hashes."""
    remedy = (
        f"Give the folder of version {RUNTIME_VERSION} of {RUNTIME}: npm pack {RUNTIME}@{RUNTIME_VERSION}, unpacked."
    )
    folder = folder / "dist" if (folder / "dist").is_dir() else folder
    files = {}
    for wanted in (file for device in RUNTIME_FILES.values() for file in device.values()):
        path = folder / wanted["file"]
        try:
            content = path.read_bytes()
        except OSError as error:
            raise RunError(f"{path} could not be read: {error.strerror}", remedy) from error
        if _integrity(content) != wanted["integrity"]:
            raise RunError(f"{path} is not that of {RUNTIME} {RUNTIME_VERSION}", remedy)
        files[f"{RUNTIME}/{path.name}"] = content
    return files


def _integrity(content: bytes) -> str:
    """Hash for the browser's check (Subresource Integrity)."""
    return "sha384-" + base64.b64encode(hashlib.sha384(content).digest()).decode()


class _Handler(SimpleHTTPRequestHandler):
    """Serves the files of one folder, with the headers that WebAssembly needs to use several threads."""

    server: "_Server"
    extensions_map = {  # noqa: RUF012 (as in the base class)
        ".css": "text/css; charset=utf-8",
        ".html": "text/html; charset=utf-8",
        ".js": "text/javascript; charset=utf-8",
        ".json": "application/json",
        ".mjs": "text/javascript; charset=utf-8",
        ".wasm": "application/wasm",
        "": "application/octet-stream",
    }

    def send_head(self) -> Any:  # noqa: ANN401 (as in the base class)
        """Answers only requests that name this computer and have the token.

        Other pages therefore cannot read the files under their own name, nor can other users of this computer.
        """
        host, _, port = self.headers.get("Host", "").rpartition(":")
        token, _, path = self.path.removeprefix("/").partition("/")
        is_local = host in ("127.0.0.1", "localhost") and port == str(self.server.server_port)
        if not (is_local and secrets.compare_digest(token.encode(), self.server.token.encode())):
            return self.send_error(403)
        self.path = f"/{path}"
        return super().send_head()

    def list_directory(self, path: Any) -> None:  # noqa: ANN401
        """Shows no folder."""
        del path
        self.send_error(404)

    def end_headers(self) -> None:
        """Adds cross-origin isolation."""
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: ANN401
        """Prints nothing."""


class _Server(ThreadingHTTPServer):
    """Server on this computer that ignores requests which the browser gives up.

    Attributes:
        token: first part of the path of all requests.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), partial(_Handler, directory=str(folder)))
        self.token = secrets.token_urlsafe(16)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 (as in the base class)
        """Reports all errors but closed connections."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@contextmanager
def serve(folder: str | Path) -> Iterator[str]:
    """Serves a page on this computer only, at a free port, until the end of the context.

    Args:
        folder: folder written by `to_web`.

    Yields:
        The address of the page, with a token that changes each time.

    Raises:
        RunError: the folder has no page.
    """
    folder = Path(folder)
    if not (folder / "index.html").is_file():
        raise RunError(f"{folder} contains no page", "Create it: sfumato export RUN OUT --to web.")
    server = _Server(folder)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/{server.token}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
