"""Finds the hidden matrices of a network, which Muon orthogonalizes.

They are found from the graph of one forward pass, not from the names of attributes. A weight is a hidden matrix if
1. its input depends on another weight, so that it is neither an input layer nor an embedding table;
2. its output is the input of another weight, so that it is not the output layer;
3. it is not part of the embedding of the time or the labels: a weight whose input does not depend on the image is
   hidden only if its output is combined with features of the image before the next weight, as in modulation.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

PRODUCT = re.compile(r"mm|mv|Conv|Linear|Dot", re.IGNORECASE)
"""In the names of the autograd nodes that multiply weights and features."""


@dataclass
class _Operation:
    """An operation of the forward pass.

    Attributes:
        inputs: the operations whose results it takes.
        parameters: those that its result consists of, if no input of the network is part of it.
        sees_input: whether its result depends on any input of the network.
        sees_image: whether its result depends on the image.
        weights: matrices that it multiplies with features.
        after_weight: whether its result has passed a weight.
        below: for each weight that its result meets next on the way to the output, whether the product sees the image;
            None stands for the output.
    """

    inputs: "list[_Operation]" = field(default_factory=list)
    parameters: set[nn.Parameter] = field(default_factory=set)
    sees_input: bool = False
    sees_image: bool = False
    weights: set[nn.Parameter] = field(default_factory=set)
    after_weight: bool = False
    below: set[bool | None] = field(default_factory=set)

    @property
    def is_between_features(self) -> bool:
        """Whether its weights are between hidden features."""
        embeds_condition = not self.sees_image and False in self.below
        is_inner = any(taken.after_weight for taken in self.inputs if taken.sees_input)
        return is_inner and None not in self.below and not embeds_condition


def hidden_matrices(network: nn.Module, inputs: Sequence[Tensor | None]) -> list[nn.Parameter]:
    """The weights between hidden features, in the order of `network.parameters()`.

    Args:
        network: run once, in evaluation mode; its weights and buffers stay as they are.
        inputs: what it is called with: images (n, C, H, W), times (n,), and what else it takes.

    Returns:
        Weights of linear layers (out, in) and convolutions (out, in, height, width), without vectors such as biases and
        gains. Weights inside operations that PyTorch records as one (custom autograd functions) are not found.
    """
    uses: dict[nn.Parameter, list[bool]] = {}
    for operation in _operations(network, inputs):
        for weight in operation.weights:
            uses.setdefault(weight, []).append(operation.is_between_features)
    found = [parameter for parameter in network.parameters() if all(uses.get(parameter, [False]))]
    return [matrix for matrix in found if min(matrix.shape[:2]) > 1]  # not those of depthwise convolutions


def _operations(network: nn.Module, inputs: Sequence[Tensor | None]) -> list[_Operation]:
    """The operations of a forward pass, each after those whose results it takes."""
    leaves = [x.detach().requires_grad_() if x is not None and x.is_floating_point() else x for x in inputs]
    modes = [(part, part.training) for part in network.modules()]
    network.eval()
    try:
        with torch.enable_grad():
            output: Tensor = network(*leaves)
    finally:
        for part, was_training in modes:
            part.training = was_training
    operations = _read_graph(output, [x for x in leaves if x is not None])
    if operations:
        operations[-1].below.add(None)
    for operation in reversed(operations):
        below = {operation.sees_image} if operation.weights else operation.below
        for taken in operation.inputs:
            taken.below |= below
    return operations


def _read_graph(output: Tensor, leaves: Sequence[Tensor]) -> list[_Operation]:
    """The operations behind a result, inputs first; `leaves` are the network's inputs, of which the first is images."""
    made: dict[object, _Operation] = {}
    waiting = [] if output.grad_fn is None else [output.grad_fn]
    while waiting:
        node = waiting[-1]
        taken = [below for below, _ in node.next_functions if below is not None]
        missing = [below for below in taken if below not in made]
        if missing and node not in made:
            waiting.extend(missing)
            continue
        waiting.pop()
        if node in made:
            continue
        made[node] = _operation(node.name(), [made[below] for below in taken], getattr(node, "variable", None), leaves)
    return list(made.values())


def _operation(name: str, inputs: list[_Operation], leaf: Tensor | None, leaves: Sequence[Tensor]) -> _Operation:
    """What follows for an operation from those whose results it takes. `leaf` is set where autograd begins."""
    is_embedding = "Embedding" in name
    is_leaf_input = any(leaf is x for x in leaves)
    made = _Operation(
        inputs,
        sees_input=is_leaf_input or is_embedding or any(taken.sees_input for taken in inputs),
        sees_image=leaf is leaves[0] or any(taken.sees_image for taken in inputs),
    )
    fixed = set().union(*(taken.parameters for taken in inputs if not taken.sees_input))
    if not made.sees_input:
        made.parameters = {leaf} if isinstance(leaf, nn.Parameter) else fixed
    elif PRODUCT.search(name):
        made.weights = {p for p in fixed if p.ndim >= 2}
    made.after_weight = bool(made.weights) or is_embedding or any(taken.after_weight for taken in inputs)
    return made
