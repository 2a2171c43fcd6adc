"""Spherical interpolation: norms, angles, ends, and parallel latents."""

import math

import pytest
import torch
from torch import Tensor

from sfumato.errors import SamplingError
from sfumato.sampling.sphere import path, slerp

A, B, C = torch.randn(3, 5, 2, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def norms(x: Tensor) -> Tensor:
    return x.flatten(1).norm(dim=1)


def angles(x: Tensor, y: Tensor) -> Tensor:
    """Between images as vectors, each of all its pixels."""
    cosines = (x * y).flatten(1).sum(1) / norms(x) / norms(y)
    return cosines.clamp(-1, 1).acos()


def unit(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64).reshape(1, 1, 1, -1)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_angle_and_norm_increase_linearly_with_the_share(share: float) -> None:
    between = slerp(A, B, share)
    torch.testing.assert_close(angles(A, between), share * angles(A, B), rtol=1e-9, atol=1e-7)
    torch.testing.assert_close(angles(between, B), (1 - share) * angles(A, B), rtol=1e-9, atol=1e-7)
    torch.testing.assert_close(norms(between), (1 - share) * norms(A) + share * norms(B))


def test_latents_of_one_norm_follow_the_formula_of_the_paper() -> None:
    """DDIM (2010.02502), appendix D.5: sin((1 - s) w) / sin(w) a + sin(s w) / sin(w) b."""
    b = B * (norms(A) / norms(B)).reshape(5, 1, 1, 1)
    w, s = angles(A, b).reshape(5, 1, 1, 1), 0.3
    expected = ((1 - s) * w).sin() / w.sin() * A + (s * w).sin() / w.sin() * b
    torch.testing.assert_close(slerp(A, b, s), expected, rtol=1e-9, atol=1e-9)


def test_interpolation_starts_and_ends_at_the_given_latents() -> None:
    torch.testing.assert_close(slerp(A, B, 0.0), A, rtol=1e-14, atol=1e-15)
    torch.testing.assert_close(slerp(A, B, 1.0), B, rtol=1e-14, atol=1e-14)


def test_each_image_has_its_own_share() -> None:
    shares = torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0], dtype=torch.float64)
    alone = [slerp(A[i : i + 1], B[i : i + 1], shares[i].item()) for i in range(5)]
    torch.testing.assert_close(slerp(A, B, shares), torch.cat(alone))


def test_the_midpoint_of_two_axes_is_at_45_degrees() -> None:
    half = math.sqrt(0.5)
    torch.testing.assert_close(slerp(unit(1, 0), unit(0, 1), 0.5), unit(half, half))


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_parallel_latents_are_interpolated_linearly(share: float) -> None:
    torch.testing.assert_close(slerp(A, A, share), A)
    torch.testing.assert_close(slerp(A, 3 * A, share), (1 + 2 * share) * A)


@pytest.mark.parametrize("nudge", [1e-4, 1e-7, 1e-10, 1e-13])
def test_nearly_equal_latents_lose_no_precision(nudge: float) -> None:
    torch.testing.assert_close(slerp(A, A + nudge * B, 0.5), A + nudge / 2 * B, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("nudge", [0.0, 1e-10, 1e-6])
@pytest.mark.parametrize("a", [A, unit(1, 0), unit(0, 1), unit(0, 0, -2.0)])
def test_opposite_latents_are_connected_by_a_half_circle(a: Tensor, nudge: float) -> None:
    opposite = -a + nudge * torch.ones_like(a)
    for share in (0.25, 0.5, 0.75):
        between = slerp(a, opposite, share)
        torch.testing.assert_close(norms(between), norms(a), rtol=1e-5, atol=0)
        torch.testing.assert_close(
            angles(a, between), torch.full((len(a),), share * math.pi).double(), rtol=0, atol=1e-5
        )
    torch.testing.assert_close(slerp(a, opposite, 1.0), opposite, rtol=1e-8, atol=1e-8)


def test_latents_of_zeros_are_interpolated_linearly() -> None:
    zeros = torch.zeros_like(A)
    for from_, to in ((A, zeros), (zeros, A)):
        torch.testing.assert_close(slerp(from_, to, 0.0), from_)
        torch.testing.assert_close(slerp(from_, to, 1.0), to)
        half = slerp(from_, to, 0.5)
        torch.testing.assert_close(half / norms(half).reshape(-1, 1, 1, 1), A / norms(A).reshape(-1, 1, 1, 1))
    assert (slerp(zeros, zeros, 0.5) == 0).all()


def test_latents_of_one_pixel_are_interpolated() -> None:
    for share, expected in ((0.0, 2.0), (1.0, -2.0)):
        assert slerp(unit(2.0), unit(-2.0), share).item() == pytest.approx(expected)
    assert slerp(unit(2.0), unit(4.0), 0.5).item() == 3


def test_float32_is_kept_and_the_sum_is_computed_in_float64() -> None:
    single = slerp(A.float(), B.float(), 0.3)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single, slerp(A, B, 0.3).float(), rtol=1e-6, atol=1e-6)
    assert (slerp(A.float(), A.float(), 0.3) == A.float()).all()


@pytest.mark.parametrize("share", [-0.1, 1.1, math.nan])
def test_a_share_out_of_range_is_rejected(share: float) -> None:
    with pytest.raises(SamplingError, match=rf"interpolation share {share} .*Choose 0 to 1"):
        slerp(A, B, share)
    with pytest.raises(SamplingError, match=r"Choose 0 to 1"):
        slerp(A, B, torch.tensor([0.5, 0.5, 0.5, 0.5, share]))


def test_a_path_has_every_latent_once_and_equal_angles_between() -> None:
    latents = torch.stack([A[0], B[0], C[0]])
    frames = path(latents, 5)
    assert len(frames) == 2 * 4 + 1
    torch.testing.assert_close(frames[[0, 4, 8]], latents, rtol=1e-13, atol=1e-13)
    steps = angles(frames[:-1], frames[1:])
    expected = angles(latents[:-1], latents[1:]).repeat_interleave(4) / 4
    torch.testing.assert_close(steps, expected, rtol=1e-7, atol=1e-9)


def test_a_path_of_two_frames_is_the_latents() -> None:
    torch.testing.assert_close(path(A, 2), A, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize(("latents", "frames"), [(1, 5), (0, 5), (2, 1), (2, 0), (2, -3)])
def test_a_path_needs_two_ends_and_two_frames(latents: int, frames: int) -> None:
    with pytest.raises(SamplingError, match=rf"interpolation of {latents} images with {frames} frames.*at least 2"):
        path(A[:latents], frames)
