"""Label dropout: all labels of an image together, images independently."""

from collections.abc import Iterator

import pytest
import torch

from sfumato.diffusion.losses import drop_labels
from sfumato.utils.shapes import UNLABELLED

COUNT, BATCHES = 8, 2000


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    """Torch's generator, of a known state inside and restored behind."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def hidden() -> torch.Tensor:
    """Whether each label of many batches was hidden, at 0.3: (batches, images) of 0 and 1."""
    labels = torch.arange(COUNT)
    return torch.stack([drop_labels(labels, 0.3) == UNLABELLED for _ in range(BATCHES)]).double()


def test_every_batch_position_is_dropped_at_the_same_rate() -> None:
    assert hidden().mean(0).tolist() == pytest.approx([0.3] * COUNT, abs=4.5 * (0.21 / BATCHES) ** 0.5)


def test_images_of_a_batch_and_batches_are_dropped_independently() -> None:
    found = hidden() - 0.3
    within = torch.corrcoef(found.T) - torch.eye(COUNT)
    assert within.abs().max() < 4.5 / BATCHES**0.5
    after = found[:-1].T @ found[1:] / (0.21 * BATCHES)
    assert after.abs().max() < 4.5 / BATCHES**0.5


def test_all_columns_of_a_row_are_dropped_together() -> None:
    """Classifier-free guidance (arXiv 2207.12598) needs the model without any condition, not without some."""
    rows = torch.arange(3.0 * 20_000).reshape(-1, 3)
    after = drop_labels(rows, 0.3)
    gone = after.isnan()
    assert (gone.all(1) == gone.any(1)).all()
    assert gone.all(1).double().mean().item() == pytest.approx(0.3, abs=4.5 * (0.21 / 20_000) ** 0.5)
    assert torch.equal(after[~gone], rows[~gone])
