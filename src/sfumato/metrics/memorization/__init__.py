"""Memorization: whether samples are copies of training images."""

from sfumato.metrics.memorization.verdict import ClosestPair, Memorization, closest_pairs, of_features, of_images

__all__ = ["ClosestPair", "Memorization", "closest_pairs", "of_features", "of_images"]
