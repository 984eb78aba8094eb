"""The end of a run in pytest's words, and its exit code."""

import shutil
from collections.abc import Iterator

from coordinator.run.tally import GOOD_WORDS, Tally, Test

PASSED, FAILED, INTERRUPTED, INTERNAL, NO_TESTS = 0, 1, 2, 3, 5
"""pytest's exit codes."""

ORDER = (
    "failed",
    "error",
    "crashed",
    "timed out",
    "quarantined",
    "cancelled",
    "passed",
    "skipped",
    "xfailed",
    "xpassed",
)


def summary_lines(tally: Tally, elapsed_s: float, *, width: int | None = None) -> Iterator[str]:
    columns = width or min(shutil.get_terminal_size().columns, 120)
    # What was cancelled is counted; a line for each would bury what it was cancelled for.
    quiet = GOOD_WORDS | {"", "cancelled"}
    bad = [test for test in tally.tests.values() if test.word not in quiet]
    if bad:
        yield _rule("FAILURES", columns, "=")
        for test in bad:
            yield from _failure(test, columns)
    if bad:
        yield _rule("short test summary info", columns, "=")
        for test in bad:
            yield f"{test.word.upper()} {test.node_id}{_reason(test)}"
    if tally.news:
        yield _rule("recovery", columns, "=")
        yield from tally.news
    yield _rule(closing_words(tally, elapsed_s), columns, "=")


def closing_words(tally: Tally, elapsed_s: float) -> str:
    counts = [f"{tally.words[word]} {word}" for word in ORDER if tally.words[word]]
    missing = len(tally.tests) - tally.finished
    if missing:
        counts.append(f"{missing} without a verdict")
    words = ", ".join(counts) or "no tests ran"
    words += f" in {elapsed_s:.2f}s on {len(tally.lanes)} worker{'s' if len(tally.lanes) != 1 else ''}"
    if tally.failures:
        failures = len(tally.failures)
        words += f"; {failures} worker failure{'s' if failures > 1 else ''}, {len(tally.recoveries)} recovered"
    return words


def exit_code(tally: Tally) -> int:
    if tally.problems or not tally.complete:
        return FAILED
    return PASSED if tally.tests else NO_TESTS


def _rule(text: str, columns: int, mark: str) -> str:
    return f" {text} ".center(columns, mark)


def _failure(test: Test, columns: int) -> Iterator[str]:
    yield _rule(test.node_id, columns, "_")
    yield from (text.rstrip() for text in (test.note, test.message, test.output) if text.strip())


def _reason(test: Test) -> str:
    """The line of a traceback that says what was wrong, or what else is known."""
    for line in test.message.splitlines():
        if line.startswith("E  "):
            return f" - {line[1:].strip()}"
    first = (test.note or test.message or test.reason).strip().splitlines()
    return f" - {first[0]}" if first else ""
