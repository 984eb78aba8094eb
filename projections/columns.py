"""What a column is: written once, at the field of the row type that it holds."""

from functools import cache
from types import NoneType
from typing import Any, NamedTuple, get_args, get_type_hints

import msgspec


class Column(NamedTuple):
    """`sql` is DuckDB's type. `text` is for people: one sentence or half of one, as docs/schema.md shows it. `nullable`
    follows from the type of the field."""

    sql: str
    text: str
    nullable: bool = False


def integer(text: str) -> Column:
    return Column("INTEGER", text)


def bigint(text: str) -> Column:
    return Column("BIGINT", text)


def double(text: str) -> Column:
    return Column("DOUBLE", text)


def boolean(text: str) -> Column:
    return Column("BOOLEAN", text)


def varchar(text: str) -> Column:
    return Column("VARCHAR", text)


def timestamp(text: str) -> Column:
    """Rows carry microseconds since the epoch; times are the broker's, in UTC, unless the text says otherwise."""
    return Column("TIMESTAMP", text)


def json(text: str) -> Column:
    """Rows carry the object itself."""
    return Column("JSON", text)


@cache
def columns_of(row: type[msgspec.Struct]) -> dict[str, Column]:
    """The columns of a row type, in the order of its fields.

    Raises:
        TypeError: a field does not say what column it is.
    """
    hints: dict[str, Any] = get_type_hints(row, include_extras=True)
    found = {}
    for name in row.__struct_fields__:
        column = next((one for one in getattr(hints[name], "__metadata__", ()) if isinstance(one, Column)), None)
        if column is None:
            raise TypeError(f"{row.__name__}.{name} has no Column among its annotations")
        found[name] = column._replace(nullable=NoneType in get_args(get_args(hints[name])[0]))
    return found
