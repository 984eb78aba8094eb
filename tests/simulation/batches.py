"""Atomic batches that are under way to a stream of the simulated broker (ADR-50), and how the server refuses."""

from tests.simulation.aging import Clock
from tests.simulation.storage import Published

MESSAGES_MAX = 1000
OPEN_MAX = 50
IDLE_S_MAX = 10.0
ID_CHARACTERS_MAX = 64


class Refused(Exception):
    """The server says no. Nothing was stored."""

    def __init__(self, code: int, err_code: int, description: str) -> None:
        super().__init__(description)
        self.error = {"code": code, "err_code": err_code, "description": description}


class OpenBatches:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._open: dict[str, tuple[float, list[Published]]] = {}

    def add(self, message: Published) -> list[Published] | None:
        """The whole batch when this message commits it; None while it is open.

        Raises:
            Refused: the batch is over, and nothing of it is stored.
        """
        headers = message.headers
        assert headers is not None
        batch_id = headers["Nats-Batch-Id"]
        if len(batch_id) > ID_CHARACTERS_MAX:
            raise Refused(400, 10179, "atomic publish batch ID is invalid")
        if not headers.get("Nats-Batch-Sequence", "").isdecimal():
            raise Refused(400, 10175, "atomic publish sequence is missing")
        number = int(headers["Nats-Batch-Sequence"])
        batch = self._take(batch_id, number)
        commit = headers.get("Nats-Batch-Commit")
        if commit not in (None, "1"):
            raise Refused(400, 10200, "atomic publish batch commit is invalid")
        if number != len(batch) + 1:
            raise _incomplete()
        if number > MESSAGES_MAX:
            raise _too_large()
        batch.append(message)
        if commit is not None:
            return batch
        self._open[batch_id] = (self._clock.now() + IDLE_S_MAX, batch)
        return None

    def _take(self, batch_id: str, number: int) -> list[Published]:
        """The messages so far of the open batch of that id, or a new one; it is open no more."""
        now = self._clock.now()
        deadline, batch = self._open.pop(batch_id, (0.0, []))
        if deadline > now:
            return batch
        if number != 1:
            raise _too_large() if number > MESSAGES_MAX else _incomplete()
        self._open = {key: each for key, each in self._open.items() if each[0] > now}
        if len(self._open) >= OPEN_MAX:
            raise Refused(429, 10210, "atomic publish too many inflight")
        return []

    def clear(self) -> None:
        self._open.clear()


def _incomplete() -> Refused:
    return Refused(400, 10176, "atomic publish batch is incomplete")


def _too_large() -> Refused:
    return Refused(400, 10199, f"atomic publish batch is too large: {MESSAGES_MAX}")
