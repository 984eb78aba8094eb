"""A customer's cart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from shop.catalogue import Catalogue, Product
from shop.money import Money, total

QUANTITY_MAX = 99


@dataclass(frozen=True, slots=True)
class Line:
    product: Product
    quantity: int

    @property
    def total(self) -> Money:
        return self.product.price * self.quantity


class Cart:
    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._quantities: dict[str, int] = {}

    def add(self, sku: str, quantity: int = 1) -> None:
        if quantity < 1:
            raise ValueError(f"cannot add {quantity} of {sku!r}: add at least one")
        self.set(sku, self.quantity(sku) + quantity)

    def set(self, sku: str, quantity: int) -> None:
        """Setting a quantity of zero takes the product out."""
        product = self._catalogue[sku]
        if not 0 <= quantity <= QUANTITY_MAX:
            raise ValueError(f"cannot hold {quantity} of {sku!r}: from 0 to {QUANTITY_MAX} are allowed")
        if quantity:
            self._quantities[product.sku] = quantity
        else:
            self._quantities.pop(sku, None)

    def quantity(self, sku: str) -> int:
        return self._quantities.get(sku, 0)

    def merge(self, other: Cart) -> None:
        """Take over what a guest had put in before logging in; the larger quantity of each wins."""
        for line in other:
            self.set(line.product.sku, max(line.quantity, self.quantity(line.product.sku)))

    def __iter__(self) -> Iterator[Line]:
        for sku, quantity in self._quantities.items():
            yield Line(self._catalogue[sku], quantity)

    def __len__(self) -> int:
        return sum(self._quantities.values())

    @property
    def subtotal(self) -> Money:
        return total([line.total for line in self])

    @property
    def weight_g(self) -> int:
        return sum(line.product.weight_g * line.quantity for line in self)
