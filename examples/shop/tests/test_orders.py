from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest

from shop.cart import Cart
from shop.orders import NEXT, IllegalTransition, Order, OrderDesk, State
from shop.stock import OutOfStock, StockLedger

CartOf = Callable[[dict[str, int]], Cart]

PATHS = {
    State.PLACED: [],
    State.PAID: [State.PAID],
    State.PACKED: [State.PAID, State.PACKED],
    State.SHIPPED: [State.PAID, State.PACKED, State.SHIPPED],
    State.DELIVERED: [State.PAID, State.PACKED, State.SHIPPED, State.DELIVERED],
    State.RETURNED: [State.PAID, State.PACKED, State.SHIPPED, State.RETURNED],
    State.CANCELLED: [State.CANCELLED],
}


@pytest.mark.parametrize("state", State, ids=lambda state: state.value)
def test_only_the_table_is_allowed(order: Order, state: State) -> None:
    for step in PATHS[state]:
        order.become(step)
    for to in State:
        if to not in NEXT[state]:
            with pytest.raises(IllegalTransition):
                order.become(to)
    assert order.state is state


def test_an_illegal_step_tells_the_story(order: Order) -> None:
    order.become(State.PAID)
    with pytest.raises(IllegalTransition, match=r"order 1 cannot become delivered \(placed -> paid\)"):
        order.become(State.DELIVERED)


def test_ends() -> None:
    assert [state for state in State if not NEXT[state]] == [State.RETURNED, State.CANCELLED]


class TestDesk:
    def test_reserves_every_line(self, order: Order, ledger: StockLedger) -> None:
        assert len(order.reservations) == 2
        assert (ledger.available("T-100"), ledger.available("P-301")) == (48, 49)

    def test_all_lines_or_none(self, desk: OrderDesk, ledger: StockLedger, cart_of: CartOf) -> None:
        cart = cart_of({"T-100": 10, "T-101": 51})
        with pytest.raises(OutOfStock):
            desk.place(cart, cart.subtotal)
        assert ledger.available("T-100") == 50

    def test_an_empty_cart_is_no_order(self, desk: OrderDesk, cart_of: CartOf) -> None:
        cart = cart_of({})
        with pytest.raises(ValueError, match="at least one line"):
            desk.place(cart, cart.subtotal)

    def test_numbers_have_no_gaps(self, desk: OrderDesk, cart_of: CartOf) -> None:
        cart, too_large = cart_of({"T-100": 1}), cart_of({"T-100": 90})
        numbers = []
        for _ in range(20):
            numbers.append(desk.place(cart, cart.subtotal).number)
            with pytest.raises(OutOfStock):
                desk.place(too_large, too_large.subtotal)
        assert all(b == a + 1 for a, b in pairwise(numbers))

    def test_cancelling_gives_the_stock_back(
        self, desk: OrderDesk, order: Order, ledger: StockLedger
    ) -> None:
        desk.cancel(order)
        assert order.state is State.CANCELLED
        assert ledger.available("T-100") == 50

    def test_shipping_takes_the_stock_away(self, desk: OrderDesk, order: Order, ledger: StockLedger) -> None:
        order.become(State.PAID)
        order.become(State.PACKED)
        desk.ship(order)
        assert ledger.on_hand("T-100") == 48

    def test_nothing_leaves_unpaid(self, desk: OrderDesk, order: Order, ledger: StockLedger) -> None:
        with pytest.raises(IllegalTransition):
            desk.ship(order)
        assert ledger.on_hand("T-100") == 50

    @pytest.mark.parametrize("customers", [10, 80])
    def test_never_sells_more_than_there_is(
        self, desk: OrderDesk, ledger: StockLedger, cart_of: CartOf, customers: int
    ) -> None:
        cart, served = cart_of({"C-200": 1, "A-503": 1}), 0
        for _ in range(customers):
            try:
                desk.place(cart, cart.subtotal)
            except OutOfStock:
                continue
            served += 1
        assert served == min(customers, 50)
        assert ledger.available("C-200") == 50 - served
