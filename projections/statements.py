"""The SQL that moves rows in and out, made from the table definitions.

Rows go in through one JSON parameter a statement: `executemany` takes about a millisecond a row, and an upsert that
meets a key twice in one statement keeps the first row in silence, so callers pass each key once.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

import msgspec

from projections.tables import Table

_WIRE = {"TIMESTAMP": "BIGINT", "BLOB": "VARCHAR"}
"""How a column's value travels in JSON, where that is not as itself."""

_IN = {"TIMESTAMP": "make_timestamp(x.{0})", "BLOB": "from_base64(x.{0})"}
_OUT = {"TIMESTAMP": "epoch_us({0})"}


@cache
def insert(table: Table) -> str:
    """Takes a JSON array of new rows.

    It is strict: otherwise a value that does not fit would be a NULL in silence.
    """
    wire = msgspec.json.encode([{name: _WIRE.get(kind, kind) for name, (kind, _) in table.columns.items()}]).decode()
    values = ", ".join(_IN.get(kind, "x.{0}").format(name) for name, (kind, _) in table.columns.items())
    return f"INSERT INTO {table.name} SELECT {values} FROM (SELECT unnest(from_json_strict(?, '{wire}')) AS x)"  # noqa: S608


@cache
def upsert(table: Table) -> str:
    """Takes a JSON array of rows, each with another key; those whose key is there already are updated."""
    # The key is never set: assigning the conflict column can null others.
    changes = ", ".join(f"{name} = excluded.{name}" for name in table.columns if name != table.key)
    return f"{insert(table)} ON CONFLICT ({table.key}) DO UPDATE SET {changes}"


@cache
def select(table: Table, condition: str) -> str:
    columns = ", ".join(_OUT.get(kind, "{0}").format(name) for name, (kind, _) in table.columns.items())
    return f"SELECT {columns} FROM {table.name} WHERE {condition}"  # noqa: S608


def by_values(table: Table, column: str) -> str:
    """Takes a JSON array of values of that column."""
    return select(table, f"""{column} IN (SELECT unnest(from_json(?, '["VARCHAR"]'))) ORDER BY {table.key}""")


def rows(table: Table, found: Sequence[tuple[Any, ...]]) -> list[Any]:
    """What `select` found, as the table's row type."""
    json_columns = [name for name, (kind, _) in table.columns.items() if kind == "JSON"]
    made = []
    for values in found:
        row = dict(zip(table.columns, values, strict=True))
        for name in json_columns:
            if row[name] is not None:
                row[name] = msgspec.json.decode(row[name])
        made.append(table.row(**row))
    return made


CHUNK_BYTES_MAX = 16 * 1024 * 1024
_encoder = msgspec.json.Encoder()


def chunks(found: Sequence[msgspec.Struct]) -> list[str]:
    """The rows as JSON arrays, each small enough for one parameter."""
    encoded = _encoder.encode(found)
    if len(encoded) <= CHUNK_BYTES_MAX or len(found) == 1:
        return [encoded.decode()]
    half = len(found) // 2
    return chunks(found[:half]) + chunks(found[half:])
