"""What the machine lacks, by the number of the error."""

import errno

import pytest

from events.failures import ErrorCode
from events.shortages import code_of_shortage


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (errno.ENOSPC, "system_resource"),
        (errno.EDQUOT, "system_resource"),
        (errno.EMFILE, "system_resource"),
        (errno.ENFILE, "system_resource"),
        (errno.ENOMEM, "system_resource"),
        (errno.EAGAIN, "system_resource"),
        (errno.EIO, "database"),
        (errno.EACCES, "database"),
        (None, "database"),
    ],
)
def test_a_shortage_is_told_from_what_else_may_fail(number: int | None, error: ErrorCode) -> None:
    assert code_of_shortage(number, "database") == error
