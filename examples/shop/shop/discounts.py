"""Coupons, and the best order to redeem them in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from itertools import permutations

from shop.money import Money

COUPONS_MAX = 7


@dataclass(frozen=True, slots=True)
class Coupon:
    """Takes off a percentage and then a fixed amount, either of which may be zero."""

    code: str
    percent: int = 0
    amount: Money = Money(0)
    minimum: Money = Money(0)
    exclusive: bool = False
    valid_from: date = date.min
    valid_to: date = date.max

    def valid_on(self, day: date) -> bool:
        return self.valid_from <= day <= self.valid_to

    def redeem(self, price: Money) -> Money:
        """The new price; unchanged when the price is below the coupon's minimum."""
        if price < self.minimum:
            return price
        return max(price - price.percent(self.percent) - self.amount, Money(0, price.currency))


@dataclass(frozen=True, slots=True)
class Redemption:
    price: Money
    codes: tuple[str, ...]


def redeem_best(price: Money, coupons: Sequence[Coupon], day: date) -> Redemption:
    """Try every order of the valid coupons; an exclusive one stands alone.

    Order matters: ten per cent and then five euros is not five euros and then ten per cent, and a
    coupon redeemed early can push the price below another one's minimum.
    """
    valid = [coupon for coupon in coupons if coupon.valid_on(day)]
    if len(valid) > COUPONS_MAX:
        raise ValueError(f"{len(valid)} coupons are too many, at most {COUPONS_MAX} can be redeemed together")
    shared = [coupon for coupon in valid if not coupon.exclusive]
    candidates = [Redemption(coupon.redeem(price), (coupon.code,)) for coupon in valid if coupon.exclusive]
    for order in permutations(shared):
        reduced, codes = price, []
        for coupon in order:
            before, reduced = reduced, coupon.redeem(reduced)
            if reduced != before:
                codes.append(coupon.code)
        candidates.append(Redemption(reduced, tuple(codes)))
    return min(candidates, key=lambda c: (c.price, len(c.codes), c.codes))
