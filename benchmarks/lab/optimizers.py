"""Muon for hidden matrices and AdamW for everything else, without a host synchronisation: fit for a CUDA graph."""

from collections import defaultdict

import torch
from torch import Tensor, nn

NOT_HIDDEN = ("stem", "head", "embed", "time_embedding", "class_embedding")
"""Modules of a network whose matrices are left to AdamW: what meets the image, the time or the class."""


def hidden_matrices(network: nn.Module) -> list[nn.Parameter]:
    """The weights of linear layers and convolutions inside a network."""
    return [
        p
        for name, p in network.named_parameters()
        if p.ndim in (2, 4) and name.endswith("weight") and not name.startswith(NOT_HIDDEN)
    ]


def as_matrix(x: Tensor) -> Tensor:
    """(out, ...) to (out, the rest); a view of a channels-last convolution."""
    return x.permute(0, 2, 3, 1).flatten(1) if x.ndim == 4 else x


def like_weight(matrix: Tensor, weight: Tensor) -> Tensor:
    """The inverse of `as_matrix`."""
    if weight.ndim == 2:
        return matrix
    out, inputs, height, width = weight.shape
    return matrix.view(out, height, width, inputs).permute(0, 3, 1, 2)


def orthogonalize(x: Tensor, steps: int = 5) -> Tensor:
    """The nearest matrices with singular values near 1, by a quintic Newton-Schulz iteration in bfloat16.

    Preconditioning and method: Keller Jordan, "Muon: an optimizer for hidden layers" (2024).

    Args:
        x: (k, m, n), a stack of matrices.
        steps: iterations.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    is_tall = x.shape[1] > x.shape[2]
    x = (x.mT if is_tall else x).bfloat16()
    x = x / (x.float().norm(dim=(1, 2), keepdim=True) + 1e-7).to(x.dtype)
    for _ in range(steps):
        gram = x @ x.mT
        poly = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        x = torch.baddbmm(x, poly, x, beta=a)
    return x.mT if is_tall else x


class MuonAdamW:
    """One optimizer out of two; with `muon_rate` 0, AdamW alone.

    Args:
        network: whose parameters to change.
        muon_rate: how far a step moves a matrix, in units of its largest singular value, at scale 1.
        adam_rate: AdamW's learning rate, at scale 1.
        momentum: Muon's.
    """

    def __init__(self, network: nn.Module, muon_rate: float, adam_rate: float, momentum: float = 0.95) -> None:
        matrices = hidden_matrices(network) if muon_rate else []
        chosen = {id(p) for p in matrices}
        rest = [p for p in network.parameters() if id(p) not in chosen]
        device = rest[0].device
        self.muon_rate, self.adam_rate, self.momentum = muon_rate, adam_rate, momentum
        self.muon_now, self.adam_now = torch.zeros((), device=device), torch.zeros((), device=device)
        self.groups = defaultdict(list)
        for p in matrices:
            self.groups[as_matrix(p).shape].append((p, torch.zeros_like(p)))
        self.adam = torch.optim.AdamW(
            rest, lr=self.adam_now, betas=(0.9, 0.99), weight_decay=0.0, fused=True, capturable=device.type == "cuda"
        )

    def set_scale(self, scale: float) -> None:
        """Sets both rates to a share of their peaks. Launches, and does not wait."""
        self.muon_now.fill_(self.muon_rate * scale)
        self.adam_now.fill_(self.adam_rate * scale)

    @torch.no_grad()
    def step(self) -> None:
        """Changes the parameters by their `.grad`."""
        self.adam.step()
        for (rows, columns), members in self.groups.items():
            weights, buffers = map(list, zip(*members, strict=True))
            gradients = [p.grad for p in weights]
            torch._foreach_lerp_(buffers, gradients, 1 - self.momentum)
            ahead = torch._foreach_lerp(gradients, buffers, self.momentum)
            update = orthogonalize(torch.stack([as_matrix(u) for u in ahead])).float()
            update *= -self.muon_now * max(1, rows / columns) ** 0.5
            torch._foreach_add_(weights, [like_weight(u, w) for u, w in zip(update, weights, strict=True)])
