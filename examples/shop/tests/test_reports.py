from __future__ import annotations

from itertools import combinations

import pytest

from shop.cart import Line
from shop.catalogue import Catalogue
from shop.money import Money, total
from shop.orders import Order, State
from shop.reports import best_sellers, bought_together, moving_average, revenue


def an_order(catalogue: Catalogue, number: int, quantities: dict[str, int], *story: State) -> Order:
    lines = tuple(Line(catalogue[sku], quantity) for sku, quantity in quantities.items())
    return Order(number, lines, total([line.total for line in lines]), story=[State.PLACED, *story])


@pytest.fixture(scope="module")
def week(catalogue: Catalogue) -> list[Order]:
    return [
        an_order(catalogue, 1, {"T-100": 2, "A-501": 1}, State.PAID),
        an_order(catalogue, 2, {"T-100": 1, "A-501": 1, "M-401": 4}, State.PAID),
        an_order(catalogue, 3, {"P-304": 9}, State.CANCELLED),
        an_order(catalogue, 4, {"M-401": 1, "T-100": 1}),
        an_order(catalogue, 5, {"B-600": 5}, State.PAID, State.PACKED, State.SHIPPED, State.RETURNED),
    ]


def test_revenue_leaves_out_what_came_back(week: list[Order]) -> None:
    assert revenue(week) == Money(4 * 890 + 2 * 690 + 5 * 990)


def test_revenue_of_no_orders() -> None:
    assert revenue([]) == Money(0)


@pytest.mark.parametrize(("limit", "expected"), [(2, ["M-401", "T-100"]), (9, ["M-401", "T-100", "A-501"])])
def test_best_sellers(week: list[Order], limit: int, expected: list[str]) -> None:
    assert [sku for sku, _ in best_sellers(week, limit)] == expected


def test_bought_together(week: list[Order]) -> None:
    assert bought_together(week) == [(("A-501", "T-100"), 2), (("M-401", "T-100"), 2)]


@pytest.mark.parametrize("orders", [100, 1_200])
def test_bought_together_over_a_season(catalogue: Catalogue, orders: int) -> None:
    skus = [product.sku for product in catalogue]
    season = [
        an_order(catalogue, n, {skus[(n * k) % len(skus)]: 1 for k in range(1, 12)})
        for n in range(1, orders + 1)
    ]
    pairs = bought_together(season, times_min=1)
    assert {pair for pair, _ in pairs} <= set(combinations(sorted(skus), 2))
    assert pairs[0][1] >= pairs[-1][1]


@pytest.mark.parametrize(
    ("values", "window", "expected"),
    [
        ([1, 2, 3], 2, [1.5, 2.5]),
        ([1, 2, 3], 3, [2]),
        ([5], 1, [5]),
    ],
)
def test_moving_average(values: list[int], window: int, expected: list[float]) -> None:
    assert moving_average(values, window) == expected


@pytest.mark.parametrize("window", [0, 4])
def test_moving_average_needs_a_window_that_fits(window: int) -> None:
    with pytest.raises(ValueError, match="does not fit 3 values"):
        moving_average([1, 2, 3], window)
