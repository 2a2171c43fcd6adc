"""Invalid and hostile inputs with their expected results."""

from hostile.case import SIDE, Case
from hostile.image_cases import IMAGE_CASES
from hostile.source_cases import SOURCE_CASES

CASES: dict[str, Case] = IMAGE_CASES | SOURCE_CASES

__all__ = ["CASES", "SIDE", "Case"]
