"""Pipeline of a model that was trained with sfumato; needs PyTorch and diffusers.

>>> from diffusers import DiffusionPipeline
>>> pipeline = DiffusionPipeline.from_pretrained("FOLDER", trust_remote_code=True)  # doctest: +SKIP
>>> images = pipeline(batch_size=4).images  # doctest: +SKIP
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle, islice, pairwise
from pathlib import Path
from typing import Any, ClassVar, Optional

import numpy as np
import torch
from diffusers import DiffusionPipeline, ImagePipelineOutput, ModelMixin, SchedulerMixin
from diffusers.utils.torch_utils import randn_tensor
from PIL import Image
from torch import Tensor

PICTURES = [("uint8", 1), ("uint8", 3), ("uint8", 4), ("uint16", 1), ("float32", 1)]
"""Pixel types and channels of Pillow images: L, RGB, RGBA, I;16 and F."""


class SfumatoPipeline(DiffusionPipeline):
    """Samples images, of classes or with other conditions, and with guidance.

    Args:
        unet: network.
        scheduler: noise schedule, parametrization and solver of the network; schedulers of diffusers cannot replace it.
        weaker: the network early in its training, for autoguidance; None for a model without.
        description: configuration of the model in sfumato, with its `image_shape`, `label_names`, `columns` and pixel
            type (`depth`).
    """

    code: ClassVar[str] = Path(__file__).read_text(encoding="utf-8")
    model_cpu_offload_seq = "unet->weaker"
    _optional_components: ClassVar[list[str]] = ["weaker"]

    def __init__(
        self,
        unet: ModelMixin,
        scheduler: SchedulerMixin,
        weaker: Optional[ModelMixin] = None,  # noqa: UP045 (older versions of diffusers do not read `|`)
        description: Optional[dict] = None,  # type: ignore[type-arg]  # noqa: UP045
    ) -> None:
        super().__init__()
        self.register_modules(unet=unet, scheduler=scheduler, weaker=weaker)
        self.register_to_config(description=description)

    @torch.no_grad()
    def __call__(
        self,
        batch_size: int | None = None,
        class_labels: str | int | Sequence[str | int] | None = None,
        conditions: Mapping[str, Any] | None = None,
        guidance_scale: float | None = None,
        num_inference_steps: int = 20,
        eta: float | None = None,
        spacing: str | None = None,
        generator: torch.Generator | list[torch.Generator] | None = None,
        latents: Tensor | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
        callback_on_step_end: Callable[..., dict[str, Tensor] | None] | None = None,
    ) -> ImagePipelineOutput | tuple[Any]:
        """Samples images.

        Args:
            batch_size: number of images. None: the number of latents, labels or values of a condition, otherwise 1.
            class_labels: name or index of a class, or several, which are repeated in turn. None: all classes in turn.
            conditions: a value, or several that are repeated in turn, by the name of the column: {"age": 30}.
            guidance_scale: 1: none. Above 1: away from the estimate of the weaker network, or, if there is none (or
                after pipeline.weaker = None), from the estimate without labels. None: 2 (1.5 with labels) with a weaker
                network, otherwise 1.
            num_inference_steps: number of steps.
            eta: 1: stochastic (DPM-Solver++ 2M SDE); 0: deterministic. None: 0 with autoguidance, otherwise 1.
            spacing: time grid: "logsnr", "karras" or "uniform". None: "karras" with autoguidance, otherwise "logsnr".
            generator: source of the noise, or one for each image.
            latents: (batch_size, C, H, W) standard normal noise to start from; None: new noise.
            output_type: "pil" (with the pixel type of the training images), "np" (n, H, W, C) or "pt" (n, C, H, W);
                arrays are in [0, 1].
            return_dict: whether to return an `ImagePipelineOutput` instead of a tuple.
            callback_on_step_end: called with the pipeline, the index of the step, its time and {"latents": x_t}; may
                return {"latents": ...} to replace them.

        Raises:
            ValueError: an argument that the model does not support.
        """
        if batch_size is None:
            batch_size = self.default_batch_size(class_labels, conditions, latents)
        labels = self.encode(batch_size, class_labels, conditions)
        if guidance_scale is None:
            guidance_scale = 1.0 if self.weaker is None else 2.0 if labels is None else 1.5
        is_autoguided = self.weaker is not None and guidance_scale != 1
        eta = eta if eta is not None else 0.0 if is_autoguided else 1.0
        spacing = spacing or ("karras" if is_autoguided else "logsnr")
        shape = (batch_size, *self.config.description["image_shape"])
        self.check_inputs(shape, guidance_scale, num_inference_steps, eta, generator, latents, output_type)

        device = self._execution_device
        labels = None if labels is None else labels.to(device)
        times = self.scheduler.time_grid(num_inference_steps, spacing)
        latents = randn_tensor(shape, generator, device) if latents is None else latents.to(device, torch.float32)
        x_t = float(self.scheduler.amplitudes(times[0])[1]) * latents
        before = None
        for step, (t, s) in enumerate(self.progress_bar(list(pairwise(times)))):
            x0_hat = self.guided(x_t, t, labels, guidance_scale).clamp(-1, 1)
            noise = randn_tensor(shape, generator, device) if eta and s > 0 else None
            x_t = self.scheduler.step(x_t, x0_hat, t, s, before, eta, noise)
            before = (t, x0_hat)
            if callback_on_step_end is not None:
                x_t = (callback_on_step_end(self, step, t, {"latents": x_t}) or {}).get("latents", x_t)

        images = (x_t / 2 + 0.5).clamp(0, 1)
        self.maybe_free_model_hooks()
        if output_type != "pt":
            images = self.to_pictures(images) if output_type == "pil" else to_arrays(images)
        return ImagePipelineOutput(images=images) if return_dict else (images,)

    def guided(self, x_t: Tensor, t: Tensor, labels: Tensor | None, guidance_scale: float) -> Tensor:
        """Estimate of the clean images with guidance: weak + guidance_scale (strong - weak).

        The weak estimate is that of the weaker network (autoguidance, arXiv 2406.02507), or, if there is none, that
        without labels (classifier-free guidance, arXiv 2207.12598).
        """
        if guidance_scale == 1:
            return self.estimate(self.unet, x_t, t, labels)
        if self.weaker is not None:
            weak, strong = (self.estimate(network, x_t, t, labels) for network in (self.weaker, self.unet))
        elif labels is None:
            raise ValueError("guidance needs a model with classes, conditions or a weaker network; leave it out")
        else:
            unknown = torch.full_like(labels, math.nan if labels.is_floating_point() else -1)
            both = self.estimate(self.unet, torch.cat([x_t, x_t]), t, torch.cat([unknown, labels]))
            weak, strong = both.chunk(2)
        return torch.lerp(weak, strong, guidance_scale)

    def estimate(self, network: ModelMixin, x_t: Tensor, t: Tensor, labels: Tensor | None) -> Tensor:
        """Estimate of the clean images by a network: c_skip x_t + c_out F(c_in x_t, c_noise)."""
        c_skip, c_out, c_in, c_noise = map(float, self.scheduler.preconditioning(t))
        times = torch.full((len(x_t),), c_noise, device=x_t.device)
        output = network((c_in * x_t).to(network.dtype), times, labels).float()
        return c_skip * x_t + c_out * output

    def default_batch_size(self, class_labels: Any, conditions: Any, latents: Tensor | None) -> int:  # noqa: ANN401
        """Number of latents, otherwise of labels or values of a condition, otherwise 1."""
        if latents is not None:
            return len(latents)
        requested = {"class_labels": class_labels, **(conditions or {})}
        return max(len(as_list(name, value)) for name, value in requested.items())

    def check_inputs(
        self,
        shape: tuple[int, ...],
        guidance_scale: float,
        num_inference_steps: int,
        eta: float,
        generator: torch.Generator | list[torch.Generator] | None,
        latents: Tensor | None,
        output_type: str,
    ) -> None:
        """Raises `ValueError` or `TypeError` for arguments that the model does not support."""
        if not hasattr(self.scheduler, "preconditioning"):
            raise TypeError(f"a {type(self.scheduler).__name__} cannot sample this model; use its own scheduler")
        if not math.isfinite(guidance_scale):
            raise ValueError(f"guidance_scale is {guidance_scale}; choose a finite number, 1 for no guidance")
        if not isinstance(num_inference_steps, int | np.integer):
            raise ValueError(f"num_inference_steps is {num_inference_steps}; choose a whole number")
        if not 0 <= eta <= 1:
            raise ValueError(f"eta is {eta}; choose 0 (deterministic) to 1")
        if latents is not None and latents.shape != shape:
            raise ValueError(f"latents have the shape {tuple(latents.shape)}; expected {shape}")
        if isinstance(generator, list) and len(generator) != shape[0]:
            raise ValueError(f"{len(generator)} generators were given for {shape[0]} images; give one for each image")
        if output_type not in ("pil", "np", "pt"):
            raise ValueError(f"output_type is {output_type!r}; choose pil, np or pt")
        depth = self.config.description["depth"]
        is_picture = (depth["dtype"], shape[1]) in PICTURES and (shape[1] != 4 or depth["opacity"])
        if output_type == "pil" and not is_picture:
            raise ValueError(
                f"Pillow has no images of {shape[1]} channels of {depth['dtype']}, as this model makes; "
                "choose output_type='np' or 'pt', which are in [0, 1]"
            )

    def encode(self, count: int, class_labels: Any, conditions: Mapping[str, Any] | None) -> Tensor | None:  # noqa: ANN401
        """Class indices (count,), rows of conditions (count, k) with NaN for unknown values, or None."""
        names, columns = (self.config.description[name] for name in ("label_names", "columns"))
        if count < 1:
            raise ValueError(f"batch_size is {count}; choose at least 1")
        if class_labels is not None and not names:
            raise ValueError("class_labels were given, but the model has no classes; leave them out")
        if conditions and not columns:
            raise ValueError("conditions were given, but the model has none; leave them out")
        if names:
            wanted = as_list("class_labels", names if class_labels is None else class_labels)
            return repeated([class_index(label, names) for label in wanted], count)
        if not columns:
            return None
        rows = torch.full((count, len(columns)), math.nan)
        for name, values in (conditions or {}).items():
            index = index_of(name, [column["name"] for column in columns])
            rows[:, index] = repeated([column_code(value, columns[index]) for value in as_list(name, values)], count)
        return rows

    def to_pictures(self, images: Tensor) -> list[Image.Image]:
        """Pillow images with the pixel type of the training images, from images in [0, 1]."""
        depth = self.config.description["depth"]
        pixels = depth["low"] + (depth["high"] - depth["low"]) * to_arrays(images).astype(np.float64)
        pixels = (pixels if depth["dtype"] == "float32" else pixels.round()).astype(depth["dtype"])
        return [Image.fromarray(array.squeeze(2) if array.shape[2] == 1 else array) for array in pixels]

    def save_pretrained(self, save_directory: str | Path, **options: Any) -> None:  # noqa: ANN401
        """Saves the pipeline with its code, which diffusers alone would leave out."""
        if options.pop("push_to_hub", False):
            raise ValueError("save_pretrained cannot push this pipeline; use pipeline.push_to_hub")
        super().save_pretrained(save_directory, **options)
        folder = Path(save_directory)
        index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
        index["_class_name"] = ["pipeline", type(self).__name__]
        (folder / "pipeline.py").write_text(self.code, encoding="utf-8")
        for name, component in self.components.items():
            if component is not None:
                kind = type(getattr(component, "_orig_mod", component))  # a compiled network has the original one
                module = kind.__module__.rpartition(".")[2]
                index[name] = [module, kind.__name__]
                (folder / name / f"{module}.py").write_text(kind.code, encoding="utf-8")
        (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def as_list(name: str, value: Any) -> list[Any]:  # noqa: ANN401 (any text, number, sequence or array)
    """A list of one value, or of the values of a sequence or array."""
    values = [value] if np.ndim(value) == 0 else list(value)
    if not values:
        raise ValueError(f"{name} is empty; give at least one value, or leave it out")
    return values


def repeated(values: Sequence[float], count: int) -> Tensor:
    """(count,) values, repeated in turn."""
    return torch.tensor(list(islice(cycle(values), count)))


def index_of(name: Any, names: Sequence[str]) -> int:  # noqa: ANN401 (any text or number)
    """Index of a name."""
    if name not in names:
        raise ValueError(f"the model does not know {name!r}; choose among: {listed(names)}")
    return list(names).index(name)


def listed(names: Sequence[str]) -> str:
    """The first names, separated by commas."""
    return ", ".join([*names[:20], *["..."] * (len(names) > 20)])


def class_index(label: Any, names: Sequence[str]) -> int:  # noqa: ANN401 (any text or number)
    """Index of a class of a name or an index."""
    if isinstance(label, str):
        return index_of(label, names)
    if label not in range(len(names)):
        raise ValueError(f"the class {label} does not exist; choose 0 to {len(names) - 1}, or: {listed(names)}")
    return int(label)


def column_code(value: Any, column: Mapping[str, Any]) -> float:  # noqa: ANN401 (any text or number)
    """A value of a column: the index of a category, or a standardized number."""
    if column["kind"] == "category":
        return index_of(str(int(value)) if isinstance(value, bool) else str(value), column["values"])
    try:
        code = (float(value) - column["mean"]) / column["deviation"]
    except (TypeError, ValueError, OverflowError):
        code = math.nan
    if not abs(code) <= 1e6:
        raise ValueError(f"{column['name']} cannot be {value!r}; give a number such as {column['mean']:.3g}")
    return code


def to_arrays(images: Tensor) -> np.ndarray:
    """(n, C, H, W) to an array (n, H, W, C)."""
    return images.float().cpu().permute(0, 2, 3, 1).numpy()
