"""Features of your own network: a module, a class, a function, or an import path that the user named."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from metrics.features.networks import Classifier, Means, Random, images
from sfumato.errors import ConfigError, DataError, RunError
from sfumato.metrics.features import features_for, register_features
from sfumato.metrics.features.custom import EXTRACTORS, FeatureNetwork

FILE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, weights="", power=1):
        super().__init__()
        self.power = power
        self.layer = nn.Linear(3, 4)
        if weights:
            self.load_state_dict(torch.load(weights, weights_only=True))

    def forward(self, images):
        return self.layer(images.mean((2, 3)) ** self.power)

def power(exponent=1):
    class Power(nn.Module):
        def forward(self, images):
            return images.mean((2, 3)) ** exponent

    return Power()
"""


@pytest.fixture(autouse=True)
def _nothing_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """No feature network is registered when a test begins."""
    monkeypatch.setattr(EXTRACTORS, "named", {})


@pytest.fixture
def net(tmp_path: Path) -> Path:
    """File with the class `Net`."""
    file = tmp_path / "net.py"
    file.write_text(FILE)
    return file


def test_the_only_output_is_the_features() -> None:
    several = images(70, 3, 8)
    features = features_for(Means)
    torch.testing.assert_close(features(several), several.mean((2, 3)))
    assert features.classes((3, 8, 8)) == 0


def test_two_outputs_are_logits_and_features() -> None:
    several = images(70, 3, 8)
    features = features_for(Classifier)
    found = features.outputs(several)
    assert found.logits is not None
    torch.testing.assert_close(found.features, several.mean((2, 3)))
    torch.testing.assert_close(found.logits, 2 * several.mean((2, 3))[:, :2])  # in evaluation mode, without dropout
    assert features.classes((1, 8, 8)) == 2


def test_grey_images_are_repeated_and_not_resized() -> None:
    grey = images(3, 1, 9)
    torch.testing.assert_close(features_for(Means)(grey), grey.mean((2, 3)).expand(3, 3))


def test_features_have_no_gradients_and_a_network_is_not_changed() -> None:
    network = Random().train()
    features = features_for(network)
    before = features(images(2, 3, 8))
    assert not before.requires_grad
    assert network.training
    with torch.no_grad():
        network.layer.weight.zero_()
    assert (features(images(2, 3, 8)) == before).all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_network_is_moved_to_the_device_of_the_images() -> None:
    several = images(2, 3, 8)
    features = features_for(Random)
    torch.testing.assert_close(features(several.cuda()).cpu(), features(several))


def test_random_weights_do_not_use_the_global_generator() -> None:
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    one = features_for(Random)
    assert torch.rand(1) == expected
    other = features_for(Random)
    assert one.name == other.name
    assert (one(images(2, 3, 8)) == other(images(2, 3, 8))).all()


def test_an_import_path_is_a_class_with_settings(net: Path, tmp_path: Path) -> None:
    weights = nn.Linear(3, 4).state_dict()
    torch.save({f"layer.{key}": value for key, value in weights.items()}, tmp_path / "net.pt")
    several = images(5, 3, 8)
    features = features_for(register_features(f"{net}:Net:weights={tmp_path / 'net.pt'},power=2"))
    expected = several.mean((2, 3)).square() @ weights["weight"].T + weights["bias"]
    torch.testing.assert_close(features(several), expected)
    assert features.name.startswith("Net-")


def test_an_unregistered_import_path_is_not_imported(net: Path, tmp_path: Path) -> None:
    net.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n{FILE}")
    with pytest.raises(
        ConfigError,
        match=r"the feature network is .*net.py:Net, whose code.* then add --features .*or --eval-features ",
    ):
        features_for(f"{net}:Net")
    assert not (tmp_path / "ran").exists()


def named(net: Path, settings: str = "") -> str:
    return features_for(register_features(f"{net}:Net{settings}")).name


def test_the_name_depends_on_code_settings_and_weights(
    net: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = named(net)
    assert named(net) == first
    assert named(net, ":power=2") != first
    in_closures = [features_for(register_features(f"{net}:power:exponent={value}")).name for value in (1, 2)]
    assert in_closures[0] != in_closures[1]
    torch.save({"layer.weight": torch.ones(4, 3), "layer.bias": torch.ones(4)}, tmp_path / "net.pt")
    with_weights = named(net, f":weights={tmp_path / 'net.pt'}")
    torch.save({"layer.weight": torch.ones(4, 3), "layer.bias": torch.zeros(4)}, tmp_path / "net.pt")
    assert len({first, with_weights, named(net, f":weights={tmp_path / 'net.pt'}")}) == 3
    net.write_text(FILE.replace("mean((2, 3))", "amax((2, 3))"))
    monkeypatch.setattr(EXTRACTORS, "named", {})
    assert named(net) != first


def test_the_name_depends_on_attributes_and_arguments_in_python() -> None:
    names = {features_for(given).name for given in (Means, Means(2.0), partial(Means, factor=3.0), partial(Means, 4.0))}
    assert len(names) == 4
    assert features_for(Means(2.0)).name == features_for(Means(2.0)).name
    one, other = Means(), Means()
    one.factor, other.factor = torch.tensor(1.0), torch.tensor(2.0)  # type: ignore[assignment]  # tensors, no buffers
    assert features_for(one).name != features_for(other).name


class Activated(nn.Module):
    """Means with an attribute that is a function, or contains one."""

    def __init__(self, activation: object) -> None:
        super().__init__()
        self.activation = activation

    def forward(self, images: Tensor) -> Tensor:
        """Means."""
        return images.mean((2, 3))


def with_hook() -> nn.Module:
    network = Means()
    network.register_forward_hook(lambda _, inputs, output: output * len(inputs))
    return network


def local(exponent: int) -> nn.Module:
    class Power(Means):
        def forward(self, images: Tensor) -> Tensor:
            return images.mean((2, 3)) ** exponent

    return Power()


@pytest.mark.parametrize(
    "given",
    [
        Activated(torch.relu),
        Activated(nn.functional.relu),
        Activated({"activation": torch.tanh}),
        Activated([torch.ones(1)]),
        Activated(object()),
        with_hook(),
        local(2),
        lambda: Means(2.0),
    ],
    ids=["function", "Python function", "dict", "list", "object", "hook", "local class", "lambda"],
)
def test_an_unidentified_network_has_a_new_name_each_time(given: FeatureNetwork) -> None:
    assert features_for(given).name != features_for(given).name


def test_plain_attributes_and_layers_of_torch_are_identified() -> None:
    for given in (
        Activated(None),
        Activated({"widths": [1, (2.0, "x")], "dtype": torch.float16}),
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    ):
        assert features_for(given).name == features_for(given).name
    assert features_for(Activated({"a": 1})).name != features_for(Activated({"a": 2})).name


class Builder:
    """An object that builds networks."""

    def __call__(self) -> nn.Module:
        """Builds a network."""
        return Means(2.0)


@pytest.mark.parametrize(("given", "name"), [(lambda: Means(2.0), "lambda"), (Builder(), "Builder")])
def test_a_function_or_object_builds_the_network(given: FeatureNetwork, name: str) -> None:
    several = images(2, 3, 8)
    features = features_for(given)
    assert features.name.startswith(f"{name}-")
    torch.testing.assert_close(features(several), 2 * several.mean((2, 3)))


def test_code_without_a_file_has_a_new_name_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Means, "__module__", "notebook")
    assert features_for(Means).name != features_for(Means).name


def test_nan_features_are_rejected() -> None:
    with pytest.raises(DataError, match=r"Means-\w+ of 5 of 5 images are NaN.*check the weights"):
        features_for(Means(float("nan")))(images(5, 3, 8))


class Returns(nn.Module):
    """Returns the value of a function."""

    def __init__(self, function: object) -> None:
        super().__init__()
        self.function = function

    def forward(self, images: Tensor) -> object:
        """Value of the function."""
        return self.function(images)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("function", "returned"),
    [
        (lambda images: images, r"\(5, 3, 8, 8\)"),
        (lambda images: images.mean((0, 2, 3)), r"\(3,\)"),
        (lambda images: images.mean((2, 3))[:2], r"\(2, 3\)"),
        (lambda images: (images.mean((2, 3)),) * 3, r"\(5, 3\), \(5, 3\), \(5, 3\)"),
        (lambda images: (images, images.mean((2, 3))), r"\(5, 3, 8, 8\), \(5, 3\)"),
        (lambda _: (), "nothing"),
        (lambda _: None, "<class 'NoneType'>"),
    ],
)
def test_other_outputs_are_rejected(function: object, returned: str) -> None:
    message = rf"test_custom:Returns returned {returned} for 5 RGB images of 8 x 8 pixels\. Give a network that"
    with pytest.raises(RunError, match=message):
        features_for(Returns(function))(images(5, 3, 8))


def test_a_failure_of_a_network_is_reported_with_the_image_size(net: Path) -> None:
    net.write_text(FILE.replace("nn.Linear(3", "nn.Linear(7"))
    with pytest.raises(RunError, match=r"net.py:Net fails on 2 RGB images of 16 x 16 pixels: mat1.*Give a network"):
        features_for(register_features(f"{net}:Net"))(images(2, 3, 16))


def test_a_network_that_cannot_be_built_is_reported(net: Path) -> None:
    with pytest.raises(RunError, match=r"net.py:Net:width=3 cannot be built: TypeError: .*width.*Give its arguments"):
        features_for(register_features(f"{net}:Net:width=3"))
    with pytest.raises(RunError, match=r"cannot be built: FileNotFoundError: .*nowhere.pt"):
        features_for(register_features(f"{net}:Net:weights=nowhere.pt"))
    with pytest.raises(RunError, match=r"dict returned a dict instead of an nn.Module"):
        features_for(dict)  # type: ignore[arg-type]  # returns no network
