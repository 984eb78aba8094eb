from __future__ import annotations

from collections.abc import Callable

import pytest

from shop.cart import QUANTITY_MAX, Cart
from shop.catalogue import Catalogue, UnknownProduct
from shop.money import Money

CartOf = Callable[[dict[str, int]], Cart]


def test_starts_empty(catalogue: Catalogue) -> None:
    cart = Cart(catalogue)
    assert len(cart) == 0
    assert cart.subtotal == Money(0)
    assert cart.weight_g == 0


@pytest.mark.parametrize(
    ("quantities", "subtotal", "weight_g"),
    [
        ({"T-100": 1}, 890, 120),
        ({"T-100": 1, "P-300": 1}, 7_290, 2_020),
        ({"M-402": 6, "M-403": 6}, 7_200, 1_620),
        ({"A-503": 99}, 31_680, 19_800),
    ],
)
def test_adds_up(cart_of: CartOf, quantities: dict[str, int], subtotal: int, weight_g: int) -> None:
    cart = cart_of(quantities)
    assert cart.subtotal == Money(subtotal)
    assert cart.weight_g == weight_g
    assert len(cart) == sum(quantities.values())


def test_keeps_the_order_of_adding(cart_of: CartOf) -> None:
    cart = cart_of({"P-300": 1, "A-503": 1, "C-200": 1})
    cart.add("P-300")
    assert [line.product.sku for line in cart] == ["P-300", "A-503", "C-200"]


def test_a_quantity_of_zero_takes_out(cart_of: CartOf) -> None:
    cart = cart_of({"T-100": 2, "T-101": 1})
    cart.set("T-100", 0)
    assert [line.product.sku for line in cart] == ["T-101"]


@pytest.mark.parametrize("quantity", [0, -1])
def test_adding_nothing_is_an_error(cart_of: CartOf, quantity: int) -> None:
    with pytest.raises(ValueError, match="add at least one"):
        cart_of({"T-100": quantity})


@pytest.mark.parametrize("quantity", [QUANTITY_MAX + 1, -1])
def test_quantities_have_limits(catalogue: Catalogue, quantity: int) -> None:
    with pytest.raises(ValueError, match="from 0 to 99"):
        Cart(catalogue).set("T-100", quantity)


def test_only_what_we_sell(cart_of: CartOf) -> None:
    with pytest.raises(UnknownProduct):
        cart_of({"X-999": 1})


class TestMerge:
    def test_takes_the_larger_quantity(self, cart_of: CartOf) -> None:
        mine = cart_of({"T-100": 1, "T-101": 5})
        mine.merge(cart_of({"T-100": 4, "T-101": 2, "C-200": 1}))
        assert {line.product.sku: line.quantity for line in mine} == {"T-100": 4, "T-101": 5, "C-200": 1}

    def test_with_an_empty_cart_changes_nothing(self, cart_of: CartOf) -> None:
        mine = cart_of({"T-100": 1})
        mine.merge(cart_of({}))
        assert len(mine) == 1

    def test_leaves_the_other_alone(self, cart_of: CartOf) -> None:
        guest = cart_of({"T-100": 1})
        cart_of({"T-100": 9}).merge(guest)
        assert guest.quantity("T-100") == 1
