"""The runner's verdicts against plain pytest's, and what keeps a warm process from being plain pytest."""

import ast
import collections
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from tests.worker.conftest import Lane
from tests.worker.suites import DUPLICATES, DUPLICATES_CONFTEST, TRICKY
from worker import slot_pytest
from worker.slots import Collection, Outcome, PytestJob, SlotFinished, Suite, collect

SuiteOf = Callable[..., Suite]


def plain_verdicts(suite: Suite, env: dict[str, str]) -> collections.Counter[str]:
    """How often plain pytest came to which verdict, by its own XML report."""
    report = Path(suite.cwd) / "plain.xml"
    subprocess.run(
        [suite.python, "-m", "pytest", "-q", f"--junitxml={report}", "-p", "no:cacheprovider", *suite.args],
        cwd=suite.cwd,
        env=env,
        stdout=subprocess.DEVNULL,
        check=False,
    )
    verdicts: collections.Counter[str] = collections.Counter()
    failed = ""
    for case in ET.parse(report).iter("testcase"):
        name = f"{case.get('classname')}.{case.get('name')}"
        verdict = "passed"
        skipped = case.find("skipped")
        if case.find("failure") is not None:
            verdict = "failed"
        elif case.find("error") is not None:
            verdict = "error"
        elif skipped is not None:
            verdict = "xfailed" if skipped.get("type") == "pytest.xfail" else "skipped"
        if not (verdict == "error" and name == failed):  # a failure and the error of its teardown are two cases there
            verdicts[verdict] += 1
        failed = name if verdict == "failed" else ""
    return verdicts


def jobs_of(collection: Collection, suite: Suite) -> list[PytestJob]:
    return [
        PytestJob(f"{number} {item.node_id}", item.node_id, suite, item.occurrence, timeout_s=30)
        for number, item in enumerate(collection.items)
    ]


def verdicts_of(ends: Iterable[SlotFinished]) -> collections.Counter[str]:
    # The XML report knows no xpassed.
    return collections.Counter("passed" if end.outcome == "xpassed" else str(end.outcome) for end in ends)


async def run_suite(lane: Lane, suite: Suite, **options: object) -> dict[str, SlotFinished]:
    collection = await collect(suite, env=lane.env)
    assert collection.errors == ""
    jobs = jobs_of(collection, suite)
    ends = await lane.run(lane.slot(**options), *jobs)
    return {
        job.node_id if job.occurrence == 0 else f"{job.node_id}#{job.occurrence}": end
        for job, end in zip(jobs, ends, strict=True)
    }


def test_the_source_is_python_3_8() -> None:
    ast.parse(Path(slot_pytest.RUNNER).read_text(), feature_version=(3, 8))


async def test_verdicts_are_plain_pytests(lane: Lane, suite_of: SuiteOf, plain_env: dict[str, str]) -> None:
    suite = suite_of(test_tricky=TRICKY)
    ends = await run_suite(lane, suite)
    expected = plain_verdicts(suite, plain_env)
    # A passed test with a skipped subtest is a skipped one in the XML report, and a passed one on the terminal.
    expected += collections.Counter(passed=1, skipped=-1)
    assert verdicts_of(ends.values()) == expected
    assert len(ends) == 53
    by_name = {name.removeprefix("test_tricky.py::"): end for name, end in ends.items()}
    for name, outcome, part in [
        ("test_fails", "failed", "At index 2 diff: 3 != 4"),
        ("test_errors_in_setup", "error", "no set-up"),
        ("test_errors_in_teardown", "error", "no tear-down"),
        ("test_fails_and_errors_in_teardown", "failed", "no tear-down"),
        ("test_strict_unexpected_pass", "failed", "XPASS(strict)"),
        ("test_unexpected_pass", "xpassed", ""),
        ("test_exits", "failed", "SystemExit"),
        ("TestUnit::test_subtests_fail", "failed", "number=3"),
        ("TestUnit::test_subtests_pass", "passed", ""),
        ("TestUnit::test_a_subtest_skips", "passed", ""),
    ]:
        assert by_name[name].outcome == outcome, name
        assert part in by_name[name].message, name
    assert by_name["test_fails"].output == "--- Captured stdout call ---\nto standard output\n"
    for name, reason in [
        ("test_skips", "in the call"),
        ("test_skipped_by_mark", "by mark"),
        ("test_expected_failure", "known"),
        ("test_unexpected_pass", "thought so"),
    ]:
        assert by_name[name].reason == reason
    assert all(lane.starts(job) == 1 for job in {end.key for end in ends.values()})


async def test_tests_of_one_id_are_told_apart(lane: Lane, suite_of: SuiteOf) -> None:
    suite = suite_of(test_it=DUPLICATES, conftest=DUPLICATES_CONFTEST)
    ends = await run_suite(lane, suite)
    assert {name: end.outcome for name, end in ends.items()} == {
        "test_it.py::test_twice": "passed",
        "test_it.py::test_twice#1": "failed",
    }


async def test_a_test_can_run_again_in_the_same_process(lane: Lane, suite_of: SuiteOf) -> None:
    suite = suite_of(
        test_it="import os, pytest\n@pytest.fixture\ndef thing():\n    print('made')\n    yield\n    print('gone')\n"
        "def test_it(thing):\n    print(os.getpid())\n    assert 0"
    )
    first, second, third = await lane.run(lane.slot(), *(PytestJob(key, "test_it.py::test_it", suite) for key in "abc"))
    assert first.outcome == second.outcome == third.outcome == "failed"
    assert first.output == second.output == third.output
    assert first.output.count("made") == first.output.count("gone") == 1


SESSION_FIXTURE = """
import pytest

@pytest.fixture(scope="session")
def expensive():
    with open("made", "a") as file:
        file.write("x")

@pytest.mark.parametrize("number", range(6))
def test_it(number, expensive):
    pass
"""


def made_in(suite: Suite) -> str:
    return Path(suite.cwd, "made").read_text()


async def test_fixtures_are_kept_while_there_is_more_to_do(lane: Lane, suite_of: SuiteOf) -> None:
    suite = suite_of(test_it=SESSION_FIXTURE)
    slot = lane.slot()
    jobs = [PytestJob(str(n), f"test_it.py::test_it[{n}]", suite) for n in range(5)]
    await lane.run(slot, *jobs[:4])
    assert made_in(suite) == "x"
    await lane.run(slot, jobs[4])  # it stood idle in between: everything was torn down at once
    assert made_in(suite) == "xx"


async def test_options_that_would_stop_or_fork_the_runner(lane: Lane, suite_of: SuiteOf) -> None:
    names = " ".join("abcd")
    suite = suite_of(
        "-x", "--maxfail=1", "--pdb", "--sw", "--collect-only", "--junitxml=out.xml", "--basetemp=temp", "--lf",
        ini="[pytest]\naddopts = -p xdist.plugin -n 2 --dist loadfile -ra -vv --durations=3 --strict-markers\n",
        test_it=f"import pytest\n@pytest.mark.parametrize('name', '{names}'.split())\n"
        "def test_it(name, tmp_path, worker_id):\n    assert worker_id == 'gw0'\n    assert name == 'd'\n",
    )  # fmt: skip
    ends = await run_suite(lane, suite)
    assert [end.outcome for end in ends.values()] == ["failed", "failed", "failed", "passed"]
    left = set(os.listdir(suite.cwd))  # noqa: PTH208
    assert left - {"__pycache__"} == {"pytest.ini", "test_it.py", "temp"}  # no report, no cache


async def test_suites_are_told_where_they_run(lane: Lane, suite_of: SuiteOf) -> None:
    lane.env["PYTHONPATH"] = "elsewhere"
    suite = suite_of(
        test_it="import os, sys, __main__\ndef test_it():\n"
        "    names = ('PYTEST_XDIST_WORKER', 'PYTEST_XDIST_WORKER_COUNT', 'RESURGAM_WORKER_ID')\n"
        "    print(*(os.environ[name] for name in names))\n"
        "    print(os.path.basename(sys.argv[0]), sys.argv[1:], sys.path[1].endswith('elsewhere'))\n"
        "    assert not [p for p in sys.path if p.endswith('/worker')]\n    assert 0\n"
    )
    lane.slot()
    end = (await lane.run(lane.slot(slot_count=2), PytestJob("a", "test_it.py::test_it", suite)))[0]
    assert "gw1 2 worker-1\npytest [] True\n" in end.output


async def test_without_capture_the_output_is_still_there(lane: Lane, suite_of: SuiteOf) -> None:
    suite = suite_of("-s", test_it="def test_it():\n    print('spoken')\n")
    end = (await lane.run(lane.slot(), PytestJob("a", "test_it.py::test_it", suite)))[0]
    assert "spoken" in end.output


async def test_texts_are_bounded(lane: Lane, suite_of: SuiteOf) -> None:
    suite = suite_of(
        test_it="def test_it():\n    print('a' * 300_000 + '\\udc80' + 'z' * 300_000)\n"
        "    raise ValueError('b' * 200_000 + 'y' * 200_000)\n"
    )
    end = (await lane.run(lane.slot(), PytestJob("a", "test_it.py::test_it", suite)))[0]
    for text, head, tail in [(end.output, "aaa", "zzz\n"), (end.message, "bbb", "ValueError")]:
        assert 64 * 1024 <= len(text) <= 66 * 1024
        assert head in text[:1000]
        assert tail in text[-1000:]
        assert "left out" in text


@pytest.mark.parametrize(
    ("body", "what"),
    [("pytest.exit('enough')", "enough"), ("raise KeyboardInterrupt", "KeyboardInterrupt")],
)
async def test_a_test_that_ends_the_session(lane: Lane, suite_of: SuiteOf, body: str, what: str) -> None:
    suite = suite_of(test_it=f"import pytest\ndef test_ends():\n    {body}\ndef test_next():\n    pass\n")
    ends, following = await lane.run(
        lane.slot(),
        PytestJob("a", "test_it.py::test_ends", suite),
        PytestJob("b", "test_it.py::test_next", suite),
    )
    assert ends.outcome is Outcome.error
    assert what in ends.message
    assert following.outcome is Outcome.passed


async def test_collection_is_data(lane: Lane, suite_of: SuiteOf) -> None:
    suite = suite_of(test_it="\n\ndef test_it(): pass\n", test_broken="import nothing_of_this_name\n")
    collection = await collect(suite, env=lane.env)
    assert [(item.node_id, item.file, item.line) for item in collection.items] == [
        ("test_it.py::test_it", "test_it.py", 3)
    ]
    assert "No module named 'nothing_of_this_name'" in collection.errors
    assert collection.exit_code == 2


@pytest.mark.parametrize(
    ("args", "python", "text", "exit_code"),
    [
        (("no_such_file.py",), sys.executable, "file or directory not found: no_such_file.py", 4),
        (("--no-such-option",), sys.executable, "unrecognized arguments: --no-such-option", 4),
        ((), "no-such-python", "No such file or directory: 'no-such-python'", 4),
        (("-k", "nothing_has_this_name"), sys.executable, "", 5),
    ],
)
async def test_a_suite_that_cannot_be_collected(
    lane: Lane, suite_of: SuiteOf, args: tuple[str, ...], python: str, text: str, exit_code: int
) -> None:
    written = suite_of(*args, test_it="def test_it(): pass\n")
    collection = await collect(Suite(python, written.cwd, written.args), env=lane.env)
    assert collection.items == ()
    assert text in collection.errors
    assert collection.exit_code == exit_code


async def test_a_collection_that_hangs(lane: Lane, suite_of: SuiteOf) -> None:
    suite = suite_of(test_it="import time\ntime.sleep(600)\n")
    collection = await collect(suite, env=lane.env, timeout_s=1)
    assert "has not collected the suite within 1 s" in collection.errors
    assert 'test_it.py", line 2' in collection.errors  # where it hangs
    assert lane.processes() == []
