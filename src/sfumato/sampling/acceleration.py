"""Accelerated sampling: networks in bfloat16, compiled by region, and captured as CUDA graphs."""

import sys
from collections.abc import Callable
from copy import copy, deepcopy
from pathlib import Path

import torch
from jaxtyping import Float32
from torch import Tensor, nn

from sfumato.data.cache import cache_folder
from sfumato.diffusion.denoiser import Denoiser, PreconditionedDenoiser
from sfumato.networks.region import compile_regions, missing_compiler
from sfumato.utils.cuda_graphs import algorithms_timed, captured
from sfumato.utils.devices import autocast
from sfumato.utils.shapes import Images, Labels


def accelerated(
    model: Denoiser, batch: int, *, precision: str = "auto", compiled: bool = False, cache: Path | None = None
) -> Denoiser:
    """Returns a copy of a denoiser with faster networks, for sampling without gradients.

    On a CUDA device each network is captured as CUDA graphs (`CapturedNetwork`). On other devices the model is returned
    unchanged unless `precision` is "bfloat16".

    Args:
        model: model, with or without guidance; it is not changed.
        batch: batch size; other batches are padded to a multiple of it.
        precision: precision of the networks: "auto" (bfloat16 if the CUDA device supports it), "float32" or "bfloat16".
            Solvers compute in float32.
        compiled: compile the regions of the networks and select the fastest convolution algorithms, which takes up to a
            minute. Without a compiler the regions run uncompiled, and a message is written to stderr.
        cache: folder for compiled code; None: SFUMATO_CACHE, or the user's cache.

    Returns:
        A denoiser with the same schedule, image shape, classes and columns. Its results depend on the batch only by
        rounding.
    """
    device = model.device
    if device.type != "cuda" and precision != "bfloat16":
        return model
    missing = missing_compiler(device) if compiled else None
    if missing:
        print(f"sfumato: the network is not compiled, so this is slower: {missing} is not installed.", file=sys.stderr)

    def ready(network: nn.Module) -> nn.Module:
        twin = deepcopy(network).eval().requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in PyTorch's types
        if compiled and not missing:
            compile_regions(twin, cache_folder(cache) / "compiled")
        return CapturedNetwork(twin, batch, precision, compiled)

    return _with_networks(model, ready, {})


class CapturedNetwork(nn.Module):
    """A network with one CUDA graph for each combination of image size, number of images and type of labels.

    Batches are padded to a multiple of the batch size with the contents of the buffer, so that a smaller last batch
    needs no further graph. Networks must treat images independently, and must not be moved after the first call. On
    other devices no graphs are used. `tuned` selects the fastest convolution algorithms.
    """

    def __init__(self, network: nn.Module, batch: int, precision: str = "auto", tuned: bool = False) -> None:
        super().__init__()
        self.network = network
        self.batch = batch
        self.precision = precision
        self.tuned = tuned
        self._calls: dict[object, _Call] = {}

    @torch.no_grad()
    def forward(self, x: Images, times: Float32[Tensor, " n"], labels: Labels | None = None) -> Images:
        """Output of the network, (n, C, H, W) with the dtype of x, in new memory."""
        places = -(-len(x) // self.batch) * self.batch
        kind = (places, x.shape[1:], x.dtype, None if labels is None else (labels.shape[1:], labels.dtype))
        if kind not in self._calls:
            with algorithms_timed(self.tuned):
                self._calls[kind] = _Call(self.network, self.precision, places, x, labels)
        return self._calls[kind](x, times, labels)


class _Call:
    """A captured call: buffers of the inputs and the output, and the CUDA graph."""

    def __init__(self, network: nn.Module, precision: str, places: int, x: Images, labels: Labels | None) -> None:
        self.x = x.new_zeros(places, *x.shape[1:])
        self.times = x.new_zeros(places, dtype=torch.float32)
        self.labels = None if labels is None else labels.new_zeros(places, *labels.shape[1:])
        self.output = torch.empty_like(self.x)

        def run() -> None:
            with autocast(precision, x.device):
                self.output.copy_(network(self.x, self.times, self.labels))

        self.replay = captured(run, x.device)

    def __call__(self, x: Images, times: Tensor, labels: Labels | None) -> Images:
        images = len(x)
        self.x[:images] = x
        self.times[:images] = times
        if self.labels is not None and labels is not None:
            self.labels[:images] = labels
        self.replay()
        return self.output[:images].clone()


def _with_networks(
    model: Denoiser, ready: Callable[[nn.Module], nn.Module], made: dict[nn.Module, nn.Module]
) -> Denoiser:
    """Copies a denoiser and its inner denoisers with replaced networks; shared modules remain shared."""
    twin = copy(model)
    twin._modules = dict(model._modules)
    for name, part in model._modules.items():
        if part is not None and part not in made:
            if isinstance(part, Denoiser):
                made[part] = _with_networks(part, ready, made)
            elif isinstance(model, PreconditionedDenoiser):
                made[part] = ready(part)
        twin._modules[name] = part if part is None else made.get(part, part)
    return twin
