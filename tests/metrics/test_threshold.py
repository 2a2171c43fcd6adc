"""The threshold and the probabilities against counting, simulation and closed forms."""

import itertools
import math

import pytest
import torch

from sfumato.errors import ConfigError
from sfumato.metrics.memorization.threshold import COPY, Threshold, beyond_rank, binomial_tail, ratios, threshold_for


def uniform(count: int, seed: int) -> torch.Tensor:
    """Ratios above the rule of thumb, in random order."""
    return 0.4 + 0.5 * torch.rand(count, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("flagged", "count", "rank", "others"), [(1, 4, 1, 3), (2, 4, 2, 3), (4, 4, 1, 3), (3, 4, 3, 3)]
)
def test_the_probability_is_that_of_counting_all_orders(flagged: int, count: int, rank: int, others: int) -> None:
    """All choices of positions for the others are equally likely."""
    choices = list(itertools.combinations(range(count + others), others))
    passed = sum(places[rank - 1] - (rank - 1) >= flagged for places in choices)
    assert beyond_rank(flagged, count, rank, others) == pytest.approx(passed / len(choices), rel=1e-12)


def test_the_probability_for_large_sets_is_exact() -> None:
    """For rank 1, 50,000 samples and 1,000 others it is a product of ratios."""
    expected = math.prod((50_000 - i) / (51_000 - i) for i in range(30))
    assert beyond_rank(30, 50_000, 1, 1000) == pytest.approx(expected, rel=1e-6)
    assert beyond_rank(50_000, 50_000, 1, 1000) < 1e-300
    assert beyond_rank(0, 50_000, 1, 1000) == binomial_tail(0, 50_000, 0.1) == 1


def test_the_binomial_tail_is_the_sum() -> None:
    expected = sum(math.comb(20, i) * 0.1**i * 0.9 ** (20 - i) for i in range(5, 21))
    assert binomial_tail(5, 20, 0.1) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("count", "rank"), [(100, 1), (998, 1), (999, 1), (1999, 2), (1998, 1), (5500, 5)])
def test_the_threshold_is_the_ratio_of_a_rank(count: int, rank: int) -> None:
    held_out = uniform(count, 0)
    threshold = threshold_for(held_out, 0.001)
    below = held_out.sort().values[rank - 1].item()
    assert threshold == Threshold(below, rank, count, 0, rank / (count + 1))


def test_new_images_are_flagged_at_the_stated_rate() -> None:
    """Over many sets of held-out and new images of one distribution, within four standard errors."""
    shares = []
    for seed in range(400):
        threshold = threshold_for(uniform(300, seed), 0.02)
        shares.append((uniform(500, seed + 10_000) < threshold.below).double().mean())
    found = torch.stack(shares)
    assert threshold.rate == 6 / 301
    assert abs(found.mean() - threshold.rate) < 4 * found.std() / len(shares) ** 0.5


def test_chance_is_a_p_value() -> None:
    """For images of one distribution it is below 5 % in at most 5 % of the cases."""
    low = 0
    for seed in range(1000):
        threshold = threshold_for(uniform(200, seed), 0.02)
        flagged = int((uniform(300, seed + 10_000) < threshold.below).sum())
        low += threshold.chance(flagged, 300) < 0.05
    assert 25 < low < 65


def test_repeats_among_held_out_images_do_not_move_the_threshold() -> None:
    alone = threshold_for(uniform(500, 0), 0.01)
    spoiled = threshold_for(torch.cat([uniform(500, 0), torch.linspace(0, 0.33, 60)]), 0.01)
    assert (spoiled.below, spoiled.rate, spoiled.held_out) == (alone.below, alone.rate, 500)
    assert spoiled.repeats == 60
    assert spoiled.chance(40, 400) == alone.chance(40, 400) < 1e-6
    assert spoiled.chance_with_repeats(40, 400) == beyond_rank(40, 400, 65, 560) > 0.5


def test_with_few_held_out_images_the_rule_of_thumb_is_used() -> None:
    threshold = threshold_for(uniform(99, 0), 0.01)
    assert threshold == Threshold(COPY, None, 99, 0, 0.01)
    assert threshold.chance(3, 50) == threshold.chance_with_repeats(3, 50) == binomial_tail(3, 50, 0.01)
    nothing = threshold_for(torch.empty(0), 0.01)
    assert nothing.rank is None
    assert nothing.chance_of_copies(2, 50) == nothing.chance(2, 50)
    assert threshold_for(torch.cat([uniform(99, 0), torch.zeros(50)]), 0.01) == Threshold(COPY, None, 99, 50, 0.01)


def test_copies_are_significant_if_few_held_out_are_as_close() -> None:
    of_hundred = threshold_for(uniform(100, 0), 0.001)
    assert of_hundred.chance_of_copies(60, 2000) == binomial_tail(60, 2000, 1 / 101) < 1e-9
    assert of_hundred.chance(60, 2000) > 0.05
    assert of_hundred.chance_of_copies(20, 2000) > 0.4
    repeating = threshold_for(torch.cat([uniform(100, 0), torch.zeros(5)]), 0.001)
    assert repeating.chance_of_copies(60, 2000) == binomial_tail(60, 2000, 6 / 106) > 0.99


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1, math.nan])
def test_a_rate_outside_0_to_1_is_rejected(rate: float) -> None:
    with pytest.raises(ConfigError, match=r"0\.001"):
        threshold_for(uniform(5, 0), rate)


def test_the_ratio_is_the_nearest_over_the_mean_of_the_next() -> None:
    distances = torch.tensor([[1.0, 2.0, 4.0], [0.0, 0.0, 5.0], [3.0, 3.0, 3.0], [0.0, 0.0, 0.0]])
    assert ratios(distances, 0.0).tolist() == pytest.approx([1 / 3, 0, 1, 1])
    assert ratios(distances, 0.5).tolist() == pytest.approx([1.5 / 3.5, 0.5 / 3, 1, 1])
