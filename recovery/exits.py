"""What the end of a worker's agent says about the worker, in a word and in a sentence."""

from events.failures import FailureReason
from events.worker import WorkerExited

DETAIL_MAX = 1000
"""Characters of another event's text that a decision repeats: with its own words it must fit into a `Text`."""


def why_it_exited(event: WorkerExited) -> FailureReason:
    if event.stalled:
        return "stalled"
    return "worker_hung" if event.hung else "worker_exit"


def how_it_exited(event: WorkerExited) -> str:
    if event.stalled:
        return f"it was of no use and was killed ({event.detail[:DETAIL_MAX]})"
    if event.hung:
        return f"it did not answer its supervisor for {event.unanswered_s or 0.0:.1f} s and was killed"
    if event.error == "worker_resource":
        return f"it was killed by signal {event.signal} while its machine was out of memory"
    if event.signal is not None:
        return f"it was killed by signal {event.signal}"
    return f"it exited with code {event.exit_code}"
