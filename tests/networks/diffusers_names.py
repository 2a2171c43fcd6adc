"""The weights of the UNet under the names of `UNet2DModel` of diffusers."""

import re

from torch import Tensor

NAMES = {
    r"stem": "conv_in",
    r"time_embedding\.expand": "time_embedding.linear_1",
    r"time_embedding\.mix": "time_embedding.linear_2",
    r"class_embedding": "class_embedding",
    r"(down|up)_levels\.(\d+)\.blocks\.(\d+)": r"\1_blocks.\2.resnets.\3",
    r"(down|up)_levels\.(\d+)\.attentions\.(\d+)": r"\1_blocks.\2.attentions.\3",
    r"(down|up)_levels\.(\d+)\.(down|up)sample\.conv": r"\1_blocks.\2.\3samplers.0.conv",
    r"middle_in": "mid_block.resnets.0",
    r"middle_out": "mid_block.resnets.1",
    r"middle_attention": "mid_block.attentions.0",
    r"norm": "conv_norm_out",
    r"head": "conv_out",
}
"""The places of the network."""

PARTS = {
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
"""The parts of a residual block and of a self-attention."""


def renamed(name: str) -> str:
    """One weight's name in diffusers."""
    for ours, theirs in NAMES.items():
        if match := re.fullmatch(rf"{ours}(\.(?P<part>\w+))?\.(?P<tensor>weight|bias)", name):
            part = match["part"]
            return ".".join(filter(None, [match.expand(theirs), part and PARTS[part], match["tensor"]]))
    raise KeyError(name)


def diffusers_state(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Our weights as diffusers' state: renamed, with queries, keys and values apart."""
    apart = {}
    for name, weight in state.items():
        if "query_key_value" in name:
            for part, piece in zip(("query", "key", "value"), weight.chunk(3), strict=True):
                apart[name.replace("query_key_value", part)] = piece
        else:
            apart[name] = weight
    return {renamed(name): weight for name, weight in apart.items()}
