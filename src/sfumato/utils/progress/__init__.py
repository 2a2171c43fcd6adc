"""Progress: a bar in terminals and notebooks, and occasional lines in logs."""

from sfumato.utils.progress.bars import comparison_bar, evaluations_bar, sampling_bar, stages_bar
from sfumato.utils.progress.display import print_sentence
from sfumato.utils.progress.training import TrainingBar, shows_bars

__all__ = [
    "TrainingBar",
    "comparison_bar",
    "evaluations_bar",
    "print_sentence",
    "sampling_bar",
    "shows_bars",
    "stages_bar",
]
