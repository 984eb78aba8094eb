"""The SQL that moves rows in and out, made from the table definitions.

Rows go in as one Arrow table a statement: `executemany` takes about a millisecond a row, JSON four times as long as
Arrow. An upsert that meets a key twice in one statement keeps the first row in silence, so callers pass each key once.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

import msgspec

from projections.tables import Table

ROWS = "resurgam_rows"
"""What `insert` and `upsert` read from: an Arrow table that is registered for as long as they run."""

_OUT = {"TIMESTAMP": "epoch_us({0})"}


@cache
def insert(table: Table) -> str:
    """Takes the new rows that are registered as `ROWS`.

    DuckDB casts them strictly: what does not fit its column is an error, never a NULL.
    """
    return f"INSERT INTO {table.name} BY NAME FROM {ROWS}"


@cache
def upsert(table: Table) -> str:
    """The same with rows whose key may be there already: those are updated. Each has another key."""
    # The key is never set: assigning the conflict column can null others.
    changes = ", ".join(f"{name} = excluded.{name}" for name in table.columns if name != table.key)
    return f"{insert(table)} ON CONFLICT ({table.key}) DO UPDATE SET {changes}"


@cache
def select(table: Table, condition: str) -> str:
    columns = ", ".join(_OUT.get(column.sql, "{0}").format(name) for name, column in table.columns.items())
    return f"SELECT {columns} FROM {table.name} WHERE {condition}"  # noqa: S608


def by_values(table: Table, column: str) -> str:
    """Takes a JSON array of values of that column."""
    return select(table, f"""{column} IN (SELECT unnest(from_json(?, '["VARCHAR"]'))) ORDER BY {table.key}""")


def rows(table: Table, found: Sequence[tuple[Any, ...]]) -> list[Any]:
    """What `select` found, as the table's row type."""
    json_columns = [name for name, column in table.columns.items() if column.sql == "JSON"]
    made = []
    for values in found:
        row = dict(zip(table.columns, values, strict=True))
        for name in json_columns:
            if row[name] is not None:
                row[name] = msgspec.json.decode(row[name])
        made.append(table.row(**row))
    return made
