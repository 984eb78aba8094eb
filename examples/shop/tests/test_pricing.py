from __future__ import annotations

from collections.abc import Callable

import pytest

from shop.cart import Cart
from shop.money import Money
from shop.pricing import Bulk, Bundle, BuyGet, CategorySale, Rule, price

CartOf = Callable[[dict[str, int]], Cart]

MUGS_IN_BULK = Bulk("M-400", 6, Money(999))
TWO_PLUS_ONE = BuyGet("T-102", buy=2, free=1)
TEA_SALE = CategorySale("tea", 20)
MATCHA_SET = Bundle(("T-101", "A-500"), Money(3_900))


@pytest.mark.parametrize(
    ("rule", "quantities", "off"),
    [
        (MUGS_IN_BULK, {"M-400": 5}, 0),
        (MUGS_IN_BULK, {"M-400": 6}, 6 * 291),
        (TWO_PLUS_ONE, {"T-102": 2}, 0),
        (TWO_PLUS_ONE, {"T-102": 5}, 640),
        (TWO_PLUS_ONE, {"T-102": 6}, 1_280),
        (TEA_SALE, {"C-200": 2}, 0),
        (TEA_SALE, {"T-100": 1, "T-101": 1, "P-300": 1}, 668),
        (MATCHA_SET, {"T-101": 3, "A-500": 2}, 700),
    ],
)
def test_rule(cart_of: CartOf, rule: Rule, quantities: dict[str, int], off: int) -> None:
    cart = cart_of(quantities)
    assert price(cart, [rule]).total == cart.subtotal - Money(off)


@pytest.mark.parametrize(
    ("rule", "quantities", "reason"),
    [
        (MUGS_IN_BULK, {"M-400": 7}, "6 or more Mug Stoneware"),
        (TWO_PLUS_ONE, {"T-102": 7}, "2 Black Tea Assam free"),
        (TEA_SALE, {"T-105": 1}, "20 % off tea"),
        (MATCHA_SET, {"T-101": 2, "A-500": 2}, "2 bundle(s)"),
    ],
)
def test_reason(cart_of: CartOf, rule: Rule, quantities: dict[str, int], reason: str) -> None:
    assert [adjustment.reason for adjustment in price(cart_of(quantities), [rule]).adjustments] == [reason]


def test_rules_add_up(cart_of: CartOf) -> None:
    cart = cart_of({"T-101": 1, "A-500": 1, "T-102": 3})
    result = price(cart, [TWO_PLUS_ONE, MATCHA_SET, MUGS_IN_BULK])
    assert result.subtotal == Money(6_170)
    assert [adjustment.amount.cents for adjustment in result.adjustments] == [640, 350]
    assert result.total == Money(5_180)


def test_never_costs_less_than_nothing(cart_of: CartOf) -> None:
    assert price(cart_of({"T-100": 1}), [CategorySale("tea", 80), CategorySale("tea", 80)]).total == Money(0)


def test_no_rules_no_change(cart_of: CartOf) -> None:
    result = price(cart_of({"T-100": 1}))
    assert result.total == result.subtotal
    assert result.adjustments == ()


@pytest.mark.parametrize("sku", ["T-102", "A-503"])
def test_more_never_costs_less_than_fewer_with_free_pieces(cart_of: CartOf, sku: str) -> None:
    rule = BuyGet(sku, buy=4, free=1)
    totals = [price(cart_of({sku: quantity}), [rule]).total for quantity in range(1, 99)]
    assert totals == sorted(totals)
