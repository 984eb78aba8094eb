"""Orders on disk."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from shop.cart import Line
from shop.catalogue import Catalogue
from shop.money import Money
from shop.orders import Order, State

_SCHEMA = """
CREATE TABLE IF NOT EXISTS orders (number INTEGER PRIMARY KEY, total TEXT NOT NULL, story TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS lines (
    number INTEGER NOT NULL REFERENCES orders, position INTEGER NOT NULL,
    sku TEXT NOT NULL, quantity INTEGER NOT NULL, PRIMARY KEY (number, position)
);
"""


class OrderStore:
    def __init__(self, path: Path, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._connection = sqlite3.connect(path)
        self._connection.execute("PRAGMA foreign_keys = ON")
        self._connection.executescript(_SCHEMA)

    def close(self) -> None:
        self._connection.close()

    def save(self, order: Order) -> None:
        """Write an order and its lines in one transaction, replacing what was there."""
        story = ",".join(state.value for state in order.story)
        rows = [(order.number, i, ln.product.sku, ln.quantity) for i, ln in enumerate(order.lines)]
        with self._connection as connection:
            connection.execute("DELETE FROM lines WHERE number = ?", (order.number,))
            connection.execute(
                "INSERT INTO orders VALUES (?, ?, ?) "
                "ON CONFLICT (number) DO UPDATE SET total = excluded.total, story = excluded.story",
                (order.number, str(order.total), story),
            )
            connection.executemany("INSERT INTO lines VALUES (?, ?, ?, ?)", rows)

    def load(self, number: int) -> Order:
        found = self._connection.execute(
            "SELECT total, story FROM orders WHERE number = ?", (number,)
        ).fetchone()
        if found is None:
            raise KeyError(f"there is no order {number}")
        rows = self._connection.execute(
            "SELECT sku, quantity FROM lines WHERE number = ? ORDER BY position", (number,)
        )
        lines = tuple(Line(self._catalogue[sku], quantity) for sku, quantity in rows)
        story = [State(value) for value in found[1].split(",")]
        return Order(number, lines, Money.parse(found[0]), story=story)

    def numbers(self, state: State | None = None) -> list[int]:
        rows = self._connection.execute("SELECT number, story FROM orders ORDER BY number").fetchall()
        return [number for number, story in rows if state is None or story.split(",")[-1] == state.value]
