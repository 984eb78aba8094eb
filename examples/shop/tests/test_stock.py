from __future__ import annotations

import time

import pytest

from shop.stock import Kind, OutOfStock, StockLedger
from shop.testing import Clock

SKU = "T-100"


@pytest.mark.parametrize(
    ("kind", "after"), [(Kind.RECEIVED, 60), (Kind.RETURNED, 60), (Kind.SHIPPED, 40), (Kind.LOST, 40)]
)
def test_movements_change_the_balance(ledger: StockLedger, kind: Kind, after: int) -> None:
    ledger.record(SKU, kind, 10)
    assert ledger.on_hand(SKU) == after


@pytest.mark.parametrize("quantity", [0, -1])
def test_movements_are_positive(ledger: StockLedger, quantity: int) -> None:
    with pytest.raises(ValueError, match="positive quantity"):
        ledger.record(SKU, Kind.RECEIVED, quantity)


@pytest.mark.parametrize("kind", [Kind.SHIPPED, Kind.LOST])
def test_what_is_not_there_cannot_leave(ledger: StockLedger, kind: Kind) -> None:
    with pytest.raises(OutOfStock) as caught:
        ledger.record(SKU, kind, 51)
    assert (caught.value.wanted, caught.value.available) == (51, 50)
    assert ledger.on_hand(SKU) == 50


def test_balance_at_an_earlier_time(ledger: StockLedger) -> None:
    first = ledger.record(SKU, Kind.SHIPPED, 5)
    second = ledger.record(SKU, Kind.RETURNED, 2)
    ledger.record(SKU, Kind.LOST, 7)
    assert [ledger.on_hand(SKU, up_to=m.number) for m in (first, second)] == [45, 47]
    assert ledger.on_hand(SKU) == 40


def test_history_is_of_one_product(ledger: StockLedger) -> None:
    ledger.record("C-200", Kind.SHIPPED, 1)
    assert [m.kind for m in ledger.history("C-200")] == [Kind.RECEIVED, Kind.SHIPPED]


@pytest.mark.parametrize("length", [500, 4_000])
def test_a_long_ledger_stays_in_balance(length: int) -> None:
    ledger = StockLedger()
    ledger.record(SKU, Kind.RECEIVED, length)
    for _ in range(min(length, 400)):
        ledger.record(SKU, Kind.SHIPPED, 1)
    for n in range(length):
        ledger.record(f"X-{n % 50}", Kind.RECEIVED, 1)
    assert ledger.on_hand(SKU) == length - min(length, 400)
    assert sum(ledger.on_hand(f"X-{n}") for n in range(50)) == length


class TestReservation:
    def test_holds_stock(self, ledger: StockLedger) -> None:
        ledger.reserve(SKU, 20)
        assert ledger.available(SKU) == 30
        assert ledger.on_hand(SKU) == 50

    def test_cannot_hold_more_than_there_is(self, ledger: StockLedger) -> None:
        ledger.reserve(SKU, 30)
        with pytest.raises(OutOfStock, match="21 of 'T-100' wanted, 20 available"):
            ledger.reserve(SKU, 21)

    def test_released_stock_is_available(self, ledger: StockLedger) -> None:
        ledger.release(ledger.reserve(SKU, 20))
        assert ledger.available(SKU) == 50

    @pytest.mark.parametrize(("after_s", "available"), [(899, 30), (900, 50)])
    def test_expires(self, ledger: StockLedger, clock: Clock, after_s: float, available: int) -> None:
        ledger.reserve(SKU, 20)
        clock.now += after_s
        assert ledger.available(SKU) == available

    def test_shipping_takes_it_off_the_shelf(self, ledger: StockLedger) -> None:
        movement = ledger.ship(ledger.reserve(SKU, 20))
        assert movement.kind is Kind.SHIPPED
        assert ledger.on_hand(SKU) == ledger.available(SKU) == 30

    def test_ships_once(self, ledger: StockLedger) -> None:
        reservation = ledger.reserve(SKU, 1)
        ledger.ship(reservation)
        with pytest.raises(ValueError, match="shipped or released before"):
            ledger.ship(reservation)

    def test_expired_and_sold_to_somebody_else(self, ledger: StockLedger, clock: Clock) -> None:
        late = ledger.reserve(SKU, 30)
        clock.now += 900
        ledger.reserve(SKU, 40)
        with pytest.raises(OutOfStock):
            ledger.ship(late)

    @pytest.mark.parametrize("hold_s", [0.15, 0.4])
    def test_expires_in_real_time(self, hold_s: float) -> None:
        ledger = StockLedger(hold_s=hold_s)
        ledger.record(SKU, Kind.RECEIVED, 1)
        ledger.reserve(SKU, 1)
        deadline = time.monotonic() + 30
        while not ledger.available(SKU):
            assert time.monotonic() < deadline, "the reservation never expired"
            time.sleep(0.01)
