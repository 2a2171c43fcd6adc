"""What was decided about the data without being asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class Notice:
    """A sentence on how the data were read, and the flag that changes it.

    Attributes:
        topic: One word, such as "range", "split" or "opacity"; a heading of `sfumato inspect`.
        text: The sentence.
        flag: Of `sfumato train`, such as "--range LOW HIGH"; empty where none changes it.
        matters: Whether pixels or labels would differ without the decision; `train` repeats only those that do.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    topic: str
    text: str
    flag: str = ""
    matters: bool = True

    def __str__(self) -> str:
        return f"{self.text} To change it: {self.flag}." if self.flag else self.text
