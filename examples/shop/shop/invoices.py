"""Invoices: numbers without gaps, value added tax by rate, and a page of text."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from shop.money import Money, total
from shop.orders import Order

WIDTH = 60


class InvoiceNumbers:
    """Numbers such as 2024-00017, counted anew each year and never going back in time."""

    def __init__(self) -> None:
        self._day = date.min
        self._count = 0

    def next(self, day: date) -> str:
        if day < self._day:
            raise ValueError(f"the last invoice is of {self._day}, one of {day} would be out of order")
        self._count = self._count + 1 if day.year == self._day.year else 1
        self._day = day
        return f"{day.year}-{self._count:05d}"


@dataclass(frozen=True, slots=True)
class Tax:
    percent: int
    net: Money
    tax: Money


@dataclass(frozen=True, slots=True)
class Invoice:
    number: str
    day: date
    order: Order

    @property
    def discount(self) -> Money:
        return total([line.total for line in self.order.lines]) - self.order.total

    def taxes(self) -> list[Tax]:
        """Prices include tax. The discount is spread over the lines by their value, to the cent."""
        lines = self.order.lines
        gross_by_rate: dict[int, Money] = {}
        discounts = self.discount.allocate([line.total.cents for line in lines])
        for line, discount in zip(lines, discounts, strict=True):
            rate = line.product.vat_percent
            gross_by_rate[rate] = gross_by_rate.get(rate, Money(0)) + line.total - discount
        result = []
        for rate, gross in sorted(gross_by_rate.items()):
            net = gross * (Decimal(100) / (100 + rate))
            result.append(Tax(rate, net, gross - net))
        return result

    def render(self) -> str:
        rows = [f"Invoice {self.number}".ljust(WIDTH - 10) + self.day.isoformat(), "-" * WIDTH]
        for line in self.order.lines:
            rows.append(_row(f"{line.quantity:>3} x {line.product.name}", line.total))
        if self.discount:
            rows.append(_row("      Discount", -self.discount))
        rows += ["-" * WIDTH, _row("Total", self.order.total)]
        rows += [_row(f"  including {tax.percent} % tax on {tax.net}", tax.tax) for tax in self.taxes()]
        return "\n".join(rows) + "\n"


def _row(text: str, amount: Money) -> str:
    figure = str(amount)
    return f"{text[: WIDTH - len(figure) - 1]:<{WIDTH - len(figure)}}{figure}"
