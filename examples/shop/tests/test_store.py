from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from shop.cart import Cart
from shop.catalogue import Catalogue
from shop.orders import Order, OrderDesk, State
from shop.store import OrderStore

CartOf = Callable[[dict[str, int]], Cart]


def test_loads_what_it_saved(store: OrderStore, order: Order) -> None:
    store.save(order)
    loaded = store.load(order.number)
    assert (loaded.lines, loaded.total, loaded.story) == (order.lines, order.total, order.story)


def test_saving_again_replaces(store: OrderStore, order: Order) -> None:
    store.save(order)
    order.become(State.PAID)
    store.save(order)
    assert store.load(1).story == [State.PLACED, State.PAID]
    assert len(store.load(1).lines) == 2


@pytest.mark.parametrize("number", [0, 2])
def test_unknown_order(store: OrderStore, order: Order, number: int) -> None:
    store.save(order)
    with pytest.raises(KeyError, match=f"there is no order {number}"):
        store.load(number)


def test_survives_closing(tmp_path: Path, catalogue: Catalogue, order: Order) -> None:
    first = OrderStore(tmp_path / "orders.db", catalogue)
    first.save(order)
    first.close()
    second = OrderStore(tmp_path / "orders.db", catalogue)
    assert second.numbers() == [1]
    second.close()


@pytest.mark.parametrize("state", [State.PLACED, State.PAID, State.CANCELLED])
def test_finds_by_state(store: OrderStore, desk: OrderDesk, cart_of: CartOf, state: State) -> None:
    cart = cart_of({"T-100": 1})
    steps = [[], [State.PAID], [State.CANCELLED]]
    for number in range(12):
        order = desk.place(cart, cart.subtotal)
        for step in steps[number % 3]:
            order.become(step)
        store.save(order)
    first = [State.PLACED, State.PAID, State.CANCELLED].index(state) + 1
    assert store.numbers(state) == list(range(first, 13, 3))


@pytest.mark.parametrize("count", [20, 50])
def test_a_busy_day(store: OrderStore, desk: OrderDesk, cart_of: CartOf, count: int) -> None:
    cart = cart_of({"A-503": 1, "T-106": 1})
    for _ in range(count):
        store.save(desk.place(cart, cart.subtotal))
    assert len(store.numbers(State.PLACED)) == count
