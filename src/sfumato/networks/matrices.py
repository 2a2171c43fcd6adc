"""Which of a network's weights are matrices between hidden features, as Muon and its kin take them for."""

from torch import nn

OUTER = ("stem", "head", "embedding")
"""How the names of the parts end that meet the image, the time, the labels or the augmentation."""


def hidden_matrices(network: nn.Module) -> list[nn.Parameter]:
    """The weights (out, in) of linear layers and (out, in, height, width) of convolutions between hidden features.

    Not among them are biases, the gains of norms, and all of the parts of the network itself, not of its parts, whose
    names end in one of `OUTER`. So it holds for any network whose parts are so named, as those of `UNet` and `ConvNet`.
    """
    inner = [part for name, part in network.named_children() if not name.endswith(OUTER)]
    return [weight for part in inner for weight in part.parameters() if weight.ndim in (2, 4)]
