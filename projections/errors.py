"""What can go wrong with a history file, by what has to be done about it."""

from pathlib import Path

from events.failures import ErrorCode


class ProjectionError(Exception):
    """Base of everything that projections raise."""


class Refused(ProjectionError):
    """The file is not ours to write, or cannot be had now. Nothing was changed; the message is one sentence."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{path}: {why}")
        self.path = path


class Held(Refused):
    """Another process has the file open."""


class Unreadable(ProjectionError):
    """A DuckDB file that DuckDB itself cannot read. Its content can be made anew from the log."""


class WriteFailed(ProjectionError):
    """Disk full, an I/O error, no memory: nothing of the batch was stored, and a later try may succeed."""

    def __init__(self, text: str, error: ErrorCode = "database") -> None:
        super().__init__(text)
        self.error: ErrorCode = error


class QueryError(ProjectionError):
    """A SQL statement has no result; the message says why, in the terms of whoever wrote it."""


class NobodyAnswers(QueryError):
    """There is no projector that could be asked."""
