"""Engines, which run training steps: eagerly on any device, or as a CUDA graph with the host a few steps ahead.

Both give the same results up to rounding.
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from pathlib import Path

import torch
from jaxtyping import Float32
from torch import Tensor, nn

from sfumato.data import Batch
from sfumato.networks.region import Region, compile_regions, missing_compiler
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
"""Maximum number of launched steps whose results are not read yet."""

LONG_MINUTES, LONG_IMAGES = 0.5, 200_000
"""Minutes or images of training from which compiling the network saves time overall."""


class Engine(ABC):
    """Trains on batches and returns the results in order, possibly some steps later."""

    def __init__(self, state: TrainingState, config: TrainConfig) -> None:
        self.state, self.config = state, config

    @abstractmethod
    def step(self, batch: Batch) -> list[StepResult]:
        """Trains on a batch and returns the results that became available."""

    @abstractmethod
    def drained(self) -> list[StepResult]:
        """Waits for all steps and returns the remaining results."""


class EagerEngine(Engine):
    """Runs one step after the other, with gradient accumulation if a batch does not fit into the device's memory."""

    def __init__(
        self, state: TrainingState, config: TrainConfig, say: Callable[[str], None], microbatches: int = 1
    ) -> None:
        super().__init__(state, config)
        self.say, self.microbatches = say, microbatches

    def step(self, batch: Batch) -> list[StepResult]:
        """Trains on a batch and returns the result of this step.

        Raises:
            torch.OutOfMemoryError: a microbatch of one image does not fit into memory.
        """
        while True:
            try:
                return [training_step(self.state, batch, self.config, self.microbatches)]
            except torch.OutOfMemoryError:
                if self.microbatches >= len(batch.images):
                    raise
            self.microbatches = _with_more_microbatches(self.state, len(batch.images), self.microbatches, self.say)

    def drained(self) -> list[StepResult]:
        """Returns no results, since `step` returns each result immediately."""
        return []


class CapturedEngine(Engine):
    """Replays one CUDA graph for every step and reads the results when the device has computed them.

    A batch of a different size runs eagerly, with the same number of microbatches.

    Raises:
        torch.OutOfMemoryError: the batch does not fit into memory in this many microbatches.
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
            self.measured.copy_(update(state, self.inputs, self.scales, config, microbatches))

        buffers = {buffer: buffer.clone() for buffer in state.model.buffers()}  # such as batch statistics
        with algorithms_timed():
            self.replay = captured(whole_step, self.device)
        for buffer, before in buffers.items():
            buffer.copy_(before)
        self.scales.enabled.fill_(1)

    def step(self, batch: Batch) -> list[StepResult]:
        """Launches a step and returns results until at most `MAX_PENDING_STEPS` are pending."""
        if len(batch.images) != len(self.inputs.x_0):
            with torch.compiler.set_stance("force_eager"):
                return [*self.drained(), *self.eager.step(batch)]
        _overwrite(self.inputs, prepare_inputs(self.state, batch, self.config))
        rate, ema_rate = step_scales(self.state, len(batch.images), self.config.optimization)
        self.scales.learning_rate.fill_(rate)
        self.scales.ema_rate.fill_(ema_rate)
        self.replay()
        count_launched(self.state, len(batch.images))
        self._read_later()
        return self._results(max_pending=MAX_PENDING_STEPS)

    def drained(self) -> list[StepResult]:
        """Waits for all steps and returns the remaining results."""
        return self._results(max_pending=0)

    def _read_later(self) -> None:
        result = torch.empty(3, pin_memory=True)
        result.copy_(self.measured, non_blocking=True)
        event = torch.cuda.Event(blocking=True)
        event.record(torch.cuda.current_stream(self.device))
        self.pending.append((event, result))

    def _results(self, max_pending: int) -> list[StepResult]:
        """Waits for the oldest steps until at most `max_pending` are left, and returns their results."""
        results = []
        while len(self.pending) > max_pending:
            event, measured = self.pending.popleft()
            event.synchronize()
            results.append(StepResult.of(measured))
            count_result(self.state, results[-1])
        return results


def _overwrite(inputs: StepInputs, given: StepInputs) -> None:
    """Copies new inputs to the tensors that the graph reads."""
    for place, tensor in zip(_tensors(inputs), _tensors(given), strict=True):
        place.copy_(tensor, non_blocking=True)


def _tensors(inputs: StepInputs) -> list[Tensor]:
    rest = [tensor for tensor in (inputs.labels, inputs.augmentation, inputs.times) if tensor is not None]
    return [inputs.x_0, *inputs.levels, *rest]


def prepare(network: nn.Module, config: TrainConfig, cache: Path, say: Callable[[str], None]) -> None:
    """Compiles the network's regions for a CUDA device if the run is long enough."""
    if not any(isinstance(part, Region) for part in network.modules()):
        return
    minutes, images = config.optimization.minutes, config.optimization.images
    if (minutes is not None and minutes < LONG_MINUTES) or (images is not None and images < LONG_IMAGES):
        return
    missing = missing_compiler(torch.device("cuda"))
    if missing:
        say(f"The network is not compiled, so training is slower: {missing} is not installed.")
    else:
        say("Compiling the network: up to two minutes the first time, not counted as training time.")
        compile_regions(network, cache)


def captured_engine(
    state: TrainingState, config: TrainConfig, batch: Batch, say: Callable[[str], None]
) -> CapturedEngine:
    """A CUDA-graph engine with the fewest microbatches that fit into the device's memory.

    Raises:
        torch.OutOfMemoryError: a microbatch of one image does not fit into memory.
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
    """Doubles the number of microbatches of a batch of `count` images, after freeing the memory of the failed step."""
    for parameter in state.model.parameters():
        parameter.grad = None
    torch.cuda.empty_cache()
    microbatches = min(2 * microbatches, count)
    say(f"A batch of {count} images does not fit into memory: it is divided into {microbatches} microbatches.")
    return microbatches
