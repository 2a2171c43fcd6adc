"""Affine resampling: the transfer function."""

import math

import torch

from sfumato.data.affine import affine_resample


def test_frequencies_up_to_0_7_nyquist_are_kept_to_97_percent() -> None:
    """Uses waves of amplitude 1, shifted by a fraction of a pixel, and measures them far from the borders."""
    size, shifts = 64, torch.arange(0, 1, 1 / 16, dtype=torch.float64)
    x = torch.arange(size, dtype=torch.float64)
    sources = torch.eye(2, 3, dtype=torch.float64).repeat(len(shifts), 1, 1)
    sources[:, 0, 2] = shifts
    for frequency in torch.arange(0.05, 0.701, 0.05, dtype=torch.float64) * math.pi:
        waves = torch.stack([(frequency * x).cos(), (frequency * x).sin()]).expand(size, 2, size).movedim(0, 1)
        found = affine_resample(waves.expand(len(shifts), -1, -1, -1), sources)[:, :, size // 2, 24:40]
        exact = torch.exp(1j * frequency * (x[24:40] + shifts[:, None]))
        kept = torch.complex(found[:, 0], found[:, 1]) / exact
        assert 0.97 < kept.real.min() < kept.abs().max() < 1.03
