"""Accelerated denoisers: the same estimates with any wrappers; the given model does not change."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from sfumato.data.conditions import Category, Number
from sfumato.diffusion.denoiser import Denoiser, PreconditionedDenoiser, Rescheduled, predict_velocity
from sfumato.diffusion.guidance import AutoGuided, ClassifierFree, Labelled, Observed, WithinLevels
from sfumato.diffusion.schedules import Flow, LinearBeta
from sfumato.networks.unet import UNet, UNetConfig
from sfumato.sampling.acceleration import CapturedNetwork, accelerated
from sfumato.sampling.sampler import default_sampler, sample, sample_batches, sampler_config

CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
DEVICES = ["cpu", pytest.param("cuda", marks=CUDA)]

KINDS = {
    "nothing": {},
    "classes": {"classes": 2},
    "columns": {"columns": (2, 0)},
}


def network(seed: int = 0, width: int = 8, **more: object) -> UNet:
    """A small UNet whose output is not zero."""
    torch.manual_seed(seed)
    settings = {"multipliers": (1, 2), "blocks": 1, "attention_levels": (1,), "dropout": 0.5, "classes": 0}
    unet = UNet(UNetConfig(image_channels=3, width=width, **settings | more))  # type: ignore[arg-type]
    for parameter in unet.parameters():
        nn.init.normal_(parameter, std=0.1)
    return unet


def model(kind: str = "classes", seed: int = 0, width: int = 8) -> PreconditionedDenoiser:
    """A small model."""
    names = ("a", "b") if kind == "classes" else ()
    columns = (Category("colour", ("red", "blue")), Number("age", 30.0, 10.0, 0.0, 60.0)) if kind == "columns" else ()
    made = network(seed, width, **KINDS[kind])
    return PreconditionedDenoiser(made, LinearBeta(), predict_velocity, (3, 8, 8), names, columns)


def labels(kind: str, images: int) -> Tensor | None:
    """Labels of that kind, some of which say nothing."""
    if kind == "nothing":
        return None
    if kind == "classes":
        return torch.arange(images) % 3 - 1
    return (
        torch.stack([torch.arange(images) % 2, torch.linspace(-1, 1, images)], 1)
        .float()
        .index_fill(0, torch.tensor([0]), math.nan)
    )


def guided(made: PreconditionedDenoiser) -> dict[str, Denoiser]:
    """The model in each kind of wrapper."""
    other = model(seed=1, width=4)
    return {
        "free": ClassifierFree(made, 2.0, 0.5),
        "auto": AutoGuided(made, other, 2.0),
        "itself": AutoGuided(made, made, 2.0),
        "interval": WithinLevels(ClassifierFree(made, 3.0), 0.3, 5.0),
        "interval of another": WithinLevels(AutoGuided(made, other, 2.0), 0.3, math.inf),
        "rescheduled": Rescheduled(ClassifierFree(made, 2.0), Flow()),
        "watched": Observed(made, lambda _: None),
    }


WRAPPERS = list(guided(model()))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("images", [1, 3, 4, 5, 8])
def test_a_captured_network_equals_the_plain_network(kind: str, images: int, device: str) -> None:
    plain = network(**KINDS[kind]).eval().to(device)
    captured = CapturedNetwork(plain, 4, "float32")
    for seed in range(3):
        torch.manual_seed(seed)
        x, times = torch.randn(images, 3, 8, 8, device=device), torch.rand(images, device=device) * 1000
        told = None if (rows := labels(kind, images)) is None else rows.to(device)
        with torch.no_grad():
            torch.testing.assert_close(captured(x, times, told), plain(x, times, told), rtol=1e-4, atol=1e-4)


def test_calls_of_other_sizes_or_labels_are_captured_separately() -> None:
    plain = network(classes=2).eval()
    captured = CapturedNetwork(plain, 2)
    for size in (8, 12, 8):
        for told in (torch.tensor([0, 1]), None, torch.tensor([1, -1])):
            x, times = torch.randn(2, 3, size, size), torch.rand(2)
            with torch.no_grad():
                torch.testing.assert_close(captured(x, times, told), plain(x, times, told))


def test_smaller_batches_are_padded_to_the_captured_size() -> None:
    sizes: list[int] = []

    class Seen(nn.Module):
        def forward(self, x: Tensor, times: Tensor, labels: Tensor | None) -> Tensor:  # noqa: ARG002
            sizes.append(len(x))
            return x

    captured = CapturedNetwork(Seen(), 4)
    for images in (4, 3, 1, 8, 7, 5):
        assert len(captured(torch.zeros(images, 3, 8, 8), torch.zeros(images), None)) == images
    assert sizes == [4, 4, 4, 8, 8, 8]


def test_an_output_is_not_overwritten_by_the_next_call() -> None:
    captured = CapturedNetwork(network().eval(), 2)
    first = captured(torch.zeros(2, 3, 8, 8), torch.zeros(2))
    kept = first.clone()
    captured(torch.ones(2, 3, 8, 8), torch.ones(2))
    assert torch.equal(first, kept)


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_every_network_of_a_guided_model_is_captured_in_a_copy(wrapper: str) -> None:
    """In bfloat16, which a CPU has too: the images are the same to its rounding."""
    plain = guided(model())[wrapper].train()
    networks = {part.network for part in plain.modules() if isinstance(part, PreconditionedDenoiser)}
    fast = accelerated(plain, 4, precision="bfloat16")
    made = [part.network for part in fast.modules() if isinstance(part, PreconditionedDenoiser)]
    assert made
    assert all(isinstance(network, CapturedNetwork) for network in made)
    assert len(made) == len(networks)
    assert not {id(p) for p in fast.parameters()} & {id(p) for p in plain.parameters()}
    sampler = default_sampler(plain, steps=4)
    kinds = ["a", "b", "b"]
    drawn = torch.cat([images for images, _ in sample_batches(fast, 7, sampler, labels=kinds, batch=4)])
    expected = sample(plain, 7, labels=kinds, steps=4)
    assert (drawn - expected).abs().mean() < 0.05
    assert not torch.equal(drawn, expected)
    assert {part.network for part in plain.modules() if isinstance(part, PreconditionedDenoiser)} == networks
    assert all(part.training for part in plain.modules())
    assert type(fast) is type(plain)


def test_later_changes_of_the_model_have_no_effect() -> None:
    plain = model("nothing")
    fast = accelerated(plain, 2, precision="bfloat16")
    before = sample(fast, 2, steps=3)
    nn.init.zeros_(plain.network.stem.weight)
    assert torch.equal(sample(fast, 2, steps=3), before)


def test_networks_are_in_evaluation_mode_while_the_model_trains() -> None:
    fast = accelerated(model("nothing").train(), 2, precision="bfloat16")
    x, t = torch.ones(2, 3, 8, 8), torch.tensor(0.5, dtype=torch.float64)
    assert torch.equal(fast(x, t), fast(x, t))


@pytest.mark.parametrize("precision", ["auto", "float32"])
def test_on_a_cpu_the_model_is_returned_unchanged(precision: str) -> None:
    plain = Labelled(model(), None)
    assert accelerated(plain, 4, precision=precision) is plain


@pytest.mark.usefixtures("unchecked")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.slow
def test_compiled_networks_give_the_same_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Graphs as they are compiled, but run without Inductor, which takes a minute; in bfloat16, as above.

    The compiler does not see through the checks of shapes.
    """
    compile_with = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda module, **how: compile_with(module, backend="aot_eager", **how))
    plain = guided(model())["free"]
    fast = accelerated(plain, 4, precision="bfloat16", compiled=True, cache=tmp_path)
    drawn, expected = (sample(each, 7, labels=["a", "b", "b"], steps=4, batch=4) for each in (fast, plain))
    assert (drawn - expected).abs().mean() < 0.05


@CUDA
@pytest.mark.usefixtures("unchecked")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("precision", "within"), [("float32", 2e-3), ("auto", 0.05)])
@pytest.mark.parametrize(("wrapper", "compiled"), [*((wrapper, False) for wrapper in WRAPPERS), ("free", True)])
def test_on_a_gpu_images_equal_those_of_the_plain_model(
    wrapper: str, compiled: bool, precision: str, within: float
) -> None:
    plain = guided(model())[wrapper].cuda()
    fast = accelerated(plain, 4, precision=precision, compiled=compiled)
    drawn, expected = (sample(each, 7, labels=["a", "b", "b"], steps=6, batch=4) for each in (fast, plain))
    assert (drawn - expected).abs().mean() < within
    again = sample(fast, 7, labels=["a", "b", "b"], steps=6, batch=4)
    assert torch.equal(drawn, again)


@CUDA
@pytest.mark.parametrize("solver", ["ddim", "dpm-2m", "heun", "unipc-3"])
def test_a_step_does_not_wait_for_the_gpu(solver: str) -> None:
    fast = accelerated(model("nothing").cuda(), 4)
    sample(fast, 4, steps=5, solver=solver, batch=4)
    sampler = sampler_config(fast.schedule, steps=5, solver=solver)
    without_waiting(lambda: list(sample_batches(fast, 4, sampler, batch=4)))


def without_waiting(draw: Callable[[], object]) -> None:
    """Runs it; fails if the host waited for the device more often than to fetch the images."""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            draw()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    waits = [warning for warning in warned if "called a synchronizing" in str(warning.message)]
    assert len(waits) == 1
