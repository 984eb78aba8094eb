"""Ties a program to the process that starts it, then becomes that program.

Run as `python -I -S tether.py SIGNAL PARENT_PID COMMAND ARG...`: the kernel sends SIGNAL when the parent dies, even by
SIGKILL. A shim of its own rather than a `preexec_fn`, which may deadlock in a parent that has threads. Standard
library only and little of that, so that it costs milliseconds.

The kernel watches the *thread* that started the child: start children from a thread that lives as long as the process.
Where there is no `prctl` (other systems than Linux) the child runs untied.
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1
NOT_STARTED = 127
PARENT_GONE = 125


def main(arguments: list[str]) -> None:
    signal_number, parent, command = int(arguments[0]), int(arguments[1]), arguments[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal_number, 0, 0, 0)
        if os.getppid() != parent:  # it died before the kernel was told
            os._exit(PARENT_GONE)
    try:
        os.execv(command[0], command)  # noqa: S606
    except OSError as error:
        sys.stderr.write(f"{command[0]} cannot be started: {error.strerror}\n")
        os._exit(NOT_STARTED)


if __name__ == "__main__":
    main(sys.argv[1:])
