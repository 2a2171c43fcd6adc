"""Adaptive integration of ordinary differential equations with the Dormand-Prince method of orders 5 and 4.

Dormand and Prince, "A family of embedded Runge-Kutta formulae", J. Comput. Appl. Math. 6 (1980). Step size control:
Hairer, Norsett and Wanner, "Solving Ordinary Differential Equations I", section II.4.
"""

import math
from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor

from sfumato.errors import SamplingError

OdeState = Float[Tensor, "*state"]

NODES = (0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1, 1)
STAGES = (
    (),
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
FOURTH = (5179 / 57600, 0, 7571 / 16695, 393 / 640, -92097 / 339200, 187 / 2100, 1 / 40)
ERROR = tuple(fifth - fourth for fifth, fourth in zip((*STAGES[-1], 0), FOURTH, strict=True))
"""Coefficients of the difference of the fifth-order and the fourth-order result."""

SAFETY, MIN_FACTOR, MAX_FACTOR = 0.9, 0.2, 5.0
MAX_ODE_STEPS = 10_000
FIRST_SHARE = 0.01
"""First step size as a share of the interval."""
MIN_SHARE = 1e-12
"""Minimum step size as a share of the interval; the integration fails below."""
MIN_ERROR = 1e-10
"""Smaller errors do not increase the step size further."""


def integrate(
    field: Callable[[float, OdeState], OdeState], x: OdeState, start: float, end: float, *, rtol: float, atol: float
) -> OdeState:
    """Integrates dx/du = field(u, x) from u = start to u = end, in either direction.

    The root mean square of the error of a step relative to atol + rtol |x| is at most 1 for each entry of the first
    axis. All entries use the same steps.

    Raises:
        SamplingError: a tolerance that is not positive or cannot be reached.
    """
    check_tolerances(rtol, atol)
    if start == end:
        return x
    u, h = start, (end - start) * FIRST_SHARE
    slope = field(u, x)
    for _ in range(MAX_ODE_STEPS):
        last = abs(h) >= abs(end - u)
        h = end - u if last else h
        x_next, slope_next, off = _try_step(field, u, x, slope, h)
        scale = atol + rtol * x.abs().maximum(x_next.abs())
        error = (off / scale).flatten(1).square().mean(1).sqrt().max().item()
        if error <= 1 and last:
            return x_next
        if error <= 1:
            u, x, slope = u + h, x_next, slope_next
        elif abs(h) < MIN_SHARE * abs(end - start):
            break
        h *= _growth(error)
    raise SamplingError(
        f"the adaptive solver cannot reach rtol {rtol} and atol {atol} (at {u:.6g} between {start:.6g} and {end:.6g})",
        "Choose larger tolerances; for float32 networks 1e-5 or more.",
    )


def check_tolerances(rtol: float, atol: float) -> None:
    """Raises `SamplingError` unless both are positive and finite."""
    if not (0 < rtol < math.inf and 0 < atol < math.inf):
        raise SamplingError(
            f"the tolerances rtol {rtol} and atol {atol} are out of range", "Choose both above 0, such as 1e-5."
        )


def _growth(error: float) -> float:
    """Factor of the next step size; the error of a step of size h is of the order h^5."""
    if not math.isfinite(error):
        return MIN_FACTOR
    return min(MAX_FACTOR, max(MIN_FACTOR, SAFETY * math.pow(max(error, MIN_ERROR), -0.2)))


def _try_step(
    field: Callable[[float, OdeState], OdeState], u: float, x: OdeState, slope: OdeState, h: float
) -> tuple[OdeState, OdeState, OdeState]:
    """Fifth-order result after a step of size h, the slope there, and the error estimate."""
    slopes = [slope]
    for node, weights in zip(NODES[1:], STAGES[1:], strict=True):
        reached = x + h * _sum(weights, slopes)
        slopes.append(field(u + node * h, reached))
    return reached, slopes[-1], h * _sum(ERROR, slopes)


def _sum(weights: tuple[float, ...], slopes: list[OdeState]) -> OdeState:
    terms = [weight * slope for weight, slope in zip(weights, slopes, strict=True) if weight]
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total
