from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta

import pytest

from shop.cart import Cart
from shop.invoices import WIDTH, Invoice, InvoiceNumbers
from shop.money import Money, total
from shop.orders import Order

CartOf = Callable[[dict[str, int]], Cart]
DAY = date(2024, 5, 17)


def invoice_of(cart: Cart, off: int = 0) -> Invoice:
    return Invoice("2024-00001", DAY, Order(1, tuple(cart), cart.subtotal - Money(off)))


class TestNumbers:
    def test_count_up(self) -> None:
        numbers = InvoiceNumbers()
        assert [numbers.next(DAY) for _ in range(3)] == ["2024-00001", "2024-00002", "2024-00003"]

    def test_start_anew_each_year(self) -> None:
        numbers = InvoiceNumbers()
        days = [date(2023, 12, 31), date(2023, 12, 31), date(2024, 1, 1)]
        assert [numbers.next(day) for day in days] == ["2023-00001", "2023-00002", "2024-00001"]

    def test_never_go_back(self) -> None:
        numbers = InvoiceNumbers()
        numbers.next(DAY)
        with pytest.raises(ValueError, match="out of order"):
            numbers.next(DAY - timedelta(days=1))

    def test_are_unique_over_the_years(self) -> None:
        numbers = InvoiceNumbers()
        given = [numbers.next(date(2020, 1, 1) + timedelta(days=n // 20)) for n in range(20_000)]
        assert len(set(given)) == len(given)
        assert given == sorted(given)


@pytest.mark.parametrize(
    ("quantities", "off", "expected"),
    [
        ({"M-400": 1}, 0, {19: (1_084, 206)}),
        ({"T-100": 1, "M-400": 1}, 0, {7: (832, 58), 19: (1_084, 206)}),
        ({"M-400": 1}, 290, {19: (840, 160)}),
        ({"T-100": 10, "M-400": 10}, 2_180, {7: (7_486, 524), 19: (9_756, 1_854)}),
    ],
)
def test_tax_by_rate(
    cart_of: CartOf, quantities: dict[str, int], off: int, expected: dict[int, tuple[int, int]]
) -> None:
    taxes = invoice_of(cart_of(quantities), off).taxes()
    assert {tax.percent: (tax.net.cents, tax.tax.cents) for tax in taxes} == expected


@pytest.mark.parametrize("off", [0, 99, 4_321])
def test_net_and_tax_make_the_total(cart_of: CartOf, off: int) -> None:
    invoice = invoice_of(cart_of({"T-100": 3, "P-302": 1, "B-600": 2, "M-402": 4}), off)
    assert total([tax.net + tax.tax for tax in invoice.taxes()]) == invoice.order.total


def test_page(cart_of: CartOf) -> None:
    page = invoice_of(cart_of({"T-100": 2, "M-400": 1}), off=180).render()
    assert page.splitlines() == [
        "Invoice 2024-00001                                2024-05-17",
        "------------------------------------------------------------",
        "  2 x Green Tea Sencha                             17.80 EUR",
        "  1 x Mug Stoneware                                12.90 EUR",
        "      Discount                                     -1.80 EUR",
        "------------------------------------------------------------",
        "Total                                              28.90 EUR",
        "  including 7 % tax on 15.65 EUR                    1.10 EUR",
        "  including 19 % tax on 10.21 EUR                   1.94 EUR",
    ]


def test_a_page_without_discount_does_not_mention_one(cart_of: CartOf) -> None:
    assert "Discount" not in invoice_of(cart_of({"T-100": 1})).render()


@pytest.mark.parametrize("count", [500, 2_000])
def test_pages_keep_their_width(cart_of: CartOf, count: int) -> None:
    """A month's run of invoices, each with every product of the shop."""
    cart = cart_of({f"T-{n}": n - 99 for n in range(100, 107)})
    for off in range(count):
        assert all(len(line) == WIDTH for line in invoice_of(cart, off).render().splitlines())
