"""An order's life, as a table."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from shop.cart import Cart, Line
from shop.money import Money
from shop.stock import OutOfStock, Reservation, StockLedger


class State(Enum):
    PLACED = "placed"
    PAID = "paid"
    PACKED = "packed"
    SHIPPED = "shipped"
    DELIVERED = "delivered"
    RETURNED = "returned"
    CANCELLED = "cancelled"


NEXT: dict[State, frozenset[State]] = {
    State.PLACED: frozenset({State.PAID, State.CANCELLED}),
    State.PAID: frozenset({State.PACKED, State.CANCELLED}),
    State.PACKED: frozenset({State.SHIPPED, State.CANCELLED}),
    State.SHIPPED: frozenset({State.DELIVERED, State.RETURNED}),
    State.DELIVERED: frozenset({State.RETURNED}),
    State.RETURNED: frozenset(),
    State.CANCELLED: frozenset(),
}


class IllegalTransition(Exception):
    def __init__(self, order: Order, to: State) -> None:
        story = " -> ".join(state.value for state in order.story)
        super().__init__(f"order {order.number} cannot become {to.value} ({story})")


@dataclass(slots=True)
class Order:
    number: int
    lines: tuple[Line, ...]
    total: Money
    reservations: tuple[Reservation, ...] = ()
    story: list[State] = field(default_factory=lambda: [State.PLACED])

    @property
    def state(self) -> State:
        return self.story[-1]

    def become(self, to: State) -> None:
        if to not in NEXT[self.state]:
            raise IllegalTransition(self, to)
        self.story.append(to)


class OrderDesk:
    """Takes orders: reserves the stock for all lines or for none."""

    def __init__(self, ledger: StockLedger, first_number: int = 1) -> None:
        self._ledger = ledger
        self._next_number = first_number

    def place(self, cart: Cart, total: Money) -> Order:
        lines = tuple(cart)
        if not lines:
            raise ValueError("an order needs at least one line")
        reserved: list[Reservation] = []
        try:
            for line in lines:
                reserved.append(self._ledger.reserve(line.product.sku, line.quantity))
        except OutOfStock:
            for reservation in reserved:
                self._ledger.release(reservation)
            raise
        order = Order(self._next_number, lines, total, tuple(reserved))
        self._next_number += 1
        return order

    def cancel(self, order: Order) -> None:
        order.become(State.CANCELLED)
        for reservation in order.reservations:
            self._ledger.release(reservation)

    def ship(self, order: Order) -> None:
        order.become(State.SHIPPED)
        for reservation in order.reservations:
            self._ledger.ship(reservation)
