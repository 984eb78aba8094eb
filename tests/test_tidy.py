"""The rules of tidy.py hold here, and each of them is able to fail."""

import importlib.util
from collections.abc import Callable, Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests import tidy
from tests.tidy import Repository

ROOT = Path(__file__).parent.parent

Check = Callable[[Repository], Iterator[str]]


@pytest.fixture(scope="module")
def repository() -> Repository:
    return Repository(ROOT)


@pytest.mark.parametrize("check", tidy.CHECKS, ids=lambda check: check.__name__)
def test_the_repository_is_tidy(repository: Repository, check: Check) -> None:
    complaints = list(check(repository))
    assert not complaints, "\n" + "\n".join(complaints)


def test_the_walk_sees_the_repository(repository: Repository) -> None:
    """A check over nothing would never complain."""
    for path in ("pyproject.toml", ".ci/run", "events/bus.py", "tests/test_tidy.py", "examples/shop/shop/cart.py"):
        assert path in repository.texts
    assert {module.folder for module in repository.library()} == set(tidy.LAYERS)


@pytest.mark.parametrize("name", [*tidy.LAYERS, "resurgam"])
def test_our_generic_names_are_ours(name: str) -> None:
    """Flat packages have generic names, so an installed stranger could stand in front of one."""
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.origin is not None
    cure = "run `make distclean test`"
    assert Path(spec.origin).is_relative_to(ROOT), f"{name} comes from {spec.origin}; {cure}"
    owners = set(packages_distributions().get(name, []))
    assert owners == {"resurgam"}, f"{name} belongs to {owners or 'nobody'}; {cure}"


GOOD = {
    "pyproject.toml": """
        [tool.setuptools]
        package-data = {"*" = ["*.sql"]}
        [tool.setuptools.packages.find]
        include = ["events", "events.*", "recovery", "worker", "projections", "replay", "coordinator"]
    """,
    "events/__init__.py": "",
    "events/bus.py": "import asyncio\n",
    "events/connection.py": "import nats\n",
    "events/identity.py": "import os\nimport time\n",
    "recovery/__init__.py": "",
    "recovery/core.py": "from datetime import datetime\nfrom events import identity\nimport msgspec\n",
    "recovery/consumer.py": "import asyncio\nfrom events.bus import Bus\nfrom recovery import core\n",
    "worker/__init__.py": "",
    "worker/pytest_runner.py": "import sys\nimport pytest\n",
    "worker/keeper.py": "import os\n",
    "projections/__init__.py": "",
    "projections/tables.py": "import duckdb\nfrom events.bus import Bus\n",
    "projections/tables.sql": "SELECT 1;\n",
    "replay/__init__.py": "from recovery import core\n",
    "coordinator/__init__.py": "import replay, worker\n",
    "coordinator/__main__.py": "print('listening')\n",
    "coordinator/config.py": "if __name__ == '__main__':\n    print('an example')\n",
    "tests/test_it.py": "async def test(clock):\n    await clock.sleep(1)\n",
    "README.md": "See https://example.org/wo" + "rk/list. Data lies in `/var/lib/resurgam`, XXXXXX is random.\n",
}

TABLE: list[tuple[Check, str, str, str]] = [
    (tidy.layers, "events/x.py", "import recovery", "events imports recovery, it may import nothing of ours"),
    (tidy.layers, "worker/x.py", "from recovery.core import decide", "worker imports recovery.core.decide"),
    (tidy.layers, "recovery/x.py", "def f():\n    import projections.tables", "x.py:2: recovery imports projections"),
    (tidy.layers, "replay/x.py", "from coordinator import http", "it may import events, recovery"),
    (tidy.layers, "coordinator/x.py", "from tests import tidy", "coordinator imports tests.tidy"),
    (tidy.layers, "projections/x.py", "import resurgam", "projections imports resurgam"),
    (
        tidy.layers,
        "worker/x.py",
        "import importlib\nimportlib.import_module('replay')",
        "x.py:2: worker imports replay",
    ),
    (tidy.pure_core, "recovery/x.py", "import time", "imports time"),
    (tidy.pure_core, "recovery/x.py", "from random import random", "imports random.random"),
    (tidy.pure_core, "recovery/x/y.py", "import asyncio", "recovery/x/y.py:1: the core imports asyncio"),
    (tidy.pure_core, "recovery/x.py", "import nats.errors", "imports nats.errors"),
    (tidy.pure_core, "recovery/x.py", "from recovery.consumer import run", "imports the driver recovery.consumer.run"),
    (tidy.pure_core, "recovery/x.py", "from recovery import consumer", "imports the driver recovery.consumer"),
    (tidy.pure_core, "recovery/x.py", "from datetime import datetime\nnow = datetime.now()", "datetime.datetime.now"),
    (tidy.pure_core, "recovery/x.py", "import datetime as d\nnow = d.datetime.now", "datetime.datetime.now"),
    (tidy.pure_core, "recovery/x.py", "from datetime import date as d\nd.today()", "datetime.date.today"),
    (tidy.pure_core, "recovery/x.py", "policy = open('policy.toml')", "calls open()"),
    (tidy.pure_core, "recovery/x.py", "jitter = hash('worker-1') % 100", "calls hash()"),
    (tidy.core_out_of_reach, "recovery/x.py", "from events import bus", "reaches asyncio: recovery.x -> events.bus"),
    (
        tidy.core_out_of_reach,
        "events/__init__.py",
        "from events.bus import Bus",
        "recovery.core -> events -> events.bus",
    ),
    (tidy.kept_libraries, "events/x.py", "import nats", "imports nats, which is for events/connection.py alone"),
    (tidy.kept_libraries, "tests/x.py", "from nats.aio.client import Client", "imports nats.aio.client.Client"),
    (tidy.kept_libraries, "coordinator/x.py", "import duckdb", "coordinator/x.py:1: imports duckdb"),
    (tidy.self_contained, "worker/pytest_runner.py", "import psutil", "imports psutil"),
    (tidy.self_contained, "worker/keeper.py", "from worker import agent", "imports worker.agent"),
    (tidy.self_contained, "worker/keeper.py", "import pytest", "imports pytest"),
    (tidy.markers, "docs/x.md", "\n\nTO" + "DO: more", "docs/x.md:3: a marker was left over"),
    (tidy.markers, "events/x.py", "# FIX" + "ME", "FIX" + "ME"),
    (tidy.registries, "x.lock", "--extra" + "-index-url https://example.org", "names a package registry"),
    (tidy.registries, "Makefile", "\tpip install -i https://py" + "pi.org/simple x", "names a package registry"),
    (tidy.registries, "x.toml", "url = 'https://files.python" + "hosted.org/packages'", "names a package registry"),
    (tidy.machine_paths, "README.md", "cd /wo" + "rk/resurgam", "names a path of somebody's machine: /wo" + "rk/"),
    (tidy.machine_paths, "events/x.py", "HOME = '/ro" + "ot'", "/ro" + "ot"),
    (tidy.machine_paths, "docs/x.md", "see /ho" + "me/jo/notes", "/ho" + "me/jo/"),
    (tidy.prints, "recovery/x.py", "def f():\n    print('here')", "recovery/x.py:2: a library prints"),
    (tidy.sleeps, "tests/x/test_y.py", "import time\ntime.sleep(1)", "test_y.py:2: a test sleeps"),
    (tidy.sleeps, "tests/test_y.py", "from asyncio import sleep as nap\nnap(1)", "test_y.py:2: a test sleeps"),
    (tidy.sleeps, "tests/test_y.py", "import anyio as a\nrun(a.sleep, 1)", "test_y.py:2: a test sleeps"),
    (tidy.lengths, "events/x.py", "x = 1\n" * 401, "has 401 lines"),
    (tidy.packaged, "recovery/strategies/__init__.py", "", "recovery.strategies is not in setuptools' include list"),
    (tidy.packaged, "events/old/x.py", "", "events/old:1: holds code but no __init__.py"),
    (tidy.packaged, "coordinator/page.html", "<p>", "coordinator/page.html:1: would not be installed"),
]


@pytest.fixture
def no_exceptions(monkeypatch: pytest.MonkeyPatch) -> None:
    """The exceptions of this repository are of no concern to a planted tree."""
    for table in ("LONG", "PRINTING", "SLEEPING"):
        monkeypatch.setattr(tidy, table, {})


def plant(root: Path, files: dict[str, str]) -> Repository:
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")
    return Repository(root)


@pytest.mark.usefixtures("no_exceptions")
@pytest.mark.parametrize("check", tidy.CHECKS, ids=lambda check: check.__name__)
def test_a_good_tree_passes(tmp_path: Path, check: Check) -> None:
    assert list(check(plant(tmp_path, GOOD))) == []


@pytest.mark.usefixtures("no_exceptions")
@pytest.mark.parametrize(("check", "path", "text", "complaint"), TABLE)
def test_a_planted_mistake_is_found(tmp_path: Path, check: Check, path: str, text: str, complaint: str) -> None:
    complaints = list(check(plant(tmp_path, {**GOOD, path: text})))
    assert any(complaint in found for found in complaints), complaints


def test_every_check_has_a_planted_mistake() -> None:
    assert {check for check, *_ in TABLE} == set(tidy.CHECKS)


@pytest.mark.parametrize("path", tidy.SELF_CONTAINED)
def test_a_missing_runner_is_found(tmp_path: Path, path: str) -> None:
    files = {name: text for name, text in GOOD.items() if name != path}
    assert list(tidy.self_contained(plant(tmp_path, files))) == [f"{path}:1: is missing"]


@pytest.mark.parametrize(
    ("check", "table", "path"),
    [
        (tidy.lengths, "LONG", "events/connection.py"),
        (tidy.prints, "PRINTING", "events/connection.py"),
        (tidy.sleeps, "SLEEPING", "tests/test_it.py"),
    ],
)
def test_an_exception_that_is_no_longer_needed_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, check: Check, table: str, path: str
) -> None:
    monkeypatch.setattr(tidy, table, {path: "the reason"})
    assert list(check(plant(tmp_path, GOOD))) == [f"{path}:1: needs no exception any more: the reason"]
