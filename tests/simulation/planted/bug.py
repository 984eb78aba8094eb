"""A planted bug: production code with a few lines read as somebody might have written them by mistake.

The mistake is given as an edit of the source, and takes effect by swapping the code of the function itself. So whoever
came by the function before, through a table of handlers or an import by name, runs the mistaken one as well, and an
edit that does not fit the function any more is an error rather than a bug that is not there.
"""

import ast
import builtins
import dis
import inspect
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import CodeType, FunctionType
from typing import NamedTuple


class Misfit(Exception):
    """An edit that cannot be made: what it speaks of is not there (any more)."""


class Edit(NamedTuple):
    function: str
    """`package.module:name`, `package.module:Class.method`, or a property's name in the place of a method's."""
    before: str
    """Whole lines of the function, which it must hold exactly once. Only indentation relative to each other counts."""
    after: str
    """What stands in their place; empty: nothing."""


class Bug(NamedTuple):
    name: str
    mistake: str
    """One sentence: what the engineer did."""
    edits: tuple[Edit, ...]
    shows_between_processes: bool = False
    """One process by itself is consistent; another one does otherwise."""

    @contextmanager
    def planted(self) -> Iterator[None]:
        """Within it the bug is in every caller's code. Calls that have begun before go on without it.

        Raises:
            Misfit: there is no such function, or its code is not what the edit is for.
        """
        mistaken: dict[FunctionType, list[Edit]] = {}
        for edit in self.edits:
            mistaken.setdefault(resolve(edit.function), []).append(edit)
        codes = {function: edited(function, edits) for function, edits in mistaken.items()}
        originals = {function: function.__code__ for function in codes}
        try:
            for function, code in codes.items():
                function.__code__ = code
            yield
        finally:
            for function, code in originals.items():
                function.__code__ = code


def bug(name: str, mistake: str, *edits: tuple[str, str, str], shows_between_processes: bool = False) -> Bug:
    return Bug(name, mistake, tuple(Edit(*edit) for edit in edits), shows_between_processes)


def resolve(name: str) -> FunctionType:
    """The function of that name, the getter of a property, the function beneath a class method.

    Raises:
        Misfit: there is none.
    """
    module_name, _, path = name.partition(":")
    found: object = import_module(module_name)
    for part in path.split("."):
        try:
            found = inspect.getattr_static(found, part)
        except AttributeError as error:
            raise Misfit(f"{name}: there is no {part}") from error
    if isinstance(found, property):
        found = found.fget
    elif isinstance(found, classmethod | staticmethod):
        found = found.__func__
    if not isinstance(found, FunctionType):
        raise Misfit(f"{name} is no function but {type(found).__name__}")
    return found


def edited(function: FunctionType, edits: list[Edit]) -> CodeType:
    """The code that the function would have, had it been written so.

    Raises:
        Misfit: an edit does not fit, or what comes of it could not be the function's code.
    """
    original = function.__code__
    source = textwrap.dedent(inspect.getsource(function))
    for edit in edits:
        source = _replaced(source, edit)
    tree = ast.parse(source)
    definition = tree.body[0]
    assert isinstance(definition, ast.FunctionDef | ast.AsyncFunctionDef)
    definition.decorator_list = []
    ast.increment_lineno(tree, original.co_firstlineno - 1)
    # Compiled and not run: the definition's own code is a constant of the module that would make it.
    whole = compile(tree, original.co_filename, "exec", dont_inherit=True)
    (code,) = (one for one in whole.co_consts if isinstance(one, CodeType) and one.co_name == definition.name)
    where = edits[0].function
    if code.co_freevars != original.co_freevars:
        raise Misfit(f"{where} depends on what is around it, {original.co_freevars}: it cannot be edited by itself")
    known = function.__globals__.keys() | vars(builtins).keys()
    if unknown := sorted(_globals_of(code) - known):
        raise Misfit(f"{where}: its module does not know {', '.join(unknown)}")
    return code.replace(co_qualname=original.co_qualname)


def _replaced(source: str, edit: Edit) -> str:
    lines = source.splitlines()
    wanted = textwrap.dedent(edit.before).strip("\n").splitlines()
    places = [
        place
        for place in range(len(lines) - len(wanted) + 1)
        if textwrap.dedent("\n".join(lines[place : place + len(wanted)])).splitlines() == wanted
    ]
    if len(places) != 1:
        raise Misfit(f"{edit.function} holds {len(places)} times, not once:\n{edit.before}")
    (place,) = places
    indentation = lines[place][: len(lines[place]) - len(lines[place].lstrip())]
    put = textwrap.indent(textwrap.dedent(edit.after).strip("\n"), indentation)
    return "\n".join([*lines[:place], put, *lines[place + len(wanted) :]])


def _globals_of(code: CodeType) -> set[str]:
    names = {
        str(instruction.argval) for instruction in dis.get_instructions(code) if instruction.opname == "LOAD_GLOBAL"
    }
    return names.union(*(_globals_of(one) for one in code.co_consts if isinstance(one, CodeType)))
