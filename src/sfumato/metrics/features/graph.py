"""Runs the graph of tensor operators in a file from torch.export, and executes no other content of the file.

`torch.export.load` unpickles example inputs and constants, evaluates sizes with sympy, loads compiled libraries and
finds any function in `torch` by its name. Each of these can execute code chosen by the file. Here a graph is data: a
list of allowed operators, their arguments and the names of their results.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sfumato.metrics.features.guards import parsed_guard, value_of
from sfumato.metrics.features.network import Side, Signature
from sfumato.metrics.features.operators import operator_named

JSON = Mapping[str, Any]

DTYPES = {
    1: torch.uint8,
    2: torch.int8,
    3: torch.int16,
    4: torch.int32,
    5: torch.int64,
    6: torch.float16,
    7: torch.float32,
    8: torch.float64,
    12: torch.bool,
    13: torch.bfloat16,
}
"""Dtypes by their numbers in torch's schema.py; the same for the tables below."""

MEMORY_FORMATS = {
    1: torch.contiguous_format,
    2: torch.channels_last,
    3: torch.channels_last_3d,
    4: torch.preserve_format,
}
STRIDED = 7
UNLIMITED = 2
"""Minimum that torch.export writes for a dimension of any length, since it specialises 0 and 1."""

LITERALS = {"as_int", "as_ints", "as_string", "as_bool", "as_bools"}


class Operation(NamedTuple):
    """Operator call in a graph.

    Attributes:
        function: Function of the operator.
        inputs: Names and contents of its arguments.
        outputs: Names of its results.
        obsolete: Names of values that no later operation uses.
    """

    function: Callable[..., Any]
    inputs: Sequence[tuple[str, JSON]]
    outputs: Sequence[JSON]
    obsolete: Sequence[str] = ()

    def run(self, values: dict[str, Any], device: torch.device) -> None:
        """Computes the results from `values`, adds them, and removes obsolete values."""
        arguments = {name: _argument(given, values, device) for name, given in self.inputs}
        is_aten = isinstance(self.function, torch._ops.OpOverload)
        found = self.function(**arguments) if is_aten else self.function(*arguments.values())
        values.update(_named(self.outputs, [found] if len(self.outputs) == 1 else found))
        for name in self.obsolete:
            values.pop(name, None)


class Graph:
    """Network from torch.export, as a function of a batch of images. It runs on the device of the images.

    Args:
        program: Content of models/model.json.
        tensors: Weights, buffers and constants by their names in the program.

    Raises:
        ValueError, KeyError, TypeError: The program is invalid or not allowed.
    """

    def __init__(self, program: JSON, tensors: Mapping[str, Tensor]) -> None:
        graph = program["graph_module"]["graph"]
        specs = program["graph_module"]["signature"]
        self._tensors: dict[str, Tensor] = {}
        inputs: list[str] = []
        for spec in specs["input_specs"]:
            kind, content = _only(spec)
            if kind == "user_input":
                inputs.append(content["arg"]["as_tensor"]["name"])
            elif kind in ("parameter", "buffer", "tensor_constant"):
                self._tensors[content["arg"]["name"]] = tensors[content[f"{kind}_name"]]
            else:
                raise ValueError(f"it has an input of the kind {kind}")
        self._outputs = [
            c["arg"]["as_tensor"]["name"] for k, c in map(_only, specs["output_specs"]) if k == "user_output"
        ]
        self._operations = _until_last_use([_operation(node) for node in graph["nodes"]], self._outputs)
        self._guards = [(text, parsed_guard(text)) for text in program.get("guards_code", [])]
        metas = graph["tensor_values"]
        self._input = inputs[0] if len(inputs) == 1 else ""
        self._ranges = _ranges(metas[self._input]["sizes"], program["range_constraints"]) if self._input else []
        self.signature = Signature(
            _sides(metas[self._input]) if self._input else (), [_sides(metas[name]) for name in self._outputs]
        )

    def __call__(self, images: Tensor) -> Sequence[Tensor]:
        """Outputs of the network for a batch of images.

        Raises:
            ValueError: The network was not exported for images of this size.
        """
        self._check_sizes(images.shape)
        self._tensors = {name: tensor.to(images.device) for name, tensor in self._tensors.items()}
        values: dict[str, Any] = {**self._tensors, self._input: images}
        for operation in self._operations:
            operation.run(values, images.device)
        return [values[name] for name in self._outputs]

    def _check_sizes(self, sizes: Sequence[int]) -> None:
        for size, (least, most) in zip(sizes, self._ranges, strict=True):
            if not least <= size <= most:
                raise ValueError(f"it was exported for sizes from {least} to {most}, not {size}")
        for text, guard in self._guards:
            if not value_of(guard, sizes):
                raise ValueError(f"it was exported for images where {text}")


def _operation(node: JSON) -> Operation:
    inputs = [(str(given["name"]), given["arg"]) for given in node["inputs"]]
    for _, given in inputs:
        _check_argument(given)
    return Operation(operator_named(node["target"]), inputs, node["outputs"])


def _until_last_use(operations: Sequence[Operation], kept: Sequence[str]) -> list[Operation]:
    """Operations, each with the values that are not used after it, so that memory does not grow with the depth."""
    seen = set(kept)
    found = []
    for operation in reversed(operations):
        last = _names([content for _, content in operation.inputs] + list(operation.outputs)) - seen
        found.append(operation._replace(obsolete=sorted(last)))
        seen |= last
    return found[::-1]


def _names(content: Any) -> set[str]:  # noqa: ANN401 (JSON)
    """All names of values in nested arguments or results."""
    if isinstance(content, list):
        return set().union(*map(_names, content))
    if not isinstance(content, Mapping):
        return set()
    own = {value for key, value in content.items() if key in ("name", "as_name") and isinstance(value, str)}
    return own.union(*map(_names, content.values()))


def _only(union: JSON) -> tuple[str, Any]:
    """The single entry of a union of schema.py."""
    ((kind, content),) = union.items()
    return kind, content


def _check_argument(given: JSON) -> None:
    """Raises `ValueError` for an argument of a kind that `_argument` does not support."""
    kind, _ = _only(given)
    if kind not in LITERALS | READERS.keys():
        raise ValueError(f"an argument is of the kind {kind}")


def _argument(given: JSON, values: Mapping[str, Any], device: torch.device) -> Any:  # noqa: ANN401 (of an operator)
    """Argument of an operator. Devices are replaced by the device of the images."""
    kind, content = _only(given)
    if kind in LITERALS:
        return content
    if kind == "as_device":
        return device
    return READERS[kind](content, values)


def _symbol(content: JSON, values: Mapping[str, Any]) -> Any:  # noqa: ANN401 (a number or a truth value)
    kind, value = _only(content)
    return values[value] if kind == "as_name" else value


def _optional(content: JSON, values: Mapping[str, Any]) -> Tensor | None:
    kind, value = _only(content)
    return values[value["name"]] if kind == "as_tensor" else None


Reader = Callable[[Any, Mapping[str, Any]], Any]


def _each(reader: Reader) -> Reader:
    return lambda content, values: [reader(one, values) for one in content]


def _tensor(content: JSON, values: Mapping[str, Any]) -> Any:  # noqa: ANN401 (a tensor)
    return values[content["name"]]


def _float(content: float | str, _: Mapping[str, Any]) -> float:
    return float(content)  # infinities are strings in JSON


READERS: dict[str, Reader] = {
    "as_none": lambda _, __: None,
    "as_tensor": _tensor,
    "as_tensors": _each(_tensor),
    "as_optional_tensor": _optional,
    "as_optional_tensors": _each(_optional),
    "as_float": _float,
    "as_floats": _each(_float),
    **{f"as_sym_{kind}": _symbol for kind in ("int", "float", "bool")},
    **{f"as_sym_{kind}s": _each(_symbol) for kind in ("int", "float", "bool")},
    "as_scalar_type": lambda code, _: DTYPES[code],
    "as_memory_format": lambda code, _: MEMORY_FORMATS[code],
    "as_layout": lambda code, _: {STRIDED: torch.strided}[code],
    "as_device": lambda _, __: None,
}
"""Readers of arguments that are not plain JSON values, by their field names in torch's schema.py."""


def _named(outputs: Sequence[JSON], found: Any) -> list[tuple[str, Any]]:  # noqa: ANN401 (of an operator)
    """Results of an operator with their names."""
    named: list[tuple[str, Any]] = []
    for output, value in zip(outputs, found or [], strict=True):
        kind, content = _only(output)
        if kind == "as_tensors":
            named += [(one["name"], part) for one, part in zip(content, value, strict=True)]
        elif kind != "as_none":
            named.append((content.get("name") or content["as_name"], value))
    return named


def _sides(meta: JSON) -> list[Side]:
    return [size.get("as_int") for size in meta["sizes"]]


def _ranges(sizes: Sequence[JSON], constraints: JSON) -> list[tuple[float, float]]:
    """Minimum and maximum length of each dimension."""
    ranges: list[tuple[float, float]] = []
    for size in sizes:
        if "as_int" in size:
            ranges.append((size["as_int"], size["as_int"]))
            continue
        symbol = re.search(r"\w+", size["as_expr"]["expr_str"].removeprefix("Symbol"))
        limits = constraints.get(symbol[0] if symbol else "", {})
        least, most = limits.get("min_val") or 0, limits.get("max_val")
        ranges.append((least if least > UNLIMITED else 1, float("inf") if most is None else most))
    return ranges
