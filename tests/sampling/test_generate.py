"""Generation of many images: batches that fit into memory, and the same images after retries."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from sfumato.diffusion import analytic
from sfumato.diffusion.denoiser import Denoiser
from sfumato.diffusion.guidance import Wrapper
from sfumato.diffusion.schedules import LinearBeta
from sfumato.errors import OutOfMemoryError, SamplingError
from sfumato.sampling import generate as bulk
from sfumato.sampling.generate import default_batch, even_batches, generate
from sfumato.sampling.sampler import SamplerConfig, sample, sampler_config
from sfumato.utils.shapes import Images, Labels, Times

CORNERS = torch.tensor([[1.0, -1, -1, -1], [-1, 1, -1, -1], [1, 1, 1, 1]]).reshape(3, 1, 2, 2)


class Cramped(Wrapper):
    """A denoiser whose memory holds a few images only; it fails at its third evaluation and not before."""

    def __init__(self, inner: Denoiser, most: int, error: Callable[[], BaseException]) -> None:
        super().__init__(inner)
        self.most, self.error = most, error
        self.batches: list[int] = []

    def forward(self, x_t: Images, t: Times, labels: Labels | None = None) -> Images:
        """The inner estimate."""
        self.batches.append(len(x_t))
        if len(x_t) > self.most and len(self.batches) > 2:
            raise self.error()
        denoised: Images = self.inner(x_t, t, labels)
        return denoised


def exact() -> Denoiser:
    """The denoiser of three images of two classes."""
    return analytic.images(LinearBeta(), CORNERS, torch.tensor([0, 1, 0]), ("odd", "even"))


def sampler() -> SamplerConfig:
    """Of four steps, some of which draw noise."""
    return sampler_config(LinearBeta(), steps=4)


def drawn(model: Denoiser, count: int, **more: object) -> Tensor:
    """All images."""
    return torch.cat([images for images, _ in generate(model, count, sampler(), **more)])  # type: ignore[arg-type]


FULL = [
    partial(torch.OutOfMemoryError, "CUDA out of memory"),
    MemoryError,
    partial(RuntimeError, "DefaultCPUAllocator: can't allocate memory"),
    partial(RuntimeError, "MPS backend out of memory (MPS allocated: 18.0 GB, max allowed: 18.13 GB)"),
    partial(torch.AcceleratorError, "CUDA error: out of memory\nSearch for `cudaErrorMemoryAllocation'"),
]


@pytest.mark.parametrize("error", FULL)
def test_batches_are_halved_until_they_fit_into_memory(
    error: Callable[[], BaseException], capsys: pytest.CaptureFixture[str]
) -> None:
    model = Cramped(exact(), 3, error)
    steps: list[int] = []
    images = drawn(model, 20, batch=10, labels=["odd", "even"], on_step=steps.append)
    torch.testing.assert_close(images, sample(exact(), 20, labels=["odd", "even"], steps=4))
    assert sum(steps) == 20 * 4
    said = capsys.readouterr().err
    assert "10 images do not fit into memory; the batch size is now 5." in said
    assert "5 images do not fit into memory; the batch size is now 3." in said
    assert max(model.batches[-28:]) == 3
    assert model.batches[2] == 10


def test_finished_batches_are_kept_after_out_of_memory() -> None:
    model = Cramped(exact(), 99, partial(torch.OutOfMemoryError, "full"))
    seen = []
    steps: list[int] = []
    for images, _ in generate(model, 12, sampler(), batch=4, on_step=steps.append):
        seen.append(images)
        if len(seen) == 2:
            model.most = 2
    torch.testing.assert_close(torch.cat(seen), sample(exact(), 12, steps=4))
    assert [len(images) for images in seen] == [4, 4, 2, 2]
    assert sum(steps) == 12 * 4


def test_an_error_is_raised_if_a_single_image_does_not_fit() -> None:
    with pytest.raises(OutOfMemoryError, match="One image does not fit"):
        drawn(Cramped(exact(), 0, MemoryError), 5, batch=2)


def test_other_errors_are_not_treated_as_out_of_memory() -> None:
    model = Cramped(exact(), 0, partial(RuntimeError, "something else"))
    with pytest.raises(RuntimeError, match="something else"):
        drawn(model, 5, batch=2)
    assert model.batches == [2, 2, 2]


@pytest.mark.parametrize("first", [0, 1, 6])
def test_generation_starts_at_the_given_image(first: int) -> None:
    images = drawn(exact(), 7, batch=3, first=first, labels="odd")
    torch.testing.assert_close(images, sample(exact(), 7, steps=4, labels="odd")[first:])


def test_nothing_is_generated_if_all_images_exist() -> None:
    assert list(generate(exact(), 3, sampler(), first=3)) == []


@pytest.mark.parametrize("wrong", [{"count": 0}, {"batch": 0}, {"seed": -1}])
def test_invalid_arguments_are_rejected_before_generation(wrong: dict[str, int]) -> None:
    arguments: dict[str, int] = {"count": 1} | wrong
    with pytest.raises(SamplingError):
        generate(exact(), sampler=sampler(), **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(("images", "most"), [(1, 1), (5, 2), (50_000, 2048), (10_007, 2048), (7, 100), (64, 64)])
def test_even_batches_are_as_few_and_nearly_equal(images: int, most: int) -> None:
    batch = even_batches(images, most)
    batches = [min(batch, images - start) for start in range(0, images, batch)]
    assert batch <= most
    assert len(batches) == -(-images // most)
    assert batches[0] - batches[-1] < len(batches)


@pytest.mark.parametrize(
    ("free", "shape", "expected"),
    [
        (100 << 30, (3, 32, 32), 2048),
        (100 << 30, (1, 256, 128), 64),
        (1 << 30, (3, 32, 32), 32),
        (1 << 20, (3, 1024, 1024), 1),
    ],
)
def test_the_batch_size_depends_on_memory_and_image_size(
    free: int, shape: tuple[int, int, int], expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free, 2 * free))
    monkeypatch.setattr(Denoiser, "device", torch.device("cuda"))
    assert default_batch(analytic.gaussian(LinearBeta(), torch.zeros(shape), 1.0)) == expected


def test_the_batch_size_on_a_cpu_is_64() -> None:
    assert default_batch(exact()) == 64


@pytest.mark.parametrize(("count", "compiled"), [(100, False), (101, True)])
def test_networks_are_compiled_for_large_numbers_of_images(
    count: int, compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def accelerated(model: Denoiser, **settings: object) -> Denoiser:
        asked.append(settings)
        return model

    pixels = math.prod(exact().image_shape[1:])
    monkeypatch.setattr(bulk, "PIXELS_WORTH_COMPILING", 101 * 4 * pixels)  # 101 images in four steps
    monkeypatch.setattr(bulk, "accelerated", accelerated)
    next(generate(exact(), count, sampler(), batch=10, precision="float32"))
    assert asked == [{"batch": 10, "precision": "float32", "compiled": compiled}]
