"""Optimizers against plain implementations of their definitions; the parameters of each rule; their state."""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from sfumato.data import Batch, load_images
from sfumato.errors import ConfigError
from sfumato.training.optim import (
    OPTIMIZERS,
    AdamConfig,
    AdamRule,
    MuonConfig,
    MuonRule,
    UpdateRule,
    from_matrix,
    orthogonalize,
    to_matrix,
)
from sfumato.training.step import training_step

from .conftest import NewState, Saved, Settings, Train

ON, OFF = torch.tensor(1.0), torch.tensor(0.0)

SHAPES = [(6, 4), (4, 6), (5, 5), (8, 2, 3, 3), (2, 3, 1, 2), (6, 4)]
"""Tall, wide and square matrices, convolutions, and one shape twice."""


def parameters(shapes: Sequence[tuple[int, ...]] = SHAPES) -> list[nn.Parameter]:
    """Normally distributed weights; those of convolutions lie channels last, as in training."""
    generator = torch.Generator().manual_seed(1)
    drawn = [torch.randn(shape, generator=generator) for shape in shapes]
    return [
        nn.Parameter(w.contiguous(memory_format=torch.channels_last) if w.ndim == 4 else w.contiguous()) for w in drawn
    ]


def give_gradients(weights: Sequence[nn.Parameter], step: int) -> list[Tensor]:
    """Gives the weights the gradients of a step, of different sizes from step to step, and in memory as they are."""
    generator = torch.Generator().manual_seed(100 + step)
    gradients = [torch.randn(w.shape, generator=generator) * (1 + step % 3) for w in weights]
    for weight, gradient in zip(weights, gradients, strict=True):
        weight.grad = torch.empty_like(weight).copy_(gradient)
    return gradients


def assert_close(weights: Sequence[Tensor], others: Sequence[Tensor], tolerance: float = 1e-5) -> None:
    """All are the same but for rounding."""
    for weight, other in zip(weights, others, strict=True):
        torch.testing.assert_close(weight.detach(), other.detach(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.8, 0.95)])
def test_adam_equals_adam_of_pytorch_at_each_learning_rate(betas: tuple[float, float]) -> None:
    ours, theirs = parameters(), parameters()
    rule = AdamRule(ours, 1e-2, betas)
    adam = torch.optim.Adam(theirs, lr=1e-2, betas=betas, foreach=False, fused=False)
    for step in range(40):
        scale = min(1.0, (step + 1) / 10)
        adam.param_groups[0]["lr"] = 1e-2 * scale
        for weights in (ours, theirs):
            give_gradients(weights, step)
        rule.step(torch.tensor(scale), ON)
        adam.step()
    assert_close(ours, theirs)


@pytest.mark.parametrize("backbone", ["unet", "convnet"])
def test_gradients_have_the_strides_of_their_weights(backbone: str, settings: Settings, new_state: NewState) -> None:
    """The fused kernel of Adam goes through both without a look at their strides."""
    config = settings(backbone=backbone, multipliers=(1, 2))
    images = load_images(config.source)
    assert images.labels is not None
    state = new_state(config)
    training_step(state, Batch(images.floats()[:4], images.labels[:4]), config)
    for parameter in state.model.parameters():
        assert parameter.grad is not None
        strides = zip(parameter.shape, parameter.stride(), parameter.grad.stride(), strict=True)
        assert all(own == of_gradient for size, own, of_gradient in strides if size > 1)


def orthogonalised_slowly(matrix: Tensor) -> Tensor:
    """Jordan's `zeropower_via_newtonschulz5`, of one matrix in double precision."""
    x: Tensor = matrix.double() / (matrix.double().norm() + 1e-7)
    if x.shape[0] > x.shape[1]:
        return orthogonalised_slowly(matrix.T).T
    for _ in range(5):
        a = x @ x.T
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return x


def muon_slowly(weights: list[Tensor], gradients: list[list[Tensor]], rate: float, momentum: float) -> list[Tensor]:
    """Jordan's Muon, one matrix after the other: Nesterov's momentum by hand, convolutions as (out, h x w x in)."""
    moved = []
    for index, weight in enumerate(weights):
        w = weight.detach().double()
        buffer = torch.zeros_like(w)
        for of_step in gradients:
            gradient = of_step[index].double()
            buffer = momentum * buffer + (1 - momentum) * gradient
            ahead = momentum * buffer + (1 - momentum) * gradient
            rows = ahead if ahead.ndim == 2 else ahead.permute(0, 2, 3, 1).reshape(len(ahead), -1)
            update = orthogonalised_slowly(rows) * max(1, rows.shape[0] / rows.shape[1]) ** 0.5
            if ahead.ndim == 4:
                out, inside, height, width = ahead.shape
                update = update.reshape(out, height, width, inside).permute(0, 3, 1, 2)
            w = w - rate * update
        moved.append(w.float())
    return moved


@pytest.mark.parametrize("momentum", [0.0, 0.95])
def test_muon_equals_its_definition_for_each_matrix(momentum: float) -> None:
    weights = parameters()
    before = deepcopy(weights)
    rule = MuonRule(weights, 0.05, momentum)
    gradients = []
    for step in range(3):
        gradients.append(give_gradients(weights, step))
        rule.step(ON, ON)
    assert_close(weights, muon_slowly(list(before), gradients, 0.05, momentum), 1e-4)
    assert not torch.allclose(weights[0], before[0])


def test_the_learning_rate_of_muon_is_scaled_per_step() -> None:
    whole, half = parameters(), parameters()
    before = parameters()
    for weights, scale in ((whole, 1.0), (half, 0.5)):
        give_gradients(weights, 0)
        MuonRule(weights, 0.05, 0.9).step(torch.tensor(scale), ON)
    for start, one, other in zip(before, whole, half, strict=True):
        torch.testing.assert_close((start - one).detach(), 2 * (start - other).detach(), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(("rows", "columns"), [(48, 16), (16, 48), (24, 24), (1, 5), (5, 1)])
def test_orthogonalization_keeps_the_singular_vectors(rows: int, columns: int) -> None:
    given = torch.randn(3, rows, columns, generator=torch.Generator().manual_seed(0)) * 7
    for before, after in zip(given, orthogonalize(given), strict=True):
        u, values, v = torch.linalg.svd(before.double(), full_matrices=False)
        in_its_directions = u.T @ after.double() @ v.T
        of_size = values > 0.03 * values[0]  # five iterations do not reach the smallest
        new = in_its_directions.diagonal()[of_size]
        assert ((new > 0.6) & (new < 1.3)).all()
        assert (in_its_directions - in_its_directions.diagonal().diag()).abs().max() < 1e-3


def test_orthogonalized_singular_values_are_from_0_68_to_1_21() -> None:
    """Diagonal matrices of norm 1, which stay diagonal, so that their singular values are their entries."""
    small = torch.logspace(-6, math.log10(0.5**0.5), 20_000, dtype=torch.float64)
    given = torch.stack([small, (1 - small**2).sqrt()], dim=1)
    ended = orthogonalize(torch.diag_embed(given)).diagonal(dim1=1, dim2=2)
    reached = ended[given >= 0.002]
    assert 0.68 < reached.min() < 0.69
    assert 1.20 < reached.max() < 1.21
    growth = ended[:, 0] / small
    assert 484 < growth.max() < 485


def test_a_convolution_is_a_matrix_with_one_row_per_output() -> None:
    weight = torch.arange(2 * 3 * 2 * 2.0).view(2, 3, 2, 2)
    assert to_matrix(weight).tolist() == weight.permute(0, 2, 3, 1).reshape(2, 12).tolist()
    assert torch.equal(from_matrix(to_matrix(weight), weight), weight)
    channels_last = weight.contiguous(memory_format=torch.channels_last)
    assert to_matrix(channels_last).data_ptr() == channels_last.data_ptr()


@pytest.mark.parametrize("kind", [AdamRule, MuonRule])
@pytest.mark.parametrize("value", [1.0, float("nan"), float("inf")])
def test_a_disabled_step_changes_neither_weights_nor_state(kind: type[UpdateRule], value: float) -> None:
    weights = parameters()
    rule = AdamRule(weights, 0.1, (0.9, 0.99)) if kind is AdamRule else MuonRule(weights, 0.1, 0.9)
    give_gradients(weights, 0)
    rule.step(ON, ON)
    before = deepcopy([weights, [list(m.values()) for m in rule.state().values()]])
    for weight in weights:
        weight.grad = torch.full_like(weight, value)
    rule.step(ON, OFF)
    after = [weights, [list(m.values()) for m in rule.state().values()]]
    torch.testing.assert_close(after, before, rtol=0, atol=0)


@pytest.mark.parametrize("backbone", ["unet", "convnet"])
@pytest.mark.parametrize(("optimizer", "count"), [("adam", 1), ("muon", 2)])
def test_every_parameter_is_in_exactly_one_rule_and_in_its_state(
    backbone: str, optimizer: str, count: int, settings: Settings, new_state: NewState
) -> None:
    state = new_state(settings(backbone=backbone, optimizer=optimizer, multipliers=(1, 2), attention=(4,), augment=0.1))
    rules = state.optimizer.rules
    changed = [id(p) for rule in rules for p in rule.state()]
    assert len(rules) == count
    assert sorted(changed) == sorted(id(p) for p in state.model.network.parameters())
    assert len(state.optimizer.state()) == len(changed)


def test_muon_takes_hidden_matrices_and_adam_all_other_weights(settings: Settings, new_state: NewState) -> None:
    state = new_state(settings(backbone="convnet", optimizer="muon", multipliers=(1, 2)))
    adam, muon = state.optimizer.rules
    assert isinstance(adam, AdamRule)
    assert isinstance(muon, MuonRule)
    names = {id(p): name for name, p in state.model.network.named_parameters()}
    by_muon = {names[id(p)] for p in muon.state()}
    by_adam = {names[id(p)] for p in adam.state()}
    assert all(name.split(".")[0] in ("down_levels", "middle", "up_levels") for name in by_muon)
    assert {name.split(".")[0] for name in by_adam} >= {"stem", "head", "embedding"}
    assert (adam.rate, muon.rate, muon.decay) == (1e-2, 0.02, 0.95)


def test_a_network_without_hidden_matrices_uses_adam_only() -> None:
    (rule,) = MuonConfig().built(nn.Linear(2, 2), 1e-3, [torch.zeros(1, 2)]).rules
    assert isinstance(rule, AdamRule)


def test_a_resumed_muon_run_equals_an_uninterrupted_one(
    settings: Settings, go: Train, saved: Saved, tmp_path: Path
) -> None:
    config = settings(images=40, backbone="convnet", multipliers=(1, 2), optimizer="muon", ema="power")
    go(config, tmp_path / "whole")
    for steps in (3, 1, 10):
        go(config, tmp_path / "parts", steps=steps)
    (whole, counters), (parts, other_counters) = (saved(tmp_path / name) for name in ("whole", "parts"))
    assert counters == other_counters
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    momenta = [tensor for name, tensor in whole.items() if name.endswith(".momentum")]
    assert momenta
    assert all(momentum.abs().sum() > 0 for momentum in momenta)


def test_optimizers_are_given_by_name_with_settings() -> None:
    assert OPTIMIZERS.parse("adam") == AdamConfig(0.9, 0.999)
    assert OPTIMIZERS.parse("muon:rate=0.01,momentum=0.9") == MuonConfig(rate=0.01, momentum=0.9)
    network = nn.Sequential(*(nn.Linear(2, 2) for _ in range(3)))
    choice = OPTIMIZERS.parse("muon:rate=0.5,momentum=0.7,beta2=0.8")
    adam, muon = choice.built(network, 1e-3, [torch.zeros(1, 2)]).rules
    assert isinstance(adam, AdamRule)
    assert isinstance(muon, MuonRule)
    assert (adam.rate, adam.adam.defaults["betas"]) == (1e-3, (0.9, 0.8))
    assert (muon.rate, muon.decay) == (0.5, 0.7)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("sgd", "adam, muon"),
        ("adam:rate=1", "rate"),
        ("adam:beta1=1", "decay rates .* are out of range"),
        ("adam:beta2=-0.1", "decay rates .* are out of range"),
        ("muon:rate=0", "learning rate of Muon is"),
        ("muon:rate=-1", "learning rate of Muon is"),
        ("muon:momentum=1", "decay rates .* are out of range"),
    ],
)
def test_invalid_optimizers_are_rejected(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        OPTIMIZERS.parse(name)
