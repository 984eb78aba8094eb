"""What kind of error it is when the machine that a part of the system runs on lacks something."""

import errno

from events.failures import ErrorCode

SHORT = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN})
"""Of disk, of descriptors, of memory, of processes."""


def code_of_shortage(number: int | None, otherwise: ErrorCode) -> ErrorCode:
    """`system_resource` if that is what the error number says, which is None where there is none."""
    return "system_resource" if number in SHORT else otherwise
