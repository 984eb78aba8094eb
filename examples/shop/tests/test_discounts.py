from __future__ import annotations

from datetime import date

import pytest

from shop.discounts import Coupon, redeem_best
from shop.money import Money

DAY = date(2024, 5, 17)

TEN_PERCENT = Coupon("TEN", percent=10)
FIVE_EUROS = Coupon("FIVE", amount=Money(500))
BIG_SPENDER = Coupon("BIG", amount=Money(2_000), minimum=Money(10_000))
HALF_PRICE = Coupon("HALF", percent=50, exclusive=True)


@pytest.mark.parametrize(
    ("coupon", "price", "expected"),
    [
        (TEN_PERCENT, 1_000, 900),
        (FIVE_EUROS, 300, 0),
        (BIG_SPENDER, 9_999, 9_999),
        (BIG_SPENDER, 10_000, 8_000),
        (Coupon("BOTH", percent=10, amount=Money(100)), 1_000, 800),
    ],
)
def test_one_coupon(coupon: Coupon, price: int, expected: int) -> None:
    assert coupon.redeem(Money(price)) == Money(expected)


@pytest.mark.parametrize(
    ("price", "coupons", "expected", "codes"),
    [
        (10_000, [], 10_000, ()),
        (10_000, [TEN_PERCENT, FIVE_EUROS], 8_500, ("TEN", "FIVE")),
        (10_000, [TEN_PERCENT, BIG_SPENDER], 7_200, ("BIG", "TEN")),
        (9_000, [TEN_PERCENT, BIG_SPENDER], 8_100, ("TEN",)),
        (10_000, [TEN_PERCENT, FIVE_EUROS, HALF_PRICE], 5_000, ("HALF",)),
    ],
)
def test_finds_the_best_order(
    price: int, coupons: list[Coupon], expected: int, codes: tuple[str, ...]
) -> None:
    best = redeem_best(Money(price), coupons, DAY)
    assert (best.price, best.codes) == (Money(expected), codes)


@pytest.mark.parametrize(
    ("day", "valid"),
    [
        (date(2024, 4, 30), False),
        (date(2024, 5, 1), True),
        (date(2024, 5, 31), True),
        (date(2024, 6, 1), False),
    ],
)
def test_coupons_have_their_time(day: date, valid: bool) -> None:
    coupon = Coupon("MAY", percent=10, valid_from=date(2024, 5, 1), valid_to=date(2024, 5, 31))
    assert (redeem_best(Money(1_000), [coupon], day).codes == ("MAY",)) is valid


@pytest.mark.parametrize("count", [6, 7])
def test_many_coupons(count: int) -> None:
    """A percentage saves most while the price is still high, so it comes first."""
    coupons = [Coupon(f"OFF{n}", amount=Money(100 * n)) for n in range(1, count)] + [TEN_PERCENT]
    assert redeem_best(Money(50_000), coupons, DAY).codes[0] == "TEN"


def test_too_many_coupons() -> None:
    with pytest.raises(ValueError, match="8 coupons are too many"):
        redeem_best(Money(1_000), [Coupon(f"C{n}", percent=1) for n in range(8)], DAY)
