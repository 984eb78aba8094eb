"""The prompt of `resurgam sql`: one statement after another, and no error ends it."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from coordinator.commands.sql_forms import Form, written
from coordinator.faults import Fault, fault_in, sentence_of

if TYPE_CHECKING:
    from projections.client import Result

HISTORY_LINES_MAX = 1000
HISTORY = "sql_history"

WELCOME = "SQL over the history; ';' or an empty line ends a statement, .help tells more, Ctrl-D ends."
HELP = """\
.tables            the tables and views
.schema NAME       the columns of one
.format FORM       table, csv or json
.help              this
.quit              or Ctrl-D: the end
Ctrl-C drops what was typed, or gives up the statement that runs. docs/schema.md says what the columns mean,
docs/questions.md asks ten questions."""

TABLES = "SELECT table_name AS name, table_type AS kind FROM information_schema.tables ORDER BY kind, name"

Ask = Callable[[str], "Result"]


class Prompt:
    """`ask` answers one statement; `read` gives one line, and raises EOFError at the end."""

    def __init__(self, ask: Ask, form: Form, read: Callable[[str], str] = input) -> None:
        self._ask = ask
        self._form = form
        self._read = read

    def run(self) -> None:
        typer.echo(WELCOME, err=True)
        while True:
            try:
                text = self._statement()
                if text in (".quit", ".exit"):
                    return
                self._answer(text)
            except EOFError:
                typer.echo(err=True)
                return
            except KeyboardInterrupt:
                typer.echo(err=True)
            except Exception as error:
                if fault_in(error) is None and not _of_the_statement(error):
                    raise
                typer.echo(sentence_of(fault_in(error) or error), err=True)

    def _statement(self) -> str:
        """Lines up to one that ends in a semicolon, or is empty; a command is one line."""
        lines: list[str] = []
        while True:
            line = self._read("sql> " if not lines else "...> ").rstrip()
            if not lines and (not line or line.lstrip().startswith(".")):
                return line.strip()
            lines.append(line)
            if not line or line.endswith(";"):
                return "\n".join(lines).strip()

    def _answer(self, text: str) -> None:
        name, _, rest = text.partition(" ")
        if not text:
            return
        if not name.startswith("."):
            self._show(text)
        elif name == ".tables":
            self._show(TABLES)
        elif name == ".schema" and rest.strip():
            quoted = rest.strip().replace('"', '""')
            self._show(f'SELECT column_name, column_type FROM (DESCRIBE "{quoted}")')  # noqa: S608
        elif name == ".format":
            self._choose(rest.strip())
        else:
            typer.echo(HELP, err=True)

    def _choose(self, name: str) -> None:
        if name not in (Form.table, Form.csv, Form.json):
            raise Fault(f".format {name}: it takes table, csv or json")
        self._form = Form(name)

    def _show(self, text: str) -> None:
        result = self._ask(text)
        sys.stdout.write(written(result, self._form).decode())
        count = len(result.rows)
        more = ", and there are more" if result.truncated else ""
        typer.echo(f"{count} row{'' if count == 1 else 's'}{more}; events up to {result.through_sequence}", err=True)


def _of_the_statement(error: Exception) -> bool:
    from projections.errors import QueryError

    return isinstance(error, QueryError)


@contextlib.contextmanager
def line_editing(folder: Path) -> Iterator[None]:
    """Arrow keys and a history of lines, which is kept in `folder` if there is one."""
    try:
        import readline
    except ImportError:  # an interpreter that was built without it: lines can be typed all the same
        yield
        return
    path = folder / HISTORY
    readline.set_history_length(HISTORY_LINES_MAX)
    with contextlib.suppress(OSError):
        readline.read_history_file(path)
    try:
        yield
    finally:
        if folder.is_dir():
            with contextlib.suppress(OSError):
                readline.write_history_file(path)
