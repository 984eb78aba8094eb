"""The stock ledger: movements are only ever added, and the balance is their sum."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from itertools import count


class OutOfStock(Exception):
    def __init__(self, sku: str, wanted: int, available: int) -> None:
        super().__init__(f"{wanted} of {sku!r} wanted, {available} available")
        self.sku = sku
        self.wanted = wanted
        self.available = available


class Kind(Enum):
    RECEIVED = "received"
    SHIPPED = "shipped"
    RETURNED = "returned"
    LOST = "lost"


_SIGN = {Kind.RECEIVED: 1, Kind.RETURNED: 1, Kind.SHIPPED: -1, Kind.LOST: -1}


@dataclass(frozen=True, slots=True)
class Movement:
    number: int
    sku: str
    kind: Kind
    quantity: int


@dataclass(frozen=True, slots=True)
class Reservation:
    number: int
    sku: str
    quantity: int
    expires_at: float


class StockLedger:
    def __init__(self, hold_s: float = 900.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._hold_s = hold_s
        self._clock = clock
        self._numbers = count(1)
        self._movements: list[Movement] = []
        self._reservations: dict[int, Reservation] = {}

    def record(self, sku: str, kind: Kind, quantity: int) -> Movement:
        if quantity < 1:
            raise ValueError(f"a movement needs a positive quantity, not {quantity}")
        if _SIGN[kind] < 0 and quantity > self.on_hand(sku):
            raise OutOfStock(sku, quantity, self.on_hand(sku))
        movement = Movement(next(self._numbers), sku, kind, quantity)
        self._movements.append(movement)
        return movement

    def history(self, sku: str) -> list[Movement]:
        return [movement for movement in self._movements if movement.sku == sku]

    def on_hand(self, sku: str, up_to: int | None = None) -> int:
        """What lies on the shelf, now or as of a movement's number."""
        return sum(
            _SIGN[movement.kind] * movement.quantity
            for movement in self.history(sku)
            if up_to is None or movement.number <= up_to
        )

    def available(self, sku: str) -> int:
        now = self._clock()
        held = sum(r.quantity for r in self._reservations.values() if r.sku == sku and r.expires_at > now)
        return self.on_hand(sku) - held

    def reserve(self, sku: str, quantity: int) -> Reservation:
        if quantity > self.available(sku):
            raise OutOfStock(sku, quantity, self.available(sku))
        expires_at = self._clock() + self._hold_s
        reservation = Reservation(next(self._numbers), sku, quantity, expires_at)
        self._reservations[reservation.number] = reservation
        return reservation

    def release(self, reservation: Reservation) -> None:
        self._reservations.pop(reservation.number, None)

    def ship(self, reservation: Reservation) -> Movement:
        """Turn a reservation into a movement; one that has expired must find stock again."""
        if self._reservations.pop(reservation.number, None) is None:
            raise ValueError(f"reservation {reservation.number} was shipped or released before")
        if reservation.quantity > self.available(reservation.sku):
            raise OutOfStock(reservation.sku, reservation.quantity, self.available(reservation.sku))
        return self.record(reservation.sku, Kind.SHIPPED, reservation.quantity)
