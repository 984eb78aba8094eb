"""What a setting accepts, in words, read from its type."""

import types
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec

from events.identity import Id
from events.policy import DetectorName, LauncherName, Seconds

NAMES = {int: "a whole number", float: "a number", str: "text"}
EXAMPLES = {"nats_url": "nats://127.0.0.1:4222", "replicas": 3, "coordinator_id": "coordinator-1"}


def accepted_form(form: Any) -> str:
    """`a number of seconds above 0, up to 31,536,000`, for the type of a field."""
    if form is bool:
        return "true or false"
    if form == DetectorName:
        return "'phi', 'deadline', or the name of a detector that is installed"
    if form == Id:
        return "1 to 64 letters, digits, '_' or '-'"
    if form == LauncherName:
        return "a name of small letters, digits, '_' and '-', or nothing"
    origin = get_origin(form)
    if origin is dict:
        return f"a table of lists, by {' or '.join(get_args(get_args(form)[0]))}"
    if origin is Annotated:
        base, meta = get_args(form)[:2]
        if get_origin(base) is tuple:
            return f"a list of tables with {', '.join(get_args(base)[0].__struct_fields__)}"
        unit = " of seconds" if form == Seconds else ""
        return f"{NAMES[base]}{unit}{_bounds(meta)}"
    if origin is Literal:
        return " or ".join(repr(value) for value in get_args(form))
    if origin in (Union, types.UnionType):
        return accepted_form(next(one for one in get_args(form) if one is not types.NoneType))
    return NAMES[form]


def _bounds(meta: msgspec.Meta) -> str:
    low = f" above {meta.gt:,g}" if meta.gt is not None else f" from {meta.ge:,}" if meta.ge is not None else ""
    high = f", up to {meta.le:,}" if meta.le is not None else ""
    return low + high


def example_value(struct: type[msgspec.Struct], key: str) -> str:
    """The default as TOML, or an example where there is none."""
    default = getattr(struct(), key)
    if default is None:
        default = EXAMPLES[key]
    if default == ():
        return "[]"
    if default == {}:
        return "{}"
    if isinstance(default, bool):
        return "true" if default else "false"
    return f'"{default}"' if isinstance(default, str) else str(default)
