"""A real browser for a test: Chromium without a window, spoken to over a pair of pipes in its own protocol.

Nothing is installed for it. A machine that has no Chromium has no such test, and the skip says so.
"""

import base64
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from select import select
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
ANSWER_S_MAX = 60.0
END_S_MAX = 10.0
MOVE = """import os, sys
from fcntl import F_DUPFD, fcntl
one, other = (fcntl(int(given), F_DUPFD, 10) for given in sys.argv[1:3])
os.dup2(one, 3), os.dup2(other, 4)
os.execv(sys.argv[3], sys.argv[3:])"""
"""A browser reads from descriptor 3 and writes to 4, whatever they were here."""


def browser_program() -> str:
    """CHROMIUM in the environment, or what is on the path; where there is none, the test is skipped."""
    found = os.environ.get("CHROMIUM") or next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"no browser on this machine: none of {', '.join(NAMES)}, and CHROMIUM is not set")
    return found


class Browser:
    """One browser with one page. `problems` and `requests` are what the page complained of and asked for."""

    def __init__(self, to_it: int, from_it: int) -> None:
        self._to_it, self._from_it = to_it, from_it
        self._buffer = b""
        self._number = 0
        self._session: str | None = None
        self._happened: list[dict[str, Any]] = []
        self.problems: list[str] = []
        self.requests: list[str] = []

    def open(self, url: str, *, width: int, height: int, dark: bool = False) -> None:
        """Shows a page in a screen of that size, and waits until it is loaded."""
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Log", "Runtime"):
            self.ask(f"{domain}.enable")
        self.ask(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", features=[scheme])
        self.problems.clear()
        self.requests.clear()
        self.ask("Page.navigate", url=url)
        self._until("Page.loadEventFired")

    def evaluate(self, expression: str) -> Any:
        answer = self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def screenshot(self) -> bytes:
        """All of the page, as PNG."""
        return base64.b64decode(self.ask("Page.captureScreenshot", captureBeyondViewport=True)["data"])

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._to_it, json.dumps(message).encode() + b"\0")
        while True:
            heard = self._hear()
            if heard.get("id") == self._number:
                assert "error" not in heard, f"{method}: {heard['error']}"
                result: dict[str, Any] = heard["result"]
                return result

    def _until(self, method: str) -> None:
        while all(one["method"] != method for one in self._happened):
            self._hear()
        self._happened.clear()

    def _hear(self) -> dict[str, Any]:
        deadline = time.monotonic() + ANSWER_S_MAX
        while b"\0" not in self._buffer:
            ready, _, _ = select([self._from_it], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"the browser has said nothing for {ANSWER_S_MAX:g} s"
            part = os.read(self._from_it, 1 << 20)
            assert part, "the browser has ended"
            self._buffer += part
        raw, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(raw)
        if "method" in message:
            self._happened.append(message)
            self._note(message["method"], message["params"])
        return message

    def _note(self, method: str, parameters: dict[str, Any]) -> None:
        if method == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])
        elif method == "Log.entryAdded":
            self.problems.append(parameters["entry"]["text"])
        elif method == "Runtime.exceptionThrown":
            self.problems.append(parameters["exceptionDetails"]["text"])
        elif method == "Runtime.consoleAPICalled":
            self.problems.append(json.dumps(parameters["args"]))


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """`folder` holds its profile."""
    program = browser_program()
    its_input, to_it = os.pipe()
    from_it, its_output = os.pipe()
    command = [sys.executable, "-c", MOVE, str(its_input), str(its_output), program]
    command += ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
    command += ["--remote-debugging-pipe", f"--user-data-dir={folder}", "--hide-scrollbars"]
    process = subprocess.Popen(
        command, pass_fds=(its_input, its_output), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    os.close(its_input)
    os.close(its_output)
    driver = Browser(to_it, from_it)
    try:
        yield driver
        driver._session = None
        with suppress(AssertionError, OSError):
            driver.ask("Browser.close")
    finally:
        os.close(to_it)
        os.close(from_it)
        with suppress(subprocess.TimeoutExpired):
            process.wait(END_S_MAX)
        process.kill()
        process.wait()
