"""Rows as Arrow arrays, which DuckDB reads in place: of columns that are made from whole lists at a time.

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
from nanoarrow.c_array_stream import CArrayStream

from projections.columns import Column
from projections.tables import Table

_encode_lines = msgspec.json.Encoder().encode_lines
"""No JSON holds a line's end, but in strings, and there it is escaped."""


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
    return _bytes(_encode_lines(values).split(b"\n")[:-1])


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


ROWS_MAX = 4_000
"""In one array. Buffers of megabytes are fetched from the system and given back each time, page by page, which costs a
fourth of what it takes to fill them."""


class Rows:
    """The rows of one table, for a connection to `register`.

    Raises:
        OverflowError: a number is larger than any column.
        UnicodeEncodeError: a text has half of a surrogate pair.
    """

    def __init__(self, table: Table, rows: Sequence[msgspec.Struct]) -> None:
        columns = table.columns
        self._schema = na.struct({name: _KINDS[column.sql].schema for name, column in columns.items()})
        self._arrays = []
        for first in range(0, len(rows), ROWS_MAX):
            some = rows[first : first + ROWS_MAX]
            children = [_column(column, list(map(attrgetter(name), some))) for name, column in columns.items()]
            self._arrays.append(c_array_from_buffers(self._schema, len(some), [None], children=children))

    def stream(self) -> object:
        """For one statement: a capsule of the Arrow C interface. An object would be called by DuckDB, five times, which
        waits each time until another thread lets it run Python."""
        return CArrayStream.from_c_arrays(self._arrays, na.c_schema(self._schema)).__arrow_c_stream__()


def _column(column: Column, values: list[Any]) -> Any:
    kind = _KINDS[column.sql]
    validity, missing = None, 0
    if column.nullable and None in values:
        present = [value is not None for value in values]
        validity, missing = na.c_buffer(present, na.bool_()), present.count(False)
        values = [kind.empty if value is None else value for value in values]
    return c_array_from_buffers(kind.schema, len(values), [validity, *kind.buffers(values)], null_count=missing)
