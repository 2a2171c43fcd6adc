"""ONNX files: the same estimates as PyTorch, metadata with which others can sample, and errors."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

import sfumato as sf
from exchange.small_models import KINDS, model_of, small_model
from sfumato.diffusion.denoiser import PARAMETRIZATIONS, PreconditionedDenoiser
from sfumato.diffusion.schedules import build_schedule
from sfumato.errors import ConfigError, LabelError, RunError
from sfumato.exchange import onnx as exchange_onnx
from sfumato.exchange.onnx import to_onnx
from sfumato.models import Model, ModelConfig
from sfumato.networks.custom import CustomConfig, register_network
from sfumato.sampling.sampler import ImageNoise

FAST = "unet, data, columns"
"""The kind of model in `make test`."""


def random_labels(model: Model, count: int) -> Tensor | None:
    """Labels of all kinds, unknown ones included."""
    if model.columns:
        rows = torch.stack([torch.randint(0, 2, (count,)).float(), torch.randn(count)], 1)
        return rows.masked_fill(torch.rand(rows.shape) < 0.3, torch.nan)
    return torch.randint(-1, len(model.label_names), (count,)) if model.label_names else None


def run(session: onnxruntime.InferenceSession, **inputs: Tensor | None) -> Tensor:
    """The output of the graph."""
    (found,) = session.run(None, {name: value.numpy() for name, value in inputs.items() if value is not None})
    return torch.from_numpy(found)


@pytest.mark.parametrize(
    "kind", [FAST, *(pytest.param(each, marks=pytest.mark.slow) for each in KINDS if each != FAST)]
)
def test_the_estimates_are_those_of_pytorch(kind: str, tmp_path: Path) -> None:
    model, file = small_model(kind), tmp_path / "model.onnx"
    assert to_onnx(model, file) < 2e-5
    session = onnxruntime.InferenceSession(file)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        for count in (1, 2, 7):
            t = torch.rand(count).clamp(min=model.schedule.earliest)
            x_t, label = torch.randn(count, *model.image_shape), random_labels(model, count)
            with torch.no_grad():
                expected = model(x_t, t.double(), label)
            found = run(session, x_t=x_t, t=t, label=label)
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * max(1, expected.abs().max().item()))


@pytest.mark.slow
def test_the_metadata_are_sufficient_for_sampling(tmp_path: Path) -> None:
    model, file = small_model("unet, noise, classes"), tmp_path / "model.onnx"
    to_onnx(model, file)
    session = onnxruntime.InferenceSession(file)
    metadata = session.get_modelmeta().custom_metadata_map
    table, labels = json.loads(metadata["timesteps"]), json.loads(metadata["labels"])
    x = table["sigma"][0] * ImageNoise(5, [0], model.image_shape)()
    for i in range(len(table["t"]) - 1):
        alpha, sigma = table["alpha"], table["sigma"]
        x0_hat = run(session, x_t=x, t=torch.tensor([table["t"][i]]), label=torch.tensor([labels.index("b")]))
        x0_hat = x0_hat.clamp(-1, 1)
        x = alpha[i + 1] * x0_hat + sigma[i + 1] * (x - alpha[i] * x0_hat) / sigma[i]  # DDIM
    expected = sf.sample(model, 1, labels="b", solver="ddim", steps=20, seed=5)
    torch.testing.assert_close(x, expected, rtol=0, atol=1e-4)
    assert tuple(json.loads(metadata["image_shape"])) == model.image_shape
    assert metadata["schedule"] == repr(model.schedule)
    assert metadata["weights"] == "float32"


@pytest.mark.slow
def test_float16_halves_the_file_and_reports_the_error(tmp_path: Path) -> None:
    model, files = small_model("convnet, edm, columns"), (tmp_path / "float32.onnx", tmp_path / "float16.onnx")
    exact, rounded = to_onnx(model, files[0]), to_onnx(model, files[1], half=True)
    weights = 4 * sum(parameter.numel() for parameter in model.parameters())
    assert files[0].stat().st_size - files[1].stat().st_size > 0.4 * weights
    assert exact < 2e-5 < rounded < 5e-3


def test_differences_are_relative_to_the_estimates_of_the_same_image() -> None:
    """An error of 0.01 in the second image, while the estimates of the first reach 150."""
    node = helper.make_node("Identity", ["x_t"], ["x0_hat"])
    x_t, x0_hat = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 1, 1, 1]) for name in ("x_t", "x0_hat"))
    t = helper.make_tensor_value_info("t", TensorProto.FLOAT, ["n"])
    proto = helper.make_model(
        helper.make_graph([node], "identity", [x_t, t], [x0_hat]), opset_imports=[helper.make_opsetid("", 18)]
    )
    proto.ir_version = 10
    images = torch.tensor([150.0, 0.5]).reshape(2, 1, 1, 1)
    inputs = exchange_onnx._Inputs(images, torch.tensor([1.0, 0.5]), None)
    expected = images + torch.tensor([0.015, 0.01]).reshape(2, 1, 1, 1)
    error = exchange_onnx._largest_error(proto.SerializeToString(), [inputs], [expected])
    assert error == pytest.approx(0.01, rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("parametrization", ["noise", "velocity"])
def test_coefficients_of_a_shifted_schedule_are_precise(parametrization: str, tmp_path: Path) -> None:
    """Alpha is 2e-5 at t = 1, where onnxruntime's sigmoid is 0."""
    schedule = build_schedule("cosine", shift=2.0)
    model = PreconditionedDenoiser(Plain(), schedule, PARAMETRIZATIONS[parametrization], (1, 8, 8)).eval()
    assert to_onnx(model, tmp_path / "model.onnx") < 1e-4
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    t = torch.cat([torch.linspace(0, 1, 1001), torch.linspace(0.99, 1, 100)])
    x_t = ImageNoise(0, range(len(t)), (1, 8, 8))()
    with torch.no_grad():
        expected = model(x_t, t.double())
    difference = (run(session, x_t=x_t, t=t) - expected).abs() / expected.abs().amax((1, 2, 3), True).clamp(min=1)
    assert difference.max() < (1e-4 if parametrization == "noise" else 1e-5)


def test_a_network_without_estimates_for_images_without_class_is_an_error(tmp_path: Path) -> None:
    class NeedsClass(Plain):
        def forward(self, x: Tensor, time: Tensor, labels: Tensor | None) -> Tensor:  # type: ignore[override]
            if labels is None or bool((labels < 0).any()):
                raise LabelError("there is no class", "Give a class.")
            return super().forward(x, time, None)

    schedule = build_schedule("linear")
    model = PreconditionedDenoiser(NeedsClass(), schedule, PARAMETRIZATIONS["noise"], (1, 8, 8), ("a", "b"))
    with pytest.raises(ConfigError, match=r"no estimate for images without a class, which an ONNX file must contain"):
        to_onnx(model, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_weights_beyond_float16_are_an_error(tmp_path: Path) -> None:
    model = small_model("convnet, edm, columns")
    with torch.no_grad():
        next(model.network.parameters()).fill_(1e5)
    with pytest.raises(ConfigError, match=r"weight is too large for float16\. Export without --half"):
        to_onnx(model, tmp_path / "no.onnx", half=True)
    assert not (tmp_path / "no.onnx").exists()


class Plain(nn.Module):
    """A network from outside the package."""

    def __init__(self, channels: int = 1) -> None:
        super().__init__()
        self.layer = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, time: Tensor, _labels: None) -> Tensor:
        """Output of the network."""
        return torch.as_tensor(self.layer(x) + time[:, None, None, None] / 1000)


class Branching(Plain):
    """A network with a branch on values."""

    def forward(self, x: Tensor, time: Tensor, _labels: None) -> Tensor:
        """Output of the network."""
        return super().forward(x, time, None) if x.mean() > 0 else x


class FixedBatch(Plain):
    """A network that fixes the batch size."""

    def forward(self, x: Tensor, time: Tensor, _labels: None) -> Tensor:
        """Output of the network."""
        return super().forward(x, time, None) + torch.zeros(len(x), 1, 1, 1)


def custom_model(network: type[nn.Module]) -> Model:
    architecture = register_network(network)
    config = CustomConfig(architecture, image_channels=1, size=(8, 8))
    return model_of(ModelConfig(config, "linear", False, 1.0, "noise", (1, 8, 8), ()))


@pytest.mark.slow
def test_a_network_from_outside_is_exported(tmp_path: Path) -> None:
    assert to_onnx(custom_model(Plain), tmp_path / "plain.onnx") < 2e-5


@pytest.mark.slow
@pytest.mark.parametrize("network", [Branching, FixedBatch])
def test_a_network_that_onnx_cannot_express_is_an_error(network: type[nn.Module], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"(cannot be expressed in ONNX|cannot run the exported).*x\.shape\[0\]"):
        to_onnx(custom_model(network), tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_file_with_other_estimates_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(b"before")
    real: Any = exchange_onnx.denoiser_graph

    def wrong(*arguments: object) -> object:
        proto = real(*arguments)
        for node in proto.graph.node:
            if node.op_type == "Sigmoid":
                node.op_type = "Tanh"
        return proto

    monkeypatch.setattr(exchange_onnx, "denoiser_graph", wrong)
    with pytest.raises(ConfigError, match=r"differ by .* from those of PyTorch, more than 0\.0001"):
        to_onnx(small_model("convnet, flow, augmentation"), file)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"before"]


def test_a_network_that_is_too_large_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange_onnx, "MAX_BYTES", 100)
    with pytest.raises(ConfigError, match="too large for one ONNX file"):
        to_onnx(small_model("unet, noise, classes"), tmp_path / "model.onnx")


@pytest.mark.usefixtures("unchecked")
def test_a_wrapper_is_an_error(tmp_path: Path) -> None:
    guided = sf.guidance.ClassifierFree(small_model("unet, noise, classes"), 2.0)
    with pytest.raises(ConfigError, match=r"ClassifierFree cannot be exported to ONNX.*guidance is chosen"):
        to_onnx(guided, tmp_path / "model.onnx")  # type: ignore[arg-type]


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(RunError, match=r"needs onnxscript, which is not installed.*pip install 'sfumato\[onnx\]'"):
        to_onnx(small_model("unet, noise, classes"), tmp_path / "model.onnx")


def test_examples_have_the_noise_level_of_their_times() -> None:
    model = small_model("unet, velocity, zero terminal SNR, odd sizes")
    assert exchange_onnx._example(model, 1).t == 0
    x_t, t, label = exchange_onnx._example(model, 5)
    assert (t[0], label) == (1, None)
    assert np.isclose(x_t[0].std().item(), 1, atol=0.2)
    assert x_t[-1].abs().max() < 1.2
