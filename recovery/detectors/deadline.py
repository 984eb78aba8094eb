"""Fixed thresholds: the same silence from everybody, whatever was heard before."""

from collections.abc import Sequence

from recovery.detectors.detector import Detector


class Deadline(Detector):
    def unusual_after(self, intervals: Sequence[float]) -> float:
        del intervals
        return self.thresholds.suspect_after

    def hopeless_after(self, intervals: Sequence[float]) -> float:
        del intervals
        return self.thresholds.failed_after
