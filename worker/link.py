"""The socket between a supervisor and its agent: one packet is one message, a word and its argument.

From the agent: `registering EVENT_ID` before it appends its registration, `registered INCARNATION` once it is stored,
`pong NUMBER`, and as its last word `stopped WHY`, `drained WHY` (it is to be started again), `superseded WHY` or
`failed WHY`. From the supervisor: `ping NUMBER`.

A supervisor that knows the id of a registration before it is stored can tell its own worker's from a stranger's, and
finds the incarnation in the log when the agent died between the append and telling it.
"""

import socket
from collections.abc import Callable

from worker.ports import Link

PACKET_BYTES_MAX = 64 * 1024
PACKETS_PER_TURN_MAX = 100


def pair() -> tuple["SocketLink", "SocketLink"]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    return SocketLink(ours), SocketLink(theirs)


def answer(link: Link, abandon: Callable[[], None]) -> None:
    """The agent's part, whenever there is something to receive: from the start of its process on, for a supervisor
    takes one that does not answer for hung. Nobody watches any more once the link is closed, so nothing may run."""
    for word, argument in link.receive():
        if word == "ping":
            link.send("pong", argument)
    if link.closed:
        abandon()


class SocketLink:
    """Keeps `worker.ports.Link`: a lost other end is a fact that `closed` tells."""

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        self._end = end
        self.closed = False

    def fileno(self) -> int:
        return self._end.fileno()

    def send(self, word: str, argument: str | int = "") -> bool:
        """False: it was not taken, for the other end is gone or has not read for long."""
        packet = f"{word} {argument}".encode(errors="backslashreplace")[:PACKET_BYTES_MAX]
        try:
            self._end.send(packet)
        except OSError:
            return False
        return True

    def receive(self) -> list[tuple[str, str]]:
        """What has come: pairs of word and argument."""
        messages: list[tuple[str, str]] = []
        while not self.closed and len(messages) < PACKETS_PER_TURN_MAX:
            try:
                packet = self._end.recv(PACKET_BYTES_MAX)
            except BlockingIOError:
                break
            except OSError:
                packet = b""
            if packet:
                word, _, argument = packet.decode(errors="replace").partition(" ")
                messages.append((word, argument))
            else:
                self.closed = True
        return messages

    def close(self) -> None:
        self.closed = True
        self._end.close()
