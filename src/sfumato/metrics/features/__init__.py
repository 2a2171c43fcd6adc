"""Features: what an image is to a metric, a row of numbers."""

from sfumato.metrics.features.base import Features, NetworkOutput
from sfumato.metrics.features.choice import features_for

__all__ = ["Features", "NetworkOutput", "features_for"]
