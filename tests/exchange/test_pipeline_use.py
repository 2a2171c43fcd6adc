"""What users of diffusers do with a folder with its own pipeline."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from sfumato.diffusion.guidance import ClassifierFree, Labelled
from sfumato.networks.architectures import Architecture
from sfumato.utils.depth import EIGHT_BITS, SIXTEEN_BITS, Depth

from .conftest import build, convnet, unet
from .test_own_folders import assert_same, exported, our_images, their_images, weaker_than


def reloaded(folder: Path, **options: Any) -> Any:  # noqa: ANN401 (diffusers)
    from diffusers import DiffusionPipeline

    pipeline = DiffusionPipeline.from_pretrained(folder, trust_remote_code=True, **options)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def test_two_pipelines_work_in_one_process(tmp_path: Path) -> None:
    """diffusers issue 3761: the second one replaced the code of the first."""
    one, other = build(unet(), "edm", "edm"), build(convnet(classes=2), "flow", "flow")
    first = exported(one, tmp_path / "one")
    second = exported(other, tmp_path / "other", build(convnet(classes=2), "flow", "flow", seed=1))
    assert_same(their_images(first), our_images(one))
    assert their_images(second, class_labels="class 1").shape == (3, 3, 8, 8)
    assert_same(their_images(first), our_images(one))


def test_a_saved_pipeline_contains_its_code(tmp_path: Path) -> None:
    """`save_pretrained` of diffusers leaves out the code of a pipeline."""
    model, weaker = build(unet(), "edm", "edm"), build(unet(), "edm", "edm", seed=1)
    pipeline = exported(model, tmp_path / "out", weaker)
    pipeline.save_pretrained(tmp_path / "copy")
    names = [
        {file.relative_to(folder) for folder in [tmp_path / name] for file in folder.rglob("*")}
        for name in ("out", "copy")
    ]
    assert names[0] == names[1]
    assert_same(their_images(reloaded(tmp_path / "copy")), their_images(pipeline))


def test_a_pipeline_cannot_be_pushed_without_its_code(tmp_path: Path) -> None:
    pipeline = exported(build(), tmp_path / "out")
    with pytest.raises(ValueError, match=r"pipeline\.push_to_hub"):
        pipeline.save_pretrained(tmp_path / "copy", push_to_hub=True)


def test_the_code_is_only_run_if_it_is_trusted(tmp_path: Path) -> None:
    from diffusers import DiffusionPipeline

    exported(build(), tmp_path / "out")
    with pytest.raises(ValueError, match="trust_remote_code=True"):
        DiffusionPipeline.from_pretrained(tmp_path / "out")


def test_the_hub_finds_the_code_of_all_components(tmp_path: Path) -> None:
    from diffusers.pipelines.pipeline_loading_utils import _get_custom_components_and_folders

    model = build(unet(), "edm", "edm")
    exported(model, tmp_path / "out", model)
    index = json.loads((tmp_path / "out" / "model_index.json").read_text(encoding="utf-8"))
    files = [file.relative_to(tmp_path / "out").as_posix() for file in (tmp_path / "out").rglob("*")]
    components, folders = _get_custom_components_and_folders("user/name", index, files)
    assert components == {"unet": "sfumato_unet", "scheduler": "sfumato_schedule", "weaker": "sfumato_unet"}
    assert folders == ["unet", "scheduler", "weaker"]


def test_another_scheduler_is_rejected(tmp_path: Path) -> None:
    """Schedulers of diffusers are often exchanged; with these noise levels they would be wrong without an error."""
    from diffusers import EulerDiscreteScheduler

    pipeline = exported(build(unet(), "edm", "edm"), tmp_path / "out")
    pipeline.scheduler = EulerDiscreteScheduler()
    with pytest.raises(TypeError, match="EulerDiscreteScheduler cannot sample this model"):
        pipeline()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("network", [unet(columns=(2, 0)), convnet(classes=2)], ids=["unet", "convnet"])
def test_half_precision_is_close(network: Architecture, dtype: torch.dtype, tmp_path: Path) -> None:
    exported(build(network, "edm", "edm"), tmp_path / "out")
    full = their_images(reloaded(tmp_path / "out"))
    pipeline = reloaded(tmp_path / "out", dtype=dtype)
    assert pipeline.unet.dtype == dtype
    torch.testing.assert_close(their_images(pipeline), full, atol=0.05, rtol=0)


@pytest.mark.filterwarnings("ignore:`torch_dtype`:FutureWarning")
def test_a_variant_is_saved_and_loaded(tmp_path: Path) -> None:
    model = build(convnet(classes=2), "edm", "edm")
    pipeline = exported(model, tmp_path / "out", weaker_than(model)).to(torch.float16)
    pipeline.save_pretrained(tmp_path / "copy", variant="fp16")
    for name in ("unet", "weaker"):
        assert [file.name for file in (tmp_path / "copy" / name).glob("*.safetensors")] == [
            "diffusion_pytorch_model.fp16.safetensors"
        ]
    loaded = reloaded(tmp_path / "copy", variant="fp16", torch_dtype=torch.float16)
    torch.testing.assert_close(their_images(loaded), their_images(pipeline), atol=0, rtol=0)


def test_a_compiled_pipeline_is_saved_with_its_code(tmp_path: Path) -> None:
    pipeline = exported(build(unet(), "edm", "edm"), tmp_path / "out")
    pipeline.unet = torch.compile(pipeline.unet, backend="eager")
    pipeline.save_pretrained(tmp_path / "copy")
    assert_same(their_images(reloaded(tmp_path / "copy")), their_images(reloaded(tmp_path / "out")))


def test_a_pushed_pipeline_contains_its_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import diffusers.pipelines.pipeline_utils as utils

    pipeline, pushed = exported(build(), tmp_path / "out"), set()

    def upload(self: Any, folder: str, *_: Any, **__: Any) -> None:  # noqa: ANN401, ARG001
        pushed.update(file.relative_to(folder).as_posix() for file in Path(folder).rglob("*.py"))

    hub = "diffusers.utils.hub_utils"
    monkeypatch.setattr(f"{hub}.create_repo", lambda *_, **__: SimpleNamespace(repo_id="user/name"))
    monkeypatch.setattr(f"{hub}.load_or_create_model_card", lambda *_, **__: None)
    monkeypatch.setattr(f"{hub}.populate_model_card", lambda _: SimpleNamespace(save=lambda _: None))
    monkeypatch.setattr(utils.DiffusionPipeline, "_upload_folder", upload)
    pipeline.push_to_hub("user/name")
    assert pushed == {"pipeline.py", "scheduler/sfumato_schedule.py", "unet/sfumato_unet.py"}


def test_the_network_alone_can_be_loaded(tmp_path: Path) -> None:
    model = build(convnet(classes=2), "edm", "edm")
    pipeline = exported(model, tmp_path / "out")
    network = type(pipeline.unet).from_pretrained(tmp_path / "out", subfolder="unet")
    x, times, labels = torch.randn(2, 3, 8, 8), torch.tensor([0.5, -1.0]), torch.tensor([-1, 1])
    with torch.no_grad():
        torch.testing.assert_close(network(x, times, labels), model.network(x, times, labels), atol=1e-5, rtol=0)


def test_without_the_weaker_network_guidance_is_classifier_free(tmp_path: Path) -> None:
    model = build(convnet(classes=2), "edm", "edm")
    pipeline = exported(model, tmp_path / "out", weaker_than(model))
    pipeline.weaker = None
    pipeline.save_pretrained(tmp_path / "copy")
    labels = torch.tensor([0, 1, 0])
    for each in (pipeline, reloaded(tmp_path / "copy")):
        assert_same(their_images(each), our_images(Labelled(model, labels)))
        assert_same(their_images(each, guidance_scale=2), our_images(Labelled(ClassifierFree(model, 2.0), labels)))


@pytest.mark.parametrize("network", [unet(columns=(2, 0)), convnet(classes=2)], ids=["unet", "convnet"])
def test_everything_is_computed_on_the_device_of_the_pipeline(network: Architecture, tmp_path: Path) -> None:
    """The meta device stands for a GPU: operations with a tensor of the CPU fail on both."""
    model = build(network, "edm", "edm")
    pipeline = exported(model, tmp_path / "out", weaker_than(model)).to("meta")
    for weaker in (pipeline.weaker, None):
        pipeline.weaker = weaker
        for eta in (0, 1):
            images = pipeline(2, guidance_scale=2, eta=eta, num_inference_steps=3, output_type="pt").images
            assert images.device.type == "meta"
            assert images.shape == (2, 3, 8, 8)


def test_networks_may_wait_on_the_cpu(tmp_path: Path) -> None:
    pytest.importorskip("accelerate")
    model = build(convnet(classes=2), "edm", "edm")
    pipeline = exported(model, tmp_path / "out", weaker_than(model))
    expected = their_images(pipeline)
    pipeline.enable_model_cpu_offload(device="cuda" if torch.cuda.is_available() else "cpu")
    assert hasattr(pipeline.weaker, "_hf_hook")
    torch.testing.assert_close(their_images(pipeline).cpu(), expected, atol=1e-3, rtol=0)
    assert {pipeline.unet.device.type, pipeline.weaker.device.type} == {"cpu"}


def test_a_callback_follows_and_changes_the_images(tmp_path: Path) -> None:
    pipeline, seen = exported(build(unet(), "edm", "edm"), tmp_path / "out"), []

    def follow(caller: Any, step: int, t: torch.Tensor, tensors: dict[str, torch.Tensor]) -> Any:  # noqa: ANN401
        assert caller is pipeline
        seen.append((step, float(t), tensors["latents"].shape))
        return {"latents": torch.zeros_like(tensors["latents"])} if step == 2 else None

    images = their_images(pipeline, steps=3, callback_on_step_end=follow)
    assert [(step, shape) for step, _, shape in seen] == [(step, (3, 3, 8, 8)) for step in range(3)]
    assert [t for _, t, _ in seen] == sorted((t for _, t, _ in seen), reverse=True)
    assert (images == 0.5).all()


def test_the_progress_bar_can_be_disabled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pipeline = exported(build(unet(), "edm", "edm"), tmp_path / "out")
    capsys.readouterr()
    pipeline(num_inference_steps=3)
    assert not capsys.readouterr().err
    pipeline.set_progress_bar_config(disable=False)
    pipeline(num_inference_steps=3)
    assert "3/3" in capsys.readouterr().err


def test_each_image_may_have_its_own_generator(tmp_path: Path) -> None:
    pipeline = exported(build(unet(), "edm", "edm"), tmp_path / "out")

    def images(*seeds: int) -> torch.Tensor:
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        result: torch.Tensor = pipeline(len(seeds), generator=generators, output_type="pt").images
        return result

    torch.testing.assert_close(images(1, 2, 3)[2:], images(3), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("arguments", "labels"),
    [
        ({}, [0]),
        ({"batch_size": 4}, [0, 1, 0, 1]),
        ({"class_labels": "class 1"}, [1]),
        ({"class_labels": ["class 1", "class 0", 1]}, [1, 0, 1]),
        ({"class_labels": ["class 1"], "batch_size": 2}, [1, 1]),
        ({"class_labels": np.int64(1)}, [1]),
        ({"class_labels": np.array([1, 1, 0])}, [1, 1, 0]),
        ({"class_labels": torch.tensor([1, 0])}, [1, 0]),
        ({"class_labels": torch.tensor(1)}, [1]),
        ({"latents": torch.ones(3, 3, 8, 8)}, [0, 1, 0]),
    ],
)
def test_as_many_images_as_labels(arguments: dict[str, Any], labels: list[int], tmp_path: Path) -> None:
    pipeline, seen = exported(build(unet(classes=2), "edm", "edm"), tmp_path / "out"), []
    pipeline.unet.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[2].tolist()))
    assert len(pipeline(num_inference_steps=1, **arguments).images) == len(labels)
    assert seen == [labels]


def test_as_many_images_as_values_of_a_condition(tmp_path: Path) -> None:
    pipeline = exported(build(unet(columns=(2, 0)), "edm", "edm"), tmp_path / "out")
    for ages in ([20, 30, 40], np.array([20.0, 30.0, 40.0])):
        assert len(pipeline(conditions={"colour": "red", "age": ages}, num_inference_steps=1).images) == 3


@pytest.mark.parametrize(
    ("depth", "channels", "mode"),
    [
        (EIGHT_BITS, 1, "L"),
        (EIGHT_BITS, 3, "RGB"),
        (Depth(opacity=True), 4, "RGBA"),
        (SIXTEEN_BITS, 1, "I;16"),
        (Depth("uint16", 100.0, 4000.0), 1, "I;16"),
        (Depth("float32", -2.0, 5.0), 1, "F"),
    ],
)
def test_images_are_pictures(depth: Depth, channels: int, mode: str, tmp_path: Path) -> None:
    model = build(unet(image_channels=channels), size=(6, 8), depth=depth)
    pipeline = exported(model, tmp_path / "out")
    latents = torch.randn(1, channels, 6, 8, generator=torch.Generator().manual_seed(1))
    given = {"latents": latents, "eta": 0, "num_inference_steps": 3}
    (picture,) = pipeline(**given).images
    assert (picture.mode, picture.size) == (mode, (8, 6))
    expected = depth.to_pixels(pipeline(**given, output_type="pt").images * 2 - 1)[0].permute(1, 2, 0)
    pixels = np.asarray(picture).reshape(expected.shape)
    assert str(pixels.dtype) == depth.dtype
    np.testing.assert_allclose(pixels.astype(float), expected.double(), atol=1 if depth.dtype != "float32" else 1e-5)
    assert pipeline(2, num_inference_steps=3, output_type="np", return_dict=False)[0].shape == (2, 6, 8, channels)


@pytest.mark.parametrize(
    ("depth", "channels"), [(EIGHT_BITS, 5), (EIGHT_BITS, 2), (EIGHT_BITS, 4), (SIXTEEN_BITS, 3), (Depth("float32"), 3)]
)
def test_images_that_are_no_pictures_fail_before_sampling(depth: Depth, channels: int, tmp_path: Path) -> None:
    pipeline = exported(build(unet(image_channels=channels), depth=depth), tmp_path / "out")
    calls: list[Any] = []
    pipeline.unet.register_forward_pre_hook(lambda *_: calls.append(1))
    message = f"Pillow has no images of {channels} channels of {depth.dtype}.*choose output_type='np' or 'pt'"
    with pytest.raises(ValueError, match=message):
        pipeline()
    assert not calls
    assert pipeline(num_inference_steps=2, output_type="np").images.shape == (1, 8, 8, channels)


WRONG: list[tuple[Architecture, dict[str, Any], str]] = [
    (unet(classes=2), {"class_labels": "dog"}, "does not know 'dog'; choose among: class 0, class 1"),
    (unet(classes=2), {"class_labels": []}, "class_labels is empty; give at least one value, or leave it out"),
    (unet(classes=2), {"class_labels": 2}, "the class 2 does not exist; choose 0 to 1, or: class 0, class 1"),
    (unet(classes=2), {"class_labels": -1}, "the class -1 does not exist"),
    (unet(classes=2), {"class_labels": [0.5]}, r"the class 0\.5 does not exist"),
    (unet(classes=30), {"class_labels": "dog"}, r"class 18, class 19, \.\.\.$"),
    (unet(classes=2), {"conditions": {"age": 3}}, "conditions were given, but the model has none"),
    (unet(), {"class_labels": 0}, "class_labels were given, but the model has no classes"),
    (unet(), {"batch_size": 0}, "batch_size is 0; choose at least 1"),
    (unet(), {"latents": torch.zeros(1, 3, 9, 9)}, r"the shape \(1, 3, 9, 9\); expected \(1, 3, 8, 8\)"),
    (unet(), {"generator": [torch.Generator()] * 2}, "2 generators were given for 1 images"),
    (unet(), {"num_inference_steps": 0}, "num_inference_steps is 0; choose at least 1"),
    (unet(), {"num_inference_steps": 5.5}, r"num_inference_steps is 5\.5; choose a whole number"),
    (unet(classes=2), {"guidance_scale": math.nan}, "guidance_scale is nan; choose a finite number"),
    (unet(classes=2), {"guidance_scale": -math.inf}, "guidance_scale is -inf"),
    (unet(), {"spacing": "leading"}, "choose uniform, logsnr or karras"),
    (unet(), {"eta": -1}, "eta is -1; choose 0"),
    (unet(), {"output_type": "jpg"}, "output_type is 'jpg'; choose pil, np or pt"),
    (unet(), {"guidance_scale": 2}, "guidance needs a model with classes"),
    (unet(columns=(2, 0)), {"conditions": {"size": 3}}, "does not know 'size'; choose among: colour, age"),
    (unet(columns=(2, 0)), {"conditions": {"colour": "green"}}, "does not know 'green'; choose among: red, blue"),
    (unet(columns=(2, 0)), {"conditions": {"age": "old"}}, "age cannot be 'old'; give a number such as 30"),
    (unet(columns=(2, 0)), {"conditions": {"age": math.inf}}, "age cannot be inf"),
    (unet(columns=(2, 0)), {"conditions": {"age": []}}, "age is empty"),
]


@pytest.mark.parametrize(("network", "arguments", "message"), WRONG)
def test_wrong_arguments_have_an_error(
    network: Architecture, arguments: dict[str, Any], message: str, tmp_path: Path
) -> None:
    pipeline = exported(build(network), tmp_path / "out")
    with pytest.raises(ValueError, match=message):
        pipeline(**arguments)


def test_older_versions_read_the_types_of_the_components(tmp_path: Path) -> None:
    """diffusers 0.35 knows classes and `Optional` only, and fails for other annotations of optional arguments."""
    import inspect
    from typing import Union, get_origin

    pipeline = exported(build(unet(), "edm", "edm"), tmp_path / "out")
    parameters = inspect.signature(type(pipeline).__init__).parameters
    for name in ("unet", "scheduler", "weaker", "description"):
        annotation = parameters[name].annotation
        assert inspect.isclass(annotation) or get_origin(annotation) is Union


ALONE = """
import sys
from diffusers import DiffusionPipeline
pipeline = DiffusionPipeline.from_pretrained(sys.argv[1], trust_remote_code=True)
print(pipeline(2, num_inference_steps=2, output_type="np").images.shape, "sfumato" in sys.modules)
"""


def test_a_folder_works_without_sfumato(tmp_path: Path) -> None:
    exported(build(convnet(), "edm", "edm"), tmp_path / "out")
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", ALONE, str(tmp_path / "out")],
        env=clean | {"HF_HOME": str(tmp_path / "home")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == "(2, 8, 8, 3) False", done.stderr
