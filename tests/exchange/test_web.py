"""The web page in Chromium: the images of Python, and use by mouse, keyboard, screen reader and phone."""

from __future__ import annotations

import io
import json
import shutil
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from torch import Tensor

import sfumato as sf
from exchange.chromium import CHROMIUM, Page, browser_page
from exchange.small_models import small_model
from exchange.web_runtime import runtime_folder
from sfumato.diffusion.guidance import ClassifierFree, Clipped, Labelled
from sfumato.exchange.web import RUNTIME, _integrity, serve, to_web
from sfumato.models import Model
from sfumato.sampling.sampler import ImageNoise, sampler_config, trajectory

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (Debian's package is chromium)")
slow = pytest.mark.slow  # the tests with a trained model

IS_FINISHED = "document.getElementById('status').textContent.startsWith('Generated')"
HAS_FAILED = "Boolean(document.querySelector('.error'))"
OFFLINE = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
ASK = """
window.ask = (message, wanted) => new Promise((resolve, reject) => {
  window.asked ??= new Worker("worker.js", { type: "module" });
  const frames = [];
  asked.onmessage = ({ data }) => {
    if (data.error) reject(data.error);
    if (data.image) frames.push(Array.from(data.image));
    if (wanted in data) resolve({ ...data, frames });
  };
  asked.postMessage(message);
});
ask({}, "ready").then((answer) => answer.ready)
"""
"""Starts a worker of its own, which the test asks for images."""


@pytest.fixture(scope="module")
def digits_model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A model that was trained on the digits for a quarter of a minute."""
    folder = tmp_path_factory.mktemp("run") / "digits"
    settings: dict[str, Any] = {"images": 10000, "batch": 32, "width": 16}
    return sf.train("digits", folder, settings, preset="tiny", device="cpu").model


@pytest.fixture(scope="module")
def folder(digits_model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the digits."""
    folder = tmp_path_factory.mktemp("web") / "digits"
    assert to_web(digits_model, folder, runtime_folder()) < 1e-4
    return folder


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """A browser without network."""
    with browser_page(tmp_path_factory.mktemp("profile"), OFFLINE) as page:
        yield page


@pytest.fixture
def digits(folder: Path, page: Page) -> Iterator[Page]:
    """The page of the digits after its first image; there are no errors in the console afterwards."""
    with serve(folder) as url:
        page.problems.clear()
        page.open(url)
        page.wait(IS_FINISHED)
        yield page
        # Without a graphics processor Chromium itself reports that there are no adapters.
        assert not [problem for problem in page.problems if "No available adapters" not in problem]


def images_of(page: Page, model: Model, **settings: object) -> tuple[list[Tensor], float]:
    """The image after each step in the browser, and the seconds that it took."""
    answer: Any = page.run(f"ask({{draw: {json.dumps({'id': 1, **settings})}}}, 'done')")
    return [torch.tensor(frame).reshape(1, *model.image_shape) for frame in answer["frames"]], answer["seconds"]


def states_of(model: Model, noise: Tensor, label: Tensor, steps: int, guidance: float) -> list[Tensor]:
    """The image after each step in Python."""
    sampler = sampler_config(model.schedule, solver="dpm-2m", steps=steps)
    denoiser = Clipped(Labelled(ClassifierFree(model, guidance), label))
    x = model.schedule.sigma(sampler.timesteps[0]).item() * noise
    with torch.no_grad():
        states = trajectory(denoiser, x, sampler.timesteps, sampler.solver, lambda: noise)
        return [state.x_t for state in states]


def text_of(page: Page, element: str) -> object:
    return page.run(f"document.getElementById('{element}').textContent")


@slow
def test_each_step_is_that_of_python_from_the_same_noise(digits: Page, digits_model: Model) -> None:
    ready: Any = digits.run(ASK)
    assert ready == {"device": "wasm", "threads": min(4, int(str(digits.run("navigator.hardwareConcurrency"))))}
    noise = torch.from_numpy(np.random.default_rng(3).standard_normal((1, 1, 8, 8), dtype=np.float32))
    for steps, guidance in ((20, 2.0), (7, 1.0)):
        frames, seconds = images_of(
            digits, digits_model, noise=noise.flatten().tolist(), label=7, steps=steps, guidance=guidance
        )
        expected = states_of(digits_model, noise, torch.tensor([7]), steps, guidance)
        assert len(frames) == steps + 1
        for found, wanted in zip(frames, expected, strict=True):
            torch.testing.assert_close(found, wanted, rtol=0, atol=1e-3)
        assert seconds < 3


@slow
def test_a_seed_is_the_first_image_of_python_and_is_recognised(digits: Page, digits_model: Model) -> None:
    digits.run(ASK)
    data = sf.load_images("digits")
    recognised = 0
    for label, name in enumerate(digits_model.label_names):
        settings = {"seed": 2**40 + label, "label": label, "steps": 15, "guidance": 2.0}
        frames, _ = images_of(digits, digits_model, **settings)
        guided = ClassifierFree(digits_model, 2.0)
        expected = sf.sample(guided, 1, labels=name, solver="dpm-2m", steps=15, seed=2**40 + label)
        torch.testing.assert_close(frames[-1], expected, rtol=0, atol=1e-3)
        nearest = torch.cdist(frames[-1].flatten(1), data.floats().flatten(1)).argmin()
        assert data.labels is not None
        recognised += int(data.labels[nearest] == label)
    assert recognised >= 8


@slow
def test_the_noise_is_that_of_python(digits: Page) -> None:
    digits.run("import(new URL('noise.js', location)).then((noise) => { window.noise = noise })")
    found: Any = digits.run("Array.from(noise.standardNormal(2 ** 53 - 1, 200000, 7))")
    expected = ImageNoise(2**53 - 1, [7], (1, 400, 500))().flatten()
    torch.testing.assert_close(torch.tensor(found), expected, rtol=0, atol=1e-6)


@pytest.fixture(scope="module")
def small_page(tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, Path]:
    """A model of columns of conditions, in colour and not square, and the folder of its page."""
    model, folder = small_model("convnet, edm, columns"), tmp_path_factory.mktemp("web") / "conditions"
    to_web(model, folder, runtime_folder())
    return model, folder


@pytest.fixture(scope="module")
def conditional(small_page: tuple[Model, Path]) -> Iterator[tuple[Model, str]]:
    """The same model and the address of its page."""
    with serve(small_page[1]) as url:
        yield small_page[0], url


@pytest.fixture
def changed(small_page: tuple[Model, Path], tmp_path: Path) -> Path:
    """A copy of the page, for changes."""
    return Path(shutil.copytree(small_page[1], tmp_path / "copy"))


@pytest.mark.parametrize("label", [[1, 0.5], [None, -1.5], [None, None]])
def test_conditions_may_be_unknown(conditional: tuple[Model, str], page: Page, label: list[float | None]) -> None:
    model, url = conditional
    page.open(url)
    page.run(ASK)
    row = torch.tensor([[float("nan") if code is None else code for code in label]])
    noise = ImageNoise(4, [0], model.image_shape)()
    frames, _ = images_of(page, model, seed=4, label=label, steps=5, guidance=1.5)
    for found, wanted in zip(frames, states_of(model, noise, row, 5, 1.5), strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-3 * max(1, wanted.abs().max().item()))


def test_conditions_have_controls(conditional: tuple[Model, str], page: Page) -> None:
    _, url = conditional
    page.open(url)
    page.wait(IS_FINISHED)
    assert page.run("Array.from(document.querySelectorAll('#conditions label'), (label) => label.textContent)") == [
        "Colour",
        "Age (18 to 90)",
    ]
    page.run("document.getElementById('condition-0').value = '1'; document.getElementById('condition-1').value = '40'")
    page.run("document.getElementById('keep').click(); document.getElementById('draw').click()")
    page.wait(IS_FINISHED)
    assert page.run("image.ariaLabel ?? image.getAttribute('aria-label')") == (
        "Image of colour red, age 40, seed 0, step 20 of 20"
    )


def test_numbers_beyond_the_limits_of_python_are_invalid(conditional: tuple[Model, str], page: Page) -> None:
    page.open(conditional[1])
    page.wait(IS_FINISHED)
    for value, is_valid in (("1e6", True), ("-9e6", True), ("1e300", False), ("-2e7", False)):
        page.run(f"document.getElementById('condition-1').value = '{value}'")
        assert page.run("document.getElementById('controls').checkValidity()") == is_valid


def test_noise_is_shown_with_unit_variance(conditional: tuple[Model, str], page: Page) -> None:
    page.open(conditional[1])  # EDM, whose noise has a standard deviation of 80
    page.wait(IS_FINISHED)
    page.run("const step = document.getElementById('step'); step.value = 0; step.dispatchEvent(new Event('input'))")
    pixels: Any = page.run("Array.from(image.getContext('2d').getImageData(0, 0, image.width, image.height).data)")
    colours = np.array(pixels).reshape(-1, 4)[:, :3]
    assert 0.15 < np.isin(colours, (0, 255)).mean() < 0.5  # beyond one standard deviation
    page.run("step.value = 20; step.dispatchEvent(new Event('input'))")
    pixels = page.run("Array.from(image.getContext('2d').getImageData(0, 0, image.width, image.height).data)")
    model = conditional[0]
    expected = model.depth.to_pixels(sf.sample(model, 1, solver="dpm-2m", steps=20))[0].permute(1, 2, 0)
    assert abs(np.array(pixels).reshape(6, 8, 4)[..., :3] - expected.numpy().astype(int)).max() <= 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "could not be loaded: 404"),
        ("{", "model.json is damaged or of another version"),
        ("{}", "Export the page"),
    ],
)
def test_a_broken_description_is_named(changed: Path, page: Page, content: str | None, message: str) -> None:
    if content is None:
        (changed / "model.json").unlink()
    else:
        (changed / "model.json").write_text(content)
    with serve(changed) as url:
        page.open(url)
        page.wait(HAS_FAILED)
        assert message in str(text_of(page, "status"))


@pytest.mark.parametrize(
    ("policy", "is_enough"),
    [
        ("default-src 'self'", False),
        ("default-src 'self'; script-src 'self' blob:", False),
        ("default-src 'self'; script-src 'self' blob: 'wasm-unsafe-eval'", True),
    ],
)
def test_a_strict_policy_of_the_server_is_named(changed: Path, page: Page, policy: str, is_enough: bool) -> None:
    with public_server(changed, {"Content-Security-Policy": policy}) as url:
        page.open(url)
        page.wait(f"{IS_FINISHED} || {HAS_FAILED}")
        assert page.run(HAS_FAILED) != is_enough
        message = "A Content-Security-Policy of the server must allow: script-src 'self' blob: 'wasm-unsafe-eval'"
        assert is_enough or message in str(text_of(page, "status"))


def test_a_new_export_replaces_cached_files(changed: Path, page: Page) -> None:
    with public_server(changed, {"Cache-Control": "max-age=1000"}) as url:
        page.open(url)
        page.wait(IS_FINISHED)
        proto = onnx.load(changed / "model.onnx")
        proto.doc_string = "another export"
        network = proto.SerializeToString()
        (changed / "model.onnx").write_bytes(network)
        description = json.loads((changed / "model.json").read_text())
        description["steps"], description["network"]["integrity"] = 10, _integrity(network)
        (changed / "model.json").write_text(json.dumps(description))
        page.open(f"{url}?again")
        page.wait(f"{IS_FINISHED} || {HAS_FAILED}")
        assert page.run("document.getElementById('steps').value") == "10"


@slow
def test_every_control_is_named_and_reached_by_the_keyboard_in_order(digits: Page) -> None:
    nodes = digits.call("Accessibility.getFullAXTree")["nodes"]
    named = {(node["role"]["value"], node["name"]["value"]) for node in nodes if not node["ignored"] and "name" in node}
    assert {
        *(("image", "Image of label 0, seed 0, step 20 of 20"), ("slider", "Step 20 of 20")),
        *(("combobox", "Label"), ("spinbutton", "Seed"), ("checkbox", "Keep seed"), ("slider", "Steps 20")),
        *(("slider", "Guidance 1.0"), ("button", "Generate"), ("button", "Save PNG"), ("form", "Settings")),
        ("heading", "Image generation"),
    } <= named
    reached = []
    for _ in range(8):
        digits.press("Tab", 9)
        reached.append(digits.run("document.activeElement.id"))
    assert reached == ["step", "condition-0", "seed", "keep", "steps", "guidance", "draw", "save"]
    digits.press("Tab", 9, shift=True)
    assert digits.run("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    digits.press("Enter", 13, text="\r")
    digits.wait("document.getElementById('seed').value !== '0'")
    digits.wait(IS_FINISHED)
    for _ in range(6):
        digits.press("Tab", 9, shift=True)
    digits.press("ArrowLeft", 37)
    assert str(digits.run("document.getElementById('image').getAttribute('aria-label')")).endswith("step 19 of 20")


@slow
def test_the_saved_png_has_the_pixels_of_python(digits: Page, digits_model: Model, tmp_path: Path) -> None:
    digits.call("Page.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    digits.run("document.getElementById('save').click()")
    deadline = time.monotonic() + 20
    while not (files := list(tmp_path.glob("*.png"))) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert [file.name for file in files] == ["label-0-seed-0.png"]
    pixels = np.asarray(Image.open(io.BytesIO(files[0].read_bytes())))
    expected = digits_model.depth.to_pixels(sf.sample(digits_model, 1, labels="0", solver="dpm-2m", steps=20))[0, 0]
    assert pixels.shape == (8, 8, 4)
    assert abs(pixels[..., 0].astype(int) - expected.numpy().astype(int)).max() <= 1
    assert (pixels[..., 3] == 255).all()


@slow
def test_sampling_can_be_stopped(digits: Page) -> None:
    digits.run("document.getElementById('steps').value = 50; document.getElementById('draw').click()")
    digits.wait("document.getElementById('draw').textContent === 'Stop' && document.getElementById('step').value > 1")
    digits.run("document.getElementById('draw').click()")
    digits.wait("document.getElementById('status').textContent === 'Stopped.'")
    assert text_of(digits, "draw") == "Generate"


@pytest.mark.parametrize("file", ["model.onnx", f"{RUNTIME}/ort-wasm-simd-threaded.wasm"])
@slow
def test_a_changed_file_is_not_used(folder: Path, page: Page, tmp_path: Path, file: str) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    content = bytearray((tmp_path / "copy" / file).read_bytes())
    content[-1] ^= 1
    (tmp_path / "copy" / file).write_bytes(content)
    with serve(tmp_path / "copy") as url:
        page.open(url)
        page.wait(HAS_FAILED)
        assert f"{file} could not be loaded, or is not the file that this page was made for." in str(
            text_of(page, "status")
        )
        assert page.run("document.getElementById('draw').disabled")


PUBLIC = {"Access-Control-Allow-Origin": "*"}


@contextmanager
def public_server(folder: Path, headers: Mapping[str, str] = {"Access-Control-Allow-Origin": "*"}) -> Iterator[str]:
    """The address of a server that sends these headers, and does not isolate its pages."""

    class Handler(SimpleHTTPRequestHandler):
        def end_headers(self) -> None:
            for name, value in headers.items():
                self.send_header(name, value)
            super().end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


@slow
def test_the_runtime_may_come_from_another_server(folder: Path, page: Page, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    (tmp_path / "copy" / RUNTIME).rename(tmp_path / "elsewhere")
    with serve(tmp_path / "copy") as url, public_server(tmp_path / "elsewhere") as elsewhere:
        description = json.loads((tmp_path / "copy" / "model.json").read_text())
        assert description["runtime"]["folder"] == f"{RUNTIME}/"
        description["runtime"]["folder"] = elsewhere
        (tmp_path / "copy" / "model.json").write_text(json.dumps(description))
        page.open(url)
        page.wait(IS_FINISHED)
        assert str(text_of(page, "status")).endswith("threads).")


@slow
def test_any_server_shows_the_page_with_one_thread(folder: Path, page: Page) -> None:
    with public_server(folder) as url:
        page.open(url)
        page.wait(IS_FINISHED)
        assert str(text_of(page, "status")).endswith("(CPU, 1 thread).")


@pytest.mark.parametrize(("width", "height", "phone"), [(360, 740, True), (1280, 800, False)])
@slow
def test_the_page_fits_its_window(digits: Page, width: int, height: int, phone: bool) -> None:
    digits.open(str(digits.run("location.href")), width, height, phone)
    digits.wait(IS_FINISHED)
    assert digits.run("document.documentElement.scrollWidth <= innerWidth")
    box: Any = digits.run("document.getElementById('draw').getBoundingClientRect().toJSON()")
    assert 0 <= box["top"] < box["bottom"] <= height
    heights: Any = digits.run("Array.from(document.querySelectorAll('button, select'), (each) => each.offsetHeight)")
    assert min(heights) >= 44
