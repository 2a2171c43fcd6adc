"""ONNX files: one graph from noisy images, times and labels to the estimates of the clean images.

Inputs:
    x_t: float32 (n, C, H, W), noisy images alpha(t) x_0 + sigma(t) noise.
    t: float32 (n,), times in [0, 1]; 0 is clean, 1 is noise.
    label: int64 (n,), class indices (-1: none), or float32 (n, columns), rows of conditions (NaN: unknown). A model
        without labels does not have this input.

Output:
    x0_hat: float32 (n, C, H, W), estimates of the clean images E[x_0 | x_t, label], not clipped.

The batch size n is dynamic. The coefficients of the parametrization and of the schedule are part of the graph, which
computes in float32, since runtimes for graphics processors and browsers have no float64. Guidance is a combination of
two outputs, and clipping a clamp: both are left to the program that samples. The metadata of the file
(`metadata_props`) describe the model, with the timesteps of the default sampler.
"""

import json
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from sfumato.diffusion.denoiser import PreconditionedDenoiser
from sfumato.errors import ConfigError, LabelError
from sfumato.exchange.onnx_graph import denoiser_graph, store_in_float16
from sfumato.sampling.sampler import sampler_config
from sfumato.utils.imports import require_packages
from sfumato.utils.shapes import Images, Labels, over

if TYPE_CHECKING:
    from onnx import ModelProto

MAX_ERROR = 1e-4
"""Maximum difference from PyTorch in float32, relative to the largest estimate of the image (at least 1)."""

MAX_HALF_ERROR = 0.05
"""As `MAX_ERROR`, for float16 weights: 6 steps of an 8-bit image."""

MAX_BYTES = 2 * 10**9
"""Maximum size of the weights in float32; a file has at most 2 GiB."""

FORMAT = "sfumato-onnx-1"
SOLVER, STEPS = "dpm-2m", 20
"""Sampler of the timesteps in the metadata, and of the web page."""


def to_onnx(model: PreconditionedDenoiser, file: Path, half: bool = False) -> float:
    """Writes a model as an ONNX file, after a comparison of its estimates with those of PyTorch in onnxruntime.

    A guidance checkpoint is not included.

    Args:
        model: model from `load` or `sf.train`, without wrappers.
        file: file to write.
        half: whether to store the weights in float16, which halves the file; computations remain in float32.

    Returns:
        The largest difference from PyTorch, relative to the largest estimate of the image (at least 1).

    Raises:
        ConfigError: a wrapper, a network that ONNX cannot express, with a fixed batch size or without estimates for
            images without class, or a difference that is too large.
        RunError: a package of the extra `onnx` is missing.
    """
    content, error = onnx_content(evaluation_copy(model), half)
    file.write_bytes(content)
    return error


def evaluation_copy(model: PreconditionedDenoiser) -> PreconditionedDenoiser:
    """A copy on the CPU, in float32 and evaluation mode; raises `ConfigError` for a wrapper or a large network."""
    if not isinstance(model, PreconditionedDenoiser):
        raise ConfigError(
            f"a {type(model).__name__} cannot be exported to ONNX",
            "Export the model from sf.load or sf.train without wrappers: guidance is chosen when sampling.",
        )
    size = sum(4 * weight.numel() for weight in model.network.parameters())
    if size > MAX_BYTES:
        raise ConfigError(
            f"a network of {size / 1e9:.1f} GB is too large for one ONNX file", "Export it in another format."
        )
    return deepcopy(model).cpu().float().eval()


def onnx_content(model: PreconditionedDenoiser, half: bool) -> tuple[bytes, float]:
    """The content of the file of an `evaluation_copy`, and its error; arguments and errors are those of `to_onnx`."""
    require_packages("the export to ONNX", "onnx", "onnx", "onnxruntime", "onnxscript")
    if half and any(weight.abs().max() > torch.finfo(torch.float16).max for weight in model.network.parameters()):
        raise ConfigError("a weight is too large for float16", "Export without --half.")
    examples = [_example(model, count) for count in (2, 1, 5)]
    try:
        with torch.no_grad():
            expected = [model(each.x_t, each.t.double(), each.label) for each in examples]
    except LabelError as missing:
        raise ConfigError(
            "the network has no estimate for images without a class, which an ONNX file must contain",
            "Use it in the library that it is from, or train a model of sfumato.",
        ) from missing
    proto = denoiser_graph(model, examples[0].named())
    if half:
        store_in_float16(proto)
    _describe(proto, model, half)
    content: bytes = proto.SerializeToString()
    error = _largest_error(content, examples, expected)
    limit = MAX_HALF_ERROR if half else MAX_ERROR
    if not error <= limit:
        raise ConfigError(
            f"the estimates of the ONNX file differ by {error:.2g} from those of PyTorch, more than {limit:g}",
            "Export without --half." if half else "Report this network; export it in another format meanwhile.",
        )
    return content, error


class _Inputs(NamedTuple):
    """Inputs of the graph; the label is None for a model without labels."""

    x_t: Images
    t: Float32[Tensor, " n"]
    label: Labels | None

    def named(self) -> dict[str, Tensor]:
        """The inputs that are present, by name."""
        return {name: value for name, value in self._asdict().items() if value is not None}


def _example(model: PreconditionedDenoiser, count: int) -> _Inputs:
    """Noisy images from time 1 to the earliest time (one image: time 0), with labels of all kinds and unknown ones."""
    rng = np.random.default_rng(count)
    t = torch.linspace(1, model.schedule.earliest, count) if count > 1 else torch.zeros(1)
    x_0, noise = torch.from_numpy(rng.uniform(-1, 1, (2, count, *model.image_shape))).float().unbind()
    alpha, sigma = model.schedule.alpha(t.double()), model.schedule.sigma(t.double())
    x_t = over(alpha, x_0) * x_0 + over(sigma, x_0) * noise * 3**0.5  # unit variance
    if model.columns:
        codes = [[(i + row) % (column.size or 3) for i, column in enumerate(model.columns)] for row in range(count)]
        label = torch.tensor(codes, dtype=torch.float32)
        label[-1] = torch.nan
    else:
        label = torch.arange(count) % (len(model.label_names) + 1) - 1
    return _Inputs(x_t, t, label if model.is_conditional else None)


def _describe(proto: "ModelProto", model: PreconditionedDenoiser, half: bool) -> None:
    """Adds the metadata: text, or JSON where the value is not text."""
    from onnx import helper

    fields: dict[str, Any] = {
        "format": FORMAT,
        "image_shape": list(model.image_shape),
        "label_column": model.label_column,
        "labels": list(model.label_names),
        "columns": [asdict(column) for column in model.columns],
        "depth": asdict(model.depth),
        "schedule": repr(model.schedule),
        "weights": "float16" if half else "float32",
        "sampler": SOLVER,
        "timesteps": timestep_table(model, STEPS),
    }
    helper.set_model_props(proto, {k: v if isinstance(v, str) else json.dumps(v) for k, v in fields.items()})
    proto.producer_name, proto.doc_string = "sfumato", (__doc__ or "").strip()


def timestep_table(model: PreconditionedDenoiser, steps: int) -> dict[str, list[float]]:
    """Times, alpha and sigma of `SOLVER`, from noise to data; the last time is 0.

    Raises:
        SamplingError: a number of steps that the schedule does not support.
    """
    t = sampler_config(model.schedule, solver=SOLVER, steps=steps).timesteps
    return {"t": t.tolist(), "alpha": model.schedule.alpha(t).tolist(), "sigma": model.schedule.sigma(t).tolist()}


def _largest_error(content: bytes, examples: list[_Inputs], expected: list[Tensor]) -> float:
    """Largest difference between the estimates of onnxruntime and of PyTorch, for each image; NaN if one is NaN.

    Per image, because the estimates at t = 1 can be a hundred times as large as others.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = torch.get_num_threads()
    errors = []
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        for example, wanted in zip(examples, expected, strict=True):
            (found,) = session.run(None, {name: value.numpy() for name, value in example.named().items()})
            difference, largest = (
                values.abs().amax((1, 2, 3)) for values in (torch.from_numpy(found) - wanted, wanted)
            )
            errors.append((difference / largest.clamp(min=1)).max())
    except Exception as error:  # onnxruntime has its own exceptions
        reason = str(error).strip().splitlines()[0]
        raise ConfigError(
            f"onnxruntime cannot run the exported network: {reason}",
            "Use x.shape[0] instead of len(x) if the batch size is fixed; otherwise report this network.",
        ) from error
    return float(torch.stack(errors).max())
