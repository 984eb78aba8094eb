"""Rules of the house that no other tool checks. Each is a function from a tree of files to complaints.

A complaint reads ``path:line: what is wrong``. The tables at the top are the rules; an exception is an entry there,
with its reason. ``test_tidy.py`` applies them to this repository, and to trees with planted mistakes.
"""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Who may import whom. Every folder may import itself; nobody imports the command line, the tests or the examples.
LAYERS: Mapping[str, frozenset[str]] = {
    "events": frozenset(),
    "recovery": frozenset({"events"}),
    "worker": frozenset({"events"}),
    "projections": frozenset({"events"}),
    "replay": frozenset({"events", "recovery"}),
    "coordinator": frozenset({"events", "recovery", "worker", "projections", "replay"}),
}
OURS = frozenset({*LAYERS, "resurgam", "tests", "bench", "examples"})

# The modules of recovery/ that know the world. All others are the core: a fold must give the same anywhere, any time.
DRIVERS: Mapping[str, str] = {
    "recovery/consumer.py": "reads the log, asks the core, appends its decisions",
    "recovery/snapshots.py": "finds what a former leader has folded, and asks the streams whether it still holds",
    "recovery/__main__.py": "the command line",
}
PURE_LIBRARIES = _words("""
    __future__ abc array base64 bisect collections contextlib copy dataclasses datetime decimal enum fractions functools
    hashlib heapq itertools math msgspec operator re statistics string struct textwrap types typing zlib
""")
IMPURE_NAMES = frozenset(
    {
        "datetime.date.today",
        "datetime.datetime.now",
        "datetime.datetime.today",
        "datetime.datetime.utcnow",
    },
)
# hash() of a string and id() differ from one process to the next.
IMPURE_BUILTINS = frozenset({"__import__", "breakpoint", "eval", "exec", "hash", "id", "input", "open", "print"})
# What the core must not reach through modules of ours either.
OUTSIDE_WORLD = _words("""
    aiohttp anyio asyncio duckdb http multiprocessing nats psutil random secrets select selectors signal socket
    sqlite3 ssl starlette structlog subprocess tempfile threading urllib uvicorn uvloop
""")

# Libraries with a keeper: the files that may import them, or the folders when the entry ends in a slash.
KEPT: Mapping[str, tuple[str, ...]] = {
    "nats": ("events/connection.py",),
    "duckdb": ("projections/", "replay/", "tests/", "bench/"),
}

# These run in processes whose interpreter and path belong to the user's suite, so nothing of ours is there.
SELF_CONTAINED: Mapping[str, frozenset[str]] = {
    "worker/pytest_runner.py": frozenset({"pytest", "_pytest"}),
    "worker/keeper.py": frozenset(),
}

PRINTING: Mapping[str, str] = {}
COMMAND_FOLDERS = ("coordinator/commands/", "coordinator/run/", "coordinator/demo/")
VIRTUAL_TIME = "tests/simulation/"
"""Where a sleep costs nothing."""

SLEEPING: Mapping[str, str] = {
    "tests/conftest.py": "asks with a bound whether a foreign process has started",
    "tests/worker/conftest.py": "plays the agent, which beats at a rate",
    "tests/waiting.py": "the one place where tests wait for a condition, with a bound",
}
SLEEPS = frozenset({"anyio.sleep", "anyio.sleep_until", "asyncio.sleep", "time.sleep"})

LINES_MAX = 400
LONG: Mapping[str, str] = {
    "worker/pytest_runner.py": "has to be one file, see SELF_CONTAINED",
}

# The words are put together here so that this file does not complain about itself.
MARKERS = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "HA" + "CK", "X" * 3, "T" + "BD")) + r")\b")
HOSTS = ("pypi", "pythonhosted", "anaconda", "npmjs", "crates", "artifactory", "devpi", "jfrog")
REGISTRY = re.compile(
    rf"\b(?:{'|'.join(HOSTS)})\.(?:org|com|io|net|python\.org)\b|//[^\s/]+/(?:\S*/)?simple\b|--(?:extra-)?index-url\b",
)
MACHINE_PATH = re.compile(
    r"(?<![\w.~$})\]/-])/(?:"
    + "|".join(("wo" + "rk", "ro" + "ot", "buil" + "ds", "workspa" + "ce"))
    + r")(?:/|(?=[\"'`\s]))"
    r"|(?<![\w.~/])/(?:home|Users)/\w+/",
)

SKIPPED = re.compile(r"\.git|\.venv|\.tmp|\.resurgam|__pycache__|\.\w+_cache|\.hypothesis|build|dist|.*\.egg-info")


@dataclass(frozen=True)
class Module:
    """A parsed file, with imports and references as full dotted names."""

    path: str
    tree: ast.Module
    imports: tuple[tuple[int, str], ...]
    references: tuple[tuple[int, str], ...]
    calls: tuple[tuple[int, str], ...]

    @property
    def folder(self) -> str:
        return self.path.partition("/")[0]

    @property
    def name(self) -> str:
        return self.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


@dataclass
class Repository:
    root: Path
    texts: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.texts = dict(_texts(self.root, self.root))

    @cached_property
    def modules(self) -> list[Module]:
        return [parse(path, text) for path, text in self.texts.items() if path.endswith(".py")]

    def library(self) -> Iterator[Module]:
        return (module for module in self.modules if module.folder in LAYERS)

    def core(self) -> Iterator[Module]:
        return (module for module in self.modules if module.folder == "recovery" and module.path not in DRIVERS)


def _texts(root: Path, folder: Path) -> Iterator[tuple[str, str]]:
    """Every text file below a folder, except for what tools leave behind."""
    for path in sorted(folder.iterdir()):
        if SKIPPED.fullmatch(path.name) or path.is_symlink():
            continue
        if path.is_dir():
            yield from _texts(root, path)
        elif path.is_file():
            try:
                yield path.relative_to(root).as_posix(), path.read_text(encoding="utf-8")
            except (UnicodeDecodeError, FileNotFoundError):
                continue  # not a text, or a colleague's file that has just gone


def parse(path: str, text: str) -> Module:
    tree = ast.parse(text, filename=path)
    imports: list[tuple[int, str]] = []
    bound: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                imports.append((node.lineno, alias.name))
                bound[alias.asname or _top(alias.name)] = alias.name if alias.asname else _top(alias.name)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = path.split("/")[: -node.level]
                base = ".".join([*parents, base] if base else parents)
            for alias in node.names:
                imports.append((node.lineno, f"{base}.{alias.name}"))
                bound[alias.asname or alias.name] = f"{base}.{alias.name}"
    references: list[tuple[int, str]] = []
    calls: list[tuple[int, str]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute) and (name := _dotted(node, bound)):
            references.append((node.lineno, name))
        if isinstance(node, ast.Call) and (name := _dotted(node.func, bound)):
            calls.append((node.lineno, name))
            if name in {"importlib.import_module", "__import__"} and node.args:
                target = node.args[0]
                if isinstance(target, ast.Constant) and isinstance(target.value, str):
                    imports.append((node.lineno, target.value))
    return Module(path, tree, tuple(imports), tuple(references), tuple(calls))


def _dotted(node: ast.expr, bound: Mapping[str, str]) -> str | None:
    if isinstance(node, ast.Name):
        return bound.get(node.id, node.id)
    if isinstance(node, ast.Attribute) and (base := _dotted(node.value, bound)):
        return f"{base}.{node.attr}"
    return None


def _top(name: str) -> str:
    return name.partition(".")[0]


def layers(repository: Repository) -> Iterator[str]:
    for module in repository.library():
        for line, name in module.imports:
            top = _top(name)
            if top in OURS and top != module.folder and top not in LAYERS[module.folder]:
                allowed = ", ".join(sorted(LAYERS[module.folder])) or "nothing of ours"
                yield f"{module.path}:{line}: {module.folder} imports {name}, it may import {allowed}"


def pure_core(repository: Repository) -> Iterator[str]:
    drivers = {path.removesuffix(".py").replace("/", ".") for path in DRIVERS}
    for module in repository.core():
        for line, name in module.imports:
            if _top(name) not in PURE_LIBRARIES | {"events", "recovery"}:
                yield f"{module.path}:{line}: the core imports {name}, which is not in PURE_LIBRARIES"
            if any(name == driver or name.startswith(f"{driver}.") for driver in drivers):
                yield f"{module.path}:{line}: the core imports the driver {name}"
        for line, name in module.references:
            if name in IMPURE_NAMES:
                yield f"{module.path}:{line}: the core reads the world through {name}"
        for line, name in module.calls:
            if name in IMPURE_BUILTINS:
                yield f"{module.path}:{line}: the core calls {name}(), whose result is not a function of the log"


def core_out_of_reach(repository: Repository) -> Iterator[str]:
    """No chain of imports leads from the core to a library that touches the world."""
    modules = {module.name: module for module in repository.modules}
    for start in repository.core():
        waiting, seen = [(start, start.name)], {start.name}
        while waiting:
            module, chain = waiting.pop()
            outside = next((name for _, name in module.imports if _top(name) in OUTSIDE_WORLD), None)
            if outside:
                yield f"{start.path}:1: the core reaches {outside}: {chain}"
                break
            for _, name in module.imports:
                for target in _parents(name):
                    if target in modules and target not in seen:
                        seen.add(target)
                        waiting.append((modules[target], f"{chain} -> {target}"))


def _parents(name: str) -> Iterator[str]:
    """Importing a.b.c runs a and a.b as well."""
    parts = name.split(".")
    return (".".join(parts[:length]) for length in range(1, len(parts) + 1))


def kept_libraries(repository: Repository) -> Iterator[str]:
    for module in repository.modules:
        for line, name in module.imports:
            keepers = KEPT.get(_top(name))
            if keepers and not any(module.path == k or (k[-1] == "/" and module.path.startswith(k)) for k in keepers):
                yield f"{module.path}:{line}: imports {name}, which is for {', '.join(keepers)} alone"


def self_contained(repository: Repository) -> Iterator[str]:
    for path, further in SELF_CONTAINED.items():
        module = next((module for module in repository.modules if module.path == path), None)
        if module is None:
            yield f"{path}:1: is missing"
            continue
        for line, name in module.imports:
            if _top(name) not in sys.stdlib_module_names | further:
                yield f"{path}:{line}: imports {name}, but runs where only the standard library is certain"


def markers(repository: Repository) -> Iterator[str]:
    yield from _found(repository, MARKERS, "a marker was left over")


def registries(repository: Repository) -> Iterator[str]:
    yield from _found(repository, REGISTRY, "names a package registry; that is the user's configuration")


def machine_paths(repository: Repository) -> Iterator[str]:
    yield from _found(repository, MACHINE_PATH, "names a path of somebody's machine")


def _found(repository: Repository, pattern: re.Pattern[str], complaint: str) -> Iterator[str]:
    for path, text in repository.texts.items():
        for number, line in enumerate(text.splitlines(), start=1):
            if match := pattern.search(line):
                yield f"{path}:{number}: {complaint}: {match.group()}"


def prints(repository: Repository) -> Iterator[str]:
    for module in repository.library():
        if module.path.endswith("/__main__.py") or _is_command(module.path):
            continue
        script = _script_lines(module.tree)
        lines = [line for line, name in module.calls if name == "print" and line not in script]
        yield from _excepted(module.path, lines, PRINTING, "a library prints; log it, or return it")


def _is_command(path: str) -> bool:
    """The modules of a command may talk to its user, as `__main__` does."""
    return path.startswith(COMMAND_FOLDERS)


def _script_lines(tree: ast.Module) -> frozenset[int]:
    """The lines below `if __name__ == "__main__":`."""
    return frozenset(
        line
        for node in tree.body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "__name__ == '__main__'"
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    )


def sleeps(repository: Repository) -> Iterator[str]:
    for module in repository.modules:
        if module.folder == "tests" and not module.path.startswith(VIRTUAL_TIME):
            source = repository.texts[module.path].splitlines()
            # A sleep of nothing waits for nothing: it lets the loop go round once.
            lines = [
                line
                for line, name in module.references
                if name in SLEEPS and "asyncio.sleep(0)" not in source[line - 1]
            ]
            complaint = "a test sleeps; wait for a signal, or for a condition with a bound"
            yield from _excepted(module.path, lines, SLEEPING, complaint)


def _excepted(path: str, lines: Sequence[int], exceptions: Mapping[str, str], complaint: str) -> Iterator[str]:
    if path not in exceptions:
        yield from (f"{path}:{line}: {complaint}" for line in lines)
    elif not lines:
        yield f"{path}:1: needs no exception any more: {exceptions[path]}"


def lengths(repository: Repository) -> Iterator[str]:
    for module in repository.modules:
        length = repository.texts[module.path].count("\n")
        too_long = [LINES_MAX] if length > LINES_MAX else []
        yield from _excepted(module.path, too_long, LONG, f"has {length} lines, split it or give a reason in LONG")


def packaged(repository: Repository) -> Iterator[str]:
    """Every folder with code is a package that setuptools finds, and every file beside the code is taken along."""
    tool = tomllib.loads(repository.texts["pyproject.toml"])["tool"]["setuptools"]
    include: list[str] = tool["packages"]["find"]["include"]
    for folder in sorted({module.path.rpartition("/")[0] for module in repository.library()}):
        name = folder.replace("/", ".")
        if f"{folder}/__init__.py" not in repository.texts:
            yield f"{folder}:1: holds code but no __init__.py"
        if not any(fnmatchcase(name, pattern) for pattern in include):
            yield f"{folder}:1: the package {name} is not in setuptools' include list"
    taken: list[str] = tool.get("package-data", {}).get("*", [])
    for path in repository.texts:
        folder, _, name = path.rpartition("/")
        ours = path.partition("/")[0] in LAYERS and not name.endswith(".py")
        if ours and not any(fnmatchcase(name, pattern) for pattern in taken):
            yield f"{path}:1: would not be installed, it is not in setuptools' package-data"


CHECKS = (
    layers,
    pure_core,
    core_out_of_reach,
    kept_libraries,
    self_contained,
    markers,
    registries,
    machine_paths,
    prints,
    sleeps,
    lengths,
    packaged,
)
