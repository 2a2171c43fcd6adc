"""Encoding and decoding against the exact flow of Gaussians, round trips, and interpolation."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import pytest
import torch
from torch import Tensor

from sfumato.diffusion import analytic
from sfumato.diffusion.denoiser import Denoiser, PreconditionedDenoiser, predict_data
from sfumato.diffusion.guidance import CLIPS, AutoGuided, ClassifierFree, Clipped, WithinLevels
from sfumato.diffusion.schedules import Flow, LinearBeta, Schedule, Shifted, VarianceExploding, ZeroTerminal
from sfumato.errors import LabelError, SamplingError
from sfumato.sampling import timesteps as time_grids
from sfumato.sampling.inversion import decode, encode, interpolate, inversion_config
from sfumato.sampling.sampler import ImageNoise, SamplerConfig, sample, sampler_config
from sfumato.sampling.solvers import DDIM, SOLVERS, Adaptive, Heun, NoiseSource, Solver, SolverState, Step
from sfumato.sampling.sphere import path
from sfumato.utils.shapes import Images, Times

LINEAR = LinearBeta()
SCHEDULES = [LINEAR, VarianceExploding(), ZeroTerminal(LINEAR), Shifted(Flow(), 2.0)]
DETERMINISTIC = [name for name, solver in SOLVERS.items() if solver.deterministic]

MEAN, VARIANCE = 0.1, 0.0625
GENERATOR = torch.Generator().manual_seed(0)
SPREAD = torch.randn(6, 1, 3, 3, dtype=torch.float64, generator=GENERATOR)
IMAGES = (MEAN + VARIANCE**0.5 * SPREAD).clamp(-1, 1)
FACES = torch.cat([-0.5 + 0.15 * SPREAD[:3], 0.4 + 0.15 * SPREAD[3:]])
"""Three of each class, none out of range. Between the classes lies next to no noise, and no image that returns."""


def gaussian(schedule: Schedule) -> analytic.Mixture:
    """Of one Gaussian, whose flow is known."""
    return analytic.gaussian(schedule, torch.full((1, 3, 3), MEAN, dtype=torch.float64), VARIANCE)


def two_classes(schedule: Schedule = LINEAR) -> analytic.Mixture:
    """Of two Gaussians, dark and bright."""
    means = torch.stack([torch.full((1, 3, 3), mean, dtype=torch.float64) for mean in (-0.5, 0.4)])
    variances = torch.tensor([0.03, 0.04], dtype=torch.float64)
    return analytic.Mixture(schedule, means, variances, torch.ones(2), torch.tensor([0, 1]), ("dark", "bright"))


def exact_route(schedule: Schedule) -> SamplerConfig:
    """Followed to about seven digits."""
    return sampler_config(schedule, solver=Adaptive(rtol=1e-8, atol=1e-8), clip="none")


@cache
def exact_latents() -> Tensor:
    """Those of FACES."""
    return encode(two_classes(), FACES, sampler=exact_route(LINEAR))


def off(a: Tensor, b: Tensor) -> float:
    """The largest difference."""
    return (a - b).abs().max().item()


# The exact flow


def flowed(schedule: Schedule, x: Tensor, start: Times, end: Times) -> Tensor:
    """x_end of the Gaussian's probability-flow ODE through x at `start`: x - alpha m keeps to its deviation."""

    def deviation(t: Times) -> Tensor:
        return (schedule.alpha(t) ** 2 * VARIANCE + schedule.sigma(t) ** 2).sqrt()

    return deviation(end) / deviation(start) * (x - schedule.alpha(start) * MEAN) + schedule.alpha(end) * MEAN


ONE = torch.ones((), dtype=torch.float64)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_latents_are_the_exact_flow_of_the_images(schedule: Schedule) -> None:
    """x_1 = sqrt(alpha_1^2 v + sigma_1^2) / sqrt(v) (x_0 - m) + alpha_1 m, but for the look at the earliest time.

    There the estimate, not the flow, leads to t = 0: to first order in sigma^2 / v, it goes twice as far.
    """
    latents = encode(gaussian(schedule), IMAGES, sampler=exact_route(schedule))
    x_1 = schedule.sigma(ONE) * latents
    earliest = ONE * schedule.earliest
    alpha, sigma = schedule.alpha(earliest), schedule.sigma(earliest)
    looked_at = (alpha**2 * VARIANCE + sigma**2) / (alpha * VARIANCE) * (IMAGES - MEAN) + alpha * MEAN
    scale = schedule.sigma(ONE).item()
    assert off(x_1, flowed(schedule, looked_at, earliest, ONE)) < 1e-6 * scale
    beyond = (1 + (sigma / alpha) ** 2 / VARIANCE).sqrt()
    from_data = beyond * (flowed(schedule, IMAGES, 0 * ONE, ONE) - schedule.alpha(ONE) * MEAN)
    assert off(x_1, from_data + schedule.alpha(ONE) * MEAN) < 1e-6 * scale


def test_latents_are_exact_from_t_0_if_the_earliest_is_clean() -> None:
    schedule = Flow()
    latents = encode(gaussian(schedule), IMAGES, sampler=exact_route(schedule))
    exact = flowed(schedule, IMAGES, 0 * ONE, ONE) / schedule.sigma(ONE)
    torch.testing.assert_close(latents, exact, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_decoded_noise_is_the_exact_flow_of_the_noise(schedule: Schedule) -> None:
    noise = torch.randn(6, 1, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    images = decode(gaussian(schedule), noise, sampler=exact_route(schedule))
    earliest = ONE * schedule.earliest
    x = flowed(schedule, schedule.sigma(ONE) * noise, ONE, earliest)
    torch.testing.assert_close(images, gaussian(schedule)(x, earliest).clamp(-1, 1), rtol=1e-6, atol=1e-6)


# Round trips


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_encoding_then_decoding_returns_the_images(schedule: Schedule) -> None:
    latents = encode(two_classes(schedule), FACES, sampler=exact_route(schedule))
    assert off(decode(two_classes(schedule), latents, sampler=exact_route(schedule)), FACES) < 1e-6


def test_decoding_then_encoding_returns_the_noise() -> None:
    noise = 0.5 * torch.randn(6, 1, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    images = decode(two_classes(), noise, sampler=exact_route(LINEAR))
    assert images.abs().max() < 1, "clipped images have lost their noise"
    assert off(encode(two_classes(), images, sampler=exact_route(LINEAR)), noise) < 1e-4


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_by_default_images_are_restored_within_one_grey_level(schedule: Schedule) -> None:
    images = FACES.float()
    model = two_classes(schedule)
    assert off(decode(model, encode(model, images)), images) < 1 / 127.5


@pytest.mark.parametrize("name", DETERMINISTIC)
@pytest.mark.slow
def test_every_deterministic_solver_can_encode(name: str) -> None:
    """In 60 steps, nearly to the exact latents and back."""
    first_order = name in ("ddim", "euler", "dpm-1", "deis-1", "ipndm-1")
    sampler = sampler_config(LINEAR, solver=name, steps=60 if name != "adaptive" else 1, clip="none")
    latents = encode(two_classes(), FACES, sampler=sampler)
    assert off(latents, exact_latents()) < (0.12 if first_order else 0.01)
    assert off(decode(two_classes(), latents, sampler=sampler), FACES) < (0.12 if first_order else 0.01)


@pytest.mark.parametrize(("solver", "order"), [(DDIM(), 1), (Heun(), 2)])
def test_encoding_has_the_order_of_the_solver(solver: Solver, order: int) -> None:
    routes = (sampler_config(LINEAR, solver=solver, steps=steps, clip="none") for steps in (50, 200))
    coarse, fine = (off(encode(two_classes(), FACES, sampler=sampler), exact_latents()) for sampler in routes)
    assert coarse / fine == pytest.approx(4**order, rel=0.2)


@pytest.mark.parametrize("grid", time_grids.TIME_GRIDS)
def test_images_are_restored_with_any_grid(grid: str) -> None:
    sampler = sampler_config(LINEAR, solver="heun", time_grid=grid, steps=40, clip="none")
    model = gaussian(LINEAR)
    assert off(decode(model, encode(model, IMAGES, sampler=sampler), sampler=sampler), IMAGES) < 0.03


def test_images_of_a_finite_data_set_are_restored() -> None:
    """Points: of what is not among them, nothing is left at the look."""
    corners = torch.tensor([[1.0, -1, -1, 1], [-1, 1, -1, 1]], dtype=torch.float64).reshape(2, 1, 2, 2)
    model = analytic.images(LINEAR, corners)
    assert off(decode(model, encode(model, corners)), corners) < 1e-9


# The way


class Visited(Denoiser):
    """Remembers when it was asked, and with what."""

    def __init__(self, inner: Denoiser) -> None:
        super().__init__(inner.schedule, inner.image_shape, inner.label_names)
        self.inner = inner
        self.times: list[float] = []
        self.labels: list[list[int] | None] = []

    def forward(self, x_t: Images, t: Times, labels: Tensor | None = None) -> Images:
        """The inner denoiser's answer."""
        self.times.append(t.item())
        self.labels.append(None if labels is None else labels.tolist())
        assert not self.training
        assert not torch.is_grad_enabled()
        answer: Tensor = self.inner(x_t, t, labels)
        return answer


def test_a_grid_that_ends_early_also_visits_the_earliest_time() -> None:
    model = Visited(gaussian(LINEAR))
    decode(model, IMAGES, sampler=sampler_config(LINEAR, solver="ddim", time_grid="uniform", steps=4))
    assert model.times == [1, 0.75, 0.5, 0.25, 0.001]
    near = Visited(gaussian(LINEAR))
    decode(
        near, IMAGES, sampler=SamplerConfig(DDIM(), torch.tensor([1, 0.5, 0.001005, 0], dtype=torch.float64), Clipped)
    )
    assert near.times == [1, 0.5, 0.001005, 0.001]


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("grid", ["karras", "logsnr"])
def test_a_grid_that_ends_at_the_earliest_time_is_unchanged(schedule: Schedule, grid: str) -> None:
    model = Visited(gaussian(schedule))
    decode(model, IMAGES, sampler=sampler_config(schedule, solver="ddim", time_grid=grid, steps=5))
    assert len(model.times) == 5


def test_encoding_visits_the_timesteps_of_decoding_in_reverse() -> None:
    model = Visited(gaussian(LINEAR))
    encode(model, IMAGES, sampler=sampler_config(LINEAR, solver="ddim", time_grid="trailing", steps=4))
    assert sorted(set(model.times)) == [0.001, 0.25, 0.5, 0.75]
    assert model.times == sorted(model.times)


def test_encoding_and_decoding_cost_about_100_evaluations_each() -> None:
    model = Visited(gaussian(LINEAR))
    latents = encode(model, IMAGES)
    assert len(model.times) == 2 * 49 + 4
    model.times.clear()
    decode(model, latents)
    assert len(model.times) == 2 * 49 + 1


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("clip", CLIPS)
def test_the_noise_of_a_seed_decodes_to_the_sample_of_that_seed(schedule: Schedule, clip: str) -> None:
    """Of a class so exaggerated that it is clipped."""
    model = ClassifierFree(two_classes(schedule), 5.0)
    sampler = sampler_config(schedule, solver="dpm-2m", steps=12, clip=clip)
    drawn = sample(model, 3, labels="dark", solver="dpm-2m", steps=12, clip=clip, seed=7)
    latents = ImageNoise(7, range(3), (1, 3, 3))()
    assert (decode(model, latents, labels="dark", sampler=sampler) == drawn).all()


def test_images_do_not_depend_on_their_batch() -> None:
    model = two_classes()
    sampler = sampler_config(LINEAR, solver="heun", steps=10)
    latents, images = encode(model, IMAGES, sampler=sampler), decode(model, SPREAD, sampler=sampler)
    for batch in (1, 4, 6):
        assert off(encode(model, IMAGES, sampler=sampler, batch=batch), latents) < 1e-12
        assert off(decode(model, SPREAD, sampler=sampler, batch=batch), images) < 1e-12


def test_each_image_keeps_its_label_through_the_batches() -> None:
    model = Visited(two_classes())
    names = ["dark", "dark", "dark", "bright", "bright", "bright"]
    latents = encode(model, FACES, labels=names, batch=4)
    assert [model.labels[0], model.labels[-1]] == [[0, 0, 0, 1], [1, 1]]
    images = decode(model, latents, labels=names, batch=4)
    assert [model.labels[-1]] == [[1, 1]]
    assert off(images, FACES) < 1 / 127.5


def test_another_label_decodes_the_same_noise_differently() -> None:
    latents = encode(two_classes(), FACES[:3], labels="dark")
    assert decode(two_classes(), latents, labels="bright").mean() > 0.2


def test_the_dtype_is_kept_and_the_result_is_in_range() -> None:
    loud = 9 * torch.ones(1, 1, 3, 3)
    images = decode(gaussian(LINEAR), loud, sampler=sampler_config(LINEAR, solver="ddim", clip="none"))
    assert images.dtype == torch.float32
    assert (images == 1).all()
    assert encode(gaussian(LINEAR), IMAGES).dtype == torch.float64


@pytest.mark.parametrize("steered", ["classifier-free", "limited", "autoguided"])
def test_images_of_guided_models_are_restored(steered: str) -> None:
    model = two_classes()
    guided = {
        "classifier-free": ClassifierFree(model, 2.0),
        "limited": WithinLevels(ClassifierFree(model, 1.5), 0.5, 5.0),
        "autoguided": AutoGuided(model, two_classes(Flow()), 1.5, rescale=0.5),
    }[steered]
    bright = FACES[3:]
    sampler = sampler_config(LINEAR, solver="heun", steps=40, clip="none")
    latents = encode(guided, bright, labels="bright", sampler=sampler)
    assert off(decode(guided, latents, labels="bright", sampler=sampler), bright) < 1 / 127.5


def test_the_mode_and_gradients_are_restored() -> None:
    model = Visited(gaussian(LINEAR)).train()
    interpolate(model, IMAGES[:2], 3)
    assert model.training
    assert torch.is_grad_enabled()


def test_encoding_uses_the_precision_of_the_network() -> None:
    class Shrink(torch.nn.Module):
        """A network with a weight."""

        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.tensor(0.5))

        def forward(self, x: Tensor, times: Tensor, labels: Tensor | None) -> Tensor:  # noqa: ARG002
            """Half of the input."""
            return self.weight * x

    latents = encode(PreconditionedDenoiser(Shrink(), LINEAR, predict_data, (1, 3, 3)), IMAGES.float())
    assert latents.dtype == torch.float32
    assert not latents.requires_grad


# Between latents


def test_interpolation_decodes_the_path_of_latents() -> None:
    model = two_classes()
    latents = torch.randn(3, 1, 3, 3, generator=torch.Generator().manual_seed(1))
    images = interpolate(model, latents, 4, labels="bright", batch=5)
    assert images.shape == (7, 1, 3, 3)
    assert off(images, decode(model, path(latents, 4), labels="bright")) < 1e-6
    assert off(images[::3], decode(model, latents, labels="bright")) < 1e-6


def test_interpolation_starts_and_ends_with_the_given_images() -> None:
    ends = IMAGES[:2]
    images = interpolate(gaussian(LINEAR), encode(gaussian(LINEAR), ends), 5)
    assert off(images[[0, -1]], ends) < 1 / 127.5


# Refusals


@pytest.mark.parametrize("carry", [encode, decode])
def test_stochastic_solvers_are_rejected(carry: object) -> None:
    for solver in ("ddpm", "ddim:eta=0.5", "dpm-2m-sde", "heun:churn=0.1"):
        with pytest.raises(SamplingError, match=r"is stochastic.*Choose among: ddim"):
            carry(gaussian(LINEAR), IMAGES, sampler=sampler_config(LINEAR, solver=solver))  # type: ignore[operator]


@dataclass(frozen=True)
class Liar(Solver):
    """Says that it is deterministic, and is not."""

    def step(
        self,
        denoiser: Denoiser,  # noqa: ARG002
        x_t: Images,
        t: Times,
        s: Times,  # noqa: ARG002
        noise: NoiseSource,
        past: Sequence[SolverState],  # noqa: ARG002
    ) -> Step:
        """Noise."""
        return Step(SolverState(t, x_t, x_t), noise())


def test_a_solver_that_uses_undeclared_noise_is_rejected() -> None:
    with pytest.raises(SamplingError, match="used noise"):
        decode(gaussian(LINEAR), IMAGES, sampler=sampler_config(LINEAR, solver=Liar()))


@pytest.mark.parametrize("schedule", [Flow(), ZeroTerminal(LINEAR)])
@pytest.mark.parametrize("name", DETERMINISTIC)
def test_encoding_to_zero_snr_succeeds_or_is_rejected(schedule: Schedule, name: str) -> None:
    model, sampler = gaussian(schedule), sampler_config(schedule, solver=name, steps=20 if name != "adaptive" else 1)
    if name in ("ddim", "euler", "heun", "adaptive"):
        assert (
            off(encode(model, IMAGES, sampler=sampler), encode(model, IMAGES, sampler=inversion_config(schedule))) < 0.6
        )
    else:
        with pytest.raises(SamplingError, match=r"zero SNR.*Choose among: ddim, euler, heun, adaptive\.$"):
            encode(model, IMAGES, sampler=sampler)


@pytest.mark.parametrize("pixel", [1.001, -1.001, 255.0, float("nan")])
def test_images_out_of_range_are_rejected(pixel: float) -> None:
    images = IMAGES.clone()
    images[2, 0, 1, 1] = pixel
    with pytest.raises(SamplingError, match=r"images with values from .* cannot be encoded.*Scale them to \[-1, 1\]"):
        encode(gaussian(LINEAR), images)


def test_pixels_at_the_limits_of_the_range_are_accepted() -> None:
    white = torch.ones(1, 1, 3, 3)
    assert encode(gaussian(LINEAR), white).isfinite().all()
    assert encode(gaussian(LINEAR), -white).isfinite().all()


@pytest.mark.parametrize("carry", [encode, decode])
def test_invalid_images_batches_and_labels_are_rejected(carry: object) -> None:
    def refused(error: type[Exception], match: str, given: Tensor = IMAGES, **more: object) -> None:
        with pytest.raises(error, match=match):
            carry(two_classes(), given, **more)  # type: ignore[operator]

    refused(SamplingError, r"\(1, 4, 4\) were given to a model for \(1, 3, 3\)", torch.zeros(2, 1, 4, 4))
    refused(SamplingError, r"the number of images is 0", IMAGES[:0])
    refused(SamplingError, r"the batch size is 0", batch=0)
    refused(LabelError, r"'rose'.*It knows: dark, bright", labels="rose")


def test_the_inversion_sampler_is_deterministic_and_unclipped() -> None:
    model = gaussian(LINEAR)
    sampler = inversion_config(LINEAR)
    assert sampler.solver.deterministic
    assert sampler.clip(model) is model
