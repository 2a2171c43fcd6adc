"""Guidance: classifier-free in both of its forms, clipping, settled labels."""

import pytest
import torch
from torch import Tensor

from sfumato import oracle
from sfumato.denoiser import Denoiser
from sfumato.errors import LabelError
from sfumato.guidance import ClassifierFree, Clipped, Labelled
from sfumato.schedule import LinearBeta
from sfumato.shapes import UNLABELLED, Images, Labels, Times, over

SCHEDULE = LinearBeta()
T = torch.tensor(0.3, dtype=torch.float64)
LABELS = torch.tensor([1, 0, UNLABELLED, 1, 0])
X = torch.randn(5, 1, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def two_classes() -> oracle.Mixture:
    """Two wide Gaussians, so that class and no class differ everywhere."""
    means = torch.stack([torch.full((1, 2, 2), -0.7), torch.full((1, 2, 2), 0.5)])
    return oracle.Mixture(
        SCHEDULE, means, torch.tensor([0.2, 0.4]), torch.ones(2), torch.tensor([0, 1]), ("dark", "bright")
    )


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


def test_scale_1_is_the_class_and_costs_one_evaluation() -> None:
    counted = Counted(two_classes())
    assert (ClassifierFree(counted, 1.0)(X, T, LABELS) == two_classes()(X, T, LABELS)).all()
    assert [count for count, _ in counted.asked] == [5]


def test_scale_0_is_no_class() -> None:
    torch.testing.assert_close(ClassifierFree(two_classes(), 0.0)(X, T, LABELS), two_classes()(X, T))


@pytest.mark.parametrize("scale", [-1.0, 0.3, 2.0, 7.5])
def test_guidance_is_linear_in_its_scale(scale: float) -> None:
    none, with_class = two_classes()(X, T), two_classes()(X, T, LABELS)
    expected = (1 - scale) * none + scale * with_class
    torch.testing.assert_close(ClassifierFree(two_classes(), scale)(X, T, LABELS), expected)


def test_in_the_noise_it_is_the_rule_of_the_paper() -> None:
    """arXiv 2207.12598, eq. 6: (1 + w) eps(x, class) - w eps(x), w = scale - 1."""

    def noise(x0_hat: Tensor) -> Tensor:
        return (X - over(SCHEDULE.alpha(T), X) * x0_hat) / over(SCHEDULE.sigma(T), X)

    w = 1.5
    expected = (1 + w) * noise(two_classes()(X, T, LABELS)) - w * noise(two_classes()(X, T))
    torch.testing.assert_close(noise(ClassifierFree(two_classes(), 1 + w)(X, T, LABELS)), expected)


def test_both_halves_go_through_the_model_as_one_batch() -> None:
    counted = Counted(two_classes())
    ClassifierFree(counted, 2.0)(X, T, LABELS)
    ((count, labels),) = counted.asked
    assert count == 10
    assert labels is not None
    assert labels.tolist() == [*LABELS.tolist(), *[UNLABELLED] * 5]


def test_images_without_a_class_are_not_guided() -> None:
    guided = ClassifierFree(two_classes(), 3.0)
    torch.testing.assert_close(guided(X, T, LABELS)[2], two_classes()(X, T)[2])


def test_guidance_without_labels_is_refused_and_not_silently_ignored() -> None:
    with pytest.raises(LabelError, match=r"no class to guide to.*Give labels"):
        ClassifierFree(two_classes(), 3.0)(X, T)


def test_times_of_each_image_are_guided_each_at_its_own() -> None:
    guided = ClassifierFree(two_classes(), 3.0)
    times = torch.tensor([0.1, 0.9, 0.5, 0.3, 0.7], dtype=torch.float64)
    alone = [guided(X[i : i + 1], times[i], LABELS[i : i + 1]) for i in range(5)]
    torch.testing.assert_close(guided(X, times, LABELS), torch.cat(alone))


def test_a_model_without_classes_cannot_be_guided() -> None:
    model = oracle.gaussian(SCHEDULE, torch.zeros(1, 2, 2), 1.0)
    with pytest.raises(LabelError, match=r"guidance 2\.0.*knows no classes.*train with labels"):
        ClassifierFree(model, 2.0)


def test_clipping_keeps_estimates_in_range_and_leaves_the_others() -> None:
    model = oracle.gaussian(SCHEDULE, torch.tensor([[[-3.0, 0.25, 3.0]]]), 0.0)
    clipped = Clipped(model)(torch.zeros(1, 1, 1, 3), T)
    assert clipped.flatten().tolist() == [-1, 0.25, 1]


def test_settled_labels_reach_the_model() -> None:
    assert (Labelled(two_classes(), LABELS)(X, T) == two_classes()(X, T, LABELS)).all()
    assert (Labelled(two_classes(), None)(X, T) == two_classes()(X, T)).all()


def test_settled_labels_refuse_others() -> None:
    with pytest.raises(LabelError, match="has its labels already"):
        Labelled(two_classes(), LABELS)(X, T, LABELS)


def test_wrappers_are_denoisers_of_the_same_schedule_shape_and_classes() -> None:
    model = two_classes()
    for wrapped in (Clipped(model), Labelled(model, None), ClassifierFree(Clipped(model), 2.0)):
        assert wrapped.schedule is model.schedule
        assert wrapped.image_shape == (1, 2, 2)
        assert wrapped.label_names == ("dark", "bright")
    torch.testing.assert_close(
        Clipped(ClassifierFree(model, 0.5))(X, T, LABELS).abs().max().item(), 1.0, rtol=1, atol=0
    )
