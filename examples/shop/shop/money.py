"""Amounts of money in whole cents. Nothing here ever sees a float."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from functools import total_ordering

_PATTERN = re.compile(r"(-?)(\d{1,12})(?:\.(\d{2}))? ([A-Z]{3})")


class CurrencyMismatch(TypeError):
    """Two amounts of different currencies were put together."""


@total_ordering
@dataclass(frozen=True, slots=True)
class Money:
    cents: int
    currency: str = "EUR"

    @classmethod
    def parse(cls, text: str) -> Money:
        """Read "12.50 EUR", the form that `str` writes."""
        match = _PATTERN.fullmatch(text)
        if match is None:
            raise ValueError(f"not an amount of money: {text!r}, expected something like '12.50 EUR'")
        sign, whole, fraction, currency = match.groups()
        cents = int(whole) * 100 + int(fraction or 0)
        return cls(-cents if sign else cents, currency)

    def _same(self, other: Money) -> None:
        if self.currency != other.currency:
            raise CurrencyMismatch(f"{self} and {other} are of different currencies")

    def __add__(self, other: Money) -> Money:
        self._same(other)
        return Money(self.cents + other.cents, self.currency)

    def __sub__(self, other: Money) -> Money:
        self._same(other)
        return Money(self.cents - other.cents, self.currency)

    def __mul__(self, factor: int | Decimal) -> Money:
        exact = Decimal(self.cents) * factor
        return Money(int(exact.quantize(Decimal(1), rounding=ROUND_HALF_EVEN)), self.currency)

    def __neg__(self) -> Money:
        return Money(-self.cents, self.currency)

    def __lt__(self, other: Money) -> bool:
        self._same(other)
        return self.cents < other.cents

    def __bool__(self) -> bool:
        return self.cents != 0

    def __str__(self) -> str:
        whole, fraction = divmod(abs(self.cents), 100)
        return f"{'-' if self.cents < 0 else ''}{whole}.{fraction:02d} {self.currency}"

    def percent(self, percent: int | Decimal) -> Money:
        return self * (Decimal(percent) / 100)

    def allocate(self, weights: Sequence[int]) -> list[Money]:
        """Split by weights without losing a cent: the first shares take what rounding leaves over."""
        total = sum(weights)
        if total <= 0 or any(weight < 0 for weight in weights):
            raise ValueError(f"weights must not be negative and not all be zero: {list(weights)}")
        shares = [self.cents * weight // total for weight in weights]
        left_over = self.cents - sum(shares)
        for index in [i for i, weight in enumerate(weights) if weight][:left_over]:
            shares[index] += 1
        return [Money(cents, self.currency) for cents in shares]


def total(amounts: Sequence[Money], currency: str = "EUR") -> Money:
    result = Money(0, currency)
    for amount in amounts:
        result += amount
    return result
