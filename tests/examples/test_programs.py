"""The two DDPM programs in examples/ against the package: network, training loss, sampling, and a short run."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn

import sfumato as sf
from sfumato.diffusion import analytic
from sfumato.diffusion.denoiser import Denoiser, PreconditionedDenoiser, Preconditioning, predict_noise
from sfumato.diffusion.guidance import ClassifierFree, Labelled
from sfumato.diffusion.losses import squared_error
from sfumato.sampling.sampler import trajectory
from sfumato.sampling.solvers import DDPM
from sfumato.sampling.solvers.base import noise_in
from sfumato.utils.shapes import Times

EXAMPLES = Path(__file__).parents[2] / "examples"
NAMES = ["ddpm", "ddpm_condition"]
SHAPE = (1, 8, 8)


@pytest.fixture(params=NAMES)
def program(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ModuleType]:
    """One of the programs, freshly imported, which writes to a temporary folder and trains a few steps."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        yield imported(request.param, tmp_path)


@pytest.fixture
def condition(tmp_path: Path) -> Iterator[ModuleType]:
    """The program with classes."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        yield imported("ddpm_condition", tmp_path)


def imported(name: str, out: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.OUT, module.STEPS, module.BATCH, module.SAMPLE_EVERY = out, 16, 8, 1000
    return module


def shorten(program: ModuleType, steps: int) -> None:
    """Sets the number T of diffusion steps."""
    program.T, program.SCHEDULE = steps, sf.schedules.LinearBeta(steps)


def sample(program: ModuleType, network: nn.Module, count: int) -> Tensor:
    """`count` samples; of the program with classes, of the classes 0 and 1 in turn."""
    if program.__name__ == "ddpm":
        return program.sample(network, count, SHAPE, "cpu")
    return program.sample(network, torch.arange(count) % 2, SHAPE)


class Recorder(nn.Module):
    """A small network that records what it is called with."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(0.5))
        self.times: list[Tensor] = []
        self.labels: list[Tensor | None] = []

    def forward(self, x: Tensor, time: Tensor, labels: Tensor | None = None) -> Tensor:
        """Depends on all three."""
        self.times.append(time)
        self.labels.append(labels)
        shift = 0 if labels is None else labels[:, None, None, None] / 10
        return self.scale * x + torch.sin(time)[:, None, None, None] + shift


class NoiseOf(nn.Module):
    """An exact denoiser as a network that predicts the noise."""

    def __init__(self, denoiser: Denoiser) -> None:
        super().__init__()
        self.denoiser = denoiser

    def forward(self, x: Tensor, time: Tensor, labels: Tensor | None = None) -> Tensor:
        """The noise in x at one time for the batch."""
        schedule, t = self.denoiser.schedule, time[0].double() / self.denoiser.schedule.timesteps
        return noise_in(x, self.denoiser(x, t, labels), schedule.alpha(t), schedule.sigma(t))


def record(monkeypatch: pytest.MonkeyPatch, name: str) -> list[tuple[object, Tensor]]:
    """Records the first argument and the result of each call of a function of torch."""
    calls: list[tuple[object, Tensor]] = []
    original: Callable[..., Tensor] = getattr(torch, name)

    def recorded(*arguments: object, **options: object) -> Tensor:
        calls.append((arguments[0], original(*arguments, **options)))
        return calls[-1][1]

    monkeypatch.setattr(torch, name, recorded)
    return calls


def step_times(schedule: sf.Schedule, t: Times) -> Preconditioning:
    """Noise prediction by a network that is called with the step t of T."""
    return predict_noise(schedule, t)._replace(noise=1000 * t)


@pytest.mark.parametrize("name", NAMES)
def test_a_program_has_at_most_150_lines(name: str) -> None:
    assert len((EXAMPLES / f"{name}.py").read_text().splitlines()) <= 150


def test_the_network_has_the_parameters_of_the_article(program: ModuleType) -> None:
    """Counted by hand from the widths of the article; its program has 23.3 million at 64x64 RGB."""

    def double_conv(inputs: int, middle: int, outputs: int) -> int:
        return 9 * (inputs * middle + middle * outputs) + 2 * (middle + outputs)

    def block(inputs: int, middle: int, outputs: int) -> int:
        attention = 3 * outputs * (outputs + 1) + outputs * (outputs + 1)
        feed_forward = 2 * outputs * (outputs + 1)
        convolutions = double_conv(inputs, inputs, inputs) + double_conv(inputs, middle, outputs)
        return convolutions + 257 * outputs + attention + feed_forward + 2 * 2 * outputs

    expected = double_conv(3, 64, 64) + block(64, 128, 128) + block(128, 256, 256) + block(256, 256, 256)
    expected += double_conv(256, 512, 512) + double_conv(512, 512, 512) + double_conv(512, 256, 256)
    expected += block(512, 256, 128) + block(256, 128, 64) + block(128, 64, 64) + 65 * 3
    with torch.device("meta"):
        network = program.UNet(channels=3)
        output = network(torch.zeros(2, 3, 64, 64), torch.zeros(2))
    count = sum(parameter.numel() for parameter in network.parameters())
    assert output.shape == (2, 3, 64, 64)
    assert count == expected + (256 if program.__name__ == "ddpm_condition" else 0)
    assert round(expected / 1e6, 1) == 23.3


@pytest.mark.parametrize(("height", "width"), [(8, 8), (16, 24), (20, 13)])
def test_the_network_takes_images_of_any_size(program: ModuleType, height: int, width: int) -> None:
    x = torch.randn(2, 1, height, width)
    assert program.UNet(channels=1)(x, torch.tensor([1.0, 1000.0])).shape == x.shape


def test_the_label_minus_one_means_no_class(condition: ModuleType) -> None:
    network = condition.UNet(channels=1, classes=3)
    x, time = torch.randn(2, 1, 8, 8), torch.tensor([1.0, 500.0])
    without = network(x, time)
    torch.testing.assert_close(network(x, time, torch.tensor([-1, -1])), without)
    torch.testing.assert_close(network(x, time, torch.tensor([-1, 2]))[0], without[0])
    outputs = network(x[:1].expand(4, 1, 8, 8), torch.full((4,), 500.0), torch.tensor([-1, 0, 1, 2]))
    assert torch.pdist(outputs.flatten(1)).min() > 1e-3
    without.sum().backward()
    assert not network.labels.weight[0].any()
    assert not network.labels.weight.grad.any()


def test_the_training_loss_is_the_squared_error(program: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    program.LEARNING_RATE = 0.0
    network, data = Recorder(), sf.load_images("digits", size=8)
    noises = record(monkeypatch, "randn_like")
    monkeypatch.setattr(program, "sample", lambda *_: torch.zeros(10, *SHAPE))
    losses = program.train(network, data, "cpu")
    model = PreconditionedDenoiser(network, program.SCHEDULE, step_times, SHAPE)
    times, labels = list(network.times), list(network.labels)
    assert len(losses) == len(noises) == len(times) == program.STEPS
    for loss, (x_0, noise), time, classes in zip(losses, noises, times, labels, strict=True):
        expected = squared_error(model, x_0, time.double() / 1000, noise, classes).mean().item()
        assert loss == pytest.approx(expected, abs=1e-6)


def test_training_and_sampling_visit_every_step(program: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    shorten(program, 25)
    program.BATCH = 100
    network, data = Recorder(), sf.load_images("digits", size=8)
    with monkeypatch.context() as patched:
        patched.setattr(program, "sample", lambda *_: torch.zeros(10, *SHAPE))
        program.train(network, data, "cpu")
    assert set(torch.cat(network.times).tolist()) == set(range(1, 26))
    network.times.clear()
    sample(program, network, 2)
    visited = [time.unique().item() for time in network.times]
    assert list(dict.fromkeys(visited)) == list(range(25, 0, -1))


def test_sampling_is_the_ddpm_solver_of_the_package(program: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the same noise, with the exact denoiser of two Gaussians, one of each class, and guidance where it is used."""
    shorten(program, 200)
    means = torch.stack([torch.linspace(-0.8, 0.2, 64), torch.linspace(0.9, -0.1, 64)]).reshape(2, *SHAPE)
    truth = analytic.Mixture(
        program.SCHEDULE, means, torch.tensor([0.04, 0.09]), torch.ones(2), torch.tensor([0, 1]), ("a", "b")
    )
    first, noises = record(monkeypatch, "randn"), record(monkeypatch, "randn_like")
    drawn = sample(program, NoiseOf(truth), 4)
    assert len(noises) == program.T - 1
    denoiser: Denoiser = truth
    if program.__name__ == "ddpm_condition":
        denoiser = Labelled(ClassifierFree(truth, scale=3.0), torch.arange(4) % 2)
    grid = torch.arange(program.T, -1, -1, dtype=torch.float64) / program.T
    source = iter([noise for _, noise in noises])
    *_, last = trajectory(denoiser, first[0][1], grid, DDPM("large"), lambda: next(source))
    torch.testing.assert_close(drawn, last.x_t, rtol=0, atol=1e-5)


def test_a_tenth_of_the_labels_is_dropped(condition: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    condition.STEPS, condition.BATCH = 40, 200
    network, data = Recorder(), sf.load_images("digits", size=8)
    monkeypatch.setattr(condition, "sample", lambda *_: torch.zeros(10, *SHAPE))
    condition.train(network, data, "cpu")
    labels = torch.cat([each for each in network.labels if each is not None])
    assert len(labels) == 8000
    assert (labels == -1).float().mean().item() == pytest.approx(0.1, abs=0.015)
    assert set(labels.tolist()) == set(range(-1, 10))


def test_the_average_is_sampled_and_updated_at_every_step(
    condition: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    condition.EMA_DECAY, condition.EMA_WARMUP, condition.STEPS = 0.5, 0, 3
    weights, sampled = [0.5], []
    network = Recorder()
    monkeypatch.setattr(condition, "sample", lambda model, *_: sampled.append(model) or torch.zeros(10, *SHAPE))
    network.register_forward_hook(lambda *_: weights.append(network.scale.item()))
    condition.train(network, sf.load_images("digits", size=8), "cpu")
    assert sampled[0] is not network
    before = [*weights[2:], network.scale.item()]
    average = 0.5
    for weight in before:
        average = 0.5 * average + 0.5 * weight
    assert sampled[0].scale.item() == pytest.approx(average, abs=1e-7)


@pytest.mark.slow
def test_a_short_run_writes_a_grid_and_its_loss_falls(
    program: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    shorten(program, 25)
    program.STEPS, program.BATCH, program.PRINT_EVERY = 20, 4, 5
    monkeypatch.setattr(sys, "argv", [program.__name__, "digits", "--size", "8"])
    program.main()
    printed = capsys.readouterr().out
    losses = [float(line.split()[-1]) for line in printed.splitlines() if "loss" in line]
    assert len(losses) == 4
    assert losses[-1] < 0.8 * losses[0]
    assert [path.name for path in tmp_path.iterdir()] == ["000020.png"]


def test_help_answers_without_training(
    program: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [program.__name__, "--help"])
    monkeypatch.setattr(program, "train", lambda *_: pytest.fail("trained"))
    with pytest.raises(SystemExit, match="0"):
        program.main()
    assert "2006.11239" in capsys.readouterr().out


@pytest.mark.parametrize(("source", "message"), [("missing", "missing"), ("{photos}/cat", "has no classes")])
def test_unusable_data_is_an_error_message(
    condition: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    photos: Path,
    source: str,
    message: str,
) -> None:
    monkeypatch.setattr(sys, "argv", ["ddpm_condition", source.format(photos=photos), "--size", "8"])
    with pytest.raises(SystemExit, match="2"):
        condition.main()
    assert message in capsys.readouterr().err
