from __future__ import annotations

import os
import time

import pytest

from shop.money import Money
from shop.payments import Declined, NotSettled, Sandbox, Status, charge, wait_until_settled
from shop.retry import GaveUp
from shop.testing import Clock

PRICE = Money(4_990)

# What the provider's own sandbox takes to answer, as measured on a quiet day.
LATENCY_S = 0.19


@pytest.fixture(scope="module")
def gateway() -> Sandbox:
    """One sandbox for all tests of this module, as with the provider's."""
    return Sandbox(latency_s=LATENCY_S, settles_after_s=0.2)


@pytest.mark.parametrize("cents", [1, 4_990, 100_000])
def test_charges(gateway: Sandbox, cents: int) -> None:
    assert charge(gateway, f"charge-{cents}", Money(cents)).startswith("pay-")


@pytest.mark.parametrize("cents", [100_001, 5_000_000])
def test_declines_large_amounts_at_once(gateway: Sandbox, cents: int) -> None:
    calls = gateway.calls
    with pytest.raises(Declined, match="over the limit"):
        charge(gateway, f"large-{cents}", Money(cents))
    assert gateway.calls == calls + 1


def test_one_key_is_charged_once(gateway: Sandbox) -> None:
    assert charge(gateway, "twice", PRICE) == charge(gateway, "twice", PRICE)


def test_different_keys_are_different_payments(gateway: Sandbox) -> None:
    assert charge(gateway, "one", PRICE) != charge(gateway, "other", PRICE)


def test_settles_after_a_while(gateway: Sandbox) -> None:
    payment = charge(gateway, "settles", PRICE)
    assert wait_until_settled(gateway, payment, every_s=0.02) >= 1
    assert gateway.status(payment) is Status.SETTLED


def test_an_unknown_payment_is_declined(gateway: Sandbox) -> None:
    with pytest.raises(Declined, match="pay-none"):
        wait_until_settled(gateway, "pay-none")


@pytest.mark.parametrize("hiccups", [1, 2, 3])
def test_survives_hiccups(hiccups: int) -> None:
    gateway = Sandbox(latency_s=0.02, hiccups=hiccups)
    assert charge(gateway, "order-1", PRICE) == "pay-1"
    assert gateway.calls == hiccups + 1


def test_does_not_try_for_ever() -> None:
    gateway = Sandbox(hiccups=100)
    with pytest.raises(GaveUp):
        charge(gateway, "order-1", PRICE, first_s=0.01)
    assert gateway.calls == 4


@pytest.mark.parametrize(("settles_after_s", "every_s"), [(0.0, 0.05), (0.2, 0.1), (0.4, 0.02)])
def test_polls(settles_after_s: float, every_s: float) -> None:
    gateway = Sandbox(settles_after_s=settles_after_s)
    started_at = time.monotonic()
    asked = wait_until_settled(gateway, gateway.charge("order-1", PRICE), every_s=every_s)
    assert time.monotonic() - started_at >= settles_after_s - 0.001
    assert asked <= settles_after_s / every_s + 2


def test_stops_polling_at_the_timeout(clock: Clock) -> None:
    gateway = Sandbox(settles_after_s=3_600)
    payment = gateway.charge("order-1", PRICE)
    with pytest.raises(NotSettled, match=r"still pending after 10\.0 s"):
        wait_until_settled(gateway, payment, every_s=2.5, timeout_s=10, clock=clock, sleep=clock.sleep)
    assert clock.slept == [2.5] * 4


@pytest.mark.slow
@pytest.mark.parametrize("settles_after_s", [1.2, 1.8])
def test_a_slow_bank(settles_after_s: float) -> None:
    gateway = Sandbox(latency_s=0.01, settles_after_s=settles_after_s)
    started_at = time.monotonic()
    wait_until_settled(gateway, charge(gateway, "order-1", PRICE), every_s=0.1)
    assert time.monotonic() - started_at >= settles_after_s


@pytest.mark.slow
def test_a_slow_bank_with_hiccups() -> None:
    gateway = Sandbox(latency_s=0.02, settles_after_s=1.6)
    payment = charge(gateway, "order-1", PRICE)
    gateway.hiccups = 2
    wait_until_settled(gateway, payment, every_s=0.2)
    assert gateway.hiccups == 0


@pytest.mark.skipif(
    "SHOP_GATEWAY_URL" not in os.environ, reason="needs SHOP_GATEWAY_URL, the provider's sandbox"
)
def test_against_the_provider() -> None:
    assert os.environ["SHOP_GATEWAY_URL"].startswith("https://")
