"""Fine-tuning with `--from`: embeddings of classes and columns of a model, in a model with other labels."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sfumato.data.conditions import Category, Column, Number, RequestedColumns, requested_rows
from sfumato.models import Model, ModelConfig
from sfumato.networks.convnet import ConvNetConfig
from sfumato.networks.unet import UNetConfig
from sfumato.training.starting_model import transfer

AGE, OLDER = Number("age", 30.0, 10.0, 18.0, 60.0), Number("age", 50.0, 4.0, 40.0, 60.0)
KIND, KINDS = Category("kind", ("cat", "dog")), Category("kind", ("ant", "dog", "cat"))
AGES = Category("age", ("old", "young"))

Labels = tuple[str, ...] | tuple[Column, ...]


@pytest.fixture(params=["unet", "convnet"])
def backbone(request: pytest.FixtureRequest) -> str:
    """The network of both models."""
    return str(request.param)


def model_of(backbone: str, labels: Labels, seed: int = 0, label_column: str = "label") -> Model:
    """A model with random weights, none of which is zero."""
    names = tuple(label for label in labels if isinstance(label, str))
    columns = tuple(label for label in labels if not isinstance(label, str))
    sizes = tuple(column.size for column in columns)
    network = (
        UNetConfig(1, 8, (1,), 1, (), 0.0, len(names), sizes)
        if backbone == "unet"
        else ConvNetConfig(1, 8, (1,), (1,), (), 0.0, len(names), sizes)
    )
    model = Model(ModelConfig(network, "flow", False, 1.0, "velocity", (1, 8, 8), names, columns, label_column))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(0.2 * torch.randn(weight.shape, generator=generator))
    return model.eval()


def transferred(source: Model, labels: Labels, label_column: str = "label") -> tuple[Model, tuple[str, ...]]:
    """A model with these labels that starts from the source, and the messages."""
    backbone = "unet" if isinstance(source.config.network, UNetConfig) else "convnet"
    target = model_of(backbone, labels, 1, label_column)
    return target, transfer(source, target)


def estimate(model: Model, wanted: RequestedColumns) -> Tensor:
    """The estimates at three times for labels of these values; without labels if there are none."""
    x = torch.randn(3, *model.image_shape, generator=torch.Generator().manual_seed(2))
    rows = requested_rows(model.known_columns, wanted, 3) if wanted else None
    labels = rows[:, 0].long() if rows is not None and model.label_names else rows
    with torch.no_grad():
        found: Tensor = model(x, torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64), labels)
    return found


def is_equal(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(one, other, atol=1e-6, rtol=1e-6)


ALL: list[Labels] = [(), ("cat", "dog"), ("dog", "eel", "cat"), (AGE,), (OLDER, KIND), (KINDS, AGE), (AGES,)]


@pytest.mark.parametrize("before", ALL)
@pytest.mark.parametrize("now", ALL)
def test_without_labels_the_network_remains_the_same(backbone: str, before: Labels, now: Labels) -> None:
    source = model_of(backbone, before)
    target, _ = transferred(source, now)
    assert is_equal(estimate(target, {}), estimate(source, {}))


@pytest.mark.parametrize(
    ("before", "now", "wanted", "same"),
    [
        (("cat", "dog"), ("ant", "dog", "cat"), {"label": "dog"}, {"label": "dog"}),
        (("cat", "dog"), ("ant", "dog", "cat"), {"label": "ant"}, {}),
        ((AGE,), (OLDER,), {"age": 41.0}, {"age": 41.0}),
        ((OLDER,), (AGE,), {"age": 41.0}, {"age": 41.0}),
        ((AGE, KIND), (KINDS, OLDER), {"age": 45.0, "kind": "cat"}, {"age": 45.0, "kind": "cat"}),
        ((AGE, KIND), (KINDS, OLDER), {"kind": "dog"}, {"kind": "dog"}),
        ((AGE, KIND), (KINDS, OLDER), {"kind": "ant", "age": 45.0}, {"age": 45.0}),
        ((AGE, KIND), (KIND,), {"kind": "dog"}, {"kind": "dog"}),
        ((AGE,), (AGES,), {"age": "old"}, {}),
        (("cat", "dog"), (AGE,), {"age": 30.0}, {}),
    ],
)
def test_equal_labels_have_the_same_estimate(
    backbone: str, before: Labels, now: Labels, wanted: RequestedColumns, same: RequestedColumns
) -> None:
    """Also with other statistics and other values, in another order; new labels are those of an unknown one."""
    source = model_of(backbone, before)
    target, _ = transferred(source, now)
    assert is_equal(estimate(target, wanted), estimate(source, same))
    assert not same or not is_equal(estimate(target, wanted), estimate(source, {}))


def test_a_condition_of_classes_is_a_column(backbone: str) -> None:
    """`--condition kind` has classes, `--condition kind age` has columns."""
    source = model_of(backbone, ("cat", "dog"), label_column="kind")
    target, messages = transferred(source, (AGE, KINDS))
    assert is_equal(estimate(target, {"kind": "dog"}), estimate(source, {"kind": "dog"}))
    assert messages == ("Kept the embeddings of: kind.", "New, without an embedding in the model: age, kind=ant.")
    back, _ = transferred(target, ("cat", "dog"), "kind")
    assert is_equal(estimate(back, {"kind": "cat"}), estimate(source, {"kind": "cat"}))


def test_classes_of_folders_and_of_a_column_are_the_same(backbone: str) -> None:
    source = model_of(backbone, ("cat", "dog"))
    target, _ = transferred(source, ("ant", "dog"), "kind")
    assert is_equal(estimate(target, {"kind": "dog"}), estimate(source, {"label": "dog"}))


def test_numbers_in_another_unit_begin_anew(backbone: str) -> None:
    source = model_of(backbone, (AGE,))
    seconds = Number("age", 1e9, 3e8, 6e8, 2e9)
    target, messages = transferred(source, (seconds,))
    assert messages == ("New, without an embedding in the model: age.",)
    assert is_equal(estimate(target, {"age": 1e9}), estimate(source, {}))


@pytest.mark.parametrize(
    ("before", "now", "kept", "new"),
    [
        (("cat", "dog"), ("dog", "eel"), "dog", "eel"),
        (("cat", "dog"), ("eel",), "", "eel"),
        (("cat", "dog"), (), "", ""),
        ((), (AGE,), "", "age"),
        ((AGE, KIND), (OLDER, KINDS), "age, kind", "kind=ant"),
        ((AGE, KIND), (OLDER, Category("kind", ("eel",))), "age", "kind"),
        ((AGE,), (AGES,), "", "age"),
        ((), tuple(f"c{index}" for index in range(13)), "", ", ".join(f"c{i}" for i in range(10)) + " and 3 more"),
    ],
)
def test_messages_name_what_is_kept_and_new(before: Labels, now: Labels, kept: str, new: str) -> None:
    _, messages = transferred(model_of("unet", before), now)
    expected = {f"Kept the embeddings of: {kept}.": kept, f"New, without an embedding in the model: {new}.": new}
    assert messages == tuple(message for message, names in expected.items() if names)
