"""Allowed operators of networks in .pt2 files: arithmetic on tensors and sizes."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch

ARITHMETIC = "add sub mul floordiv truediv mod neg eq ne lt le gt ge and_ or_ not_"

ON_SIZES: dict[str, Callable[..., Any]] = {
    **{f"_operator.{name}": getattr(operator, name) for name in ARITHMETIC.split()},
    "torch.sym_max": max,
    "torch.sym_min": min,
    "torch.sym_not": operator.not_,
    "torch.sym_float": float,
}

COMPOSITE = """
    conv1d conv2d conv3d conv_transpose1d conv_transpose2d linear matmul baddbmm einsum scaled_dot_product_attention
    batch_norm layer_norm group_norm instance_norm rms_norm normalize norm linalg_vector_norm cosine_similarity
    relu_ relu6 relu6_ hardtanh_ hardswish hardswish_ hardsigmoid hardsigmoid_ silu silu_ mish mish_ selu selu_ celu
    elu_ gelu_ leaky_relu_ prelu softplus log_sigmoid sigmoid_ tanh_ glu softmax log_softmax logsumexp softsign
    max_pool1d max_pool2d adaptive_max_pool2d adaptive_avg_pool2d adaptive_avg_pool3d dropout dropout_ feature_dropout
    add_ sub_ mul_ div_ rsub true_divide floor_divide clamp_ clamp_min clamp_max exp_ sqrt_ square std std_mean var_mean
    addcmul addcdiv lerp erf_ cumprod sinc frac
    flatten unflatten reshape view_as reshape_as expand_as transpose t movedim swapaxes squeeze_ unsqueeze_ stack concat
    chunk split unbind narrow contiguous roll rot90 tile repeat_interleave broadcast_to masked_fill masked_fill_ tril
    triu meshgrid pad pixel_shuffle pixel_unshuffle channel_shuffle
    upsample_bicubic2d upsample_nearest2d upsample_bilinear2d _upsample_bilinear2d_aa _upsample_bicubic2d_aa
    to type_as clone detach detach_ lift_fresh lift_fresh_copy
    zeros zeros_like ones ones_like new_zeros new_ones new_full linspace
    _assert_tensor_metadata _assert_scalar
"""
"""Allowed ATen operators outside the core set, which `torch.export.export` does not decompose. They only compute on
tensors."""


def operator_named(target: str) -> Callable[..., Any]:
    """Function of an operator by its name, such as "torch.ops.aten.conv2d.default".

    Allowed are the core ATen operators of PyTorch, and those in `COMPOSITE` and `ON_SIZES`. Operators of gradients are
    not allowed, since some write to any address given by indices in the file.

    Raises:
        ValueError: The operator is not allowed.
    """
    if target in ON_SIZES:
        return ON_SIZES[target]
    prefix, _, name = target.partition("torch.ops.aten.")
    name, _, overload = name.partition(".")
    packet = getattr(torch.ops.aten, name, None) if not prefix and name.isidentifier() else None
    if isinstance(packet, torch._ops.OpOverloadPacket) and overload in packet.overloads():
        found: torch._ops.OpOverload = getattr(packet, overload)
        if name in COMPOSITE.split() or (torch.Tag.core in found.tags and not name.endswith("_backward")):
            return found
    raise ValueError(f"it uses the operator {target}, which is not one of those allowed in a .pt2 file")
