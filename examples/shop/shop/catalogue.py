"""What the shop sells, and how a customer finds it."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from shop.money import Money


class UnknownProduct(KeyError):
    def __init__(self, sku: str) -> None:
        super().__init__(sku)
        self.sku = sku

    def __str__(self) -> str:
        return f"no product has the number {self.sku!r}"


@dataclass(frozen=True, slots=True)
class Product:
    sku: str
    name: str
    price: Money
    category: str
    weight_g: int
    vat_percent: int = 19


class Catalogue:
    def __init__(self, products: Iterable[Product] = ()) -> None:
        self._products: dict[str, Product] = {}
        for product in products:
            self.add(product)

    @classmethod
    def from_csv(cls, path: Path) -> Catalogue:
        """Read a file with the columns sku, name, price, category, weight_g and vat_percent."""
        catalogue = cls()
        with path.open(newline="", encoding="utf-8") as file:
            for number, row in enumerate(csv.DictReader(file), start=2):
                try:
                    product = Product(
                        sku=row["sku"],
                        name=row["name"],
                        price=Money.parse(row["price"]),
                        category=row["category"],
                        weight_g=int(row["weight_g"]),
                        vat_percent=int(row["vat_percent"]),
                    )
                except (KeyError, TypeError, ValueError) as error:
                    raise ValueError(f"{path.name}, line {number}: {error}") from error
                catalogue.add(product)
        return catalogue

    def add(self, product: Product) -> None:
        if product.sku in self._products:
            raise ValueError(f"there are two products with the number {product.sku!r}")
        if product.price.cents <= 0:
            raise ValueError(f"{product.sku!r} would be given away: its price is {product.price}")
        self._products[product.sku] = product

    def __getitem__(self, sku: str) -> Product:
        try:
            return self._products[sku]
        except KeyError:
            raise UnknownProduct(sku) from None

    def __contains__(self, sku: object) -> bool:
        return sku in self._products

    def __iter__(self) -> Iterator[Product]:
        return iter(self._products.values())

    def __len__(self) -> int:
        return len(self._products)

    def in_category(self, category: str) -> list[Product]:
        return sorted((p for p in self if p.category == category), key=lambda p: p.name)

    def search(self, text: str, limit: int = 5) -> list[Product]:
        """The products whose names come nearest, best first. One typo in three letters is forgiven."""
        words = text.lower().split()
        scored = []
        for product in self:
            names = product.name.lower().split()
            distances = [min(_distance(word, name) for name in names) for word in words]
            if words and all(d * 3 <= len(word) for d, word in zip(distances, words, strict=True)):
                scored.append((sum(distances), product.name, product))
        return [product for _, _, product in sorted(scored, key=lambda s: s[:2])[:limit]]


def _distance(one: str, other: str) -> int:
    """How many letters must be added, dropped or changed to make one word the other."""
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, start=1):
        previous, row[0] = row[0], i
        for j, b in enumerate(other, start=1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (a != b))
    return row[-1]
