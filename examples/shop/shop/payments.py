"""Paying: a gateway's sandbox, and the job that waits for a payment to settle."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from itertools import count
from typing import Protocol

from shop.money import Money
from shop.retry import Transient, with_backoff


class Status(Enum):
    PENDING = "pending"
    SETTLED = "settled"
    DECLINED = "declined"


class Declined(Exception):
    """The bank said no. Asking again will not help."""


class NotSettled(Exception):
    def __init__(self, payment: str, waited_s: float) -> None:
        super().__init__(f"payment {payment} is still pending after {waited_s:.1f} s")


class Gateway(Protocol):
    def charge(self, key: str, amount: Money) -> str: ...
    def status(self, payment: str) -> Status: ...


@dataclass
class Sandbox:
    """Behaves like the real gateway, down to its latency: payments settle after a while."""

    latency_s: float = 0.0
    settles_after_s: float = 0.0
    hiccups: int = 0
    limit: Money = Money(100_000)
    calls: int = 0
    _payments: dict[str, tuple[str, float]] = field(default_factory=dict)
    _numbers: count[int] = field(default_factory=lambda: count(1))

    def _travel(self) -> None:
        self.calls += 1
        time.sleep(self.latency_s)
        if self.hiccups:
            self.hiccups -= 1
            raise Transient("the gateway did not answer")

    def charge(self, key: str, amount: Money) -> str:
        """Charging twice with the same key charges once."""
        self._travel()
        if amount > self.limit:
            raise Declined(f"{amount} is over the limit of {self.limit}")
        if key not in self._payments:
            self._payments[key] = (f"pay-{next(self._numbers)}", time.monotonic() + self.settles_after_s)
        return self._payments[key][0]

    def status(self, payment: str) -> Status:
        self._travel()
        for name, settles_at in self._payments.values():
            if name == payment:
                return Status.SETTLED if time.monotonic() >= settles_at else Status.PENDING
        return Status.DECLINED


def charge(gateway: Gateway, key: str, amount: Money, first_s: float = 0.05) -> str:
    return with_backoff(lambda: gateway.charge(key, amount), first_s=first_s)


def wait_until_settled(
    gateway: Gateway,
    payment: str,
    *,
    every_s: float = 0.1,
    timeout_s: float = 10.0,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """Ask again and again until the payment has settled; returns how often it had to ask."""
    started_at = clock()
    asked = 0
    while True:
        asked += 1
        status = with_backoff(lambda: gateway.status(payment), sleep=sleep)
        if status is Status.SETTLED:
            return asked
        if status is Status.DECLINED:
            raise Declined(f"payment {payment} is unknown or was declined")
        if clock() - started_at >= timeout_s:
            raise NotSettled(payment, clock() - started_at)
        sleep(every_s)
