"""The answer to a statement, in the form that was asked for."""

import csv
import enum
import io
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from projections.client import Result

INT64_MAX = 2**63 - 1
INTEGERS = {"BIGINT", "INTEGER", "SMALLINT", "TINYINT", "HUGEINT", "UBIGINT", "UINTEGER", "USMALLINT", "UTINYINT"}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Form(enum.StrEnum):
    table = "table"
    csv = "csv"
    json = "json"
    arrow = "arrow"


def written(result: "Result", form: Form) -> bytes:
    """As it goes to standard output. `arrow` is a stream of Arrow's IPC format."""
    if form is Form.arrow:
        return _arrow(result)
    if form is Form.json:
        rows = [dict(zip(result.columns, row, strict=True)) for row in result.rows]
        return msgspec.json.format(msgspec.json.encode(rows)) + b"\n"
    if form is Form.csv:
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(result.columns)
        writer.writerows(result.rows)
        return buffer.getvalue().encode()
    return _table(result).encode()


def _table(result: "Result") -> str:
    from replay.tables import console, table

    made = table(*result.columns)
    for row in result.rows:
        made.add_row(*("" if value is None else str(value) for value in row))
    out = console()
    with out.capture() as captured:
        out.print(made)
    return captured.get()


def _arrow(result: "Result") -> bytes:
    import nanoarrow as na
    from nanoarrow.c_array import c_array_from_buffers
    from nanoarrow.ipc import StreamWriter

    columns = [[row[number] for row in result.rows] for number in range(len(result.columns))]
    fields: dict[str, Any] = {}
    arrays = []
    for name, kind, values in zip(result.columns, result.types, columns, strict=True):
        chosen, converted = _arrow_column(kind, values)
        schema = getattr(na, chosen)("us") if chosen == "timestamp" else getattr(na, chosen)()
        fields[_unused(name, fields)] = schema
        arrays.append(na.c_array(converted, schema))
    whole = c_array_from_buffers(na.struct(fields), len(result.rows), [None], children=arrays)
    out = io.BytesIO()
    with StreamWriter.from_writable(out) as writer:
        writer.write_stream(na.c_array_stream(whole))
    return out.getvalue()


def _unused(name: str, taken: Iterable[str]) -> str:
    """A join may give two columns of one name."""
    number, found = 1, name
    while found in taken:
        number += 1
        found = f"{name}_{number}"
    return found


def _arrow_column(kind: str, values: Sequence[Any]) -> tuple[str, list[Any]]:
    """The name of an Arrow type, and the values as it takes them. Whatever has no number or time of its own is text."""
    known = [value for value in values if value is not None]
    if kind in INTEGERS and all(isinstance(value, int) and abs(value) <= INT64_MAX for value in known):
        return "int64", list(values)
    if kind == "BOOLEAN":
        return "bool_", list(values)
    if kind in ("DOUBLE", "FLOAT") or (kind.startswith("DECIMAL") and all(isinstance(one, float) for one in known)):
        return "float64", [None if value is None else float(value) for value in values]
    if kind == "TIMESTAMP":
        return "timestamp", [None if value is None else _microseconds(value) for value in values]
    return "string", [None if value is None else _text(value) for value in values]


def _microseconds(text: str) -> int:
    since = datetime.fromisoformat(text).replace(tzinfo=UTC) - EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
