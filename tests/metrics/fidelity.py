"""torch-fidelity, if installed. It needs torchvision, which is not part of `make test`."""

from typing import Any

import pytest

REASON = (
    "torch-fidelity or torchvision is not installed; torch-fidelity only needs the names of three data sets from "
    "torchvision, so that a stub is sufficient"
)


def fidelity(module: str) -> Any:  # noqa: ANN401 (it has no types)
    """A module of torch-fidelity; skips the test if it is not installed."""
    return pytest.importorskip(f"torch_fidelity.{module}", reason=REASON, exc_type=ImportError)
