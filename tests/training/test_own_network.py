"""A network from outside the package trains, resumes, saves, loads, samples and is evaluated."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sfumato as sf
from sfumato.errors import ConfigError, RunError
from sfumato.models import load_guidance_checkpoint
from sfumato.networks.custom import BUILDERS
from sfumato.training.loop import TrainingResult

from .conftest import Saved, StopAfter
from .own_networks import SETTINGS, pictures, written

LABELS = ["cat", "dog"] * 12


@pytest.fixture(autouse=True)
def _nothing_named(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No network is registered when a test begins."""
    monkeypatch.setattr(BUILDERS, "named", {})
    yield
    sys.modules.pop("ownnet", None)


@pytest.fixture
def ownnet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module of networks in a file outside the package."""
    written(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    import ownnet  # type: ignore[import-not-found]

    return ownnet


def train(
    out: Path,
    network: object,
    settings: dict[str, object] | None = None,
    steps: int = 10**9,
    **rest: object,
) -> TrainingResult:
    """Trains on pictures in memory, at most `steps` steps."""
    stop = StopAfter(steps)
    rest = {"labels": LABELS, "reporter": stop, "should_stop": stop} | rest
    return sf.train(pictures(), out, SETTINGS | (settings or {}), network=network, preset="tiny", device="cpu", **rest)


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def assert_equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    torch.testing.assert_close(one, other, rtol=0, atol=0)


WAYS: dict[str, Callable[[Any], Any]] = {
    "class": lambda module: module.Net,
    "function": lambda module: module.build,
    "partial": lambda module: functools.partial(module.Net, width=6),
    "module": lambda module: module.Net(3, 2),
    "file": lambda module: f"{module.__file__}:Net:width=5",
    "import path": lambda _: "ownnet:build:width=5",
}


@pytest.mark.parametrize(("way", "optimizer"), [("class", "adam"), *((way, "muon") for way in WAYS)])
def test_a_custom_network_trains_saves_loads_and_samples(
    way: str, optimizer: str, ownnet: ModuleType, tmp_path: Path
) -> None:
    network = WAYS[way](ownnet)
    result = train(tmp_path / "run", network, {"optimizer": optimizer})
    assert (result.share, result.state.counters.steps, result.state.counters.skipped) == (1.0, 6, 0)
    BUILDERS.named.clear()
    model = sf.load(tmp_path / "run", network=network)
    assert (model.label_names, model.is_custom, model.images_seen) == (("cat", "dog"), True, 48)
    assert_equal(weights(model), weights(result.model))
    samples = [sf.sample(each, 2, labels="dog", steps=3, seed=1) for each in (model, result.model)]
    assert torch.equal(*samples)
    assert samples[0].isfinite().all()


def test_a_network_object_is_trained_from_its_weights_in_a_copy(ownnet: ModuleType, tmp_path: Path) -> None:
    network = ownnet.Net(3, 2)
    before = weights(network)
    begun = train(tmp_path / "begun", network, steps=0)
    assert_equal(weights(begun.state.model.network), before)
    trained = train(tmp_path / "trained", network)
    assert_equal(weights(network), before)
    assert not torch.equal(trained.state.model.network.entry.weight, before["entry.weight"])


@pytest.mark.parametrize("optimizer", ["adam", "muon"])
@pytest.mark.parametrize("augment", [0.0, 0.5])
def test_a_stopped_run_resumes_exactly(
    optimizer: str,
    augment: float,
    ownnet: ModuleType,
    saved: Saved,
    tmp_path: Path,
) -> None:
    class Augmented(ownnet.Net):  # type: ignore[name-defined, misc]
        """Takes the augmentation too."""

        def __init__(self, channels: int, classes: int, augmentation: int) -> None:
            super().__init__(channels, classes)
            self.shift = nn.Linear(max(augmentation, 1), channels)

        def forward(self, x: Tensor, time: Tensor, labels: Tensor, augmentation: Tensor | None = None) -> Tensor:
            """Adds a color that depends on it."""
            shift = 0 if augmentation is None else self.shift(augmentation)[:, :, None, None]
            output: Tensor = super().forward(x + shift, time, labels)
            return output

    settings: dict[str, object] = {"optimizer": optimizer, "augment": augment}
    train(tmp_path / "whole", Augmented, settings)
    for steps in (1, 2, 10**9):
        train(tmp_path / "parts", Augmented, settings, steps)
    (whole, counters), (parts, other_counters) = saved(tmp_path / "whole"), saved(tmp_path / "parts")
    assert counters == other_counters
    assert_equal(whole, parts)
    assert whole["model.body.0.num_batches_tracked"] == 6
    assert torch.count_nonzero(whole["model.shift.weight"] - whole["average.shift.weight"]) == (
        0 if augment == 0 else whole["model.shift.weight"].numel()
    )


def test_the_ema_model_has_averaged_weights_and_current_buffers(
    ownnet: ModuleType,
    tmp_path: Path,
) -> None:
    state = train(tmp_path / "run", ownnet.Net).state
    trained, averaged = dict(state.model.network.named_buffers()), dict(state.average.network.named_buffers())
    assert_equal(trained, averaged)
    assert trained["body.0.running_mean"].abs().sum() > 0
    assert not torch.equal(state.model.network.entry.weight, state.average.network.entry.weight)


def test_a_forward_that_needs_contiguous_images_trains(ownnet: ModuleType, tmp_path: Path) -> None:
    for optimizer in ("adam", "muon"):
        result = train(tmp_path / optimizer, ownnet.Flat, {"optimizer": optimizer})
        assert result.model.label_names == ()
        assert sf.sample(result.model, 2, steps=3).shape == (2, 3, 8, 8)


def test_a_network_without_classes_is_trained_without_labels(ownnet: ModuleType, tmp_path: Path) -> None:
    seen: list[object] = []

    class Watched(ownnet.Plain):  # type: ignore[name-defined, misc]
        """Records the labels."""

        def forward(self, x: Tensor, time: Tensor, labels: Tensor | None = None) -> Tensor:
            """As before."""
            seen.append(labels)
            output: Tensor = super().forward(x, time, labels)
            return output

    model = train(tmp_path / "run", Watched).model
    assert (model.label_names, set(seen)) == ((), {None})
    result = sf.train("digits", tmp_path / "digits", SETTINGS | {"images": 16}, network=Watched, device="cpu")
    assert (result.model.label_names, set(seen)) == ((), {None})
    assert (result.config.data.labels, result.config.data.augment) == (False, 0.0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"augment": 0.2}, r"ownnet:Plain has no argument augmentation, which --augment requires\. Add the argument"),
        ({"condition": ("label",)}, r"ownnet:Plain has no argument classes, which --condition or --labels requires"),
    ],
)
def test_settings_that_the_network_does_not_support_are_rejected(
    settings: dict[str, object],
    message: str,
    ownnet: ModuleType,
    photos: Path,
    tmp_path: Path,
) -> None:
    (tmp_path / "photos").mkdir()
    rows = ["file_name,label"]
    for number, file in enumerate(sorted(photos.rglob("*.png"))):
        (tmp_path / "photos" / f"{number}.png").write_bytes(file.read_bytes())
        rows.append(f"{number}.png,{file.parent.name}")
    (tmp_path / "photos" / "metadata.csv").write_text("\n".join(rows))
    with pytest.raises(ConfigError, match=message):
        sf.train(tmp_path / "photos", tmp_path / "run", SETTINGS | settings, network=ownnet.Plain, device="cpu")


def test_conditions_in_memory_reach_a_network_that_takes_columns(ownnet: ModuleType, tmp_path: Path) -> None:
    seen = []

    class Columns(ownnet.Plain):  # type: ignore[name-defined, misc]
        """Takes columns."""

        def __init__(self, channels: int, columns: tuple[int, ...]) -> None:
            super().__init__(channels)
            self.columns = columns

        def forward(self, x: Tensor, time: Tensor, labels: Tensor | None = None) -> Tensor:
            """Records their shape."""
            seen.append(None if labels is None else tuple(labels.shape[1:]))
            output: Tensor = super().forward(x, time)
            return output

    labels = {"age": [float(number) / 3 for number in range(24)], "kind": LABELS}
    model = train(tmp_path / "run", Columns, labels=labels).model
    assert [column.name for column in model.columns] == ["age", "kind"]
    assert (model.network.columns, set(seen) - {None}) == ((0, 2), {(2,)})


def test_a_run_resumes_only_with_its_network(ownnet: ModuleType, tmp_path: Path) -> None:
    train(tmp_path / "run", ownnet.Net, steps=2)
    for network in (None, "unet", ownnet.build, "ownnet:Net:width=9"):
        with pytest.raises((RunError, ConfigError)):
            train(tmp_path / "run", network)
    assert train(tmp_path / "run", "ownnet:Net").share == 1


@pytest.mark.parametrize("first", ["file", "relative", "module", "class"])
@pytest.mark.parametrize("then", ["file", "relative", "module", "class"])
def test_a_run_resumes_with_another_path_to_its_network(
    first: str, then: str, ownnet: ModuleType, saved: Saved, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    spellings = {
        "file": "ownnet.py:Net",
        "relative": f"../{tmp_path.name}/ownnet.py:Net",
        "module": "ownnet:Net",
        "class": ownnet.Net,
    }
    train(tmp_path / "whole", spellings[first], {"autoguidance_at": 0.3, "autoguidance_min_steps": 0})
    for network, steps in ((spellings[first], 3), (spellings[then], 10**9)):
        train(tmp_path / "parts", network, {"autoguidance_at": 0.3, "autoguidance_min_steps": 0}, steps)
    assert saved(tmp_path / "whole")[1] == saved(tmp_path / "parts")[1]
    assert_equal(saved(tmp_path / "whole")[0], saved(tmp_path / "parts")[0])
    sf.load(tmp_path / "parts", network=spellings[then])
    assert load_guidance_checkpoint(tmp_path / "parts") is not None


def test_a_run_does_not_resume_with_a_network_of_another_file(ownnet: ModuleType, tmp_path: Path) -> None:
    train(tmp_path / "run", f"{ownnet.__file__}:Net", steps=2)
    (tmp_path / "other").mkdir()
    with pytest.raises(RunError, match=r"--backbone: .*/ownnet\.py:Net -> .*/other/ownnet\.py:Net"):
        train(tmp_path / "run", f"{written(tmp_path / 'other')}:Net")


def test_buffers_can_contain_infinities(ownnet: ModuleType, tmp_path: Path) -> None:
    class Masked(ownnet.Net):  # type: ignore[name-defined, misc]
        """A network with an attention mask."""

        def __init__(self, channels: int, classes: int) -> None:
            super().__init__(channels, classes)
            self.register_buffer("mask", torch.full((4, 4), -torch.inf).triu(1))

    for steps in (2, 10**9):
        result = train(tmp_path / "run", Masked, steps=steps)
    sf.save(result.model, tmp_path / "saved")
    for folder in ("run", "saved"):
        model = sf.load(tmp_path / folder, network=Masked)
        assert_equal(weights(model), weights(result.model))
        assert model.network.mask.isinf().sum() == 6
