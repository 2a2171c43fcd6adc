"""How probable a model holds images to be, in bits per dimension: two ways, of which the lower number is the better.

`variational_bound` is never below the truth on average, and says where the bits go. `flow_likelihood` follows the
probability-flow ODE, whose density is exact to its tolerances, in fewer evaluations.

Both ask the denoiser as it is. What a sampler does to its estimates, such as clipping, is asked for by a wrapper
(`guidance.Clipped(model)`). A guided denoiser has no density: its numbers mean nothing.
"""

from sfumato.likelihood.bound import VariationalBound, variational_bound
from sfumato.likelihood.flow import flow_likelihood, log_density

__all__ = ["VariationalBound", "flow_likelihood", "log_density", "variational_bound"]
