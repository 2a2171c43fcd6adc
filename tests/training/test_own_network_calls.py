"""What a network from outside the package is called with, and errors that explain a call that fails."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import sfumato as sf
from sfumato.diffusion.denoiser import log_noise_time
from sfumato.diffusion.losses import CUSTOM_LOSSES, squared_error
from sfumato.errors import ConfigError
from sfumato.networks.custom import BUILDERS
from sfumato.training.loop import TrainingResult
from sfumato.training.optim import MuonRule

from .own_networks import SETTINGS, pictures

CALLS: list[tuple[Tensor, Tensor, Tensor | None]] = []
"""The arguments of each call of `Recorder`."""


@pytest.fixture(autouse=True)
def _nothing_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """No network or loss is registered, and no call recorded, when a test begins."""
    monkeypatch.setattr(BUILDERS, "named", {})
    monkeypatch.setattr(CUSTOM_LOSSES, "named", {})
    CALLS.clear()


class Recorder(nn.Module):
    """Records its calls in training."""

    def __init__(self, channels: int, classes: int = 0) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(nn.Conv2d(channels, channels, 1) for _ in range(3)))
        self.classes = classes

    def forward(self, x: Tensor, time: Tensor, labels: Tensor | None) -> Tensor:
        """The images after three layers."""
        if self.training or not torch.is_grad_enabled():
            CALLS.append((x.detach(), time, labels))
        output: Tensor = self.layers(x)
        return output


class LogNoise(Recorder):
    """Takes EDM's time."""

    time_input = "log-noise"


SCHEDULES = {
    "linear": {"schedule": "linear"},
    "cosine of 50": {"schedule": "cosine:timesteps=50"},
    "edm": {"schedule": "edm", "parametrization": "edm", "times": "log-normal"},
    "flow": {"schedule": "flow", "parametrization": "flow", "times": "logit-normal"},
    "shifted": {"schedule": "cosine", "shift": 2.0, "parametrization": "velocity"},
}


def train(out: Path, network: object, settings: dict[str, object] | None = None, **rest: object) -> TrainingResult:
    settings = SETTINGS | {"images": 16} | (settings or {})
    return sf.train(pictures(), out, settings, network=network, preset="tiny", device="cpu", **rest)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [Recorder, LogNoise])
@pytest.mark.parametrize("name", SCHEDULES)
def test_networks_receive_the_time_as_0_to_1000_or_as_declared(name: str, kind: type[Recorder], tmp_path: Path) -> None:
    """In training, with the default loss and an own one, and in sampling."""
    drawn: list[Tensor] = []

    def loss(denoiser: nn.Module, images: Tensor, times: Tensor, noise: Tensor, labels: Tensor | None) -> Tensor:
        if len(times) == 8:  # not the call before training
            drawn.append(times)
        return squared_error(denoiser, images, times, noise, labels)  # type: ignore[arg-type]

    def received() -> Tensor:
        times = [time for _, time, _ in CALLS]
        assert {(time.dtype, time.ndim) for time in times} == {(torch.float32, 1)}
        CALLS.clear()
        return torch.cat(times)

    def expected(times: Tensor) -> Tensor:
        schedule = model.schedule
        return 1000 * times if kind is Recorder else log_noise_time(schedule, times)

    settings: dict[str, object] = {**SCHEDULES[name]}
    model = train(tmp_path / "default", kind, settings).model
    default = [time for _, time, _ in CALLS if len(time) == 8]
    CALLS.clear()
    train(tmp_path / "own", kind, settings, loss=loss)
    own = [time for _, time, _ in CALLS if len(time) == 8]
    CALLS.clear()
    assert len(default) == len(own) == len(drawn) == 2
    torch.testing.assert_close(torch.cat(own), torch.cat(default), rtol=0, atol=0)
    torch.testing.assert_close(torch.cat(own), expected(torch.cat(drawn)).float(), rtol=1e-6, atol=1e-4)
    times = torch.linspace(0.1, 0.9, 5, dtype=torch.float64)
    with torch.no_grad():
        model(torch.zeros(5, 3, 8, 8), times)
    torch.testing.assert_close(received(), expected(times).float(), rtol=1e-6, atol=1e-4)
    sf.sample(model, 1, steps=3)
    scale = received()
    assert scale.max() <= 1000
    assert (scale.max() > 100) == (kind is Recorder)


def test_images_have_unit_variance_and_labels_can_be_dropped(tmp_path: Path) -> None:
    settings: dict[str, object] = {**SCHEDULES["edm"], "images": 800, "label_dropout": 0.5}
    train(tmp_path / "run", Recorder, settings, labels=["cat", "dog"] * 12)
    batches = [call for call in CALLS if len(call[0]) == 8]
    images = torch.cat([x for x, _, _ in batches])
    labels = torch.cat([torch.empty(0) if labels is None else labels for _, _, labels in batches])
    assert images.dtype == torch.float32
    assert 0.7 < images.std() < 1.3
    assert len(labels) == 800
    assert {value: 0.15 < (labels == value).float().mean() < 0.6 for value in (-1, 0, 1)} == dict.fromkeys(
        (-1, 0, 1), True
    )


def test_an_unknown_time_input_is_rejected(tmp_path: Path) -> None:
    class Unknown(Recorder):
        """Declares a scale that does not exist."""

        time_input = "seconds"

    with pytest.raises(ConfigError, match=r"time input 'seconds'.*step.*log-noise"):
        train(tmp_path / "run", Unknown)


def wrong(call: Callable[[Tensor], object]) -> type[nn.Module]:
    """A network whose forward is `call`."""

    class Wrong(nn.Module):
        """Has a weight."""

        def __init__(self, channels: int) -> None:
            super().__init__()
            self.layer = nn.Conv2d(channels, channels, 1)

        def forward(self, x: Tensor, time: Tensor, labels: Tensor | None) -> object:
            """What `call` gives."""
            del time, labels
            return call(self.layer(x))

    return Wrong


def fails(x: Tensor) -> Tensor:
    raise IndexError(f"no row {len(x)}")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: x[:, :2], r"and returned \(1, 2, 8, 8\)\. Return one tensor with the shape of x"),
        (lambda x: x.flatten(1), r"and returned \(1, 192\)\. Return one tensor"),
        (lambda x: (x, x), r"and returned tuple\. Return one tensor"),
        (lambda _: None, r"and returned NoneType\. Return one tensor"),
        (fails, r"and raised IndexError: no row 1\. Correct its forward\(x, time, labels\)"),
    ],
    ids=["channels", "flat", "pair", "None", "raises"],
)
def test_a_failing_call_of_the_network_is_explained(
    call: Callable[[Tensor], object], message: str, tmp_path: Path
) -> None:
    called = r"Wrong was called with x \(1, 3, 8, 8\), time \(1,\), labels None, "
    for optimizer in ("adam", "muon"):
        with pytest.raises(ConfigError, match=called + message):
            train(tmp_path / optimizer, wrong(call), {"optimizer": optimizer})


def test_a_network_that_takes_no_labels_argument_is_explained(tmp_path: Path) -> None:
    class Two(nn.Module):
        """Is called with images and times."""

        def __init__(self, channels: int) -> None:
            super().__init__()
            self.layer = nn.Conv2d(channels, channels, 1)

        def forward(self, x: Tensor, time: Tensor) -> Tensor:
            """The layer."""
            del time
            output: Tensor = self.layer(x)
            return output

    with pytest.raises(ConfigError, match=r"Two was called with .*raised TypeError: .*takes 3 positional arguments"):
        train(tmp_path / "run", Two)


def test_a_network_without_weights_is_rejected(tmp_path: Path) -> None:
    class Weightless(nn.Module):
        """The identity."""

        def forward(self, x: Tensor, time: Tensor, labels: Tensor | None) -> Tensor:
            """x."""
            del time, labels
            return x

    with pytest.raises(ConfigError, match=r"Weightless has no weights to train\. Give it parameters"):
        train(tmp_path / "run", Weightless)


class Odd(nn.Module):
    """Skips a layer in some steps, shares a weight, has one that is unused and one that is frozen."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(channels, 4, 1), nn.Conv2d(4, channels, 1)
        self.skipped, self.shared, self.frozen = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)
        self.again, self.unused = self.shared, nn.Linear(5, 5)
        self.frozen.requires_grad_(False)
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64), persistent=False)

    def forward(self, x: Tensor, time: Tensor, labels: Tensor | None) -> Tensor:
        """Layers with skip connections."""
        del time, labels
        hidden = self.first(x)
        self.calls += self.training
        if not self.training or self.calls % 2:
            hidden = hidden + self.skipped(hidden)
        output: Tensor = self.last(self.frozen(self.again(torch.tanh(self.shared(hidden)))))
        return output


@pytest.mark.parametrize("optimizer", ["adam", "muon"])
def test_skipped_shared_unused_or_frozen_weights_train_and_save(optimizer: str, tmp_path: Path) -> None:
    network = Odd(3)
    result = train(tmp_path / "run", network, {"optimizer": optimizer, "images": 32})
    assert result.state.counters.steps == 4
    trained, before = dict(result.state.model.network.named_parameters()), dict(network.named_parameters())
    changed = {name for name in before if not torch.equal(trained[name], before[name])}
    assert changed == {
        f"{layer}.{kind}" for layer in ("first", "last", "skipped", "shared") for kind in ("weight", "bias")
    }
    model = sf.load(tmp_path / "run", network=network)
    assert model.network.shared.weight is model.network.again.weight
    for name, value in result.model.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name


def test_muon_does_not_mix_gradients_if_some_are_missing() -> None:
    weights = [nn.Parameter(torch.zeros(2, 2)) for _ in range(3)]
    weights[1].grad = torch.eye(2)
    MuonRule(weights, 0.1, 0.9).step(torch.ones(()), torch.ones(()))
    assert [weight.any().item() for weight in weights] == [False, True, False]


def test_a_skipped_step_does_not_change_buffers(tmp_path: Path) -> None:
    class Normalized(nn.Module):
        """Fails in its second training step."""

        def __init__(self, channels: int) -> None:
            super().__init__()
            self.norm, self.layer = nn.BatchNorm2d(channels), nn.Conv2d(channels, channels, 1)
            self.steps = 0

        def forward(self, x: Tensor, time: Tensor, labels: Tensor | None) -> Tensor:
            """Images of NaN in the second step."""
            del time, labels
            self.steps += self.training
            output: Tensor = self.layer(self.norm(x * torch.nan if self.training and self.steps == 2 else x))
            return output

    state = train(tmp_path / "run", Normalized, {"images": 32}).state
    assert (state.counters.steps, state.counters.skipped) == (3, 1)
    for network in (state.model.network, state.average.network):
        assert network.norm.running_mean.isfinite().all()
        assert network.norm.num_batches_tracked == 3


def test_the_check_of_a_loss_does_not_change_buffers(tmp_path: Path) -> None:
    class Normalized(nn.Module):
        """Counts its training batches."""

        def __init__(self, channels: int) -> None:
            super().__init__()
            self.norm, self.layer = nn.BatchNorm2d(channels), nn.Conv2d(channels, channels, 1)

        def forward(self, x: Tensor, time: Tensor, labels: Tensor | None) -> Tensor:
            """Images."""
            del time, labels
            output: Tensor = self.layer(self.norm(x))
            return output

    state = train(tmp_path / "run", Normalized, {"images": 32}, loss=squared_error).state
    assert state.model.network.norm.num_batches_tracked == state.counters.steps == 4
