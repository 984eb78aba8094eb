"""The run as JUnit XML, in the form that pytest writes (xunit2) and that CI servers read."""

import re
from datetime import UTC, datetime
from pathlib import Path
from socket import gethostname
from xml.etree import ElementTree as ET

from coordinator.faults import FileFault
from coordinator.run.tally import GOOD_WORDS, Tally, Test

_ILLEGAL = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 cannot hold."""


def write_junit(path: Path, tally: Tally, started_at: float, elapsed_s: float) -> None:
    """Raises:
    FileFault: the file cannot be written.
    """
    words = tally.words
    suite = ET.Element(
        "testsuite",
        name="pytest",
        errors=str(words["error"] + words["crashed"] + words["timed out"] + words["quarantined"] + words["cancelled"]),
        failures=str(words["failed"]),
        skipped=str(words["skipped"] + words["xfailed"]),
        tests=str(len(tally.tests)),
        time=f"{elapsed_s:.3f}",
        timestamp=datetime.fromtimestamp(started_at, UTC).isoformat(),
        hostname=gethostname(),
    )
    for test in tally.tests.values():
        _case(suite, test)
    root = ET.Element("testsuites", name="pytest tests")
    root.append(suite)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        ET.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)
    except OSError as error:
        raise FileFault(f"--junitxml {path} cannot be written: {error.strerror}") from error


def _case(suite: ET.Element, test: Test) -> None:
    module, _, name = test.node_id.partition("::")
    classes, _, function = name.rpartition("::")
    classname = module.removesuffix(".py").replace("/", ".") + (f".{classes.replace('::', '.')}" if classes else "")
    case = ET.SubElement(
        suite, "testcase", classname=_clean(classname), name=_clean(function), time=f"{test.duration_s:.3f}"
    )
    if test.attempts > 1:
        properties = ET.SubElement(case, "properties")
        ET.SubElement(properties, "property", name="attempts", value=str(test.attempts))
    if test.word in ("skipped", "xfailed"):
        kind = "pytest.skip" if test.word == "skipped" else "pytest.xfail"
        ET.SubElement(case, "skipped", type=kind, message=_clean(test.reason))
    elif test.word not in GOOD_WORDS:
        text = test.note or test.message or test.word or "no verdict"
        element = ET.SubElement(
            case, "failure" if test.word == "failed" else "error", message=_clean(text.splitlines()[0])
        )
        element.text = _clean("\n".join(filter(None, (test.note, test.message))))
    if test.output:
        ET.SubElement(case, "system-out").text = _clean(test.output)


def _clean(text: str) -> str:
    return _ILLEGAL.sub("?", text)
