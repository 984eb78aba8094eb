"""Price rules: what the shop takes off by itself, before any coupon."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from shop.cart import Cart
from shop.money import Money, total


@dataclass(frozen=True, slots=True)
class Adjustment:
    """Something taken off, as a positive amount, and why."""

    reason: str
    amount: Money


class Rule(Protocol):
    def apply(self, cart: Cart) -> Adjustment | None: ...


@dataclass(frozen=True, slots=True)
class Bulk:
    """Each piece is cheaper from a certain quantity on."""

    sku: str
    quantity_min: int
    price: Money

    def apply(self, cart: Cart) -> Adjustment | None:
        for line in cart:
            if line.product.sku == self.sku and line.quantity >= self.quantity_min:
                saved = (line.product.price - self.price) * line.quantity
                return Adjustment(f"{self.quantity_min} or more {line.product.name}", saved)
        return None


@dataclass(frozen=True, slots=True)
class BuyGet:
    """Buy some, get some more for nothing."""

    sku: str
    buy: int
    free: int

    def apply(self, cart: Cart) -> Adjustment | None:
        for line in cart:
            if line.product.sku == self.sku:
                sets, rest = divmod(line.quantity, self.buy + self.free)
                free = sets * self.free + max(0, rest - self.buy)
                if free:
                    return Adjustment(f"{free} {line.product.name} free", line.product.price * free)
        return None


@dataclass(frozen=True, slots=True)
class CategorySale:
    category: str
    percent: int

    def apply(self, cart: Cart) -> Adjustment | None:
        affected = total([line.total for line in cart if line.product.category == self.category])
        if not affected:
            return None
        return Adjustment(f"{self.percent} % off {self.category}", affected.percent(self.percent))


@dataclass(frozen=True, slots=True)
class Bundle:
    """Several products have a price together, as often as the cart holds them all."""

    skus: tuple[str, ...]
    price: Money

    def apply(self, cart: Cart) -> Adjustment | None:
        times = min(cart.quantity(sku) for sku in self.skus)
        if not times:
            return None
        single = total([line.product.price for line in cart if line.product.sku in self.skus])
        return Adjustment(f"{times} bundle(s)", (single - self.price) * times)


@dataclass(frozen=True, slots=True)
class Price:
    subtotal: Money
    adjustments: tuple[Adjustment, ...]

    @property
    def total(self) -> Money:
        off = total([adjustment.amount for adjustment in self.adjustments])
        return max(self.subtotal - off, Money(0))


def price(cart: Cart, rules: Sequence[Rule] = ()) -> Price:
    found = (rule.apply(cart) for rule in rules)
    return Price(cart.subtotal, tuple(adjustment for adjustment in found if adjustment is not None))
