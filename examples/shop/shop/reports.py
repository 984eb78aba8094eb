"""Figures for the Monday meeting."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import combinations

from shop.money import Money, total
from shop.orders import Order, State

_NO_SALE = frozenset({State.CANCELLED, State.RETURNED})


def sold(orders: Iterable[Order]) -> list[Order]:
    return [order for order in orders if order.state not in _NO_SALE]


def revenue(orders: Iterable[Order]) -> Money:
    return total([order.total for order in sold(orders)])


def best_sellers(orders: Iterable[Order], limit: int = 3) -> list[tuple[str, int]]:
    counts: Counter[str] = Counter()
    for order in sold(orders):
        for line in order.lines:
            counts[line.product.sku] += line.quantity
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:limit]


def bought_together(orders: Iterable[Order], times_min: int = 2) -> list[tuple[tuple[str, str], int]]:
    """Pairs of products that share orders, most frequent first."""
    counts: Counter[tuple[str, str]] = Counter()
    for order in sold(orders):
        skus = sorted({line.product.sku for line in order.lines})
        counts.update((a, b) for a, b in combinations(skus, 2))
    pairs = [(pair, times) for pair, times in counts.items() if times >= times_min]
    return sorted(pairs, key=lambda item: (-item[1], item[0]))


def moving_average(values: Sequence[int], window: int) -> list[float]:
    if not 1 <= window <= len(values):
        raise ValueError(f"a window of {window} does not fit {len(values)} values")
    return [sum(values[i : i + window]) / window for i in range(len(values) - window + 1)]
