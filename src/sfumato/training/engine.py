"""What turns batches into steps: one after the other on any device, or a CUDA graph with the host a few steps ahead.

Both do the same sums: a captured run is an eager one up to rounding.
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from pathlib import Path

import torch
from jaxtyping import Float32
from torch import Tensor, nn

from sfumato.data import Batch
from sfumato.networks.region import compile_regions, missing_compiler
from sfumato.training.config import TrainConfig
from sfumato.training.state import TrainingState
from sfumato.training.step import (
    StepInputs,
    StepResult,
    StepScales,
    count_launched,
    count_result,
    prepare_inputs,
    step_scales,
    training_step,
    update,
)
from sfumato.utils.cuda_graphs import algorithms_timed, captured

MAX_PENDING_STEPS = 4
"""Steps that the host may be ahead of the device."""

LONG_MINUTES, LONG_IMAGES = 0.5, 200_000
"""Minutes, or images, from which a run gains more by compiling than that takes."""


class Engine(ABC):
    """Takes batches and gives results, in order, possibly some steps later.

    Args:
        state: changed in place, its counters too: `images_seen` when a step is launched.
        config: the settings.
    """

    def __init__(self, state: TrainingState, config: TrainConfig) -> None:
        self.state, self.config = state, config

    @abstractmethod
    def step(self, batch: Batch) -> list[StepResult]:
        """Learns from a batch; the results that are known by now and were not given before."""

    @abstractmethod
    def drained(self) -> list[StepResult]:
        """Waits for all steps; the results that were not given before."""


class EagerEngine(Engine):
    """One step after the other, each in as few parts as fit into the device's memory.

    Args:
        state: changed in place.
        config: the settings.
        say: told when a batch has to be divided.
        microbatches: of a batch, to begin with.
    """

    def __init__(
        self, state: TrainingState, config: TrainConfig, say: Callable[[str], None], microbatches: int = 1
    ) -> None:
        super().__init__(state, config)
        self.say, self.microbatches = say, microbatches

    def step(self, batch: Batch) -> list[StepResult]:
        """The result of this very step.

        Raises:
            torch.OutOfMemoryError: not even single images fit.
        """
        while True:
            try:
                return [training_step(self.state, batch, self.config, self.microbatches)]
            except torch.OutOfMemoryError:
                if self.microbatches >= len(batch.images):
                    raise
            self.microbatches = _with_more_microbatches(self.state, len(batch.images), self.microbatches, self.say)

    def drained(self) -> list[StepResult]:
        """None."""
        return []


class CapturedEngine(Engine):
    """Every step is a replay of one CUDA graph, its regions compiled; the results are read as the device gets there.

    A batch of another size than the first is learned from eagerly, in as many parts.

    Args:
        state: on a CUDA device, its counters too changed in place.
        config: the settings.
        batch: like those to come, to rehearse with.
        microbatches: of the batch, as for `update`.
        say: told when a batch of another size has to be divided further.

    Raises:
        torch.OutOfMemoryError: the batch in so many parts does not fit into memory.
    """

    def __init__(
        self, state: TrainingState, config: TrainConfig, batch: Batch, microbatches: int, say: Callable[[str], None]
    ) -> None:
        super().__init__(state, config)
        self.device, self.eager = batch.images.device, EagerEngine(state, config, say, microbatches)
        self.inputs = prepare_inputs(state, batch, config)
        self.scales = StepScales(*torch.zeros(3, device=self.device))
        self.measured = torch.zeros(3, device=self.device)
        self.pending: deque[tuple[torch.cuda.Event, Float32[Tensor, 3]]] = deque()

        def whole_step() -> None:
            self.measured.copy_(update(state, self.inputs, self.scales, config.optimization, microbatches))

        with algorithms_timed():
            self.replay = captured(whole_step, self.device)
        self.scales.live.fill_(1)

    def step(self, batch: Batch) -> list[StepResult]:
        """Launches a step; the results of those that ended, and of any more than `MAX_PENDING_STEPS`."""
        if len(batch.images) != len(self.inputs.x_0):
            with torch.compiler.set_stance("force_eager"):
                return [*self.drained(), *self.eager.step(batch)]
        _overwrite(self.inputs, prepare_inputs(self.state, batch, self.config))
        rate, pull = step_scales(self.state, len(batch.images), self.config.optimization)
        self.scales.rate.fill_(rate)
        self.scales.pull.fill_(pull)
        self.replay()
        count_launched(self.state, len(batch.images))
        self._read_later()
        return self._ended(but=MAX_PENDING_STEPS)

    def drained(self) -> list[StepResult]:
        """Those of all steps."""
        return self._ended(but=0)

    def _read_later(self) -> None:
        result = torch.empty(3, pin_memory=True)
        result.copy_(self.measured, non_blocking=True)
        event = torch.cuda.Event(blocking=True)
        event.record(torch.cuda.current_stream(self.device))
        self.pending.append((event, result))

    def _ended(self, but: int) -> list[StepResult]:
        """The results of the oldest steps, until at most `but` are left."""
        results = []
        while len(self.pending) > but:
            event, measured = self.pending.popleft()
            event.synchronize()
            results.append(StepResult.of(measured))
            count_result(self.state, results[-1])
        return results


def _overwrite(inputs: StepInputs, given: StepInputs) -> None:
    """Puts what is given where a graph reads it."""
    for place, tensor in zip(_tensors(inputs), _tensors(given), strict=True):
        place.copy_(tensor, non_blocking=True)


def _tensors(inputs: StepInputs) -> list[Tensor]:
    rest = [tensor for tensor in (inputs.labels, inputs.told) if tensor is not None]
    return [inputs.x_0, *inputs.levels, *rest]


def prepare(network: nn.Module, config: TrainConfig, cache: Path, say: Callable[[str], None]) -> None:
    """Compiles the network's regions, on a CUDA device, for a run long enough to gain by it."""
    minutes, images = config.optimization.minutes, config.optimization.images
    if (minutes is not None and minutes < LONG_MINUTES) or (images is not None and images < LONG_IMAGES):
        return
    missing = missing_compiler(torch.device("cuda"))
    if missing:
        say(f"The network is not compiled, so training is slower: {missing} is not installed.")
    else:
        say("Compiling the network: some seconds to two minutes the first time, which are not counted as training.")
        compile_regions(network, cache)


def captured_engine(
    state: TrainingState, config: TrainConfig, batch: Batch, say: Callable[[str], None]
) -> CapturedEngine:
    """An engine for batches like this one, in as few parts as fit into the device's memory.

    Args:
        state: on a CUDA device.
        config: the settings.
        batch: like those to come.
        say: told when the batch has to be divided.

    Raises:
        torch.OutOfMemoryError: not even single images fit.
    """
    microbatches, count = 1, len(batch.images)
    while True:
        try:
            return CapturedEngine(state, config, batch, microbatches, say)
        except torch.OutOfMemoryError:
            if microbatches >= count:
                raise
        microbatches = _with_more_microbatches(state, count, microbatches, say)


def _with_more_microbatches(state: TrainingState, count: int, microbatches: int, say: Callable[[str], None]) -> int:
    """Twice as many parts of a batch of `count`, whose memory is free again."""
    for parameter in state.model.parameters():
        parameter.grad = None
    torch.cuda.empty_cache()
    microbatches = min(2 * microbatches, count)
    say(f"{count} images a step do not fit into memory at once: they go through it in {microbatches} parts.")
    return microbatches
