"""Networks from outside the package are built with the keywords that their constructors name."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from torch import nn

from sfumato.errors import ConfigError
from sfumato.networks.architectures import STEP, build_network
from sfumato.networks.custom import BUILDERS, KEYWORDS, CustomConfig, build_custom, register_network, takes

VALUES = {"channels": 3, "size": (8, 16), "classes": 5, "columns": (0, 4), "augmentation": 9}


@pytest.fixture(autouse=True)
def _nothing_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """No network is registered when a test begins."""
    monkeypatch.setattr(BUILDERS, "named", {})


class Recorder(nn.Module):
    """Keeps the keywords that it was built with."""

    def __init__(self, **keywords: object) -> None:
        super().__init__()
        self.keywords = keywords


class All(Recorder):
    """Names every keyword."""

    def __init__(
        self,
        channels: int,
        size: tuple[int, int],
        classes: int = 0,
        columns: tuple[int, ...] = (),
        augmentation: int = 0,
    ) -> None:
        super().__init__(channels=channels, size=size, classes=classes, columns=columns, augmentation=augmentation)


class Some(Recorder):
    """Names two of them, and an argument of its own."""

    def __init__(self, width: int = 7, *, size: tuple[int, int], classes: int) -> None:
        super().__init__(width=width, size=size, classes=classes)


class Nothing(Recorder):
    """Takes no arguments."""

    def __init__(self) -> None:
        super().__init__()


def config(path: str) -> CustomConfig:
    return CustomConfig(path, *VALUES.values())  # type: ignore[arg-type]


def keywords_of(given: Any, settings: str = "") -> dict[str, object]:  # noqa: ANN401
    path = register_network(given)
    network = build_custom(config(register_network(path + settings) if settings else path))
    assert isinstance(network, Recorder)
    return network.keywords


def test_only_keywords_that_a_constructor_names_are_passed() -> None:
    assert tuple(VALUES) == KEYWORDS
    assert keywords_of(All) == VALUES
    assert keywords_of(Some) == {"width": 7, "size": (8, 16), "classes": 5}
    assert keywords_of(Nothing) == {}
    assert keywords_of(Recorder) == {}, "**keywords names none of them"


def test_settings_are_passed_if_given_and_never_replace_keywords() -> None:
    path = register_network(Some)
    with pytest.raises(ConfigError, match=r"other settings were given\. Give these if you trust them: --backbone"):
        build_custom(config(f"{path}:width=3"))
    assert keywords_of(Some, ":width=3") == {"width": 3, "size": (8, 16), "classes": 5}
    register_network(f"{path}:width=3,classes=2")
    with pytest.raises(ConfigError, match=r"sets classes\. Those follow from the images"):
        build_custom(config(f"{path}:width=3,classes=2"))
    assert keywords_of(Recorder, ":width=0.5,deep=true,kind=plain") == {"width": 0.5, "deep": True, "kind": "plain"}


def test_functions_and_partials_build_networks() -> None:
    def build(channels: int, width: int = 4) -> nn.Module:
        return Recorder(built=channels * width)

    assert keywords_of(build) == {"built": 12}
    assert keywords_of(lambda classes: Recorder(built=classes)) == {"built": 5}
    assert keywords_of(functools.partial(Some, width=9))["width"] == 9


@pytest.mark.parametrize("keyword", KEYWORDS)
def test_takes_reports_whether_a_constructor_names_a_keyword(keyword: str) -> None:
    answers = [takes(register_network(given), keyword) for given in (All, Some, Nothing, Recorder)]
    assert answers == [True, keyword in ("size", "classes"), False, False]
    assert takes(register_network(Some(size=(8, 8), classes=2)), keyword) == answers[1], "a module: as its class"


def test_an_unknown_network_is_neither_built_nor_inspected() -> None:
    for call in (lambda: takes("nets.py:All", "classes"), lambda: build_custom(config("nets.py:All"))):
        with pytest.raises(ConfigError, match=r"the network is nets\.py:All, .*add --backbone nets\.py:All"):
            call()


def needs_width(channels: int, width: int) -> nn.Module:
    return Recorder(channels=channels, width=width)


def test_a_missing_argument_is_explained() -> None:
    path = register_network(needs_width)
    message = (
        rf"{path} cannot be built with channels: TypeError: .*missing 1 required .*'width'\. Give its other arguments "
    )
    with pytest.raises(ConfigError, match=message + rf"defaults or settings \({path}:NAME=VALUE\)"):
        build_custom(config(path))
    assert keywords_of(needs_width, ":width=2") == {"channels": 3, "width": 2}


def test_an_unknown_setting_is_explained() -> None:
    path = register_network(Nothing)
    register_network(f"{path}:widht=3")
    with pytest.raises(ConfigError, match=r"Nothing:widht=3 cannot be built with no arguments: .*widht"):
        build_custom(config(f"{path}:widht=3"))


@pytest.mark.parametrize("built", [None, 3, nn.Linear], ids=["None", "number", "class"])
def test_a_builder_that_returns_no_network_is_rejected(built: object) -> None:
    path = register_network(lambda: built)  # type: ignore[arg-type, return-value]
    with pytest.raises(ConfigError, match=rf"built a {type(built).__name__}\. Name a class or function that builds"):
        build_custom(config(path))


def test_a_network_object_is_copied_each_time() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    path = register_network(network)
    assert path == "torch.nn.modules.container:Sequential"
    one, other = build_custom(config(path)), build_custom(config(path))
    assert one is not other
    with torch.no_grad():
        for tensor in one.state_dict().values():
            tensor.add_(1)
    for name, value in before.items():
        assert torch.equal(network.state_dict()[name], value)
        assert torch.equal(other.state_dict()[name], value)


@pytest.mark.parametrize("path", ["unet", "Net", "nets.py", "nets.py:"])
def test_a_configuration_needs_an_import_path(path: str) -> None:
    with pytest.raises(ConfigError, match="is not an import path"):
        config(path)


def test_build_network_builds_registered_networks() -> None:
    network = build_network(config(register_network(All)), STEP)
    assert isinstance(network, All)
