"""ONNX graphs of denoisers: export by PyTorch, replacement of float64, and weights in float16."""

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from sfumato.diffusion.denoiser import PreconditionedDenoiser
from sfumato.errors import ConfigError

if TYPE_CHECKING:
    from onnx import ModelProto

OPSET = 18
"""Version of the ONNX operators; onnxruntime and onnxruntime-web support it since 2023."""


def denoiser_graph(model: PreconditionedDenoiser, inputs: Mapping[str, Tensor]) -> "ModelProto":
    """Exports a denoiser with PyTorch's exporter.

    Args:
        model: denoiser on the CPU, in evaluation mode.
        inputs: example of the inputs x_t, t and, for a model with labels, label.

    Raises:
        ConfigError: a network that ONNX cannot express.
    """
    batch = torch.export.Dim("n")
    try:
        with _quiet():
            program = torch.onnx.export(
                _Graph(model).eval(),
                tuple(inputs.values()),
                input_names=list(inputs),
                output_names=["x0_hat"],
                dynamic_shapes={name: {0: batch} for name in inputs},
                opset_version=OPSET,
                custom_translation_table={
                    torch.ops.aten.expm1.default: _expm1,
                    torch.ops.aten.sigmoid.default: _sigmoid,
                },
                dynamo=True,
                verbose=False,
            )
    except Exception as error:  # a network may raise anything
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        reason = next((line for line in str(cause).splitlines() if line.strip()), type(cause).__name__)
        raise ConfigError(
            f"the network {type(model.network).__name__} cannot be expressed in ONNX: {reason}",
            "Use operations of PyTorch without branches on values, and x.shape[0] instead of len(x).",
        ) from error
    assert program is not None
    proto: ModelProto = program.model_proto
    for part in (proto, proto.graph, *proto.graph.node, *proto.graph.value_info, *proto.graph.initializer):
        del part.metadata_props[:]  # file names and line numbers of this machine
    _to_float32(proto)
    return proto


class _Graph(nn.Module):
    """A denoiser with float32 times."""

    def __init__(self, model: PreconditionedDenoiser) -> None:
        super().__init__()
        self.model = model

    def forward(self, x_t: Tensor, t: Tensor, label: Tensor | None = None) -> Tensor:
        output: Tensor = self.model(x_t, t.double(), label)
        return output


def _expm1(x: Any) -> Any:  # noqa: ANN401 (values of onnxscript)
    """exp(x) - 1 = 2 tanh(x / 2) / (1 - tanh(x / 2)), also precise near 0."""
    import onnxscript

    op: Any = onnxscript.opset18
    two, one = (op.CastLike(op.Constant(value_float=value), x) for value in (2.0, 1.0))
    half = op.Tanh(op.Div(x, two))
    return op.Div(op.Mul(two, half), op.Sub(one, half))


def _sigmoid(x: Any) -> Any:  # noqa: ANN401
    """1 / (1 + exp(-x)) for coefficients: onnxruntime's own sigmoid is 0 below about -17."""
    import onnxscript

    op: Any = onnxscript.opset18
    if x.dtype.name != "DOUBLE":
        return op.Sigmoid(x)
    one = op.CastLike(op.Constant(value_float=1.0), x)
    return op.Div(one, op.Add(one, op.Exp(op.Neg(x))))


def _to_float32(proto: "ModelProto") -> None:
    """Replaces float64, in which PyTorch computes the coefficients, by float32."""
    from onnx import TensorProto, numpy_helper

    attributes = [attribute for node in proto.graph.node for attribute in node.attribute]
    constants = [attribute.t for attribute in attributes if attribute.HasField("t")]
    for tensor in (*proto.graph.initializer, *constants):
        if tensor.data_type == TensorProto.DOUBLE:
            with np.errstate(over="ignore"):
                values = numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    for attribute in attributes:
        if attribute.name in ("to", "dtype") and attribute.i == TensorProto.DOUBLE:
            attribute.i = TensorProto.FLOAT
    for value in proto.graph.value_info:
        if value.type.tensor_type.elem_type == TensorProto.DOUBLE:
            value.type.tensor_type.elem_type = TensorProto.FLOAT


@contextmanager
def _quiet() -> Iterator[None]:
    """Hides the warnings and log messages of the exporter, which concern its own code."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def store_in_float16(proto: "ModelProto") -> None:
    """Stores the float32 weights in float16, each with a cast to float32, which programs apply once when loading."""
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for weight in proto.graph.initializer:
        values = numpy_helper.to_array(weight)
        if values.dtype != np.float32 or values.ndim < 2:
            continue
        name, stored = weight.name, f"{weight.name}.half"
        weight.CopyFrom(numpy_helper.from_array(values.astype(np.float16), stored))
        casts.append(helper.make_node("Cast", [stored], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *proto.graph.node]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
