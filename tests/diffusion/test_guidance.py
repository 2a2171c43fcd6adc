"""Guidance against closed forms: classifier-free, autoguidance, rescaled, limited to an interval; fixed labels."""

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

from diffusion.constant import Constant, answer
from sfumato.diffusion import analytic
from sfumato.diffusion.denoiser import Denoiser
from sfumato.diffusion.guidance import (
    CLIPS,
    AutoGuided,
    ClassifierFree,
    Clipped,
    DynamicThreshold,
    Labelled,
    WithinLevels,
    Wrapper,
)
from sfumato.diffusion.schedules import Flow, LinearBeta, VarianceExploding
from sfumato.errors import LabelError, SamplingError
from sfumato.sampling.sampler import sample
from sfumato.utils.shapes import UNLABELLED, Images, Labels, Times, over

SCHEDULE = LinearBeta()
T = torch.tensor(0.3, dtype=torch.float64)
TIMES = torch.tensor([0.1, 0.9, 0.5, 0.3, 0.7], dtype=torch.float64)
LABELS = torch.tensor([1, 0, UNLABELLED, 1, 0])
X = torch.randn(5, 1, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

MEANS, VARIANCES = (-0.7, 0.5), (0.2, 0.4)


def two_classes(means: tuple[float, float] = MEANS) -> analytic.Mixture:
    """Two wide Gaussians, so that class and no class differ everywhere."""
    centres = torch.stack([torch.full((1, 2, 2), mean, dtype=torch.float64) for mean in means])
    variances = torch.tensor(VARIANCES, dtype=torch.float64)
    return analytic.Mixture(SCHEDULE, centres, variances, torch.ones(2), torch.tensor([0, 1]), ("dark", "bright"))


class Counted(Denoiser):
    """Remembers what a denoiser was asked."""

    def __init__(self, inner: Denoiser) -> None:
        super().__init__(inner.schedule, inner.image_shape, inner.label_names)
        self.inner = inner
        self.asked: list[tuple[int, Labels | None]] = []

    def forward(self, x_t: Images, t: Times, labels: Labels | None = None) -> Images:
        """The inner denoiser's answer."""
        self.asked.append((len(x_t), labels))
        answer: Tensor = self.inner(x_t, t, labels)
        return answer

    @property
    def images(self) -> int:
        """How many images were evaluated."""
        return sum(count for count, _ in self.asked)


# Classifier-free


def guided_in_closed_form(scale: float, t: Times) -> Tensor:
    """Of class 1: Tweedie's formula for the score of p(x_t) (p(class | x_t))^scale, by differentiating densities."""
    alpha, sigma = (over(c, X) for c in (SCHEDULE.alpha(t), SCHEDULE.sigma(t)))
    x = X.clone().requires_grad_()
    laws = (Normal(alpha * m, (alpha**2 * v + sigma**2).sqrt()) for m, v in zip(MEANS, VARIANCES, strict=True))
    dark, bright = (law.log_prob(x).flatten(1).sum(1) for law in laws)
    log_density = torch.logaddexp(dark, bright) - math.log(2)
    log_class = bright - math.log(2) - log_density
    (score,) = torch.autograd.grad((log_density + scale * log_class).sum(), x)
    return (X + sigma**2 * score) / alpha


@pytest.mark.parametrize("scale", [-1.0, 0.0, 0.3, 1.0, 2.0, 7.5])
@pytest.mark.parametrize("t", [T, TIMES])
def test_guidance_sharpens_the_class_of_the_exact_density(scale: float, t: Times) -> None:
    """arXiv 2207.12598, section 3: the score of p(x) p(class | x)^scale."""
    ones = torch.ones(5, dtype=torch.int64)
    guided = ClassifierFree(two_classes(), scale)(X, t, ones)
    torch.testing.assert_close(guided, guided_in_closed_form(scale, t), rtol=1e-10, atol=1e-10)


def test_scale_1_is_the_class_and_costs_one_evaluation() -> None:
    counted = Counted(two_classes())
    assert (ClassifierFree(counted, 1.0, rescale=0.5)(X, T, LABELS) == two_classes()(X, T, LABELS)).all()
    assert counted.images == 5


def test_scale_0_is_the_unconditional_model() -> None:
    torch.testing.assert_close(ClassifierFree(two_classes(), 0.0)(X, T, LABELS), two_classes()(X, T))


def test_guidance_of_the_noise_is_the_formula_of_the_paper() -> None:
    """arXiv 2207.12598, eq. 6: (1 + w) eps(x, class) - w eps(x), w = scale - 1."""

    def noise(x0_hat: Tensor) -> Tensor:
        return (X - over(SCHEDULE.alpha(T), X) * x0_hat) / over(SCHEDULE.sigma(T), X)

    w = 1.5
    expected = (1 + w) * noise(two_classes()(X, T, LABELS)) - w * noise(two_classes()(X, T))
    torch.testing.assert_close(noise(ClassifierFree(two_classes(), 1 + w)(X, T, LABELS)), expected)


def test_both_estimates_are_computed_in_one_batch() -> None:
    counted = Counted(two_classes())
    ClassifierFree(counted, 2.0)(X, T, LABELS)
    ((count, labels),) = counted.asked
    assert count == 10
    assert labels is not None
    assert sorted(labels.tolist()) == sorted([*LABELS.tolist(), *[UNLABELLED] * 5])


def test_images_without_a_class_are_not_guided() -> None:
    guided = ClassifierFree(two_classes(), 3.0)
    torch.testing.assert_close(guided(X, T, LABELS)[2], two_classes()(X, T)[2])


def test_guidance_without_labels_is_rejected() -> None:
    with pytest.raises(LabelError, match=r"guidance was given no labels.*Give labels"):
        ClassifierFree(two_classes(), 3.0)(X, T)


def test_each_image_is_guided_at_its_own_time() -> None:
    guided = ClassifierFree(two_classes(), 3.0)
    alone = [guided(X[i : i + 1], TIMES[i], LABELS[i : i + 1]) for i in range(5)]
    torch.testing.assert_close(guided(X, TIMES, LABELS), torch.cat(alone))


def test_a_model_without_classes_cannot_be_guided() -> None:
    model = analytic.gaussian(SCHEDULE, torch.zeros(1, 2, 2), 1.0)
    with pytest.raises(LabelError, match=r"guidance 2\.0.*model without classes.*train with labels"):
        ClassifierFree(model, 2.0)


# By a weaker model


@pytest.mark.parametrize("t", [T, TIMES])
@pytest.mark.parametrize("of_guide", [SCHEDULE, Flow(), VarianceExploding()])
def test_a_weaker_model_can_have_any_schedule(of_guide: Flow | LinearBeta, t: Times) -> None:
    """Two Gaussians, N(0.3, 0.04) and a wider N(0.1, 0.5), whose estimates follow from sigma / alpha alone."""
    level = over(SCHEDULE.sigma(t) / SCHEDULE.alpha(t), X)
    z = X / over(SCHEDULE.alpha(t), X)
    strong = 0.3 + 0.04 / (0.04 + level**2) * (z - 0.3)
    weak = 0.1 + 0.5 / (0.5 + level**2) * (z - 0.1)
    double = torch.float64
    guided = AutoGuided(
        analytic.gaussian(SCHEDULE, torch.full((1, 2, 2), 0.3, dtype=double), 0.04),
        analytic.gaussian(of_guide, torch.full((1, 2, 2), 0.1, dtype=double), 0.5),
        scale=2.5,
    )
    torch.testing.assert_close(guided(X, t), weak + 2.5 * (strong - weak), rtol=1e-9, atol=1e-9)


def test_the_weaker_model_receives_the_labels() -> None:
    weaker = two_classes(means=(-0.2, 0.1))
    guided = AutoGuided(two_classes(), weaker, 3.0)
    for labels in (LABELS, None):
        expected = 3 * two_classes()(X, T, labels) - 2 * weaker(X, T, labels)
        torch.testing.assert_close(guided(X, T, labels), expected)


@pytest.mark.parametrize(("scale", "evaluations"), [(1.0, 0), (2.0, 5)])
def test_the_weaker_model_is_evaluated_only_if_it_matters(scale: float, evaluations: int) -> None:
    model, guide = Counted(two_classes()), Counted(two_classes())
    AutoGuided(model, guide, scale)(X, T, LABELS)
    assert (model.images, guide.images) == (5, evaluations)


def test_a_weaker_model_is_a_submodule_and_changes_mode_with_it() -> None:
    guided = AutoGuided(two_classes(), guide := two_classes(), 2.0)
    guided.eval()
    assert not guide.training


def test_a_weaker_model_for_other_images_is_rejected() -> None:
    large = analytic.gaussian(SCHEDULE, torch.zeros(1, 4, 4), 1.0)
    with pytest.raises(SamplingError, match=r"weaker model has image shape 1x4x4, the model 1x2x2.*same image shape"):
        AutoGuided(two_classes(), large, 2.0)


def test_a_weaker_model_of_other_classes_is_rejected() -> None:
    blind = analytic.gaussian(SCHEDULE, torch.zeros(1, 2, 2), 1.0)
    with pytest.raises(LabelError, match=r"other classes \(none\) than the model \(dark, bright\).*same classes"):
        AutoGuided(two_classes(), blind, 2.0)


# Rescaled


def deviations(images: Tensor) -> Tensor:
    return images.flatten(1).std(1)


def test_full_rescaling_restores_the_stronger_models_deviation() -> None:
    strong, guided = two_classes()(X, T, LABELS), ClassifierFree(two_classes(), 5.0)(X, T, LABELS)
    rescaled = ClassifierFree(two_classes(), 5.0, rescale=1.0)(X, T, LABELS)
    torch.testing.assert_close(deviations(rescaled), deviations(strong), rtol=1e-12, atol=0)
    ratio = (rescaled / guided).flatten(1)
    torch.testing.assert_close(ratio, ratio[:, :1].expand(5, 4))  # each image by one factor
    assert (deviations(guided) - deviations(strong)).abs().max() > 0.01, "there was nothing to rescale"


@pytest.mark.parametrize("share", [0.0, 0.25, 0.7])
def test_partial_rescaling_interpolates_linearly(share: float) -> None:
    """arXiv 2305.08891, eq. 16."""
    none, whole = (ClassifierFree(two_classes(), 5.0, rescale=end)(X, T, LABELS) for end in (0.0, 1.0))
    rescaled = ClassifierFree(two_classes(), 5.0, share)(X, T, LABELS)
    torch.testing.assert_close(rescaled, share * whole + (1 - share) * none)


def test_guidance_by_a_weaker_model_is_rescaled_to_the_stronger() -> None:
    rescaled = AutoGuided(two_classes(), two_classes(means=(-0.2, 0.1)), 3.0, rescale=1.0)(X, T, LABELS)
    torch.testing.assert_close(deviations(rescaled), deviations(two_classes()(X, T, LABELS)), rtol=1e-12, atol=0)


def test_rescaling_costs_no_evaluation() -> None:
    counted = Counted(two_classes())
    ClassifierFree(counted, 2.0, rescale=0.7)(X, T, LABELS)
    assert counted.images == 10


def test_an_image_without_contrast_is_not_rescaled() -> None:
    """Its deviation is 0, or that of an image of one pixel."""
    for values in ((0.5, 0.5, 0.5), (0.5,)):
        flat = AutoGuided(Constant(*values), Constant(*[0.25] * len(values)), 2.0, rescale=1.0)
        assert answer(flat) == [0.75] * len(values)


@pytest.mark.parametrize("scale", [math.inf, -math.inf, math.nan])
def test_a_scale_out_of_range_is_rejected(scale: float) -> None:
    for guided in (
        lambda: ClassifierFree(two_classes(), scale),
        lambda: AutoGuided(two_classes(), two_classes(), scale),
    ):
        with pytest.raises(SamplingError, match=rf"guidance scale {scale} is out of range"):
            guided()


@pytest.mark.parametrize("rescale", [-0.1, 1.1, math.nan])
def test_a_share_of_rescaling_is_in_0_to_1(rescale: float) -> None:
    with pytest.raises(SamplingError, match=rf"rescale factor {rescale} is out of range.*Choose 0"):
        ClassifierFree(two_classes(), 2.0, rescale)


# Limited to noise levels

LEVELS = SCHEDULE.sigma(TIMES) / SCHEDULE.alpha(TIMES)
"""Their order is 0, 3, 2, 4, 1."""


def between(low: int, high: int) -> tuple[float, float]:
    """An interval that begins just below the level of one time and ends just above that of another."""
    return 0.99 * LEVELS[low].item(), 1.01 * LEVELS[high].item()


def test_guidance_acts_only_within_its_interval() -> None:
    limited = WithinLevels(ClassifierFree(two_classes(), 4.0), *between(3, 4))
    for i, guided in enumerate([False, False, True, True, True]):
        expected = ClassifierFree(two_classes(), 4.0 if guided else 1.0)(X, TIMES[i], LABELS)
        torch.testing.assert_close(limited(X, TIMES[i], LABELS), expected, rtol=1e-12, atol=1e-12)


def test_each_image_is_limited_by_its_own_time() -> None:
    limited = WithinLevels(ClassifierFree(two_classes(), 4.0), *between(3, 4))
    alone = [limited(X[i : i + 1], TIMES[i], LABELS[i : i + 1]) for i in range(5)]
    torch.testing.assert_close(limited(X, TIMES, LABELS), torch.cat(alone), rtol=1e-12, atol=1e-12)


def test_outside_the_interval_an_image_costs_one_evaluation() -> None:
    counted = Counted(two_classes())
    limited = WithinLevels(ClassifierFree(counted, 4.0), *between(3, 4))
    costs = []
    for t in (*TIMES, TIMES):
        counted.asked.clear()
        limited(X, t, LABELS)
        costs.append(counted.images)
    assert costs == [5, 5, 10, 10, 10, 2 + 3 * 2]


def test_each_image_is_limited_without_labels_too() -> None:
    guided = AutoGuided(two_classes(), two_classes(means=(0.0, 0.1)), 2.0)
    some = torch.tensor([False, False, True, True, True]).reshape(5, 1, 1, 1)
    expected = torch.where(some, guided(X, TIMES), two_classes()(X, TIMES))
    torch.testing.assert_close(WithinLevels(guided, *between(3, 4))(X, TIMES), expected, rtol=1e-12, atol=1e-12)


def test_the_interval_includes_both_ends() -> None:
    """On the flow, sigma / alpha is t / (1 - t): 1/3, 1 and 3, and infinite at t = 1."""
    model = analytic.gaussian(Flow(), torch.full((1, 2, 2), 9.0), 0.0)
    times = torch.tensor([0.25, 0.5, 0.75, 1], dtype=torch.float64)
    answers = WithinLevels(Clipped(model), 1.0, math.inf)(X[:4], times)[:, 0, 0, 0]
    torch.testing.assert_close(answers, torch.tensor([9.0, 1, 1, 1], dtype=torch.float64))
    answers = WithinLevels(Clipped(model), 0.0, 1.0)(X[:4], times)[:, 0, 0, 0]
    torch.testing.assert_close(answers, torch.tensor([1.0, 1, 9, 9], dtype=torch.float64))


@pytest.mark.parametrize(("low", "high"), [(-1.0, 2.0), (2.0, 1.0), (1.0, 1.0), (math.nan, 1.0), (0.0, math.nan)])
def test_an_invalid_interval_is_rejected(low: float, high: float) -> None:
    with pytest.raises(SamplingError, match=rf"from {low} to {high} are not an interval.*0 <= low < high"):
        WithinLevels(ClassifierFree(two_classes(), 4.0), low, high)


@pytest.mark.usefixtures("unchecked")
def test_an_interval_without_guidance_is_rejected() -> None:
    with pytest.raises(SamplingError, match=r"guidance interval .* without guidance.*Wrap it in guidance"):
        WithinLevels(two_classes(), 0.3, 5.0)  # type: ignore[arg-type]


# Settled labels, and all of it together


def test_fixed_labels_reach_the_model() -> None:
    assert (Labelled(two_classes(), LABELS)(X, T) == two_classes()(X, T, LABELS)).all()
    assert (Labelled(two_classes(), None)(X, T) == two_classes()(X, T)).all()


def test_fixed_labels_reject_others() -> None:
    with pytest.raises(LabelError, match="denoiser with fixed labels"):
        Labelled(two_classes(), LABELS)(X, T, LABELS)


def test_wrappers_keep_schedule_shape_and_classes() -> None:
    model = two_classes()
    wrappers: list[Wrapper] = [
        Clipped(model),
        DynamicThreshold(model),
        Labelled(model, None),
        ClassifierFree(Clipped(model), 2.0),
        AutoGuided(model, model, 2.0),
        WithinLevels(Clipped(model), 0.3, 5.0),
    ]
    for wrapped in wrappers:
        assert wrapped.schedule is model.schedule
        assert wrapped.image_shape == (1, 2, 2)
        assert wrapped.label_names == ("dark", "bright")


def test_all_kinds_of_guidance_compose() -> None:
    """Rescaled guidance to a class by a clipped model, within some levels, and thresholded, written out by hand."""
    model = two_classes()
    composed = DynamicThreshold(WithinLevels(ClassifierFree(Clipped(model), 6.0, 0.7), *between(3, 4)), 0.9)
    for i, guided in enumerate([False, False, True, True, True]):
        strong, weak = (model(X, TIMES[i], labels).clamp(-1, 1) for labels in (LABELS, None))
        image = weak + 6 * (strong - weak)
        image = 0.7 * image * (deviations(strong) / deviations(image))[:, None, None, None] + 0.3 * image
        image = image if guided else strong
        threshold = image.flatten(1).abs().quantile(0.9, 1).clamp(min=1)[:, None, None, None]
        expected = image.clamp(-threshold, threshold) / threshold
        torch.testing.assert_close(composed(X, TIMES[i], LABELS), expected, rtol=1e-12, atol=1e-12)


def test_a_guided_model_can_be_guided_by_a_weaker_one() -> None:
    model, weaker = two_classes(), two_classes(means=(-0.2, 0.1))
    guided = AutoGuided(ClassifierFree(model, 2.0), weaker, 3.0)(X, T, LABELS)
    expected = 3 * (2 * model(X, T, LABELS) - model(X, T)) - 2 * weaker(X, T, LABELS)
    torch.testing.assert_close(guided, expected)


@pytest.mark.parametrize("clip", CLIPS)
def test_a_guided_model_is_sampled_like_any_other(clip: str) -> None:
    guided = WithinLevels(ClassifierFree(two_classes(), 3.0, 0.5), 0.3, 5.0)
    images = sample(guided, 40, labels=["dark", "bright"], steps=8, clip=clip)
    assert images[::2].mean() < -0.4 < 0.4 < images[1::2].mean()
