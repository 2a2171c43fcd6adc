"""The same denoiser, faster: its networks in bfloat16, compiled by regions, each a CUDA graph for its kind of call."""

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
from sfumato.sampling.sampler import device_of
from sfumato.utils.cuda_graphs import algorithms_timed, captured
from sfumato.utils.devices import autocast
from sfumato.utils.shapes import Images, Labels


def accelerated(
    model: Denoiser, batch: int, *, precision: str = "auto", compiled: bool = False, cache: Path | None = None
) -> Denoiser:
    """A denoiser whose networks are made ready for many images; for sampling, without gradients.

    On a CUDA device each network becomes a `CapturedNetwork`. Elsewhere nothing is gained but what a precision saves,
    and the model is returned as it was unless it is to compute in bfloat16.

    Args:
        model: possibly guided. It stays as it is: wrappers are made anew and networks copied, as they are now.
        batch: images at a time; calls with fewer are padded, so that they cost as much.
        precision: of the networks: auto (bfloat16 where a CUDA device has it), float32 or bfloat16. The rest, solvers
            included, computes in float32.
        compiled: whether to compile the networks' regions and to time the algorithms of their convolutions, which
            takes from seconds to a minute. Where PyTorch finds no compiler, regions run eagerly, and stderr says so.
        cache: the folder in which compiled code is kept for later processes; None: as for decoded images.

    Returns:
        A denoiser of the same schedule, shape, classes and columns. Each image is what it would be in any other batch,
        to rounding.
    """
    device = device_of(model)
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
    """A network as one CUDA graph for each kind of call: size and number of images, kind of labels.

    Images are padded to a multiple of the batch with whatever lies there, so that an odd last batch needs no graph of
    its own; that no image looks at another is what networks here promise. On other devices the same, without graphs.

    Args:
        network: in evaluation mode; its weights are read where they lie at the first call.
        batch: images at a time.
        precision: auto, float32 or bfloat16.
        tuned: whether to time the algorithms of convolutions and take the fastest.
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
        """What the network gives, (n, C, H, W) of the dtype of x, in memory of its own."""
        places = -(-len(x) // self.batch) * self.batch
        kind = (places, x.shape[1:], x.dtype, None if labels is None else (labels.shape[1:], labels.dtype))
        if kind not in self._calls:
            with algorithms_timed(self.tuned):
                self._calls[kind] = _Call(self.network, self.precision, places, x, labels)
        return self._calls[kind](x, times, labels)


class _Call:
    """A kind of call: where its inputs and its output lie, and the graph from one to the other."""

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
    """The denoiser with `ready` networks, and the denoisers inside it likewise; what was one thing is one again.

    Args:
        model: left as it is.
        ready: from a network to what takes its place.
        made: what has been made anew, by what it was.
    """
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
