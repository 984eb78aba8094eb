from __future__ import annotations

from decimal import Decimal

import pytest

from shop.money import CurrencyMismatch, Money, total


@pytest.mark.parametrize(
    ("text", "cents"),
    [
        ("0.00 EUR", 0),
        ("12.50 EUR", 1_250),
        ("7 EUR", 700),
        ("-3.10 EUR", -310),
    ],
)
def test_parses(text: str, cents: int) -> None:
    assert Money.parse(text) == Money(cents)


@pytest.mark.parametrize("text", ["", "12.5 EUR", "12,50 EUR", "EUR 12.50"])
def test_refuses_what_is_no_amount(text: str) -> None:
    with pytest.raises(ValueError, match="not an amount of money"):
        Money.parse(text)


@pytest.mark.parametrize("cents", [0, 99, 12_345, -250])
def test_text_is_read_back(cents: int) -> None:
    assert Money.parse(str(Money(cents, "CHF"))) == Money(cents, "CHF")


@pytest.mark.parametrize(
    ("cents", "factor", "expected"),
    [
        (100, Decimal("0.5"), 50),
        (5, Decimal("0.5"), 2),
        (15, Decimal("0.5"), 8),
        (333, 3, 999),
    ],
)
def test_rounds_half_to_even(cents: int, factor: Decimal | int, expected: int) -> None:
    assert Money(cents) * factor == Money(expected)


def test_currencies_do_not_mix() -> None:
    with pytest.raises(CurrencyMismatch, match="different currencies"):
        Money(1, "EUR") + Money(1, "CHF")
    with pytest.raises(CurrencyMismatch):
        _ = Money(1, "EUR") < Money(1, "CHF")


@pytest.mark.parametrize(
    ("cents", "weights", "expected"),
    [
        (100, [1, 1, 1], [34, 33, 33]),
        (1, [5, 5], [1, 0]),
        (-10, [1, 2], [-3, -7]),
    ],
)
def test_allocation_gives_the_rounding_to_the_first(
    cents: int, weights: list[int], expected: list[int]
) -> None:
    assert [share.cents for share in Money(cents).allocate(weights)] == expected


@pytest.mark.parametrize("weights", [[], [2, -1]])
def test_allocation_needs_something_to_go_by(weights: list[int]) -> None:
    with pytest.raises(ValueError, match="weights"):
        Money(100).allocate(weights)


@pytest.mark.parametrize("parts", [7, 365])
def test_no_cent_is_lost(parts: int) -> None:
    for cents in range(0, 5_000, 23):
        weights = [(cents * i) % 17 + 1 for i in range(1, parts + 1)]
        assert total(Money(cents).allocate(weights)) == Money(cents)
