"""Another way to judge silence, and another kind of work."""

from collections.abc import Sequence
from math import fsum

from recovery.detectors import Detector
from worker.runners import Command, Verdict


class Chen(Detector):
    """The next heartbeat is expected one mean interval after the last, and a constant margin is allowed on top.

    W. Chen, S. Toueg, M. K. Aguilera, "On the quality of service of failure detectors", IEEE Transactions on Computers
    51 (2002).
    """

    def unusual_after(self, intervals: Sequence[float]) -> float:
        return self._expected(intervals) + 2 * self.thresholds.heartbeat_interval

    def hopeless_after(self, intervals: Sequence[float]) -> float:
        return self._expected(intervals) + 6 * self.thresholds.heartbeat_interval

    def _expected(self, intervals: Sequence[float]) -> float:
        return fsum(intervals) / len(intervals) if intervals else self.thresholds.heartbeat_interval


class Tap:
    """Runs a program that reports in the Test Anything Protocol: it fails if one of its tests does, whatever its exit
    code, and is skipped if it plans none."""

    def command(self, arguments: tuple[str, ...], cwd: str) -> Command:
        return Command(arguments, {"HARNESS_ACTIVE": "1"})

    def verdict(self, exit_code: int, output: str) -> Verdict:
        lines = [line.strip() for line in output.splitlines()]
        failed = [line for line in lines if line.startswith("not ok")]
        if failed:
            return Verdict("failed", "\n".join(failed))
        if any(line.startswith("1..0") for line in lines):
            return Verdict("skipped")
        if exit_code:
            return Verdict("error", f"it ended with code {exit_code} before its tests were done")
        return Verdict("passed")
