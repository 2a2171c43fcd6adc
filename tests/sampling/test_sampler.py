"""The sampling loop, the seeds of the images, and labels."""

import math
from collections.abc import Sequence
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from sampling.toy_models import CORNERS, LINEAR, brief, corners, unlabelled
from sfumato.diffusion import analytic
from sfumato.diffusion.denoiser import Denoiser
from sfumato.diffusion.guidance import ClassifierFree
from sfumato.diffusion.schedules import Flow, LinearBeta, Shifted, VarianceExploding, ZeroTerminal
from sfumato.errors import LabelError, SamplingError, SfumatoError
from sfumato.sampling import timesteps as time_grids
from sfumato.sampling.sampler import (
    ImageNoise,
    SamplerConfig,
    initial_state,
    resolve_labels,
    sample,
    sample_batches,
    trajectory,
)
from sfumato.sampling.solvers import DDPM, SOLVERS, NoiseSource, Solver, SolverState, Step
from sfumato.utils.shapes import Times


class Recorded(Solver):
    """A solver that remembers its steps."""

    memory = 0
    default_steps = 50

    def __init__(self, memory: int = 0) -> None:
        self.memory = memory
        self.times: list[tuple[float, float]] = []
        self.moments: list[SolverState] = []
        self.pasts: list[tuple[SolverState, ...]] = []

    def step(
        self, denoiser: Denoiser, x_t: Tensor, t: Times, s: Times, noise: NoiseSource, past: Sequence[SolverState]
    ) -> Step:
        """Ancestral's."""
        step = DDPM().step(denoiser, x_t, t, s, noise, ())
        self.times.append((t.item(), s.item()))
        self.moments.append(step.now)
        self.pasts.append(tuple(past))
        return step


def trailing(steps: int, schedule: LinearBeta = LINEAR) -> Tensor:
    """Stops on the steps of a schedule."""
    return time_grids.Trailing()(schedule, steps)


def route_from(t: float) -> SamplerConfig:
    """A route that begins at t."""
    return SamplerConfig(DDPM(), torch.tensor([t, 0.0], dtype=torch.float64), lambda denoiser: denoiser)


# The loop


@pytest.mark.parametrize("steps", [1, 7, 97, 499])
def test_each_step_ends_where_the_next_begins_from_noise_to_data(steps: int) -> None:
    """peers.md mistakes 1 and 9: the next stop is the grid's, for primes too; the last one is clean."""
    solver = Recorded()
    sample(unlabelled(), 1, steps=steps, solver=solver, time_grid="trailing")
    assert solver.times == list(pairwise(trailing(steps).tolist()))
    assert (len(solver.times), solver.times[0][0], solver.times[-1][1]) == (steps, 1, 0)


@pytest.mark.parametrize("t", [1.0, 0.3])
def test_a_trajectory_begins_with_the_noise_level_of_its_time(t: float) -> None:
    _, x, noise = initial_state(unlabelled(), [3, 5], None, 7, route_from(t))
    same = ImageNoise(7, [3, 5], (1, 2, 2))
    torch.testing.assert_close(x, same() * LINEAR.sigma(torch.tensor(t, dtype=torch.float64)).item())
    assert (noise() == same()).all(), "the noise to come is not the streams' next"


def test_sampling_begins_with_the_noise_of_its_seed() -> None:
    solver = Recorded()
    sample(unlabelled(), 2, steps=3, seed=7, solver=solver)
    first = (1 - LINEAR.alpha_bar[-1]).sqrt().item() * ImageNoise(7, [0, 1], (1, 2, 2))()
    torch.testing.assert_close(solver.moments[0].x_t, first)


def test_an_exploding_schedule_begins_with_its_largest_sigma() -> None:
    model = analytic.gaussian(VarianceExploding(), torch.zeros(1, 2, 2), 0.04)
    _, x, _ = initial_state(model, [0], None, 7, route_from(1.0))
    torch.testing.assert_close(x, 80 * ImageNoise(7, [0], (1, 2, 2))())


@pytest.mark.parametrize(("timesteps", "expected"), [(30, 30), (1000, 50)])
def test_a_solver_takes_its_default_steps_or_all_of_the_schedule(timesteps: int, expected: int) -> None:
    solver = Recorded()
    sample(analytic.gaussian(LinearBeta(timesteps), torch.zeros(1, 1, 1), 1.0), 1, solver=solver)
    assert len(solver.times) == expected


def test_the_default_needs_at_most_20_evaluations() -> None:
    for schedule in (LINEAR, Flow(), VarianceExploding(), ZeroTerminal(LINEAR), Shifted(Flow(), 3.0)):
        calls = 0

        def count(*_: object) -> None:
            nonlocal calls
            calls += 1

        model = analytic.gaussian(schedule, torch.full((1, 2, 2), 0.2), 0.04)
        model.register_forward_hook(count)
        assert sample(model, 200, batch=200).std().item() == pytest.approx(0.2, rel=0.15)
        assert calls <= 20


def test_a_trajectory_has_every_state_and_ends_with_the_result() -> None:
    grid, noise = trailing(5), ImageNoise(0, [0, 1], (1, 2, 2))
    x = noise()
    moments = list(trajectory(corners(), x, grid, DDPM(), noise))
    assert [moment.t.item() for moment in moments] == grid.tolist()
    assert (moments[0].x_t == x).all()
    assert (moments[0].x0_hat == corners()(x, grid[0])).all()
    assert (moments[-1].x0_hat == moments[-2].x0_hat).all()
    torch.testing.assert_close(moments[-1].x_t, moments[-1].x0_hat)


@pytest.mark.parametrize("memory", [0, 1, 3])
def test_a_solver_receives_the_previous_states_newest_first(memory: int) -> None:
    solver, noise = Recorded(memory), ImageNoise(0, [0, 1], (1, 2, 2))
    list(trajectory(corners(), noise(), trailing(6), solver, noise))
    assert [len(past) for past in solver.pasts] == [min(step, memory) for step in range(6)]
    for step, past in enumerate(solver.pasts):
        for back, moment in enumerate(past, start=1):
            assert moment is solver.moments[step - back]


def test_many_samples_have_the_moments_of_their_distribution() -> None:
    """4000 images of four pixels of N(0.2, 0.2^2), at 200 steps, against the law that the recursion gives."""
    mean, deviation = 0.2, 0.2
    images = sample(unlabelled(), 4000, steps=200, batch=4000, solver=DDPM("large"), time_grid="trailing")
    standard_error = deviation / math.sqrt(images.numel())
    assert images.mean().item() == pytest.approx(mean, abs=4 * standard_error)
    assert images.std().item() == pytest.approx(deviation, rel=0.03 + 4 / math.sqrt(2 * images.numel()))
    neighbours = torch.cat([images[::2].flatten(1), images[1::2].flatten(1)], dim=1)
    correlations = torch.corrcoef(neighbours.T) - torch.eye(8)  # of the pixels of an image and of the one after it
    assert correlations.abs().max() < 4 / math.sqrt(len(neighbours))


@pytest.mark.parametrize("steps", [250, 50])
def test_samples_of_an_analytic_data_set_are_all_its_images(steps: int) -> None:
    images = sample(corners(), 60, steps=steps, solver="ddpm", time_grid="trailing")
    distances = torch.cdist(images.flatten(1), CORNERS.flatten(1))
    assert distances.amin(1).max() < 1e-4
    assert set(distances.argmin(1).tolist()) == {0, 1, 2, 3, 4}


@pytest.mark.parametrize(("label", "members"), [("odd", {0, 2, 4}), ("even", {1, 3})])
@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_images_have_the_requested_class(label: str, members: set[int], scale: float) -> None:
    images = sample(ClassifierFree(corners(), scale), 24, labels=label, steps=50, solver="ddpm", time_grid="trailing")
    distances = torch.cdist(images.flatten(1), CORNERS.flatten(1))
    assert distances.amin(1).max() < 1e-4
    assert set(distances.argmin(1).tolist()) == members


def test_several_labels_are_repeated_in_turn_through_the_batches() -> None:
    images = sample(
        corners(), 10, labels=["odd", "even", "even"], steps=50, batch=4, solver="ddpm", time_grid="trailing"
    )
    found = torch.cdist(images.flatten(1), CORNERS.flatten(1)).argmin(1) % 2  # odd images have even places
    assert found.tolist() == [0, 1, 1, 0, 1, 1, 0, 1, 1, 0]


def test_estimates_are_clipped_before_the_step() -> None:
    """peers.md mistake 4."""
    solver = Recorded()
    images = sample(analytic.gaussian(LINEAR, torch.full((1, 1, 1), 3.0), 0.0), 4, steps=20, solver=solver)
    assert [(moment.x0_hat == 1).all().item() for moment in solver.moments] == [True] * 20
    assert (images == 1).all()


@pytest.mark.parametrize(("mean", "expected"), [(3.0, 1.0), (-3.0, -1.0)])
def test_images_are_in_range_even_if_estimates_are_not_clipped(mean: float, expected: float) -> None:
    model = analytic.gaussian(LINEAR, torch.full((1, 1, 1), mean), 0.0)
    assert sample(model, 2, clip="none", solver="ddim", steps=2).flatten().tolist() == [expected, expected]


def test_by_default_the_seed_is_0_and_a_batch_has_64_images() -> None:
    together = torch.cat([images for images, _ in sample_batches(unlabelled(), 65, brief(), seed=0, batch=64)])
    batches = [images for images, _ in sample_batches(unlabelled(), 65, brief())]
    assert [len(images) for images in batches] == [64, 1]
    assert (torch.cat(batches) == together).all()
    told: list[int] = []
    images = sample(unlabelled(), 65, solver="ddpm", time_grid="trailing", steps=2, on_step=told.append)
    assert told == [64, 64, 1, 1]
    assert (images == together).all()


def test_batches_cover_the_count_and_carry_their_labels() -> None:
    batches = list(sample_batches(corners(), 7, brief(), labels=["odd", "even"], batch=3))
    assert [len(images) for images, _ in batches] == [3, 3, 1]
    assert [labels.tolist() for _, labels in batches if labels is not None] == [[0, 1, 0], [1, 0, 1], [0]]
    assert all(images.dtype == torch.float32 for images, _ in batches)
    assert [labels for _, labels in sample_batches(corners(), 2, brief(), batch=1)] == [None, None]


def test_progress_is_reported_once_per_step_for_every_image() -> None:
    told: list[int] = []
    for _ in sample_batches(unlabelled(), 5, brief(3), batch=4, on_step=told.append):
        pass
    assert told == [4, 4, 4, 1, 1, 1]


# Refusals


REFUSED: list[tuple[dict[str, object], type[SfumatoError], str]] = [
    ({"count": 0}, SamplingError, "number of images is 0"),
    ({"count": -3}, SamplingError, "number of images is -3"),
    ({"batch": 0}, SamplingError, "the batch size is 0"),
    ({"time_grid": "trailing", "steps": 1001}, SamplingError, "sampling steps is 1001.*Choose 1 to 1000"),
    ({"steps": 0}, SamplingError, "sampling steps is 0.*Choose 1 to"),
    (
        {"solver": "unipc-3", "steps": 3},
        SamplingError,
        "3 sampling steps .*unipc-3.*at least 4 steps, or among the solvers: ddpm",
    ),
    ({"solver": "dpm-2m", "steps": 1}, SamplingError, "1 sampling steps .*dpm-2m.*at least 3"),
    ({"solver": "dpm-2m", "steps": 2}, SamplingError, "2 sampling steps .*dpm-2m.*at least 3"),
    ({"solver": "ddpmm"}, SamplingError, "solver 'ddpmm' is unknown.*ddpm, ddim"),
    ({"time_grid": "trail"}, SamplingError, "grid 'trail' is unknown.*uniform, trailing"),
    ({"clip": "hard"}, SamplingError, "clipping 'hard' is unknown.*static, dynamic, none"),
    ({"seed": -1}, SamplingError, "the seed -1"),
    ({"seed": 2**64}, SamplingError, "the seed 18446744073709551616"),
    ({"labels": "rose"}, LabelError, "'rose'.*It knows: odd, even"),
    ({"labels": ["odd", "rose"]}, LabelError, "'rose'.*It knows: odd, even"),
    ({"labels": ""}, LabelError, "''.*It knows: odd, even"),
]


@pytest.mark.parametrize(("request_", "error", "message"), REFUSED)
def test_invalid_requests_are_rejected(request_: dict[str, object], error: type[SfumatoError], message: str) -> None:
    with pytest.raises(error, match=message):
        sample(corners(), **{"count": 2, "solver": "ddim", "steps": 2, **request_})  # type: ignore[arg-type]


def test_a_discrete_grid_for_a_continuous_time_model_is_rejected() -> None:
    with pytest.raises(SamplingError, match=r"trailing needs a schedule with timesteps.*uniform, karras, logsnr"):
        sample(analytic.gaussian(Flow(), torch.zeros(1, 1, 1), 1.0), 2, time_grid="trailing")


def test_invalid_labels_are_rejected_before_the_first_batch() -> None:
    with pytest.raises(LabelError, match="rose"):
        sample_batches(corners(), 2, brief(), labels="rose")


def test_a_label_for_a_model_without_classes_is_rejected() -> None:
    with pytest.raises(LabelError, match=r"'rose'.*knows no classes.*without labels"):
        sample(unlabelled(), 2, labels="rose")


def test_a_label_is_the_index_of_its_name() -> None:
    indices = resolve_labels(corners(), ("even", "odd"), 3)
    assert indices is not None
    assert indices.tolist() == [1, 0, 1]
    assert resolve_labels(corners(), None, 3) is None


# Seeds


@pytest.mark.parametrize(
    "solver", [*(name for name in SOLVERS if name != "adaptive"), "ddim:eta=0.5", "heun:churn=0.2"]
)
def test_an_image_is_the_same_for_any_batch_and_count(solver: str) -> None:
    """peers.md mistake 13; the adaptive solver alone shares its steps over a batch, and keeps to its tolerance."""
    steps, tolerance = (1, 1e-4) if solver == "adaptive" else (6, 1e-6)

    def seventh(count: int, batch: int) -> Tensor:
        return sample(unlabelled(), count, solver=solver, steps=steps, batch=batch)[7]

    for count, batch in [(8, 8), (9, 5)]:
        torch.testing.assert_close(seventh(count, batch), seventh(8, 1), rtol=0, atol=tolerance)


def test_different_seeds_and_indices_give_different_images() -> None:
    images = torch.cat(
        [sample(unlabelled(), 6, solver="ddim", steps=3, seed=seed) for seed in (0, 1, 2**63, 2**63 + 1, 2**64 - 1)]
    )
    distances = torch.cdist(images.flatten(1), images.flatten(1)) + torch.eye(len(images))
    assert distances.min() > 1e-3
