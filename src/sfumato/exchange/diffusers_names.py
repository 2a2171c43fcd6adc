"""Names of the weights of our UNet in diffusers' `UNet2DModel`, in both directions."""

import re
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

MODULES = {
    "stem": "conv_in",
    "time_embedding.expand": "time_embedding.linear_1",
    "time_embedding.mix": "time_embedding.linear_2",
    "class_embedding": "class_embedding",
    "{side}_levels.{level}.blocks.{index}": "{side}_blocks.{level}.resnets.{index}",
    "{side}_levels.{level}.attentions.{index}": "{side}_blocks.{level}.attentions.{index}",
    "{side}_levels.{level}.{side}sample.conv": "{side}_blocks.{level}.{side}samplers.0.conv",
    "middle_in": "mid_block.resnets.0",
    "middle_out": "mid_block.resnets.1",
    "middle_attention": "mid_block.attentions.0",
    "norm": "conv_norm_out",
    "head": "conv_out",
}
"""Blocks and single layers."""

LAYERS = {
    "norm_in": "norm1",
    "conv_in": "conv1",
    "condition": "time_emb_proj",
    "norm_out": "norm2",
    "conv_out": "conv2",
    "shortcut": "conv_shortcut",
    "norm": "group_norm",
    "query": "to_q",
    "key": "to_k",
    "value": "to_v",
    "project": "to_out.0",
}
"""Layers of a residual block and of a self-attention. Our query, key and value are one layer, `query_key_value`."""

OLD_LAYERS = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
"""Layers of a self-attention in files of diffusers before version 0.15."""

FUSED = "query_key_value"
SPLIT = ("query", "key", "value")

PATTERNS = {"side": "down|up", "level": r"\d+", "index": r"\d+"}


def diffusers_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of our UNet with the names of `UNet2DModel`.

    Raises:
        KeyError: a weight that `UNet2DModel` does not have, such as an embedding of conditions.
    """
    return {_renamed(name, MODULES, LAYERS): weight.contiguous() for name, weight in _split(state)}


def sfumato_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a `UNet2DModel` with the names of our UNet.

    Raises:
        KeyError: a weight that our UNet does not have, or a self-attention without one of its layers.
    """
    modules, layers = _inverse(MODULES), _inverse(LAYERS)
    renamed = {_renamed(with_new_names(name), modules, layers): weight for name, weight in state.items()}
    return dict(_fused(renamed))


def with_new_names(name: str) -> str:
    """The name of a weight in current versions of diffusers."""
    match = re.fullmatch(rf"(.*\.attentions\.\d+)\.({'|'.join(OLD_LAYERS)})\.(weight|bias)", name)
    return f"{match[1]}.{OLD_LAYERS[match[2]]}.{match[3]}" if match else name


def _inverse(table: Mapping[str, str]) -> dict[str, str]:
    return {theirs: ours for ours, theirs in table.items()}


def _renamed(name: str, modules: Mapping[str, str], layers: Mapping[str, str]) -> str:
    """The name of a weight, with the module and the layer replaced."""
    any_layer = "|".join(map(re.escape, layers))
    for module, renamed in modules.items():
        match = re.fullmatch(rf"{_regex(module)}(?:\.(?P<layer>{any_layer}))?\.(?P<kind>weight|bias)", name)
        if match:
            found = match.groupdict()
            layer = "" if found["layer"] is None else f".{layers[found['layer']]}"
            return f"{renamed.format(**found)}{layer}.{found['kind']}"
    raise KeyError(name)


def _regex(module: str) -> str:
    """Regular expression of a module; a placeholder that is repeated stands for the same text."""
    pattern = re.escape(module)
    for field, values in PATTERNS.items():
        pattern = pattern.replace(rf"\{{{field}\}}", f"(?P<{field}>{values})", 1)
        pattern = pattern.replace(rf"\{{{field}\}}", f"(?P={field})")
    return pattern


def _split(state: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """The weights with separate queries, keys and values."""
    for name, weight in state.items():
        if FUSED in name:
            yield from zip((name.replace(FUSED, part) for part in SPLIT), weight.chunk(3), strict=True)
        else:
            yield name, weight


def _fused(state: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """The weights with queries, keys and values in one tensor."""
    for name, weight in state.items():
        if match := re.search(rf"\.({'|'.join(SPLIT)})\.", name):
            if match[1] == SPLIT[0]:
                parts = [name.replace(match[0], f".{part}.") for part in SPLIT]
                yield name.replace(match[0], f".{FUSED}."), torch.cat([state[part] for part in parts])
        else:
            yield name, weight
