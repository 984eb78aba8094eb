"""The whole way from a cart to a parcel, as a customer would go it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

import pytest

from shop.cart import Cart
from shop.discounts import Coupon, redeem_best
from shop.invoices import Invoice, InvoiceNumbers
from shop.money import Money
from shop.orders import Order, OrderDesk, State
from shop.payments import Declined, Sandbox, charge, wait_until_settled
from shop.pricing import BuyGet, CategorySale, price
from shop.shipping import Carrier, Quote, quotes
from shop.stock import StockLedger
from shop.store import OrderStore

CartOf = Callable[[dict[str, int]], Cart]
DAY = date(2024, 5, 17)
CARRIERS = [
    Carrier("Snail", Money(290), Money(60), days=5, latency_s=0.06),
    Carrier("Post", Money(390), Money(50), days=2, latency_s=0.08),
]


@dataclass
class Checkout:
    desk: OrderDesk
    gateway: Sandbox
    numbers: InvoiceNumbers
    store: OrderStore

    def buy(
        self, cart: Cart, country: str = "DE", coupons: tuple[Coupon, ...] = ()
    ) -> tuple[Order, Quote, Invoice]:
        reduced = price(cart, [BuyGet("T-102", 2, 1), CategorySale("mugs", 10)]).total
        parcel = quotes(CARRIERS, country, cart.weight_g)[0]
        order = self.desk.place(cart, redeem_best(reduced, coupons, DAY).price)
        try:
            payment = charge(self.gateway, f"order-{order.number}", order.total + parcel.price)
        except Declined:
            self.desk.cancel(order)
            self.store.save(order)
            raise
        wait_until_settled(self.gateway, payment, every_s=0.05)
        order.become(State.PAID)
        self.store.save(order)
        return order, parcel, Invoice(self.numbers.next(DAY), DAY, order)


@pytest.fixture
def checkout(desk: OrderDesk, store: OrderStore) -> Checkout:
    return Checkout(desk, Sandbox(latency_s=0.05, settles_after_s=0.2), InvoiceNumbers(), store)


@pytest.mark.parametrize(
    ("quantities", "country", "total", "shipping"),
    [
        ({"T-100": 1}, "DE", 890, 350),
        ({"T-102": 3}, "DE", 1_280, 350),
        ({"M-400": 4}, "FR", 4_644, 820),
        ({"A-502": 1, "C-200": 2}, "DE", 11_880, 530),
        ({"P-300": 2, "T-104": 5}, "SE", 16_400, 1_770),
        ({"M-402": 6, "M-403": 6, "C-200": 1}, "AT", 7_970, 940),
    ],
)
def test_buying(
    checkout: Checkout, cart_of: CartOf, quantities: dict[str, int], country: str, total: int, shipping: int
) -> None:
    order, parcel, invoice = checkout.buy(cart_of(quantities), country)
    assert (order.total, parcel.price) == (Money(total), Money(shipping))
    assert str(order.total) in invoice.render()


@pytest.mark.parametrize(
    ("codes", "total"),
    [(("TEN",), 8_010), (("FIVE",), 8_400), (("FIVE", "TEN"), 7_510), (("TEN", "HALF"), 4_450)],
)
def test_buying_with_coupons(checkout: Checkout, cart_of: CartOf, codes: tuple[str, ...], total: int) -> None:
    coupons = {
        "TEN": Coupon("TEN", percent=10),
        "FIVE": Coupon("FIVE", amount=Money(500)),
        "HALF": Coupon("HALF", percent=50, exclusive=True),
    }
    order, _, _ = checkout.buy(cart_of({"A-502": 1}), coupons=tuple(coupons[code] for code in codes))
    assert order.total == Money(total)


def test_a_declined_payment_gives_the_stock_back(
    checkout: Checkout, ledger: StockLedger, cart_of: CartOf
) -> None:
    checkout.gateway.limit = Money(1_000)
    with pytest.raises(Declined):
        checkout.buy(cart_of({"P-300": 1}))
    assert ledger.available("P-300") == 50
    assert checkout.store.numbers(State.CANCELLED) == [1]


@pytest.mark.parametrize("hiccups", [1, 2])
def test_a_gateway_with_hiccups(checkout: Checkout, cart_of: CartOf, hiccups: int) -> None:
    checkout.gateway.hiccups = hiccups
    order, _, _ = checkout.buy(cart_of({"T-100": 1}))
    assert order.state is State.PAID


@pytest.mark.slow
def test_five_customers_in_a_row(checkout: Checkout, ledger: StockLedger, cart_of: CartOf) -> None:
    invoices = [checkout.buy(cart_of({"T-100": n, "M-401": 1}))[2].number for n in range(1, 6)]
    assert invoices == [f"2024-{n:05d}" for n in range(1, 6)]
    assert checkout.store.numbers(State.PAID) == [1, 2, 3, 4, 5]
    assert ledger.available("T-100") == 50 - 15


@pytest.mark.slow
def test_the_night_job_ships_what_was_paid(checkout: Checkout, ledger: StockLedger, cart_of: CartOf) -> None:
    """A job looks every tenth of a second for paid orders, until all three have gone."""
    orders = {order.number: order for order, _, _ in (checkout.buy(cart_of({"C-200": 1})) for _ in range(3))}
    shipped: list[int] = []
    deadline = time.monotonic() + 30
    while len(shipped) < len(orders):
        assert time.monotonic() < deadline, f"only {shipped} were shipped"
        paid = checkout.store.numbers(State.PAID)
        for number in paid[:1]:
            orders[number].become(State.PACKED)
            checkout.desk.ship(orders[number])
            checkout.store.save(orders[number])
            shipped.append(number)
        time.sleep(0.1)
    assert shipped == [1, 2, 3]
    assert ledger.on_hand("C-200") == 47
