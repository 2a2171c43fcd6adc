"""Without a compiler networks run eagerly, and a message is printed."""

import shutil
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest
import torch

from sfumato.diffusion.denoiser import PreconditionedDenoiser, predict_velocity
from sfumato.diffusion.schedules import LinearBeta
from sfumato.networks import region
from sfumato.networks.region import Region, missing_compiler
from sfumato.networks.unet import UNet, UNetConfig
from sfumato.sampling import acceleration
from sfumato.sampling.acceleration import accelerated
from sfumato.training import engine
from sfumato.training.config import OptimizationConfig, TrainConfig

TOOLS = {
    ("linux", "cuda"): ("triton", "Triton"),
    ("win32", "cuda"): ("triton", "Triton"),
    ("linux", "cpu"): ("g++", "a C++ compiler"),
    ("darwin", "cpu"): ("clang++", "a C++ compiler"),
    ("darwin", "mps"): ("clang++", "a C++ compiler"),
    ("win32", "cpu"): ("cl", "a C++ compiler"),
}
"""What compiles for a device, by operating system and device, and what it is called."""


@pytest.mark.parametrize(("system", "device"), TOOLS)
@pytest.mark.parametrize("is_there", [True, False])
def test_the_missing_compiler_is_named(
    system: str, device: str, is_there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool, title = TOOLS[system, device]
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(shutil, "which", lambda name: name if is_there and name == tool else None)
    monkeypatch.setattr(region, "find_spec", lambda name: ModuleSpec(name, None) if is_there and name == tool else None)
    assert missing_compiler(torch.device(device)) == (None if is_there else title)


def test_sampling_continues_uncompiled(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(acceleration, "missing_compiler", lambda _: "Triton")
    monkeypatch.setattr(Region, "compile", lambda *_, **__: pytest.fail("a region is compiled"))
    unet = UNet(UNetConfig(1, 8, (1,), 1, (0,), dropout=0.0, classes=0))
    model = PreconditionedDenoiser(unet, LinearBeta(timesteps=50), predict_velocity, (1, 8, 8))
    fast = accelerated(model, 2, precision="bfloat16", compiled=True)
    assert capsys.readouterr().err.splitlines() == [
        "sfumato: the network is not compiled, so this is slower: Triton is not installed."
    ]
    assert fast(torch.zeros(2, 1, 8, 8), torch.tensor(0.5, dtype=torch.float64)).isfinite().all()


@pytest.mark.parametrize(("images", "said"), [(10**6, 1), (100, 0)])
def test_training_continues_uncompiled(images: int, said: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "missing_compiler", lambda _: "Triton")
    monkeypatch.setattr(engine, "compile_regions", lambda *_: pytest.fail("a network is compiled"))
    sentences: list[str] = []
    config = TrainConfig("photos", optimization=OptimizationConfig(images=images))
    network = UNet(UNetConfig(1, 8, (1,), 1, (0,), dropout=0.0, classes=0))
    engine.prepare(network, config, tmp_path, sentences.append)
    assert sentences == ["The network is not compiled, so training is slower: Triton is not installed."] * said
