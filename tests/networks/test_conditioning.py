"""Every column is an input of the network, and unknown differs from the mean and from the first category."""

import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from sfumato.errors import ConfigError, LabelError
from sfumato.networks.conditioning import RowEmbedding
from sfumato.networks.unet import UNet, UNetConfig

from .test_unet import TINY, filled, inputs

NAN = math.nan
TOLD = UNetConfig(
    image_channels=2,
    width=8,
    multipliers=(1, 2),
    blocks=1,
    attention_levels=(1,),
    dropout=0.0,
    classes=0,
    columns=(0, 3, 0, 2),
)
"""Two numbers and two categories."""

KNOWN = [0.5, 1.0, -1.0, 0.0]


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    """Torch's generator, of a known state inside and restored behind."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def outputs(rows: Tensor | None, count: int) -> Tensor:
    """Outputs of one network for one image and one time with each of the rows."""
    torch.manual_seed(1)
    network = filled(UNet(TOLD))
    x = torch.randn(1, 2, 4, 4).expand(count, 2, 4, 4)
    said: Tensor = network(x, torch.full((count,), 300.0), rows)
    return said.flatten(1)


@pytest.mark.parametrize(
    ("column", "codes"),
    [(0, [-2, -1, 0, 0.1, 2, NAN]), (1, [0, 1, 2, NAN]), (2, [-1, 0, 1, NAN]), (3, [0, 1, NAN])],
)
@pytest.mark.parametrize("others", [KNOWN, [NAN] * 4])
def test_every_value_of_every_column_reaches_the_output(column: int, codes: list[float], others: list[float]) -> None:
    rows = torch.tensor(others).repeat(len(codes), 1)
    rows[:, column] = torch.tensor(codes)
    distances = torch.pdist(outputs(rows, len(codes)))
    assert distances.min() > 1e-3


def test_columns_have_separate_embeddings() -> None:
    rows = torch.tensor([[1.0, NAN, 0, NAN], [0, NAN, 1.0, NAN], [0, 1, 0, NAN], [0, NAN, 0, 1]])
    assert torch.pdist(outputs(rows, 4)).min() > 1e-3


def test_no_rows_equal_rows_of_unknown_values() -> None:
    assert torch.equal(outputs(None, 3), outputs(torch.full((3, 4), NAN), 3))


def test_column_embeddings_are_added_and_numbers_are_linear() -> None:
    """Of one category and one number: table row of the index + 1, and weight times (number, 1), or (0, 0)."""
    embed = RowEmbedding((3, 0), 5)
    table, weight = embed.columns[0].weight, embed.columns[1].weight
    assert (table.shape, weight.shape) == ((4, 5), (5, 2))
    rows = torch.tensor([[2, 0.5], [NAN, -3], [0, NAN], [NAN, NAN]])
    expected = [table[3] + 0.5 * weight[:, 0] + weight[:, 1], table[0] - 3 * weight[:, 0] + weight[:, 1]]
    torch.testing.assert_close(embed(rows), torch.stack([*expected, table[1], table[0]]))


def test_an_images_output_does_not_depend_on_the_others_rows() -> None:
    network = filled(UNet(TOLD)).eval()
    x, times = inputs(3, 4, 4)
    rows = torch.tensor([KNOWN, [NAN] * 4, [NAN, 2, 1.5, NAN]])
    together = network(x, times, rows)
    for i in range(3):
        alone = network(x[i : i + 1], times[i : i + 1], rows[i : i + 1])
        torch.testing.assert_close(together[i : i + 1], alone, rtol=1e-4, atol=1e-5)


def test_every_weight_gets_a_gradient() -> None:
    network = filled(UNet(TOLD))
    x, times = inputs(4, 5, 4)
    rows = torch.tensor([KNOWN, [NAN] * 4, [1.0, 0, 1, 1], [1.5, 2, NAN, 0]])
    network(x, times, rows).square().sum().backward()
    for name, weight in network.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.isfinite().all(), name
        assert weight.grad.abs().max() > 1e-4, name


def test_a_network_of_classes_has_no_weights_for_columns() -> None:
    assert not any("row" in name for name in UNet(TINY).state_dict())
    assert "class_embedding.weight" in UNet(TINY).state_dict()


@pytest.mark.parametrize(
    ("config", "labels", "message"),
    [
        (TOLD, torch.tensor([0, 1]), r"labels of shape \(2,\) were given to a network with 4 columns.*\(n, 4\)"),
        (TOLD, torch.zeros(2, 3), r"labels of shape \(2, 3\) were given to a network with 4 columns"),
        (TINY, torch.zeros(2, 1), r"labels of shape \(2, 1\) were given to a network with 3 classes.*\(n,\)"),
    ],
)
def test_labels_of_the_wrong_kind_are_rejected(config: UNetConfig, labels: Tensor, message: str) -> None:
    with pytest.raises(LabelError, match=message):
        UNet(config)(*inputs(2, 4, 4), labels)


@pytest.mark.parametrize(("classes", "columns"), [(2, (0,)), (0, (3, -1))])
def test_classes_with_columns_and_negative_values_are_rejected(classes: int, columns: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="cannot be combined"):
        UNetConfig(1, 8, (1,), 1, (), 0.0, classes, columns)
