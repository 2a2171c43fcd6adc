"""Networks of diffusers that differ from ours: outputs, classes and evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import sfumato as sf
from cli.conftest import run_main
from sfumato.errors import ConfigError, LabelError
from sfumato.exchange.foreign import ForeignModel
from sfumato.exchange.load import load

from .test_import import TUTORIAL, assert_same_outputs, pipeline_of


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"attention_head_dim": 8, "norm_eps": 1e-6},
        {"resnet_time_scale_shift": "scale_shift"},
        {"down_block_types": ("SkipDownBlock2D",) * 2, "up_block_types": ("SkipUpBlock2D",) * 2},
    ],
)
def test_another_network_is_that_of_diffusers(changes: dict[str, Any], tmp_path: Path) -> None:
    pipeline = pipeline_of(TUTORIAL | changes)
    pipeline.save_pretrained(tmp_path / "in")
    model = sf.load(tmp_path / "in")
    assert isinstance(model, ForeignModel)
    assert_same_outputs(model, pipeline.unet)
    images = sf.sample(model, 3, steps=3, batch=2)
    assert images.shape == (3, 3, 8, 8)
    with pytest.raises(ConfigError, match="ForeignModel cannot be saved"):
        sf.save(model, tmp_path / "copy")


def test_classes_of_a_network_of_diffusers_are_numbers(tmp_path: Path) -> None:
    pipeline = pipeline_of(TUTORIAL | {"num_class_embeds": 3})
    pipeline.save_pretrained(tmp_path / "in")
    model = load(tmp_path / "in")
    assert model.label_names == ("0", "1", "2")
    assert_same_outputs(model, pipeline.unet, torch.tensor([2]))
    assert sf.sample(model, 2, labels=["0", "2"], steps=3).shape == (2, 3, 8, 8)
    with pytest.raises(LabelError, match="was trained with classes only"):
        sf.sample(model, 2, steps=3)
    with pytest.raises(LabelError, match="was trained with classes only"):
        sf.sample(sf.guidance.ClassifierFree(model, 2.0), 2, labels="0", steps=3)


def test_blocks_with_buffers_that_are_not_saved_are_the_same(tmp_path: Path) -> None:
    """The kernel of their downsampling is computed by the constructor."""
    blocks = {"down_block_types": ("KDownBlock2D",) * 2, "up_block_types": ("KUpBlock2D",) * 2}
    pipeline = pipeline_of(TUTORIAL | blocks)
    assert {name for name, _ in pipeline.unet.named_buffers()} - pipeline.unet.state_dict().keys()
    pipeline.save_pretrained(tmp_path / "in")
    assert_same_outputs(load(tmp_path / "in"), pipeline.unet)


def test_learned_variances_are_left_out(tmp_path: Path) -> None:
    pipeline = pipeline_of(TUTORIAL | {"out_channels": 6})
    pipeline.save_pretrained(tmp_path / "in")
    model = load(tmp_path / "in")
    x, times = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1)), torch.tensor([10.0, 500.0])
    with torch.no_grad():
        assert torch.equal(model.network(x, times), pipeline.unet(x, times).sample[:, :3])
    assert sf.sample(model, 2, steps=3).shape == (2, 3, 8, 8)


def test_a_network_with_classes_is_evaluated_with_all_of_them(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import numpy as np

    pipeline = pipeline_of(TUTORIAL | {"num_class_embeds": 3})
    with torch.no_grad():
        nn.init.normal_(pipeline.unet.class_embedding.weight, std=5.0)
    pipeline.save_pretrained(tmp_path / "in")
    given = [str(tmp_path / "in"), str(photos), "--count", "5", "--steps", "3", "--seed", "3", "--device", "cpu"]
    code = run_main(["eval", *given, "--features", "pixels", "--out", str(tmp_path / "out")])
    assert code == 0, capsys.readouterr().err
    (samples,) = (tmp_path / "out").rglob("samples.bin")
    found = torch.from_numpy(np.fromfile(samples, np.uint8).reshape(5, 3, 8, 8))
    expected = sf.sample(load(tmp_path / "in"), 5, labels=["0", "1", "2"], steps=3, seed=3)
    assert (found.int() - ((expected + 1) * 127.5).round().clamp(0, 255).int()).abs().max() <= 1


def test_likelihood_with_classes_needs_the_same_classes(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline_of(TUTORIAL | {"num_class_embeds": 3}).save_pretrained(tmp_path / "in")
    given = [str(tmp_path / "in"), str(photos), "--count", "2", "--steps", "3", "--device", "cpu"]
    assert run_main(["eval", *given, "--metrics", "likelihood", "--out", str(tmp_path / "out")]) == 2
    assert "the classes of the model are 0, 1, 2" in capsys.readouterr().err
