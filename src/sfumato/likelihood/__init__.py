"""Likelihoods in bits per dimension, by two methods that both give upper bounds on average; lower is better.

`variational_bound` is DDPM's bound, with its terms. `flow_likelihood` integrates the probability-flow ODE to a
tolerance, with fewer evaluations.

Both use the denoiser without clipping; wrap it in `guidance.Clipped` for the likelihood of a sampler that clips. A
guided denoiser has no density, so that its results have no meaning.
"""

from sfumato.likelihood.bound import VariationalBound, variational_bound
from sfumato.likelihood.flow import flow_likelihood, log_density

__all__ = ["VariationalBound", "flow_likelihood", "log_density", "variational_bound"]
