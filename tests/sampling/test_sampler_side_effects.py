"""Sampling restores modes, and does not change generators or gradients."""

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

from sampling.toy_models import LINEAR, brief, corners
from sfumato.diffusion.denoiser import Denoiser, PreconditionedDenoiser, predict_noise
from sfumato.diffusion.guidance import ClassifierFree
from sfumato.sampling.sampler import (
    sample,
    sample_batches,
)
from sfumato.sampling.solvers import Solver, Step


class Wet(nn.Module):
    """A network with dropout in a part of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.5)
        self.frozen = nn.Dropout(0.5).eval()

    def forward(self, x: Tensor, times: Tensor, labels: Tensor | None) -> Tensor:  # noqa: ARG002
        """Half of the input, at random."""
        return self.frozen(self.dropout(x))  # type: ignore[no-any-return]


def wet() -> PreconditionedDenoiser:
    return PreconditionedDenoiser(Wet(), LINEAR, predict_noise, (1, 2, 2))


def modes(model: nn.Module) -> list[bool]:
    return [part.training for part in model.modules()]


def test_dropout_is_off_and_every_mode_is_restored() -> None:
    model = wet().train()
    model.network.frozen.eval()  # type: ignore[union-attr]
    before = modes(model)
    assert (sample(model, 4, solver="ddim", steps=5) == sample(wet().eval(), 4, solver="ddim", steps=5)).all()
    assert modes(model) == before
    assert set(before) == {True, False}


def test_the_mode_of_a_guided_model_is_restored() -> None:
    inner = corners().eval()
    sample(ClassifierFree(inner, 2.0), 2, labels=inner.label_names, solver="ddim", steps=2)
    assert not inner.training


class Broken(Solver):
    """A solver that fails."""

    def step(self, *_: object) -> Step:
        """Fails."""
        raise ZeroDivisionError


def stopped_early(model: Denoiser) -> None:
    next(batches := sample_batches(model, 2, brief(), batch=1))
    batches.close()  # type: ignore[attr-defined]


def failing(model: Denoiser) -> None:
    with pytest.raises(ZeroDivisionError):
        sample(model, 2, steps=2, solver=Broken())


@pytest.mark.parametrize("interrupted", [stopped_early, failing])
def test_the_mode_is_restored_after_an_interruption(interrupted: Callable[[Denoiser], None]) -> None:
    model = wet().train()
    interrupted(model)
    assert model.training
    assert model.network.training


@pytest.fixture
def torch_generator() -> Iterator[Tensor]:
    """The state of torch's own generator before the test."""
    with torch.random.fork_rng():
        yield torch.get_rng_state()


def test_the_global_generator_is_not_used(torch_generator: Tensor) -> None:
    sample(wet(), 2, solver="ddim", steps=3)
    assert (torch.get_rng_state() == torch_generator).all()


def test_gradients_are_disabled_only_inside_sampling() -> None:
    model = PreconditionedDenoiser(Scaled(), LINEAR, predict_noise, (1, 2, 2))
    for images, _ in sample_batches(model, 2, brief(), batch=1):
        assert not images.requires_grad
        assert torch.is_grad_enabled()


class Scaled(nn.Module):
    """A network with a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor, times: Tensor, labels: Tensor | None) -> Tensor:  # noqa: ARG002
        """The input, weighed."""
        return self.weight * x
