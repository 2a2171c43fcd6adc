"""The files of the page and the server that shows them, without a browser."""

from __future__ import annotations

import http.client
import json
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from exchange.small_models import small_model
from sfumato.errors import RunError
from sfumato.exchange import web
from sfumato.exchange.web import CDN, PAGE, RUNTIME_FILES, serve, to_web
from sfumato.sampling.sampler import sampler_config


def test_the_page_is_small() -> None:
    scripts = [file.read_text() for file in PAGE.glob("*.js")]
    assert len(scripts) == 3
    assert sum(text.count("\n") for text in scripts) < 400
    assert CDN.startswith("https://")


@pytest.fixture
def _no_onnx(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replaces the ONNX file."""
    monkeypatch.setattr(web, "onnx_content", lambda *_: (b"network", 1e-6))


@pytest.mark.usefixtures("_no_onnx")
def test_the_reference_estimate_is_that_of_evaluation_in_float32(tmp_path: Path) -> None:
    model = small_model("unet, noise, classes")
    to_web(model, tmp_path / "eval")
    to_web(model.half().train(), tmp_path / "train")
    checks = [json.loads((tmp_path / name / "model.json").read_text())["check"] for name in ("eval", "train")]
    assert checks[1] == pytest.approx(checks[0], abs=1e-3)
    assert model.training


@pytest.mark.usefixtures("_no_onnx")
def test_the_time_grids_are_those_of_the_sampler(tmp_path: Path) -> None:
    model = small_model("convnet, edm, discrete schedule")
    to_web(model, tmp_path / "page")
    grids = json.loads((tmp_path / "page" / "model.json").read_text())["timesteps"]
    assert list(grids) == [str(steps) for steps in range(3, 51)]
    for steps in (3, 20, 50):
        t = sampler_config(model.schedule, solver="dpm-2m", steps=steps).timesteps
        assert grids[str(steps)]["t"] == t.tolist()
        assert grids[str(steps)]["sigma"] == model.schedule.sigma(t).tolist()


def test_a_runtime_of_another_version_is_an_error(tmp_path: Path) -> None:
    model, runtime = small_model("unet, noise, classes"), tmp_path / "package"
    runtime.mkdir()
    with pytest.raises(RunError, match=r"ort\.webgpu\S+ could not be read: No such.*npm pack onnxruntime-web@"):
        to_web(model, tmp_path / "page", runtime)
    (runtime / "dist").mkdir()
    for device in RUNTIME_FILES.values():
        for file in device.values():
            (runtime / "dist" / file["file"]).write_text("other")
    with pytest.raises(RunError, match=r"dist/ort\.webgpu\S+ is not that of onnxruntime-web"):
        to_web(model, tmp_path / "page", runtime)
    (runtime / "dist" / "ort.webgpu.bundle.min.mjs").unlink()
    (runtime / "dist" / "ort.webgpu.bundle.min.mjs").mkdir()
    with pytest.raises(RunError, match="could not be read: Is a directory"):
        to_web(model, tmp_path / "page", runtime)
    assert not (tmp_path / "page").exists()


@pytest.mark.parametrize(
    ("path", "status", "kind"),
    [
        ("/", 200, "text/html; charset=utf-8"),
        ("/app.js", 200, "text/javascript; charset=utf-8"),
        ("/style.css", 200, "text/css; charset=utf-8"),
        ("/part/a.mjs", 200, "text/javascript; charset=utf-8"),
        ("/part/a.wasm", 200, "application/wasm"),
        ("/part/a.onnx", 200, "application/octet-stream"),
        ("/part/a.json", 200, "application/json"),
        ("/part/", 404, None),
        ("/../secret", 404, None),
        ("/%2e%2e/secret", 404, None),
    ],
)
def test_the_server_serves_the_folder(tmp_path: Path, path: str, status: int, kind: str | None) -> None:
    (tmp_path / "secret").touch()
    (tmp_path / "page" / "part").mkdir(parents=True)
    for name in ("index.html", "app.js", "style.css", *(f"part/a.{end}" for end in ("mjs", "wasm", "onnx", "json"))):
        (tmp_path / "page" / name).touch()
    with serve(tmp_path / "page") as url:
        address = urlsplit(url)
        assert address.hostname == "127.0.0.1"
        connection = http.client.HTTPConnection(address.netloc, timeout=10)
        connection.request("GET", address.path.rstrip("/") + path)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == status
        if status == 200:
            assert answer.headers["Content-Type"] == kind
        assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert answer.headers["Cross-Origin-Embedder-Policy"] == "require-corp"
        connection.close()
        for wrong, headers in ((address.path.rstrip("/") + path, {"Host": f"example.org:{address.port}"}), (path, {})):
            connection.request("GET", wrong, headers=headers)
            assert connection.getresponse().status == 403
            connection.close()
    with pytest.raises(ConnectionRefusedError):
        connection.request("GET", path)


def test_a_folder_without_page_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"contains no page.*--to web"), serve(tmp_path):
        pass
