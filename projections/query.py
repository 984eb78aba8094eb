"""Runs one SQL statement against one closed DuckDB file, and can do nothing else.

A process of its own, because DuckDB cannot be stopped or held to its memory limit from within: it reads a request
from standard input, writes one answer to standard output, and is killed by whoever started it when it takes too
long. It imports nothing of ours, so that it starts fast and runs in isolated mode. It may be started ahead of time, and
waits for its request for as long as somebody holds the other end of its input.

Request: {path, sql, rows_max, bytes_max, timeout_s}. Answer: {columns, types, rows, truncated, through_sequence} or
{error}. Timestamps are ISO 8601 in UTC without a zone, as DuckDB holds them; what JSON has no word for is a string.
"""

from __future__ import annotations

import json
import math
import resource
import signal
import sys
from decimal import Decimal
from typing import Any

MEMORY_LIMIT = "512MB"
ADDRESS_SPACE_BYTES = 2 * 1024**3
"""The memory limit, the interpreter, DuckDB's code and its threads' stacks."""
THREADS = 2
OPEN_FILES_MAX = 64
START_S = 2
"""Allowed for the interpreter itself."""
NO_HISTORY = "(this file holds no history)"
DECIMAL_DIGITS_MAX = 15
"""What a JSON number carries without loss everywhere."""


def limit(timeout_s: float) -> None:
    """What the kernel enforces, whatever DuckDB does. No file can be written at all."""
    allowed_s = math.ceil(timeout_s) + START_S
    for kind, value in (
        (resource.RLIMIT_AS, ADDRESS_SPACE_BYTES),
        (resource.RLIMIT_CPU, allowed_s * THREADS),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, OPEN_FILES_MAX),
    ):
        _, hard = resource.getrlimit(kind)
        allowed = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (allowed, allowed))
    # Should the parent die first, nobody else would end this.
    signal.alarm(allowed_s + START_S)


def answer(request: dict[str, Any]) -> dict[str, Any]:
    import duckdb

    try:
        connection = duckdb.connect(
            request["path"],
            read_only=True,
            config={
                "memory_limit": MEMORY_LIMIT,
                "threads": THREADS,
                # No spilling: what does not fit into memory fails.
                "temp_directory": "",
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
                "allow_community_extensions": False,
                # Otherwise a SELECT could read this program's variables.
                "python_enable_replacements": False,
            },
        )
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
        connection.execute("BEGIN TRANSACTION READ ONLY")
    except duckdb.Error as error:
        return {"error": f"the history cannot be opened: {first_line(error)}"}
    try:
        statement = only_statement(connection, request["sql"])
        if isinstance(statement, str):
            return {"error": statement}
        through = through_sequence(connection)
        connection.execute(statement)
        return result(connection, request["rows_max"], request["bytes_max"]) | {"through_sequence": through}
    except duckdb.OutOfMemoryException:
        return {"error": f"the statement needs more than the {MEMORY_LIMIT} of memory that it may have"}
    except duckdb.Error as error:
        return {"error": str(error).strip()[:4000] + hint(connection, error)}
    except MemoryError:
        return {"error": "the result needs more memory than it may have"}
    except (ValueError, OverflowError, RecursionError) as error:
        return {"error": f"a value has no form outside DuckDB: {error}"}


def only_statement(connection: Any, sql: str) -> Any:
    """The one statement that may run, or a sentence that says why it may not."""
    import duckdb

    statements = connection.extract_statements(sql)
    if len(statements) != 1:
        return f"exactly one statement is taken, and this is {len(statements)}"
    if statements[0].type not in {duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN}:
        return f"only SELECT and EXPLAIN are taken, and this is {statements[0].type.name}: the history is the log's"
    return statements[0]


def hint(connection: Any, error: BaseException) -> str:
    """What the error does not say: that it is not a statement's fault if a file has none of our tables."""
    import duckdb

    if not isinstance(error, duckdb.CatalogException):
        return ""
    connection.execute("ROLLBACK")
    connection.execute("BEGIN TRANSACTION READ ONLY")
    return "" if through_sequence(connection) is not None else f"\n{NO_HISTORY}"


def through_sequence(connection: Any) -> int | None:
    import duckdb

    try:
        row = connection.execute("SELECT sequence FROM main.position").fetchone()
    except duckdb.CatalogException:
        # The error has ended the transaction.
        connection.execute("ROLLBACK")
        connection.execute("BEGIN TRANSACTION READ ONLY")
        return None
    return None if row is None else int(row[0])


def result(connection: Any, rows_max: int, bytes_max: int) -> dict[str, Any]:
    """As many rows as fit both limits. They come in a stream, so what is cut off was never computed."""
    columns = [column[0] for column in connection.description]
    types = [str(column[1]) for column in connection.description]
    rows: list[Any] = []
    size = len(json.dumps([columns, types]))
    truncated = False
    while not truncated and (found := connection.fetchmany(min(256, rows_max - len(rows) + 1))):
        for values in found:
            row = [plain(value) for value in values]
            size += len(json.dumps(row, allow_nan=False)) + 2
            if len(rows) == rows_max or size > bytes_max:
                truncated = True
                break
            rows.append(row)
    return {"columns": columns, "types": types, "rows": rows, "truncated": truncated}


def plain(value: Any) -> Any:
    """A value as JSON can hold it."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Decimal):
        return float(value) if len(value.as_tuple().digits) <= DECIMAL_DIGITS_MAX else str(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value).hex()
    if isinstance(value, dict):
        return {str(plain(key)): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]


def main() -> None:
    # Before there is a request: whoever wants its answer soon has started this ahead of it.
    import duckdb  # noqa: F401

    asked = sys.stdin.read()
    if not asked:
        return  # nobody is left to ask
    request = json.loads(asked)
    limit(request["timeout_s"])
    json.dump(answer(request), sys.stdout)
    sys.stdout.flush()


if __name__ == "__main__":
    main()
