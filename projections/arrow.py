"""Rows as one Arrow table, which DuckDB reads in place: of columns that are made from whole lists at a time.

Layout: https://arrow.apache.org/docs/format/Columnar.html
"""

from array import array
from collections.abc import Callable, Sequence
from itertools import accumulate
from operator import attrgetter
from typing import Any, NamedTuple

import msgspec
import nanoarrow as na
from nanoarrow.c_array import c_array_from_buffers

from projections.columns import Column
from projections.tables import Table

_encode = msgspec.json.Encoder().encode


class _Kind(NamedTuple):
    """How a column of one SQL type travels: as which Arrow type, what stands where there is none, and what turns the
    values into buffers."""

    schema: Any
    empty: Any
    buffers: Callable[[list[Any]], list[Any]]


def _numbers(code: str) -> Callable[[list[Any]], list[Any]]:
    return lambda values: [array(code, values)]


def _texts(values: list[str]) -> list[Any]:
    whole = "".join(values)
    if not whole.isascii():
        return _bytes([text.encode() for text in values])
    return [array("i", accumulate(map(len, values), initial=0)), whole.encode()]


def _bytes(values: list[bytes]) -> list[Any]:
    return [array("i", accumulate(map(len, values), initial=0)), b"".join(values)]


def _json(values: list[Any]) -> list[Any]:
    return _bytes(list(map(_encode, values)))


_INTEGERS = _Kind(na.int64(), 0, _numbers("q"))
_KINDS = {
    "INTEGER": _INTEGERS,
    "BIGINT": _INTEGERS,
    "TIMESTAMP": _Kind(na.timestamp("us"), 0, _numbers("q")),
    "DOUBLE": _Kind(na.float64(), 0.0, _numbers("d")),
    "BOOLEAN": _Kind(na.int8(), False, _numbers("b")),
    "VARCHAR": _Kind(na.string(), "", _texts),
    "JSON": _Kind(na.string(), {}, _json),
    "BLOB": _Kind(na.binary(), b"", _bytes),
}


class Rows:
    """The rows of one table, for a connection to `register`.

    Raises:
        OverflowError: a number is larger than any column.
        UnicodeEncodeError: a text has half of a surrogate pair.
    """

    def __init__(self, table: Table, rows: Sequence[msgspec.Struct]) -> None:
        children = []
        fields = {}
        for name, column in table.columns.items():
            values = list(map(attrgetter(name), rows))
            children.append(_column(column, values))
            fields[name] = _KINDS[column.sql].schema
        self._array = c_array_from_buffers(na.struct(fields), len(rows), [None], children=children)

    def stream(self) -> object:
        """For one statement: a capsule of the Arrow C interface. An object would be called by DuckDB, five times, which
        waits each time until another thread lets it run Python."""
        return na.c_array_stream(self._array).__arrow_c_stream__()


def _column(column: Column, values: list[Any]) -> Any:
    kind = _KINDS[column.sql]
    validity, missing = None, 0
    if column.nullable and None in values:
        present = [value is not None for value in values]
        validity, missing = na.c_buffer(present, na.bool_()), present.count(False)
        values = [kind.empty if value is None else value for value in values]
    return c_array_from_buffers(kind.schema, len(values), [validity, *kind.buffers(values)], null_count=missing)
