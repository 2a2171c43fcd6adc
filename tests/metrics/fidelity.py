"""torch-fidelity, where it is: it imports torchvision, which has no CPU build here, so `make test` has neither."""

from typing import Any

import pytest

WITHOUT_IT = (
    "torch-fidelity, or torchvision, which it imports, is not installed; its functions need nothing of torchvision but "
    "the names of three data sets, so that a stub will do"
)


def fidelity(module: str) -> Any:  # noqa: ANN401 (it has no types)
    """A module of torch-fidelity; without it the test is skipped, and says so."""
    return pytest.importorskip(f"torch_fidelity.{module}", reason=WITHOUT_IT, exc_type=ImportError)
