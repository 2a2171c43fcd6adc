"""What holds for every test: shapes are checked, plots need no screen, and every process keeps to one core."""

import os
from collections.abc import Iterator

import jaxtyping
import pytest
import torch

# From here on every function of sfumato checks the shapes and dtypes in its signature, at each call.
jaxtyping.install_import_hook("sfumato", "type_checker.check")

os.environ.setdefault("MPLBACKEND", "Agg")

# The tensors of the tests are small: threads cost more than they bring, and pytest's workers need the cores.
torch.set_num_threads(1)


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Lifts the checks, for a test that hands over what the types forbid to see what a user would be told."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
