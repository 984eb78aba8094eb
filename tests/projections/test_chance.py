"""The statistics behind patterns, against values that stand in books or can be counted out."""

import math
import random
from itertools import combinations

import pytest

from projections.patterns.chance import PERMUTATIONS_MAX, adjusted, hypergeometric, of_chances, permuted, summed, tail


def test_fishers_tea() -> None:
    """A lady tells all four of four cups, among eight: one in seventy."""
    assert hypergeometric(8, 4, 4)[4] == pytest.approx(1 / 70)
    assert tail(hypergeometric(8, 4, 4), 3) == pytest.approx(17 / 70)


@pytest.mark.parametrize(("total", "marked", "drawn"), [(7, 3, 4), (6, 6, 2), (5, 0, 3), (9, 7, 8)])
def test_hypergeometric_as_counted_out(total: int, marked: int, drawn: int) -> None:
    counts = [0] * (min(marked, drawn) + 1)
    for chosen in combinations(range(total), drawn):
        counts[sum(one < marked for one in chosen)] += 1
    whole = math.comb(total, drawn)
    assert hypergeometric(total, marked, drawn) == pytest.approx([count / whole for count in counts])


def test_sums() -> None:
    assert of_chances([0.5] * 4) == pytest.approx([1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16])
    assert of_chances([1.0, 0.25]) == pytest.approx([0.0, 0.75, 0.25])
    assert of_chances([]) == [1.0]
    assert summed([0.5, 0.5], [0.2, 0.8]) == pytest.approx([0.1, 0.5, 0.4])


def test_the_example_of_benjamini_and_hochberg() -> None:
    """Their table of fifteen p values (1995, section 4.1): at 5 % the first four are held to be true."""
    p_values = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459]
    p_values += [0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0]
    shuffled = random.Random(1).sample(p_values, len(p_values))
    corrected = dict(zip(shuffled, adjusted(shuffled, 15), strict=True))
    assert sorted(p for p, q in corrected.items() if q <= 0.05) == p_values[:4]
    assert corrected[0.0001] == pytest.approx(0.0015)
    assert adjusted(p_values[:6], 15) == adjusted([*p_values[:6], *[1.0] * 9], 0)[:6]
    assert adjusted([0.5, 0.9], 1) == pytest.approx([0.9, 0.9])
    assert adjusted([], 1000) == []


def test_permutations() -> None:
    low, high = [1.0, 2.0, 3.0, 4.0, 5.0], [6.0, 7.0, 8.0, 9.0, 10.0]
    assert permuted(low, high, seed=1) == pytest.approx(1 / math.comb(10, 5), rel=0.5)
    assert permuted(high, low, seed=1) == 1.0
    assert permuted([1.0] * 5, [1.0] * 5, seed=1) == 1.0  # equal values are no higher than each other
    assert permuted(low * 4, high * 4, seed=1) == 1 / (PERMUTATIONS_MAX + 1)
    assert permuted(low, [2.5, 3.5, 4.5], seed=1) == permuted(low, [2.5, 3.5, 4.5], seed=1)


def test_permutations_err_as_often_as_they_say() -> None:
    dice = random.Random(7)
    wrong = sum(
        permuted([dice.gauss(0, 1) for _ in range(8)], [dice.gauss(0, 1) for _ in range(6)], seed) <= 0.05
        for seed in range(400)
    )
    assert 8 <= wrong <= 33  # 20, give or take three deviations
