"""Random directions of the divergence: different for each probe and image, constant along a path."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from sfumato.diffusion import analytic
from sfumato.diffusion.denoiser import Denoiser
from sfumato.diffusion.schedules import Flow
from sfumato.likelihood import flow, log_density

SHAPE = (2, 8, 8)


@pytest.fixture
def directions(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """The directions of each batch, (probes, images, C, H, W); the path itself is not followed."""
    seen: list[Tensor] = []

    def kept(_: Denoiser, x_0: Tensor, given: list[Tensor], __: float) -> Tensor:
        seen.append(torch.stack(list(given)))
        return torch.zeros(len(x_0), dtype=torch.float64)

    monkeypatch.setattr(flow, "_along_the_flow", kept)
    return seen


def measured(seed: int = 0, batch: int = 64) -> None:
    """The density of four images, with three probes."""
    log_density(
        analytic.gaussian(Flow(), torch.zeros(SHAPE), 1.0), torch.zeros(4, *SHAPE), probes=3, seed=seed, batch=batch
    )


def test_directions_differ_between_probes_images_and_seeds(directions: list[Tensor]) -> None:
    measured()
    measured(seed=1)
    rows = torch.cat(directions).flatten(0, 1).flatten(1)
    assert rows.shape == (2 * 3 * 4, 128)
    assert (rows.abs() == 1).all()
    agreement = (rows @ rows.T / 128).fill_diagonal_(0)
    assert agreement.abs().max() < 0.45  # five standard errors


def test_directions_do_not_depend_on_the_batch(directions: list[Tensor]) -> None:
    measured()
    measured(batch=3)
    whole, *parts = directions
    assert torch.equal(torch.cat(parts, dim=1), whole)


def test_directions_are_constant_along_a_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the integrator would follow another function at each point, and its steps would not converge."""
    fields: list[Callable[[float, Tensor], Tensor]] = []
    whole = flow._with_gain

    def kept(denoiser: Denoiser, given: list[Tensor]) -> Callable[[float, Tensor], Tensor]:
        fields.append(whole(denoiser, given))
        return fields[-1]

    monkeypatch.setattr(flow, "_with_gain", kept)
    measured()
    (field,) = fields
    state = torch.randn(4, 2, *SHAPE, generator=torch.Generator().manual_seed(0))
    assert torch.equal(field(0.7, state), field(0.7, state))
