"""What a parcel costs, and who carries it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from shop.limiter import TokenBucket
from shop.money import Money

ZONES = {"DE": 1, "AT": 2, "NL": 2, "FR": 2, "ES": 3, "SE": 3, "US": 4}
WEIGHT_MAX_G = 31_500


class CannotShip(Exception):
    pass


@dataclass(frozen=True, slots=True)
class Quote:
    carrier: str
    price: Money
    days: int


@dataclass(frozen=True, slots=True)
class Carrier:
    """A tariff of a base price, a price per started kilogram, and a factor for each zone."""

    name: str
    base: Money
    per_kg: Money
    days: int
    zone_max: int = 4
    latency_s: float = 0.0

    def quote(self, country: str, weight_g: int) -> Quote:
        time.sleep(self.latency_s)
        zone = ZONES.get(country)
        if zone is None or zone > self.zone_max:
            raise CannotShip(f"{self.name} does not deliver to {country}")
        if not 0 < weight_g <= WEIGHT_MAX_G:
            raise CannotShip(f"{self.name} takes parcels up to {WEIGHT_MAX_G} g, not of {weight_g} g")
        kilograms = -(-weight_g // 1000)
        return Quote(self.name, (self.base + self.per_kg * kilograms) * zone, self.days + zone - 1)


def quotes(
    carriers: Sequence[Carrier], country: str, weight_g: int, limiter: TokenBucket | None = None
) -> list[Quote]:
    """Ask every carrier, cheapest answer first; those who cannot deliver are left out."""
    found = []
    for carrier in carriers:
        if limiter is not None:
            limiter.acquire()
        try:
            found.append(carrier.quote(country, weight_g))
        except CannotShip:
            continue
    if not found:
        raise CannotShip(f"nobody carries {weight_g} g to {country}")
    return sorted(found, key=lambda quote: (quote.price, quote.days, quote.carrier))


def within_days(offers: Sequence[Quote], days_max: int) -> Quote | None:
    return next((offer for offer in offers if offer.days <= days_max), None)
