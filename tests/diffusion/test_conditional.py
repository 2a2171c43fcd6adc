"""Rows of conditions in guidance, sampling, inversion and likelihoods, against exact solutions."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

from sfumato.data.conditions import Category, RequestedColumns
from sfumato.diffusion import analytic
from sfumato.diffusion.denoiser import Denoiser, PreconditionedDenoiser, Rescheduled, predict_noise
from sfumato.diffusion.guidance import AutoGuided, ClassifierFree, Clipped, Labelled, WithinLevels
from sfumato.diffusion.losses import drop_labels
from sfumato.diffusion.schedules import Flow, LinearBeta
from sfumato.errors import LabelError
from sfumato.likelihood import flow_likelihood, variational_bound
from sfumato.likelihood.flow import log_density
from sfumato.sampling.inversion import decode, encode, interpolate
from sfumato.sampling.sampler import resolve_labels, sample, sample_batches, sampler_config
from sfumato.utils.shapes import UNLABELLED, Images, Labels, Times, over, unlabelled

from .conditional import CENTRES, COLUMNS, SLOPE, VARIANCE, Conditional

NAN = math.nan
SCHEDULE = LinearBeta()
T = torch.tensor(0.3, dtype=torch.float64)
TIME_DENSITIES = torch.tensor([0.1, 0.9, 0.5, 0.3, 0.7], dtype=torch.float64)
ROWS = torch.tensor([[1.0, 1], [-2, NAN], [NAN, 0], [NAN, NAN], [0.5, 0]])
X = torch.randn(5, 1, 1, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def log_density_of_x_t(x: Tensor, t: Times, rows: Tensor) -> Tensor:
    """log p(x_t | rows): of the Gaussians that the rows leave possible."""
    alpha, sigma = (c.expand(5) for c in (SCHEDULE.alpha(t), SCHEDULE.sigma(t)))
    age, colour = rows.double().unbind(1)
    deviation = (alpha**2 * (VARIANCE + SLOPE**2 * age.isnan()) + sigma**2).sqrt()
    blue, red = (Normal(alpha * (SLOPE * age.nan_to_num(0) + c), deviation).log_prob(x.flatten()) for c in CENTRES)
    either = torch.logaddexp(blue, red) - math.log(2)
    return torch.where(colour.isnan(), either, torch.where(colour == 0, blue, red))


@pytest.mark.parametrize("scale", [-1.0, 0.0, 0.3, 1.0, 2.0, 7.5])
@pytest.mark.parametrize("t", [T, TIME_DENSITIES])
def test_guidance_sharpens_the_conditions_of_the_exact_density(scale: float, t: Times) -> None:
    """arXiv 2207.12598, section 3: the score of p(x) (p(x | rows) / p(x))^scale, by Tweedie's formula."""
    x = X.clone().requires_grad_()
    none, labelled = (log_density_of_x_t(x, t, rows) for rows in (torch.full_like(ROWS, NAN), ROWS))
    (score,) = torch.autograd.grad((none + scale * (labelled - none)).sum(), x)
    alpha, sigma = (over(c, X) for c in (SCHEDULE.alpha(t), SCHEDULE.sigma(t)))
    guided = ClassifierFree(Conditional(), scale)(X, t, ROWS)
    torch.testing.assert_close(guided, (X + sigma**2 * score) / alpha, rtol=1e-9, atol=1e-9)


def test_an_image_with_an_unknown_row_is_not_guided() -> None:
    guided = ClassifierFree(Conditional(), 5.0)(X, T, ROWS)
    assert guided[3].item() == pytest.approx(Conditional()(X, T)[3].item(), abs=1e-12)
    assert (guided - Conditional()(X, T, ROWS))[[0, 1, 2, 4]].abs().min() > 1e-3


def test_guidance_without_rows_is_rejected() -> None:
    with pytest.raises(LabelError, match="guidance was given no labels"):
        ClassifierFree(Conditional(), 3.0)(X, T)


def test_rows_stay_with_their_images_within_an_interval() -> None:
    level = (SCHEDULE.sigma(TIME_DENSITIES) / SCHEDULE.alpha(TIME_DENSITIES)).sort().values
    limited = WithinLevels(ClassifierFree(Conditional(), 4.0), level[1].item() * 0.99, level[3].item() * 1.01)
    for i, acts in enumerate([False, False, True, True, True]):
        expected = ClassifierFree(Conditional(), 4.0 if acts else 1.0)(X, TIME_DENSITIES, ROWS)
        torch.testing.assert_close(limited(X, TIME_DENSITIES, ROWS)[i], expected[i])


def test_a_weaker_model_receives_rows_and_needs_equal_columns() -> None:
    flow = Conditional(Flow())
    guided = AutoGuided(Conditional(), flow, 3.0)(X, T, ROWS)
    expected = 3 * Conditional()(X, T, ROWS) - 2 * Rescheduled(flow, SCHEDULE)(X, T, ROWS)
    torch.testing.assert_close(guided, expected)
    with pytest.raises(LabelError, match=r"other columns \(none\) than the model \(age \(20 to 60\), colour"):
        AutoGuided(Conditional(), analytic.gaussian(SCHEDULE, torch.zeros(1, 1, 1), 1.0), 3.0)
    with pytest.raises(LabelError, match=r"other columns \(age .*\) than the model \(age .*same columns"):
        AutoGuided(Conditional(), Conditional(columns=COLUMNS[:1]), 3.0)


def test_wrappers_keep_the_columns() -> None:
    species = PreconditionedDenoiser(torch.nn.Identity(), SCHEDULE, predict_noise, (1, 1, 1), ("cat",), (), "species")
    for model in (Conditional(), species):
        for wrapped in (Clipped(model), Labelled(model, None), Rescheduled(model, Flow())):
            assert wrapped.columns == model.columns
            assert wrapped.known_columns == model.known_columns
            assert wrapped.is_conditional
    assert species.known_columns == (Category("species", ("cat",)),)


# Sampling


@pytest.mark.parametrize(
    ("asked", "mean", "deviation"),
    [
        ({"age": 60, "colour": "red"}, 0.7, 0.1),
        ({"age": 20, "colour": "blue"}, -0.8, 0.1),
        ({"colour": "red"}, 0.3, 0.05**0.5),
        ({"age": "50"}, 0.15, (0.01 + 0.35**2) ** 0.5),
        (None, -0.05, (0.05 + 0.35**2) ** 0.5),
    ],
)
def test_samples_have_the_requested_distribution(asked: RequestedColumns | None, mean: float, deviation: float) -> None:
    drawn = sample(Conditional(), 2000, labels=asked, steps=20, batch=2000).flatten()
    assert drawn.mean().item() == pytest.approx(mean, abs=0.03)
    assert drawn.std().item() == pytest.approx(deviation, rel=0.1)


def test_values_are_repeated_in_turn_through_the_batches() -> None:
    asked: RequestedColumns = {"colour": ["red", "blue"], "age": [40, 50, 60]}
    brief = sampler_config(SCHEDULE, solver="ddim", steps=2)
    batches = sample_batches(Conditional(), 5, brief, labels=asked, batch=2)
    labelled = torch.cat([labels for _, labels in batches if labels is not None])
    assert labelled.tolist() == [[0, 1], [1, 0], [2, 1], [0, 0], [1, 1]]


def test_labels_and_columns_unknown_to_the_model_are_rejected() -> None:
    classes = analytic.images(SCHEDULE, X.float(), torch.tensor([0, 1, 0, 1, 0]), ("cat", "dog"))
    for model, wanted, message in (
        (Conditional(), "red", r"the column 'label'.*It knows: age \(20 to 60\), colour \(blue, red\)"),
        (Conditional(), {"size": 1}, r"the column 'size'.*It knows: age"),
        (classes, {"colour": "red"}, r"the column 'colour'.*It knows: label \(cat, dog\)"),
        (analytic.gaussian(SCHEDULE, X[0], 1.0), {"age": 3}, "the age 3 .*knows no classes"),
    ):
        with pytest.raises(LabelError, match=message):
            sample(model, 2, labels=wanted)


def test_the_column_of_the_classes_can_be_named_instead_of_label() -> None:
    model = PreconditionedDenoiser(
        torch.nn.Identity(), SCHEDULE, predict_noise, (1, 1, 1), ("cat", "dog"), (), "species"
    )
    for wanted in ("dog", ["dog"], {"species": "dog"}):
        found = resolve_labels(model, wanted, 2)
        assert found is not None
        assert (found.dtype, found.tolist()) == (torch.int64, [1, 1])
    with pytest.raises(LabelError, match=r"does not know the species 'cow'.*It knows: cat, dog"):
        resolve_labels(model, "cow", 2)


def test_without_requested_columns_all_values_are_unknown() -> None:
    assert (
        resolve_labels(Conditional(), {}, 2)
        is resolve_labels(Conditional(), (), 2)
        is resolve_labels(Conditional(), None, 2)
    )
    assert resolve_labels(Conditional(), None, 2) is None


# Latents and likelihoods


def test_encoding_and_decoding_use_the_rows() -> None:
    """The flow of a Gaussian keeps an image's place in its spread: another age moves it and changes nothing else."""
    images = torch.tensor([0.25, 0.3, 0.4]).reshape(3, 1, 1, 1)
    latents = encode(Conditional(), images, labels={"age": 40, "colour": "red"}, batch=2)
    again, older = (decode(Conditional(), latents, labels={"age": age, "colour": "red"}, batch=2) for age in (40, 50))
    torch.testing.assert_close(again, images, rtol=0, atol=2e-3)
    torch.testing.assert_close(older - again, torch.full_like(images, SLOPE), rtol=0, atol=5e-3)
    by_turns = decode(Conditional(), latents, labels={"age": [40, 50, 50], "colour": "red"}, batch=2)
    torch.testing.assert_close(by_turns, torch.stack([again[0], *older[1:]]))
    between = interpolate(Conditional(), latents[:2], 3, labels={"age": 50, "colour": "red"})
    torch.testing.assert_close(between[[0, 2]], older[:2])


def bound(model: Denoiser, images: Images, labels: Labels | None = None, batch: int = 64) -> Tensor:
    return variational_bound(model, images, labels=labels, batch=batch).total


@pytest.mark.parametrize("measure", [flow_likelihood, bound])
def test_likelihoods_use_the_rows(measure: Callable[..., Tensor]) -> None:
    rows = torch.tensor([[1.0, 1], [0, 0], [-1, 1]])
    centres = torch.tensor([0.5, -0.4, 0.1]).reshape(3, 1, 1, 1)
    images = ((centres + 1) * 127.5).round() / 127.5 - 1
    found = measure(Conditional(), images, labels=rows, batch=2)
    three = analytic.Mixture(
        SCHEDULE, centres, torch.full((3,), VARIANCE), torch.ones(3), torch.arange(3), tuple("abc")
    )
    torch.testing.assert_close(found, measure(three, images, labels=torch.arange(3)), rtol=1e-3, atol=1e-3)
    assert measure(Conditional(), images, labels=rows.roll(1, 0)).mean() > found.mean() + 1


@pytest.mark.parametrize(
    ("model", "labels", "message"),
    [
        (Conditional(), torch.tensor([0, 1]), r"labels of shape \(2,\) were given to a model of 2 columns.*age"),
        (Conditional(), torch.zeros(2, 3), r"labels of shape \(2, 3\)"),
        (Conditional(), torch.tensor([[0.0, 2], [0, 0]]), "invalid code for colour.*blue, red"),
        (Conditional(), torch.zeros(3, 2), "3 labels were given for 2 images"),
        (analytic.gaussian(SCHEDULE, X[0], 1.0), torch.zeros(2, 2), "rows of conditions were given to a model without"),
    ],
)
def test_rows_of_another_model_are_rejected(model: Denoiser, labels: Tensor, message: str, unchecked: None) -> None:
    del unchecked
    with pytest.raises(LabelError, match=message):
        log_density(model, torch.zeros(2, 1, 1, 1), labels=labels)


def test_an_analytic_denoiser_of_classes_rejects_rows() -> None:
    with pytest.raises(LabelError, match="rows of conditions"):
        analytic.gaussian(SCHEDULE, X[0], 1.0)(X, T, ROWS)


# What is forgotten


def test_unlabelled_keeps_the_kind_of_labels() -> None:
    assert unlabelled(torch.tensor([3, 0])).tolist() == [UNLABELLED] * 2
    nothing = unlabelled(torch.zeros(2, 3))
    assert nothing.isnan().all()
    assert (nothing.dtype, nothing.shape) == (torch.float32, (2, 3))


def test_label_dropout_drops_whole_rows_and_no_others() -> None:
    rows = torch.arange(30_000, dtype=torch.float32).reshape(10_000, 3)
    torch.manual_seed(0)
    kept = drop_labels(rows, 0.3)
    forgotten = kept.isnan()
    assert torch.equal(forgotten.any(1), forgotten.all(1))
    assert forgotten[:, 0].float().mean().item() == pytest.approx(0.3, abs=0.02)
    assert torch.equal(kept[~forgotten], rows[~forgotten])


def test_classes_and_rows_are_dropped_alike() -> None:
    torch.manual_seed(0)
    classes = drop_labels(torch.zeros(100, dtype=torch.int64), 0.3)
    torch.manual_seed(0)
    rows = drop_labels(torch.zeros(100, 100), 0.3)
    assert torch.equal(classes == UNLABELLED, rows.isnan()[:, 0])
